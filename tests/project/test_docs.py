"""Promise: what README and docs say is so: their SQL runs, their tables are whole, their links lead somewhere."""

import re
from functools import cache
from pathlib import Path

import pytest

from hearthwatch.cli import COMMANDS, load
from hearthwatch.cli.graph import mermaid
from hearthwatch.flows.graph import Graph, configured_graph
from hearthwatch.record import Record
from hearthwatch.schemas.settings import NOT_SETTINGS, variables

ROOT = Path(__file__).parents[2]
SETTINGS = {variable.name for variable in variables()}
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
    own = "schema = 'main' AND type IN ('table', 'virtual') AND name NOT LIKE 'sqlite_%'"  # not those that an index is kept in
    for (table,) in record.rows(f"SELECT name FROM pragma_table_list WHERE {own}"):
        section = re.search(rf"\*\*`{table}`\*\*(.*?)(\*\*`|\n## )", text, re.S)
        assert section, f"docs/record.md does not describe {table}"
        columns = {row[1] for row in record.rows(f"PRAGMA table_info({table})")}
        assert not [c for c in columns if f"`{c}`" not in section[1]], table


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page):
    broken = []
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]*))?\)", page.read_text()):
        file = page.parent / target if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(f"{target}#{anchor}")
    assert not broken


@cache
def anchors(page):
    """What GitHub calls its headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    headings = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", found) for found in re.findall(r"^#+ (.*)$", text, re.M)]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_page_is_reached_from_the_index():
    linked = re.findall(r"\]\((\w[\w-]*\.md)", (ROOT / "docs/index.md").read_text())
    assert sorted({*linked, "index.md"}) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))
    assert "(docs/index.md)" in (ROOT / "README.md").read_text()


def test_every_message_that_troubleshooting_quotes_is_one_that_the_code_prints():
    rooms = [
        path for path in ROOT.iterdir() if (path / "__init__.py").exists() and path.name not in ("tests", "hearthwatch")
    ]
    code = "\n".join(path.read_text() for room in rooms for path in room.rglob("*.py"))
    quoted = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/troubleshooting.md").read_text(), re.M)
    parts = [part.strip() for message in quoted for part in message.split("…")]
    assert len(parts) > 40 and [part for part in parts if part not in code] == []


def shell_lines():
    blocks = [block for page in PAGES for block in re.findall(r"^ *```sh\n(.*?)^ *```", page.read_text(), re.M | re.S)]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [re.sub(r"\$\([^)]*\)|\s#.*", "", line) for line in lines]


def test_every_command_in_the_docs_exists_with_its_options():
    commands, wrong = {name: load(name) for name in COMMANDS}, []
    for line in shell_lines():
        for name, rest in re.findall(r"(?<![/\w])hearthwatch ([a-z]+)([^|;&#]*)", line):
            known = {option for one in getattr(commands.get(name), "params", ()) for option in one.opts} | {"--help"}
            options = re.findall(r"(?<=\s)--?[a-z][\w-]*", rest.partition(" -- ")[0])
            wrong += [line] if name not in commands or not set(options) <= known else []
        wrong += [name for name in re.findall(r"\b(HEARTHWATCH_[A-Z_]+)=", line) if name not in SETTINGS and not NOT_SETTINGS.fullmatch(name)]  # fmt: skip
        scripts = re.findall(r"(?<![\w/])((?:scripts|examples|tests|bench|deploy)/[\w./-]+)", line)
        wrong += [line for script in scripts if not (ROOT / script).exists()]
    assert wrong == []


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
