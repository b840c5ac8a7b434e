"""Promise: docs/settings.md knows every setting, with its default and what is allowed."""

from pathlib import Path

from hearthwatch.schemas.settings import variables
from tests.support.settings_page import page

PAGE = Path(__file__).parents[2] / "docs/settings.md"


def test_the_page_is_what_the_settings_say():
    assert PAGE.read_text() == page(), "python -m tests.support.settings_page > docs/settings.md"


def test_no_setting_is_missing():
    text = PAGE.read_text()
    assert not [item.name for item in variables() if f"| `{item.name}` |" not in text]
