"""Promise: the pages that commands write are what they would write now: docs/settings.md, components, messages, tables, routes."""

from pathlib import Path

import pytest

from hearthwatch.schemas.settings import variables
from tests.support import reference_pages
from tests.support.settings_page import page

PAGE = Path(__file__).parents[2] / "docs/settings.md"


def test_the_page_is_what_the_settings_say():
    assert PAGE.read_text() == page(), "python -m tests.support.settings_page > docs/settings.md"


def test_no_setting_is_missing():
    text = PAGE.read_text()
    assert not [item.name for item in variables() if f"| `{item.name}` |" not in text]


@pytest.mark.parametrize("name", reference_pages.PAGES)
def test_a_reference_page_is_what_the_code_says(name):
    text = (PAGE.parent / f"{name}.md").read_text()
    assert text == reference_pages.PAGES[name](), "run `python -m tests.support.reference_pages`"
