"""Promise: what README and docs say is so: their SQL runs, their tables are whole, their links lead somewhere."""

import re
from pathlib import Path

import pytest

from hearthwatch.cli.graph import mermaid
from hearthwatch.flows.graph import Graph, configured_graph
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


@pytest.mark.parametrize("toml", [block for block in blocks("toml") if "[project." not in block.values[0]])
def test_every_flow_file_in_the_docs_is_valid(toml, monkeypatch):
    for variable, value in {
        "NTFY_TOPIC": "a",
        "WEBHOOK_SECRET": "b",
        "MQTT_URL": "mqtt://host:1883",
        "APPRISE_URL": "json://host",
    }.items():
        monkeypatch.setenv(variable, value)
    whole = "extends" in toml or "[files]" in toml
    graph = Graph.from_toml(toml if whole else f'extends = "default"\n{toml}')
    assert [mistake for mistake in graph.check() if "No module named" not in mistake] == []
    assert graph.warnings == []


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


def test_the_readme_draws_the_graph_that_the_command_prints(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", "redis://localhost:6379/0")
    monkeypatch.setenv("NEMOTRON_URL", "http://localhost:8002")
    (drawn,) = re.findall(r"^```mermaid\n(.*?)\n```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert drawn == "\n".join(mermaid(configured_graph(None)))


def test_every_module_is_in_the_tree_of_contributing():
    tree = re.search(r"^## The tree\n```\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S)[1]
    named = {}
    for line in tree.splitlines():
        if found := re.match(r"(\w+)/", line):
            room = found[1]
        elif found := re.match(r"  (\S+(?:, \S+)*)  ", line):
            named.setdefault(room, set()).update(found[1].split(", "))
    for room in ("api", "demo", "flows", "gpu", "record", "schemas", "sinks", "sources", "stages"):
        files = {path.name for path in (ROOT / room).glob("*.py") if not path.name.startswith("__")}
        assert files - named[room] <= {"migrate.py"}, f"add a line to the tree of CONTRIBUTING.md below {room}/"
        assert not [name for name in named[room] if not (ROOT / room / name).exists()], room
