"""Compare what users rely on with golden files: commands, settings, components, routes, tables, messages, codes.

Words (help, descriptions, texts of mistakes) are left out; names, types, defaults and exit codes are in.
`python -m tests.project.test_frozen --write` writes `tests/project/frozen/*.json` again: read the diff, a removed line breaks a user.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import os
import re
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import duckdb
import pyarrow.parquet as pq
import pytest
import typer.main
from bytewax.visualize import to_rendered
from prometheus_client.parser import text_string_to_metric_families
from pydantic_core import to_jsonable_python
from typer.core import TyperArgument
from typer.testing import CliRunner

from hearthwatch import cli, schemas
from hearthwatch.api.app import create
from hearthwatch.flows.graph import DEFAULT, Graph
from hearthwatch.flows.registry import BUILT_IN, load
from hearthwatch.record import Record
from hearthwatch.schemas.settings import Settings, variables
from tests.support.api_record import Home, serve, story
from tests.support.data_dir import House
from tests.support.invariants import check_feed
from tests.support.pipeline import Pipeline

ROOT = Path(__file__).parents[2]
FROZEN = Path(__file__).parent / "frozen"
PLUGIN = FROZEN / "plugin_0_1"
COMMAND = (sys.executable, "-m", "hearthwatch.cli")
FLOW = (sys.executable, "-m", "bytewax.run", "flow")
WORDS = {"title", "description", "summary", "example", "examples", "operationId", "tags", "externalDocs"}
MACHINE = {"decode_threads"}  # options whose default depends on the machine
REWRITE = "after a deliberate change: `python -m tests.project.test_frozen --write`"


# -- schemas in few words


def outline(schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """A JSON schema without words and names of models: an object is its fields, `?` behind those not required."""
    if "$ref" in schema:
        return outline(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if several := schema.get("anyOf") or schema.get("oneOf"):
        parts = [outline(part, definitions) for part in several]
        rest = _rest(schema, "anyOf", "oneOf")
        return " | ".join(parts) + rest if all(isinstance(part, str) for part in parts) else {"any of": parts}
    if "properties" in schema:
        required = schema.get("required", ())
        fields = schema["properties"].items()
        return {name + ("" if name in required else "?"): outline(field, definitions) for name, field in fields}
    if isinstance(values := schema.get("additionalProperties"), dict):
        return {"*": outline(values, definitions)}
    if "items" in schema and (inner := outline(schema["items"], definitions)) is not None:
        return f"array of {inner}{_rest(schema, 'items', 'type')}" if isinstance(inner, str) else [inner]
    return schema.get("type", "any") + _rest(schema, "type")


def _rest(schema: dict[str, Any], *known: str) -> str:
    left = {key: value for key, value in sorted(schema.items()) if key not in {*known, *WORDS}}
    return "".join(f" {key}={json.dumps(value)}" for key, value in left.items())


# -- what is frozen: each function makes the content of the file of its name


def commands(folder: Path) -> Any:
    """Read every command's parameters from the Typer application."""
    top = typer.main.get_command(cli.app)
    return {"": _parameters(top)} | {name: _parameters(cli.load(name)) for name in sorted(cli.COMMANDS)}


def _parameters(command: Any) -> dict[str, Any]:
    return {item.name: _parameter(item) for item in command.params if item.name != "help"}


def _parameter(item: Any) -> dict[str, Any]:
    annotation = item.type_descriptor.annotation
    return {
        "kind": "argument" if isinstance(item, TyperArgument) else "option",
        "names": [*item.opts, *item.secondary_opts],
        "type": annotation.__name__ if type(annotation) is type else str(annotation),
        "limits": [item.min, item.max],
        "default": to_jsonable_python(item.default, fallback=str),
        "required": item.required,
        "flag": getattr(item, "is_flag", False),
        "nargs": item.nargs,
    }


def settings(folder: Path) -> Any:
    """Read every variable with its default as people write it, and its type."""
    types = Settings.model_json_schema()["properties"]
    return {
        item.name: {"default": item.default, "type": outline(_without(types[item.name.lower()]), {})}
        for item in variables()
    }


def _without(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "default"}


def components(folder: Path) -> Any:
    """Read every built-in component: its ports and its options."""
    return {kind: {name: _component(load(name)) for name in sorted(names)} for kind, names in BUILT_IN.items()}


def _component(component: Any) -> dict[str, Any]:
    accepts = component.accepts if isinstance(component.accepts, tuple) else (component.accepts,)
    schema = component.model_json_schema()
    options = {}
    for name, field in component.model_fields.items():
        options[name] = {"type": outline(_without(schema["properties"][name]), schema.get("$defs", {}))}
        if field.is_required():
            options[name]["required"] = True
        else:
            default = "depends on the machine" if name in MACHINE else field.get_default(call_default_factory=True)
            options[name]["default"] = to_jsonable_python(default)
    kind = next(base.__name__ for base in component.__mro__ if base.__name__ in KINDS)
    emits = component.emits.__name__ if component.emits else None
    return {"kind": kind, "accepts": [item.__name__ for item in accepts], "emits": emits, "options": options}


KINDS = ("Source", "Stage", "Sink", "Consumer", "Job")


def http(folder: Path) -> Any:
    """Read every route from the OpenAPI document, and those that it leaves out from the application."""
    application = create(Home(folder / "home").settings())
    document = json.loads(json.dumps(application.openapi()))
    models = document["components"]["schemas"]
    operations = {
        f"{method.upper()} {path}": _operation(operation, models)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    routes = sorted({f"{type(route).__name__} {route.path}" for route in _routes(application)})
    listed = [route for route in routes if route.partition(" ")[2] not in document["paths"]]
    return {"operations": dict(sorted(operations.items())), "not in the document": listed}


def _routes(application: Any) -> Iterator[Any]:
    """Every route, also those behind included routers."""
    for route in application.routes:
        if hasattr(route, "path"):
            yield route
        if router := getattr(route, "original_router", None):
            yield from _routes(router)


def _operation(operation: dict[str, Any], models: dict[str, Any]) -> dict[str, Any]:
    parameters = {
        f"{item['name']} in {item['in']}{'' if item.get('required') else '?'}": outline(item["schema"], models)
        for item in operation.get("parameters", ())
    }
    body = operation.get("requestBody", {})
    return {
        "parameters": dict(sorted(parameters.items())),
        "body": _content(body, models) | ({"required": True} if body.get("required") else {}),
        "responses": {code: _content(answer, models) for code, answer in sorted(operation["responses"].items())},
    }


def _content(holder: dict[str, Any], models: dict[str, Any]) -> dict[str, Any]:
    return {kind: outline(item.get("schema", {}), models) for kind, item in holder.get("content", {}).items()}


def record(folder: Path) -> Any:
    """Read tables, columns, indexes and views from a new record."""
    Record(folder / "hearthwatch.db").close()
    db = sqlite3.connect(folder / "hearthwatch.db")
    try:
        return {
            "user_version": db.execute("PRAGMA user_version").fetchone()[0],
            "schema_version": db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0],
            "tables": {name: _table(db, name) for name in _names(db, "table")},
            "views": {name: _columns(db, name) for name in _names(db, "view")},
        }
    finally:
        db.close()


def _names(db: sqlite3.Connection, kind: str) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type = ? AND name NOT LIKE 'sqlite_%' ORDER BY name"
    return [name for (name,) in db.execute(query, (kind,))]


def _table(db: sqlite3.Connection, table: str) -> dict[str, Any]:
    indexes = {}
    for _, name, unique, *_ in db.execute(f"PRAGMA index_list({table})"):
        columns = ", ".join(str(row[2]) for row in db.execute(f"PRAGMA index_info({name})"))
        indexes[name] = f"{'unique ' if unique else ''}({columns})"
    return {"columns": _columns(db, table), "indexes": dict(sorted(indexes.items()))}


def _columns(db: sqlite3.Connection, table: str) -> dict[str, str]:
    return {
        name: f"{kind}{' not null' if notnull else ''}{f' key {key}' if key else ''}".strip()
        for _, name, kind, notnull, _, key in db.execute(f"PRAGMA table_info({table})")
    }


def analytics(folder: Path) -> Any:
    """Read the columns of a small lake's files and of the views on it."""
    house = House(folder)
    try:
        house.see("front_door", 0, 5, 4000).see("garden", 7).spoil("garden", 8010)
        house.close_events()
        house.export()
    finally:
        house.close()
    lake: dict[str, dict[str, str]] = {}
    for file in sorted((folder / "data/lake").rglob("*.parquet")):
        table = file.relative_to(folder / "data/lake").parts[0].removesuffix(".parquet")
        lake[table] = {field.name: str(field.type) for field in pq.read_schema(file)}
    with duckdb.connect(folder / "data/analytics.duckdb", read_only=True) as db:
        views = sorted(
            name for (name,) in db.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        )
        columns = {view: {row[0]: row[1] for row in db.execute(f"DESCRIBE {view}").fetchall()} for view in views}
    return {"lake": lake, "views": columns}


def messages(folder: Path) -> Any:
    """Read the keys of a message, the values of its words, and the items that plug-ins handle."""
    at = datetime(2026, 11, 22, 8, 15, 30, tzinfo=UTC)
    verdict = schemas.Verdict(62, "one person", "at night", (512,))
    least = schemas.Event(1, "b", "front_door", "event.opened", 1, at, None, "open", 1, {"person": 1}, verdict, (512,))
    most = dataclasses.replace(least, ended_at=at, merged_into=2, thumbnail="/api/media/thumbnails/1_thumb.jpg")
    bodies = [schemas.Message(seq, event.type, 0.4, event).as_dict() for seq, event in enumerate((least, most), 1)]
    words = ("EventType", "RiskLevel", "EventStatus", "Analyzer", "AnalysisStatus")
    public = {name: getattr(schemas, name) for name in schemas.__all__}
    return {
        bodies[0]["schema"]: {key: sorted({JSON[type(body[key])] for body in bodies}) for key in bodies[0]},
        "values": {name: list(get_args(getattr(schemas.items, name))) for name in words},
        "public": list(public),
        "constants": {name: value for name, value in public.items() if isinstance(value, str)},
        "items": {name: _fields(item) for name, item in public.items() if dataclasses.is_dataclass(item)},
        "methods": {name: _methods(public[name]) for name in (*KINDS, "Component")},
    }


JSON = {str: "string", int: "integer", float: "number", dict: "object", list: "array", type(None): "null"}


def _fields(item: Any) -> dict[str, str]:
    return {field.name: f"{field.type}{_default(field)}" for field in dataclasses.fields(item)}


def _default(field: dataclasses.Field[Any]) -> str:
    value = field.default.__name__ if inspect.isfunction(field.default) else repr(field.default)
    default = "" if field.default is dataclasses.MISSING else f" = {value}"
    return f"{default}{' keyword only' if field.kw_only else ''}"


def _methods(base: type) -> dict[str, str]:
    """What a plug-in may override, with its arguments."""
    ours = [
        kind for kind in base.__mro__ if kind.__module__.startswith("hearthwatch.") and kind.__name__ != "Component"
    ]
    own = {n: v for kind in ours for n, v in vars(kind).items() if inspect.isfunction(v) and n[0] != "_"}
    return {name: ", ".join(inspect.signature(value).parameters) for name, value in sorted(own.items())}


def metrics(folder: Path) -> Any:
    """Read kinds and labels of all metrics, of an empty record and of one with events."""
    busy = story(Home(folder / "busy"))
    for row in ("heartbeat VALUES ('see', 1, 1, '{\"frames\": 1}')", "cursors(name, seq) VALUES ('redis', 1)"):
        busy.record.execute(f"INSERT INTO {row}")
    text = _get(Home(folder / "empty").open(), "/metrics") + _get(busy, "/metrics")
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(f"{sample.name} {family.type}", set()).update(sample.labels)
    return {name: sorted(found) for name, found in sorted(labels.items())}


def _get(home: Home, path: str) -> str:
    with serve(home.settings()) as served, served.client() as client:
        home.close()
        return client.get(path).raise_for_status().text


def health(folder: Path) -> Any:
    """Read the keys of the system's health, of an empty record."""
    return _shape(json.loads(_get(Home(folder / "home").open(), "/api/system/health")))


def _shape(value: Any) -> Any:
    match value:
        case dict():
            return {key: _shape(item) for key, item in value.items()}
        case list():
            return [_shape(item) for item in value[:1]]
        case bool():
            return "boolean"
    return JSON[type(value)]


def steps(folder: Path) -> Any:
    """Read all step ids of the built-in dataflow and what each reads: a recovery store knows state by them."""
    flow = to_rendered(Graph.from_toml(DEFAULT).build())
    return {"flow": flow.flow_id, "steps": {step: reads for part in flow.substeps for step, reads in _steps(part)}}


def _steps(step: Any) -> Iterator[tuple[str, Any]]:
    yield step.step_id, {port.port_name: list(port.from_port_ids) for port in step.inp_ports}
    for part in step.substeps:
        yield from _steps(part)


def bad_flows(folder: Path) -> Any:
    """Find the mistakes of each bad flow file, as `hearthwatch check` does."""
    texts = tomllib.loads((FROZEN / "bad_flows.toml").read_text())
    before, sys.path[:0] = list(sys.path), [str(PLUGIN)]
    try:
        return {name: _mistakes(folder / "flow.toml", text) for name, text in texts.items()}
    finally:
        sys.path[:] = before


def _mistakes(path: Path, text: str) -> list[str]:
    """For each mistake its line, the node it names first, and which of the file's names stand in it in quotes."""
    path.write_text(text)
    done = CliRunner().invoke(cli.app, ["check", str(path)])
    lines = str(done.exception).splitlines() if done.exception else []
    nodes = set(re.findall(r"^\[([^\]\n]+)", text, re.MULTILINE))
    names = nodes | _keys(text)
    found = []
    for line in lines:
        where, words = re.fullmatch(rf"(?:{re.escape(str(path))}:(\d+): )?(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
        quoted = ", ".join(sorted(names & _quoted(words)))
        found.append(f"line {where}, {_node(words, nodes) or 'no node'}: {quoted}")
    return sorted(found)


def _keys(text: str) -> set[str]:
    """Options, components and what `from` names."""
    keys = set(re.findall(r"(?:^|\{ )(\w+) =", text, re.MULTILINE))
    values = re.findall(r"^(?:use|from) = (.*)$", text, re.MULTILINE)
    quoted = {name for value in values for name in re.findall(r'"([^"]+)"', value)}
    return keys | quoted | {part for name in quoted for part in name.split(".")}


def _node(line: str, nodes: set[str]) -> str | None:
    head = re.match(r"[\w-]+", line)
    if head and head[0] in nodes and re.match(r"[\w-]+( \([^)]*\))?:", line):
        return head[0]
    return next((name for name in re.findall(r"`([^`]+)`", line) if name in nodes), None)


def _quoted(line: str) -> set[str]:
    quoted = [name.partition(" =")[0] for name in re.findall(r"`([^`]+)`", line)]
    return {part for name in quoted for part in (name, *name.split("."))}


PARTS: tuple[Callable[[Path], Any], ...] = (
    commands, settings, components, http, record, analytics, messages, metrics, health, steps, bad_flows,
)  # fmt: skip


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_what_users_rely_on_is_as_it_was(part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    schemas.settings.reload()  # another test's settings are no defaults
    same_as_frozen(part.__name__, part(tmp_path))


def same_as_frozen(name: str, now: Any) -> None:
    """Fail with a diff if this is not what the golden file holds."""
    frozen, now = (FROZEN / f"{name}.json").read_text(), text_of(now)
    difference = difflib.unified_diff(
        frozen.splitlines(), now.splitlines(), f"frozen/{name}.json", "now", n=4, lineterm=""
    )
    if frozen != now:
        pytest.fail("\n".join(difference) + f"\n{REWRITE}", pytrace=False)


def text_of(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


# -- exit codes

PLUGIN_FLOW = """
[doors]
use = "doorcam"
pictures = ["a.jpg"]
[files]
use = "files"
from = "doors"
[detect]
use = "brightness"
from = "files"
[night]
use = "night"
from = "detect"
[batch]
use = "batch"
from = "night"
[notes]
use = "notebook"
from = "night"
path = "notes.jsonl"
[bell]
use = "chime"
from = "feed"
path = "bell.txt"
"""
OPEN = {"HEARTHWATCH_API_HOST": "0.0.0.0"}
EMPTY = {"HEARTHWATCH_DATA_DIR": "nothing"}
RUNS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "--version": ((*COMMAND, "--version"), {}),
    "an unknown command": ((*COMMAND, "chekc"), {}),
    "check": ((*COMMAND, "check"), {}),
    "check of 0.1's built-in graph": ((*COMMAND, "check", str(FROZEN / "default_0_1.toml")), {}),
    "check of a flow with 0.1's plug-in": ((*COMMAND, "check", "plugin.toml"), {}),
    "check of a bad file": ((*COMMAND, "check", "bad.toml"), {}),
    "components with a plug-in that cannot be imported": ((*COMMAND, "components"), {}),
    "api on an open host without a token": ((*COMMAND, "api"), OPEN),
    "flow with a bad setting": (FLOW, {"RETENTION_DAYS": "0"}),
    "prune --dry-run": ((*COMMAND, "prune", "--dry-run"), {}),
    "sql with bad SQL": ((*COMMAND, "sql", "SELEC 1"), {}),
    "verify": ((*COMMAND, "verify"), {}),
    "verify without a record": ((*COMMAND, "verify"), EMPTY),
    "why of an unknown event": ((*COMMAND, "why", "4711"), {}),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return furnished(tmp_path_factory.mktemp("place"))


def furnished(folder: Path) -> Path:
    """A working folder with an upload tree, an empty record and two flow files."""
    (folder / "foscam").mkdir()
    Record(folder / "data/hearthwatch.db").close()
    (folder / "plugin.toml").write_text(PLUGIN_FLOW)
    (folder / "bad.toml").write_text(PLUGIN_FLOW.replace("pictures", "picturs"))
    return folder


def exit_code(run: str, folder: Path) -> int:
    arguments, environ = RUNS[run]
    paths = os.pathsep.join(map(str, (ROOT, PLUGIN)))
    mine = {"PYTHONPATH": paths, "FOSCAM_BASE_PATH": "foscam", "HEARTHWATCH_DATA_DIR": "data", **environ}
    done = subprocess.run(arguments, cwd=folder, env=os.environ | mine, capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done.returncode


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_a_command_ends_with_the_code_it_had(run, place):
    assert exit_code(run, place) == json.loads((FROZEN / "exit_codes.json").read_text())[run], REWRITE


# -- what 0.1 left on the disk


@pytest.mark.slow
def test_a_store_that_0_1_left_is_resumed_and_every_picture_is_decided_once(tmp_path):
    """A 0.1 flow file, plug-in, record and recovery store, killed half-way: `tests/frozen/README.md` says where."""
    pipeline = Pipeline(tmp_path)
    pipeline._environment["PYTHONPATH"] += os.pathsep + str(PLUGIN)
    detect = '[detect]\nuse = "brightness"\nfrom = "files"\n\n'
    default = (FROZEN / "default_0_1.toml").read_text()
    (tmp_path / "flow.toml").write_text(re.sub(r"(?s)\[detect\].*?(?=\[batch\])", detect, default))
    with tarfile.open(FROZEN / "store_0_1.tar.gz") as store:
        store.extractall(pipeline.world, filter="data")
    assert pipeline.states() == {"settled": 7, "discovered": 4}
    before = pipeline.rows("SELECT id, path, model FROM frames WHERE state = 'settled'")
    pipeline.run(resume=True, make_store=False)
    assert pipeline.states() == {"settled": 14}
    assert len(pipeline.rows("SELECT DISTINCT path FROM frames")) == len(pipeline.pictures()) == 14
    assert set(before) <= set(pipeline.rows("SELECT id, path, model FROM frames"))
    assert pipeline.rows("SELECT model, count(*) FROM frames GROUP BY model") == [("brightness", 7), ("null", 7)]
    loose = "SELECT id FROM frames WHERE (event_id IS NULL) = (id IN (SELECT frame_id FROM detections))"
    assert pipeline.rows(loose) == []
    counted = "SELECT sum(frame_count) FROM events WHERE status != 'merged'"
    assert pipeline.rows(counted) == pipeline.rows("SELECT count(DISTINCT frame_id) FROM detections")
    with closing(pipeline.record) as kept:
        check_feed(kept)


def write() -> None:
    """Write all golden files from what the product is now."""
    for part in PARTS:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            (FROZEN / f"{part.__name__}.json").write_text(text_of(part(Path(folder))))
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        place = furnished(Path(folder))
        codes = {run: exit_code(run, place) for run in RUNS}
        (FROZEN / "exit_codes.json").write_text(text_of(codes))


if __name__ == "__main__":
    import tests.conftest  # noqa: F401  (removes the settings of this shell)

    if sys.argv[1:] != ["--write"]:
        raise SystemExit("usage: python -m tests.project.test_frozen --write")
    write()
