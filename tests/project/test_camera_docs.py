"""Promise: docs/cameras.md and docs/install.md tell the truth about names, settings, commands and options."""

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from typer.main import get_command

from hearthwatch.cli import app
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.schemas.settings import NOT_SETTINGS, variables
from hearthwatch.sources.capture_time import find_capture_time
from hearthwatch.sources.files import Files

THERE = timezone(timedelta(hours=5, minutes=30))
DOCS = Path(__file__).parents[2] / "docs"
CAMERAS = (DOCS / "cameras.md").read_text()
PAGES = [
    DOCS / name
    for name in (
        "install.md",
        "cameras.md",
        "uploads.md",
        "notifications.md",
        "home-assistant.md",
        "remote-access.md",
        "troubleshooting.md",
        "settings.md",
    )
]
ROWS = re.findall(r"^\| [^|]+ \| `([^`]+)` \| ([^|]+) \|$", CAMERAS, re.M)


@pytest.mark.parametrize(("path", "taken"), ROWS)
def test_a_picture_is_taken_when_the_page_says(path, taken):
    found, there = find_capture_time(f"front_door/{path}", 0, b"", "name", THERE), taken.removesuffix(" UTC")
    if taken == "the file's own time":
        assert found.source == "mtime"
    else:
        at = datetime.fromisoformat(there).replace(tzinfo=THERE if there == taken else UTC)
        assert from_microseconds(found.at) == at


def test_there_are_cameras_on_the_page():
    assert len(ROWS) >= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_and_command_that_is_named_exists(page):
    text, known = page.read_text(), {item.name for item in variables()}
    for name in re.findall(r"\bHEARTHWATCH_[A-Z_]+\b", text):
        assert name in known or NOT_SETTINGS.fullmatch(name), name
    commands = get_command(app).commands
    assert not [name for name in re.findall(r"`hearthwatch ([a-z]+)", text) if name not in commands]


def test_options_of_files_that_the_pages_name():
    assert {"notify", "sweep_seconds"} <= Files.model_fields.keys()
    assert Files.model_fields["sweep_seconds"].default == 5
