"""Promise: docs/settings.md knows every setting, with its default and what is allowed."""

from pathlib import Path

from settings_page import page

from schemas.settings import variables

PAGE = Path(__file__).parents[1] / "docs/settings.md"


def test_the_page_is_what_the_settings_say():
    assert PAGE.read_text() == page(), "python tests/settings_page.py > docs/settings.md"


def test_no_setting_is_missing():
    text = PAGE.read_text()
    assert not [item.name for item in variables() if f"| `{item.name}` |" not in text]
