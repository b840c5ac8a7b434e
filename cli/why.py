"""`hearthwatch why EVENT_ID`: how one event came about, from its pictures to its messages, with times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import tzinfo
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer

from hearthwatch.cli.cells import incidents_path
from hearthwatch.flows.graph import Graph, configured_graph
from hearthwatch.record import Record, open_existing
from hearthwatch.record.baselines import version_at
from hearthwatch.record.batching import Cut
from hearthwatch.record.copies import Copy, find_file
from hearthwatch.record.feed import Feed
from hearthwatch.record.notifications import JUDGE, DeliveryHistory, Sent, rank
from hearthwatch.record.pictures import kept_path
from hearthwatch.record.read.events import Row
from hearthwatch.record.read.lineage import Lineage, read_lineage
from hearthwatch.record.verdicts import Verdicts
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import from_microseconds, to_microseconds
from hearthwatch.sinks.notifier import Notifier
from hearthwatch.stages.batch import Batch
from hearthwatch.stages.prompt import PROMPTS, question, write_line
from hearthwatch.stages.rules import judge_by_rules

PICTURES_MAX = 20  # of a long event the first and the last


def why(
    event_id: Annotated[int, typer.Argument(help="The event; events are named after their first picture.")],
) -> None:
    """Show how an event came about: pictures, boxes, window, prompt, verdicts, messages."""
    graph = configured_graph()
    record, zone = open_existing(graph.context.record_path), graph.context.zone
    rules = graph.options_of(Batch).cut()
    found = read_lineage(record, event_id)
    copies = {p["id"]: find_file(record, graph.context.base_path, p["id"]) for p in found.frames}
    now = {id: copy for id, copy in copies.items() if copy and copy.id != id}
    kept = {p["id"]: path for p in found.frames if (path := _kept(p, graph.context.data_dir)).exists()}
    for part in (headline(found, zone), pictures(found, zone, now, kept), window(found, rules, zone)):
        print("\n".join(part), end="\n\n")
    if asked := prompt(found, record, graph.context):
        print("\n".join(asked), end="\n\n")
    print("\n".join(verdicts(found, zone, version_at(record, found.event["started_at"]))), end="\n\n")
    print("\n".join(messages(found, zone)))
    if sent := [*notifications(found, record, graph, zone)]:
        print("\n" + "\n".join(sent))


def clock(at: int, zone: tzinfo | None) -> str:
    """Format a time of day to the millisecond."""
    return f"{from_microseconds(at).astimezone(zone):%H:%M:%S.%f}"[:-3]


def headline(story: Lineage, zone: tzinfo | None) -> Iterator[str]:
    e = story.event
    start = from_microseconds(e["started_at"]).astimezone(zone)
    yield f"Event {e['id']}, {story.camera}, {start:%A %d %B %Y, %H:%M:%S}: {e['risk_level']} {e['risk_score']}, {e['status']}"
    yield f"  {e['summary']}"
    if e["analysis_status"] == "pending" and e["status"] == "closed":
        yield "  The language model has yet to judge it; until then this is the rules' verdict."
    if e["analysis_status"] == "failed":
        yield f"  The language model was asked {e['attempts']} times and gave no usable answer: the rules' verdict stays."
    if e["reviewed"] or e["notes"]:
        yield f"  {'Reviewed' if e['reviewed'] else 'Not reviewed'}. {e['notes'] or ''}".rstrip()


def _kept(picture: Row, data_dir: Path) -> Path:
    return data_dir / kept_path(picture["id"], picture["captured_at"], picture["path"])


def pictures(
    story: Lineage, zone: tzinfo | None, now: Mapping[int, Copy], kept: Mapping[int, Path] = MappingProxyType({})
) -> Iterator[str]:
    """Show each picture; `now`: where those are that were moved, or came again; `kept`: where their originals are kept."""
    n = len(story.frames)
    yield f"Pictures: {n} with something in {'it' if n == 1 else 'them'}"
    half = PICTURES_MAX // 2
    for i, frame in enumerate(story.frames):
        if n <= PICTURES_MAX or i < half or i >= n - half:
            yield from _picture(frame, set(story.evidence), zone)
            if copy := now.get(frame["id"]):
                yield f"    the same picture came again as frame {copy.id}, {copy.path}"
            if path := kept.get(frame["id"]):
                yield f"    its original is kept: {path}, {path.stat().st_size / 1000:,.0f} kB"
        elif i == half:
            yield f"  … {n - PICTURES_MAX} more …"
    if story.evidence:
        yield "  * what the verdict rests on"


def _picture(p: Row, evidence: set[int], zone: tzinfo | None) -> Iterator[str]:
    took = "" if p["detect_ms"] is None else f", {p['detect_ms']:.0f} ms to detect"
    yield f"  {clock(p['captured_at'], zone)}  {p['path']} (frame {p['id']}; arrived {_after(p['captured_at'], p['arrived_at'])}{took}, by {p['model'] or 'a detector'})"
    kept = [
        f"{b['object_type']} {b['confidence']:.0%}{'*' if b['id'] in evidence else ''}"
        for b in p["boxes"]
        if b["reason"] is None
    ]
    yield f"    {', '.join(kept)}"
    left_out = Counter(f"{b['object_type']} ({b['reason']})" for b in p["boxes"] if b["reason"] is not None)
    if left_out:
        yield f"    does not count: {', '.join(f'{count} × {what}' for what, count in left_out.items())}"


def _after(earlier: int, later: int) -> str:
    """Write `24 ms later`; a picture that arrives before it was taken has a camera with a wrong clock."""
    ms = abs(later - earlier) / 1000
    length = f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s" if ms < 60_000 else f"{ms / 60_000:.0f} min"
    return f"{length} {'later' if later >= earlier else 'EARLIER: this camera’s clock is wrong'}"


def window(story: Lineage, rules: Cut, zone: tzinfo | None) -> Iterator[str]:
    e = story.event
    first, last = e["started_at"], e["last_at"]
    deadline = rules.deadline(first, last)
    by_window = deadline == first + rules.window
    span = (last - first) / 1e6
    yield f"Window: {span:.1f} s from first to last picture"
    limit = f"{rules.window / 1e6:g} s after the first" if by_window else f"{rules.idle / 1e6:g} s after the last"
    yield f"  a picture from {clock(deadline, zone)} on ({limit}) begins the next event"
    if e["opened_at"]:
        arrived = min(p["arrived_at"] for p in story.frames)
        yield f"  opened {clock(e['opened_at'], zone)}, {_after(arrived, e['opened_at'])} than its first picture arrived"
    if e["closed_at"]:
        yield f"  closed {clock(e['closed_at'], zone)}"
    else:
        yield "  open: more pictures may come"


def prompt(story: Lineage, record: Record, context: Context) -> list[str]:
    """Show what the language model was given; nothing if it was not asked."""
    version = story.event["prompt_version"]
    if version is None or story.event["status"] != "closed":
        return []
    case = Verdicts(record, context.zone, incidents_path()).case(story.event["id"])
    known = "" if version in PROMPTS else ", which this version of Hearthwatch no longer has"
    given = [f"  {write_line(question(case, judge_by_rules(context), context.zone, version).line)}"]
    return [f"Prompt: {version}{known}, to {story.event['model']}; the event as one line of data:", *given]


def verdicts(story: Lineage, zone: tzinfo | None, version: int | None) -> Iterator[str]:
    """Show each verdict; `version`: that of the baselines by which they were made."""
    normal = (
        ""
        if version is None
        else f", by what was normal here as of {from_microseconds(version).astimezone(zone):%d %B %Y, %H:%M}"
    )
    yield f"Verdicts{normal}"
    reason = None
    for step in story.revisions:
        yield _verdict(step, zone)
        if step["reasoning"] and step["reasoning"] != reason:
            yield f"    because: {' '.join(step['reasoning'].split())}"
        reason = step["reasoning"]


def _verdict(step: Row, zone: tzinfo | None) -> str:
    what = "shadow" if step["shadow"] else step["type"].removeprefix("event.")
    who = f"{step['analyzer']} {step['model']} {step['prompt_version']}" if step["model"] else f"{step['analyzer']}"
    took = f" in {step['latency_ms'] / 1000:.1f} s" if step["latency_ms"] else ""
    return f"  {step['revision']}  {clock(step['at'], zone)}  {what}, {who}{took}: {step['risk_level']} {step['risk_score']}, {step['summary']}"


def messages(story: Lineage, zone: tzinfo | None) -> Iterator[str]:
    yield "Messages"
    for message in story.messages:
        late = f", {message['delay_seconds']:.1f} s late" if message["delay_seconds"] > 60 else ""
        yield f"  {message['seq']}  {clock(message['at'], zone)}  {message['type']}, revision {message['revision']}{late}"
        if message["taken_by"]:
            yield f"    read by {', '.join(message['taken_by'])}"
        if message["waits_for"]:
            yield f"    pending for {', '.join(message['waits_for'])}"


WAITS = {
    "quiet": "held back in quiet hours: it is in the next digest",
    "outage": "held back while the receiver does not respond, or the pipeline is behind: it is in the next digest",
    "old": "too old to ring when it was decided: it is in the next digest",
    JUDGE: "waits for the language model",
}


def notifications(story: Lineage, record: Record, graph: Graph, zone: tzinfo | None) -> Iterator[str]:
    """Show for each notifier whether it sent something about the event or its incident, or why not."""
    e, path = story.event, incidents_path()
    nodes = [(node, node.component) for node in graph.in_order() if isinstance(node.component, Notifier)]
    if nodes:
        yield "Notifications" + (f" of incident {e['incident_id']}" if e["incident_id"] else "")
    feed = Feed(open_existing(path) if path else record)
    for node, notifier in nodes:
        history = DeliveryHistory(feed, node.name)
        about = e["incident_id"] if notifier.by_incident() else e["id"]
        sent = history.get(about) if about else None
        level = history.camera_levels().get(e["camera_id"], notifier.level)
        why_not = f"not sent: {e['risk_level']} is below {level}, its level for this camera"
        if rank(e["risk_level"]) >= rank(level):
            why_not = _undecided(feed.record, node.name, "incident" if notifier.by_incident() else "event", about)
        yield f"  {node.name}: {node.off() or _sent(sent, zone) or why_not}"


def _sent(sent: Sent | None, zone: tzinfo | None) -> str:
    parts = []
    if sent and sent.rang and sent.loud_at:
        parts.append(f"rang at {sent.rang}, for what happened until {clock(to_microseconds(sent.loud_at), zone)}")
    elif sent and sent.events:
        parts.append("sent without a sound")
    if sent and sent.held:
        parts.append(WAITS.get(sent.held, "is being sent"))
    return "; ".join(parts)


def _undecided(record: Record, consumer: str, kind: str, about: int | None) -> str:
    """Say why nothing was sent about what reached the level: it was not read yet, or it was and is left out."""
    cursor = "(SELECT seq FROM cursors WHERE name = ?)"
    row = record.one(f"SELECT {cursor} >= max(seq) FROM feed WHERE kind = ? AND subject_id = ?", consumer, kind, about)
    is_read = row is not None and row[0]
    return "not sent: `only`, a pause of its camera or a lower verdict left it out" if is_read else "not sent yet"
