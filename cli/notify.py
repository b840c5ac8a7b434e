"""`hearthwatch notify --test`: send a test notification with a picture through each notifier of the graph."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer
from PIL import Image

from hearthwatch.flows.graph import configured_graph
from hearthwatch.record.thumbnail_drawing import draw
from hearthwatch.schemas import Detection, IncidentMessage, Message
from hearthwatch.schemas.components import build_worker
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.testing import event, incident_message
from hearthwatch.sinks.notification_policy import announce
from hearthwatch.sinks.notifier import Notifier

NONE = "this graph has no notifier: set HEARTHWATCH_NTFY_URL, …_WEBHOOK_URL, …_MQTT_URL or …_APPRISE_URLS"


def notify(
    node: Annotated[str | None, typer.Argument(help="The notifier with this name; else all.")] = None,
    test: Annotated[bool, typer.Option("--test", help="Send a test notification.")] = False,
) -> None:
    """Send a test notification with a picture through each notifier of the graph; exit code 1 if one fails."""
    graph = configured_graph()
    nodes = {n.name: n.component for n in graph.nodes.values() if isinstance(n.component, Notifier)}
    if not test or not nodes or (node or next(iter(nodes))) not in nodes:
        is_unknown = f"`{node}` is no notifier of this graph; there are {', '.join(nodes)}"
        raise UserError("add --test to send a test notification" if not test else is_unknown if nodes else NONE)
    failures = 0
    for name, notifier in nodes.items():
        if node not in (None, name):
            continue
        worker = build_worker(notifier, graph.context)
        try:
            worker.open()
            if worker.notify(make_test_message(by_incident=getattr(worker, "by_incident", False))) is False:
                raise UserError("it was refused for good: the line above has the answer of the server")
            print(f"{name}: {notifier.label()} took it")
        except Exception as error:  # of any library, also of a plug-in's
            print(f"{name}: {notifier.label()}: {error}", file=sys.stderr)
            failures += 1
        finally:
            worker.close()
    if failures:
        raise typer.Exit(1)


def make_test_message(*, by_incident: bool) -> IncidentMessage | Message:
    """Make the message of a test; one about an incident has a picture."""
    words, at = "This is a test: notifications arrive", datetime.now(UTC)
    if not by_incident:
        made = event(0, verdict=replace(event().verdict, summary=words), started_at=at, ended_at=at)
        return Message(0, "event.opened", 0.0, made)
    jpeg = draw(Image.new("RGB", (640, 480), "#334155"), [Detection("person", 1.0, (240, 80, 160, 360))])
    sample = incident_message(0, summary=words, started_at=at, last_at=at, thumbnail="test")
    return announce(replace(sample, source=lambda url: jpeg), None, loud=True)
