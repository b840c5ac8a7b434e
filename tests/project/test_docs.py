"""Promise: what README and docs say is so: their SQL runs, their tables are whole, their links lead somewhere."""

import re
from pathlib import Path

import pytest

from hearthwatch.record import Record

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language):
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.M | re.S)
    return [
        pytest.param(block, id=f"{page.name}-{i}")
        for page in PAGES
        for i, block in enumerate(fence.findall(page.read_text()))
    ]


@pytest.mark.parametrize("sql", blocks("sql"))
def test_every_query_in_the_docs_runs_on_a_record(sql, tmp_path):
    Record(tmp_path / "r.db").rows(sql)


def test_every_table_and_column_of_the_record_is_described(tmp_path):
    text, record = (ROOT / "docs/record.md").read_text(), Record(tmp_path / "r.db")
    for (table,) in record.rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"):
        section = re.search(rf"\*\*`{table}`\*\*(.*?)(\*\*`|\n## )", text, re.S)
        assert section, f"docs/record.md does not describe {table}"
        columns = {row[1] for row in record.rows(f"PRAGMA table_info({table})")}
        assert not [c for c in columns if f"`{c}`" not in section[1]], table


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_to_a_file_leads_somewhere(page):
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert not [t for t in targets if not (page.parent / t).exists()]


def test_every_script_that_the_readme_names_is_there_and_executable():
    for script in set(re.findall(r"scripts/\w+", (ROOT / "README.md").read_text())):
        assert (ROOT / script).stat().st_mode & 0o100, script
