"""Write the reference pages, docs/{components,messages,tables,routes}.md: `python -m tests.support.reference_pages`.

A test compares pages and code. Words come from where a thing is declared: docstrings of options and fields, descriptions of parameters.
"""

import ast
import inspect
import json
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hearthwatch.api.app import create
from hearthwatch.cli.components import describe
from hearthwatch.flows.registry import BUILT_IN, entries, load
from hearthwatch.record import Record
from hearthwatch.record.lake.schema import CAMERAS, TABLES
from hearthwatch.record.lake.views import VIEWS
from hearthwatch.schemas import items, messages
from hearthwatch.schemas.settings import load as load_settings

ROOT = Path(__file__).parents[2]
WRITTEN = "`python -m tests.support.reference_pages` writes this page."
AT = datetime(2026, 11, 22, 8, 15, 30, tzinfo=UTC)
SAMPLES = (
    messages.Message(
        17, "event.opened", 0.4,
        items.Event(
            5, "6f1c2c4e-0000-5000-8000-000000000000", "front_door", "event.opened", 1, AT, None, "open", 1, {"person": 1},
            items.Verdict(62, "1 person at the front door, 08:15", ""), (), camera_name="front door", delay_seconds=0.4,
            thumbnail="/api/media/thumbnails/2026-11-22/5_thumb.jpg", attributes={"colour": ("red",)},
        ),
    ),
    messages.IncidentMessage(
        18, "incident.opened",
        items.Incident(
            5, "incident.opened", 1, "open", AT, AT, None, 62, "1 person at the front door, 08:15", ("front_door",), ("front door",),
            (5,), 1, 1, {"person": 1}, 5, "/api/media/thumbnails/2026-11-22/5_thumb.jpg", 0.4, alert_counts={"smoke": 1},
        ),
        notification=messages.Notification("incident-5-1", "incident-5", True, "new", {"incidents": 1, "events": 1}, (5,)),
    ),
    messages.SystemMessage(19, "camera_silent", "on", "error", "porch", "porch", "porch has sent no picture for 2 hours", AT, AT),
    messages.ItemMessage(20, "readings", 1, "9c1f", "Reading", AT, {"celsius": 21.5}),
)  # fmt: skip
MACHINE = {"decode_threads"}  # options whose default depends on the machine
MEANINGS = {
    "schema": "Which of these messages it is.",
    "seq": "Its number in the feed; grows.",
    "type": "What happened.",
    "batch_id": "A UUID that is the same in every run over the same pictures.",
    "event_id": "The event; the smallest id of its frames.",
    "incident_id": "The incident; of an event null until it is linked, within a second.",
    "revision": "Grows with each message about the same thing.",
    "camera_id": "The camera; null: none in particular.",
    "camera_name": "Its name.",
    "camera_names": "Their names.",
    "risk_score": "0 to 100.",
    "risk_level": "`low`, `medium`, `high` or `critical`, computed from the score.",
    "summary": "One sentence for people.",
    "analyzer": "Whose verdict it is.",
    "analysis_status": "`pending`: a language model is asked; `done`, `failed`, `disabled`.",
    "started_at": "Capture time of the first picture.",
    "last_at": "Capture time of the newest picture.",
    "ended_at": "Capture time of the last picture; null while it is open.",
    "status": "`open`, `closed` or `merged`.",
    "objects": "Kind of object → the most of it in one picture.",
    "frame_count": "Pictures.",
    "event_count": "Events.",
    "delay_seconds": "How old the news is when it is decided.",
    "merged_into": "The one that it became part of.",
    "thumbnail": "URL of the picture with boxes.",
    "gravest_event_id": "The event with the highest score; null: alerts alone.",
    "attributes": "Only where own stages add them: name → the different values.",
    "alert_counts": "Only with alerts of own stages: kind → how many.",
    "notification": "Only in what a notifier sends: see [notifications](notifications.md#webhook).",
    "kind": "What is wrong; of an item, its class.",
    "state": "`on`: it is wrong; `off`: no longer.",
    "severity": "`info`, `warning` or `error`.",
}


def components() -> str:
    """Every source, stage and sink with its options."""
    out = [
        f"# Components\nWhat `use` in a flow file can name; plug-ins add to it. `hearthwatch components` prints the same. {WRITTEN}"
    ]
    for kind in BUILT_IN:
        out.append(f"\n## {kind.capitalize()}")
        for entry in (entry for entry in entries() if entry.kind == kind and entry.package == "hearthwatch"):
            head, words, *options = describe(entry, load(entry.target))
            name, _, flows = head.partition("  ")
            accepted = flows and f" `{flows.strip('()')}`"
            out.append(f"### {name}\n{words.strip()}{accepted}\n")
            if options:
                out.append("| option | type and default | what it does |\n|---|---|---|")
            for option, meaning in zip(options[::2], options[1::2], strict=True):
                name, _, kinds = option.strip().partition(": ")
                kinds = kinds.partition(" = ")[0] if name in MACHINE else kinds
                out.append(f"| `{name}` | {cell(code(kinds))} | {cell(meaning)} |")
    return "\n".join(out) + "\n"


def code(kinds: str) -> str:
    kind, equals, default = kinds.partition(" = ")
    return f"{kind}{f' = `{default}`' if equals else ''}"


def messages_page() -> str:
    """Every field of what is published."""
    known = {
        name: words for kind in (items.Event, items.Incident, items.Verdict) for name, words in documented(kind)
    } | MEANINGS
    out = [
        "# Messages\nWhat Redis, webhooks, MQTT, `/api/live`, `/ws/events` and own consumers get; [redis.md](redis.md) says when. At least once, in order of "
        f"`seq`: dedupe by (`schema`, id, `revision`), system messages by `seq`. Fields are added, never removed, within a version. {WRITTEN}"
    ]
    for sample in SAMPLES:
        fields = sample.as_dict()
        meanings = known | dict(documented(type(sample))) | {"schema": MEANINGS["schema"], "type": MEANINGS["type"]}
        out.append(f"\n## {fields['schema']}\n| field | example | meaning |\n|---|---|---|")
        out += [
            f"| `{name}` | `{cell(json.dumps(value, ensure_ascii=False))}` | {cell(meanings[name])} |"
            for name, value in fields.items()
        ]
    return "\n".join(out) + "\n"


def documented(kind: type) -> Iterator[tuple[str, str]]:
    """Yield each field of a class that a docstring follows."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    for field, words in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(words, ast.Expr) and isinstance(words.value, ast.Constant):
            yield ast.unparse(field.target), " ".join(str(words.value.value).split()).replace("None", "null")


def tables() -> str:
    """Every table and view with its columns."""
    out = [
        f"# Tables\nOf the record (SQLite) and of the lake (DuckDB); [record.md](record.md) and [analytics.md](analytics.md) say what each means. {WRITTEN}"
    ]
    with tempfile.TemporaryDirectory() as folder:
        record = Record(Path(folder) / "record.db")
        own = "SELECT name, type FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual', 'view') AND name NOT LIKE 'sqlite_%'"
        found = sorted(record.rows(own))
        for title, kinds in (("Tables of the record", ("table", "virtual")), ("Views of the record", ("view",))):
            out.append(f"\n## {title}\n| name | columns |\n|---|---|")
            for name, kind in found:
                if kind in kinds:
                    rows = record.rows(f"PRAGMA table_info({name})")
                    out.append(
                        f"| `{name}` | {', '.join(f'`{column}` {type.lower()}'.strip() for _, column, type, *_ in rows)} |"
                    )
        record.close()
    out.append("\n## Tables of the lake\n| name | columns |\n|---|---|")
    for name, schema in (TABLES | {"cameras": CAMERAS}).items():
        out.append(f"| `{name}` | {', '.join(f'`{field.name}` {cell(str(field.type))}' for field in schema)} |")
    out.append(
        f"\nViews over them: {', '.join(f'`{name}`' for name in VIEWS)} ([what they are](analytics.md#the-views))."
    )
    return "\n".join(out) + "\n"


def routes() -> str:
    """Every route with its parameters."""
    document = create(load_settings(None, {"HEARTHWATCH_API_TOKEN": "x" * 16})).openapi()
    out = [f"# Routes\n[api.md](api.md) explains them, `/docs` on your server lets you try them. {WRITTEN}"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            words = " ".join(operation.get("description", "").split()) or f"{operation['summary']}."
            out.append(f"\n## {method.upper()} {path}\n{words}")
            if parameters := operation.get("parameters"):
                out.append("\n| parameter | in | type | meaning |\n|---|---|---|---|")
                out += [
                    f"| `{p['name']}`{' (required)' if p.get('required') else ''} | {p['in']} | {cell(kind_of(p['schema']))} | {cell(p.get('description', ''))} |"
                    for p in parameters
                ]
            bodies = operation.get("requestBody", {}).get("content", {}).values()
            answers = [
                f"{status} {', '.join(kind_of(content.get('schema', {})) for content in answer.get('content', {}).values()) or 'no content'}"
                for status, answer in operation["responses"].items() if status.startswith("2")
            ]  # fmt: skip
            body = "".join(f"Body: {kind_of(body['schema'])}. " for body in bodies)
            out.append(f"\n{body}Response: {'; '.join(answers)}.")
    out.append("\n## Types")
    for name, schema in document["components"]["schemas"].items():
        if fields := schema.get("properties"):
            out.append(f"\n### {name}\n| field | type | meaning |\n|---|---|---|")
            out += [
                f"| `{field}` | {cell(kind_of(of))} | {cell(of.get('description', ''))} |"
                for field, of in fields.items()
            ]
    return "\n".join(out) + "\n"


def kind_of(schema: dict[str, Any]) -> str:
    """Write a JSON schema in few words."""
    if ref := schema.get("$ref"):
        name = ref.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if options := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(map(kind_of, options)))
    if values := schema.get("enum"):
        return ", ".join(f"`{value}`" for value in values)
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    bounds = [f"{sign} {schema[key]}" for key, sign in (("minimum", "≥"), ("maximum", "≤")) if key in schema]
    return " ".join([schema.get("format") or schema.get("type") or "any", *bounds])


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "components": components,
    "messages": messages_page,
    "tables": tables,
    "routes": routes,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (ROOT / "docs" / f"{name}.md").write_text(page())
