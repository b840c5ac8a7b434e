"""`hearthwatch demo`: the whole real pipeline in a process of its own, told to a person, added up, ended cleanly."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from hearthwatch.cli.demo import Balance, environment, line
from hearthwatch.schemas.items import EPOCH, Event, Verdict
from hearthwatch.schemas.messages import Message
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def start(folder: Path, *arguments: str, port: int = 0, **environ: str) -> subprocess.Popen[str]:
    page = ["--port", str(port or free_port())]
    return subprocess.Popen(
        [sys.executable, "-c", "from hearthwatch.cli import main; main()", "demo", *arguments, *page],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_demo_tells_events_as_they_come_adds_up_and_ignores_the_users_settings(tmp_path: Path):
    (tmp_path / ".env").write_text("FOSCAM_BASE_PATH=/nowhere\nBATCH_WINDOW_SECONDS=not a number\n")
    port = free_port()
    demo = start(tmp_path, "--seconds", "12", port=port, HEARTHWATCH_DETECTOR_MODEL="/nowhere", DEBUG="perhaps")
    assert demo.stdout
    early = "".join(iter(demo.stdout.readline, f"The page: http://127.0.0.1:{port}\n"))
    page = httpx.get(f"http://127.0.0.1:{port}/", headers={"Accept": "text/html"})
    assert page.status_code == 200 and "<html" in page.text
    said, _ = demo.communicate(timeout=110)
    said = early + said
    assert demo.returncode == 0, said
    assert re.search(r"^\d\d:\d\d:\d\d  \S.* opened ", said, re.MULTILINE), said
    assert "adds up" in said
    assert "0 quarantined" in said
    with sqlite3.connect(f"file:{tmp_path}/demo-data/hearthwatch.db?mode=ro", uri=True) as record:
        states = dict(record.execute("SELECT state, count(*) FROM frames GROUP BY state"))
        cameras = {camera for (camera,) in record.execute("SELECT id FROM cameras")}
    record.close()
    pictures = list((tmp_path / "demo-data" / "uploads").rglob("*.jpg"))
    assert states == {"settled": len(pictures)}
    assert len(pictures) > 20
    assert cameras == {"front_door", "driveway", "back_yard", "street"}
    assert [path.name for path in tmp_path.iterdir() if path.name != ".env"] == ["demo-data"]


def test_ctrl_c_while_the_pipeline_still_starts_ends_it_without_a_word_of_failure(tmp_path: Path):
    demo = start(tmp_path)
    assert demo.stdout
    assert "Starting" in demo.stdout.readline()
    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate(timeout=60)
    assert (demo.returncode, said) == (0, "")


def test_a_port_that_is_taken_is_said_in_words(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        demo = start(tmp_path, port=port)
        said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 2
    assert f"{port}" in said and "Traceback" not in said


def test_a_folder_that_cannot_be_used_is_said_in_words(tmp_path: Path):
    (tmp_path / "demo-data").write_text("a file is in the way")
    demo = start(tmp_path)
    said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 2
    assert str(tmp_path / "demo-data") in said
    assert "Traceback" not in said


def test_the_pipelines_environment_has_no_setting_but_the_demos():
    ours = {
        "PATH": "/bin",
        "redis_url": "redis://x",
        "HEARTHWATCH_CAPTURE_TIME": "exif",
        "HEARTHWATCH_FLOW": "mine.toml",
        "BYTEWAX_RECOVERY_DIRECTORY": "/x",
    }
    theirs = environment(Path("demo-data"), ours)
    assert theirs["PATH"] == "/bin"
    assert theirs["HEARTHWATCH_DETECTOR_MODEL"] == "yard"
    assert theirs["HEARTHWATCH_DEVICE"] == "cpu"
    assert (
        not {"redis_url", "HEARTHWATCH_CAPTURE_TIME", "HEARTHWATCH_FLOW", "BYTEWAX_RECOVERY_DIRECTORY"} & theirs.keys()
    )


def test_a_message_is_one_line_for_a_person():
    verdict = Verdict(35, "1 person at the front door", "")
    event = Event(
        *(5, "b", "front_door", "event.opened", 1, EPOCH, None, "open", 1, {"person": 1}, verdict, ()),
        camera_name="Front Door",
    )
    said = line(Message(17, "event.opened", 0.4, event), datetime(2026, 11, 22, 12, 3, 7))
    assert re.split("  +", said) == ["12:03:07", "Front Door", "opened", "medium 35", "1 person at the front door"]


@pytest.mark.parametrize(
    ("states", "rows", "unknown", "adds_up"),
    [
        ({"settled": 9, "discovered": 1, "quarantined": 0}, 10, 0, True),
        ({"settled": 9, "discovered": 0, "quarantined": 0}, 9, 0, False),
        ({"settled": 10, "discovered": 0, "quarantined": 0}, 11, 0, False),
        ({"settled": 10, "discovered": 0, "quarantined": 0}, 10, 1, False),
    ],
)
def test_a_ledger_adds_up_when_files_rows_and_counters_agree(states, rows: int, unknown: int, adds_up: bool):
    balance = Balance(states, 3, 21.0, {"closed": 1}, rows, sum(states.values()), unknown)
    assert balance.adds_up(uploaded=10) is adds_up
    assert ("DOES NOT ADD UP" in balance.text(seconds=10, uploaded=10)) is not adds_up
