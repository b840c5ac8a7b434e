"""`hearthwatch whatif`: what another configuration would have made of the recorded detections, beside the present one.

Both run through the product's own suppression, batching, rules, incidents and notification policy over the same frames, in
databases in memory beside one snapshot of the record, which they cannot change. Frames without boxes decide nothing and are not
read. The same configuration twice gives no difference; stored verdicts, of older rules or a language model, are only counted.
"""

from __future__ import annotations

import gc
import json
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from heapq import merge
from itertools import groupby, islice
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import typer

from hearthwatch.cli.replay import moment
from hearthwatch.flows.graph import Graph, configured_graph
from hearthwatch.record import WORKING_SET_KIB, Record, open_existing
from hearthwatch.record.batching import Batching
from hearthwatch.record.camera_clocks import CameraClocks
from hearthwatch.record.events import Judge
from hearthwatch.record.feed import Feed
from hearthwatch.record.incidents import Incidents
from hearthwatch.record.migrate import upgrade
from hearthwatch.record.notifications import DeliveryHistory, Sent, rank
from hearthwatch.record.read.snapshot import Snapshot
from hearthwatch.record.suppression import EMPTY_MAX
from hearthwatch.record.units import BOXES_OF_FRAME, DAY, SECOND
from hearthwatch.schemas import Component
from hearthwatch.schemas.case import Facts, Sighting, Signature, Surroundings
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import (
    PER_FRAME,
    Detected,
    Detection,
    Frame,
    RiskLevel,
    Tick,
    Verdict,
    from_microseconds,
    iso,
    to_microseconds,
)
from hearthwatch.schemas.messages import IncidentMessage
from hearthwatch.schemas.zones import parse_zones
from hearthwatch.sinks.notification_policy import decide
from hearthwatch.sinks.notifier import IncidentNotifier, Notifier, NotifierWorker
from hearthwatch.stages.batch import Batch
from hearthwatch.stages.incident import IncidentGrouping
from hearthwatch.stages.rules import judge_by_rules

T = TypeVar("T")
Row = dict[str, Any]
Subject = tuple[int, int]
"""0 of the present configuration, 1 of the other; the id of an event or incident."""

WARM_UP = EMPTY_MAX  # pictures before the period that are decided, too: what stood still then is known
GC_THRESHOLD = 100_000  # objects; with Python's 700, 8 % of the time
FRAMES_AT_ONCE = 500  # some MB
CLOSE_EVERY = 10 * SECOND  # of the arrival clock: how often it is checked which incidents are over
DESCRIBED_MAX, SHOWN_MAX = 1000, 30  # differences of each in the JSON, in the table; all are counted
REASONS_MAX, FRAMES_EXPLAINED_MAX = 5, 500  # of one difference
KINDS = "appears vanishes rises falls cut changes".split()
TERM = re.compile(r"(?:^|, )(.+? [+−]\d+)(?=[,:])")  # of a verdict's reasoning
TABLES = "meta counters cameras frames detections suppressed spots events event_history feed cursors incidents alerts cell_members cell_cameras alert_members incident_members sqlite_sequence"
INDEXES = "events_cut events_open events_incident events_server_time frames_event incidents_open incidents_merged"
_BOX = "id, frame_id, object_type, confidence, bbox_x, bbox_y, bbox_width, bbox_height, attributes"
_FRAME = "id, uid, camera_id, path, mtime_ns, size, attempt, captured_at, arrived_at, discovered_at, behind"
_EVENT = """
SELECT id, camera_id AS cameras, started_at, last_at, frame_count, risk_score, risk_level, summary, reasoning,
  (SELECT json_extract(payload, '$.thumbnail') FROM feed WHERE kind = 'event' AND subject_id = e.id ORDER BY revision DESC) AS thumbnail
FROM events e WHERE id = ?"""
_INCIDENT = """
SELECT id, (SELECT group_concat(value, ', ') FROM json_each(cameras)) AS cameras, started_at, last_at, event_count, frame_count,
  risk_score, risk_level, summary FROM incidents WHERE id = ?"""
_SUPPRESSED = f"SELECT d.id, reason FROM (SELECT value AS id FROM json_each(?)) f JOIN suppressed d ON {BOXES_OF_FRAME}"
_LEVELS = "SELECT id, risk_level FROM {}.events WHERE status <> 'merged' AND started_at >= ?1 AND camera_id IN (SELECT camera_id FROM main.frames)"


def whatif(
    flow: Annotated[Path | None, typer.Argument(metavar="[FLOW.toml]", help="The other flow file.")] = None,
    zones: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Other zones, JSON: camera id → list; or a list, with --camera; - is stdin."),
    ] = None,
    camera: Annotated[str | None, typer.Option(help="Only the camera with this id.")] = None,
    since: Annotated[str, typer.Option(help="From then on: 2026-11-22, 2026-11-22T18:00, or 36h, 7d ago.")] = "7d",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare what another flow file or other zones would have made of what was detected with what the present ones make of it."""
    if flow is None and zones is None:
        raise UserError("whatif needs what would be different: a flow file, or --zones FILE")
    graph = configured_graph()
    other, path, zone = configured_graph(flow) if flow else graph, graph.context.record_path, graph.context.zone
    start = moment(since, datetime.now(zone or UTC).astimezone(zone))
    with closing(Snapshot(path) if path.exists() else open_existing(path)) as record:
        known = [id for (id,) in record.rows("SELECT id FROM cameras ORDER BY id")]
    drawn = read_zones(zones, camera) if zones else {}
    if unknown := sorted({*drawn, *([camera] if camera else [])} - {*known}):
        raise UserError(f"{', '.join(unknown)}: there is no such camera; there are {', '.join(known) or 'none'}")
    gc.set_threshold(GC_THRESHOLD)
    report = compare(graph, other, drawn, start, camera)
    if not report["frames"] and not as_json:
        raise UserError(f"--since {since}: no picture with a box was recorded since {report['since']}")
    print(json.dumps(report, indent=2, ensure_ascii=False) if as_json else summarize(report))


def read_zones(file: Path, camera: str | None) -> dict[str, Any]:
    """Read zones: a JSON object of camera → list, or the list of this camera.

    Raises:
        UserError: it is not; the text says which zone and why.
    """
    try:
        content = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"--zones {file}: {error}") from None
    if not isinstance(content, dict) and camera is None:
        raise UserError(f"--zones {file}: zones are an object of camera id → list; a list needs --camera")
    drawn: dict[str, Any] = content if isinstance(content, dict) else {str(camera): content}
    for id, rows in drawn.items():
        try:
            parse_zones(json.dumps(rows))
        except ValueError as error:
            raise UserError(f"--zones {file}: camera {id}: {error}") from None
    return drawn


def compare(graph: Graph, other: Graph, zones: Mapping[str, Any], start: int, camera: str | None = None) -> Row:
    """Report how what two configurations make of events from `start` (microseconds) on differs, for all cameras or one."""
    known: dict[Hashable, Any] = {}
    path = graph.context.record_path
    runs = Run(graph, path, {}, known), Run(other, path, zones, known)
    with closing(Snapshot(path)) as watch, closing(runs[0].record.db), closing(runs[1].record.db):
        version = None
        while version != (
            version := watch.rows("PRAGMA data_version")
        ):  # until both have the same snapshot of the record
            for run in runs:
                run.begin()
        frames, _ = [run.play(start - WARM_UP, camera) for run in runs]
        return {"since": iso(from_microseconds(start)), "frames": frames, **Comparison(runs, start).report()}


class Scratch(Record):
    """A database in memory for what a run decides. What no run writes is read from the record, which it cannot change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = sqlite3.connect(
            ":memory:", uri=True, isolation_level=None
        )  # 1 kB a picture with boxes; 12 % faster than a file
        self.db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA cache_size = -{WORKING_SET_KIB}")
        upgrade(self.db)
        for kind, name in self.rows("SELECT type, name FROM sqlite_master WHERE sql NOT NULL ORDER BY type = 'table'"):
            if name not in f"{TABLES} {INDEXES}".split():
                self.execute(f"DROP {kind} IF EXISTS {name}")
        self.execute("ATTACH ? AS stored", f"file:{quote(str(path.resolve()))}?mode=ro")

    def transact(self, work: Callable[[], T]) -> T:
        return work()  # the whole run is one


class KnownClocks(CameraClocks):
    """The offsets of cameras' clocks as the record has them; they were learned from all frames, with boxes or not."""

    offset = CameraClocks._offset

    def add(self, *_: Any) -> None:
        pass


class SharedJudge:
    """A judge whose answers the judge of the same pictures in the other run takes over: judging is 40 % of a run."""

    def __init__(self, judge: Judge, about: Hashable, known: dict[Hashable, Any]) -> None:
        """`about`: what it depends on besides pictures; `known`: the answers so far, of both runs."""
        self.judge, self.seen, self.known = judge, hash(about), known
        self.waiting: list[tuple[int, Mapping[str, int], Sequence[Sighting]]] = []

    def add(self, at: int, objects: Mapping[str, int], boxes: Callable[[], Sequence[Sighting]]) -> None:
        self.waiting.append((at, objects, tuple(boxes())))
        self.seen = hash((self.seen, self.waiting[-1][2]))

    def score(self) -> int:
        return int(self._ask("score"))

    def verdict(self, facts: Facts) -> Verdict:
        verdict: Verdict = self._ask("verdict", facts)
        return verdict

    def signature(self) -> Signature:
        signature: Signature = self._ask("signature")
        return signature

    def handover(self) -> str:
        handover: str = self._ask("handover")
        return handover

    def _ask(self, question: str, *facts: Facts) -> Any:
        if (question, self.seen) not in self.known:
            for at, objects, boxes in self.waiting:
                self.judge.add(at, objects, lambda boxes=boxes: boxes)  # type: ignore[misc]
            self.waiting.clear()
            self.known[question, self.seen] = getattr(self.judge, question)(*facts)
        return self.known[question, self.seen]


class Run(Batching):
    """One configuration, and what it makes of the recorded frames."""

    def __init__(self, graph: Graph, path: Path, zones: Mapping[str, Any], known: dict[Hashable, Any]) -> None:
        """`zones` of cameras instead of those in the record; `known`: answers of judges, which two runs share."""
        self.graph, self.zones, batch, judge = graph, zones, graph.options_of(Batch), judge_by_rules(graph.context)
        here = (
            graph.settings.hearthwatch_timezone,
            graph.settings.hearthwatch_location,
            batch.rules,
            batch.built_in_rules,
        )

        def make(s: Surroundings) -> SharedJudge:
            about = here, s.camera_id, s.started_at, s.width, s.height, s.is_grey, s.zones, s.hints, s.before
            return SharedJudge(judge(s), about, known)

        super().__init__(Scratch(path), make, batch.cut(), stillness=batch.stillness())
        self.clocks = KnownClocks(self.record)
        found = {name: node.component for name, node in graph.nodes.items() if not node.off()}
        self.notifiers = {
            name: n for name, n in found.items() if isinstance(n, IncidentNotifier) and n.messages == "incident"
        }
        self.notifiers = self.notifiers or {"notifications": graph.options_of(IncidentNotifier)}
        self.sent: dict[str, dict[int, Sent]] = {name: {} for name in self.notifiers}
        self.rang: dict[tuple[str, int], list[tuple[int, RiskLevel]]] = {}
        """(notifier, incident) → when, at which level."""
        self.closed_at = 0

    def begin(self) -> None:
        """Begin the snapshot of the record."""
        self.record.db.commit()
        self.record.db.executescript(
            "BEGIN; DELETE FROM main.cameras; INSERT INTO main.cameras SELECT * FROM stored.cameras; UPDATE main.cameras SET behind = 0"
        )
        drawn = [(json.dumps(rows), camera) for camera, rows in self.zones.items()]
        self.record.many("UPDATE main.cameras SET zones = ? WHERE id = ?", drawn)

    def play(self, start: int, camera: str | None) -> int:
        """Decide all frames captured since then, of all cameras or one; return how many have boxes."""
        self.incidents = Incidents(self.record, self.graph.options_of(IncidentGrouping).reach())
        workers = {name: NotifierWorker(options, self.graph.context) for name, options in self.notifiers.items()}
        for name, worker in workers.items():
            worker.history = DeliveryHistory(Feed(self.record), name)
        self.policies = {name: worker.rules for name, worker in workers.items()}
        count, end, frames = 0, 0, self._read(start, camera)
        while chunk := list(islice(frames, FRAMES_AT_ONCE)):
            self.record.many(
                f"INSERT INTO main.frames({_FRAME}) VALUES (?,?,?,?,?,?,?,?,?,?,?)", [row for row, _ in chunk]
            )
            self.write([item for _, found in chunk for item in (Tick(found.frame.arrived_at), found)])
            count += sum(bool(found.detections) for _, found in chunk)
            end = to_microseconds(chunk[-1][1].frame.arrived_at) + DAY
        self.write([Tick(from_microseconds(end))])
        return count

    def _read(self, start: int, camera: str | None) -> Iterator[tuple[tuple[Any, ...], Detected]]:
        """Read the frames that have boxes, or at which a backlog began or ended, by id: the row, and what was detected."""
        where, since = ("camera_id = ? AND ", (camera, start)) if camera else ("", (start,))
        turns: list[tuple[int]] = []
        if self.record.one("SELECT EXISTS (SELECT 1 FROM stored.frames WHERE behind)")[0]:
            turns = self.record.rows(
                "SELECT id FROM (SELECT id, behind, lag(behind, 1, 0) OVER (PARTITION BY camera_id ORDER BY id) AS was "
                f"FROM stored.frames WHERE {where}captured_at >= ? AND state <> 'discovered') WHERE behind <> was", *since,
            )  # fmt: skip
        boxes = [
            f"SELECT {_BOX} FROM stored.{table} WHERE {where}detected_at >= ?" for table in ("detections", "suppressed")
        ]
        rows = self.record.execute(
            f"SELECT object_type, confidence, bbox_x, bbox_y, bbox_width, bbox_height, attributes, width, height, is_grey, f.{_FRAME} FROM "
            f"({' UNION ALL '.join(boxes)} UNION ALL SELECT value * {PER_FRAME}, value, NULL, 0, 0, 0, 0, 0, NULL FROM json_each(?)) d "
            "JOIN stored.frames f ON f.id = frame_id ORDER BY d.id", *since, *since, json.dumps([id for (id,) in turns]),
        )  # fmt: skip
        for (width, height, is_grey, *row), found in groupby(rows, key=lambda row: row[7:]):
            detections = tuple(
                Detection(kind, sure, tuple(box), json.loads(more or "{}"))
                for kind, sure, *box, more in (row[:7] for row in found)
                if kind
            )
            frame = Frame(row[0], row[1], row[2], row[3], from_microseconds(row[7]), from_microseconds(row[8]))
            grey = None if is_grey is None else bool(is_grey)
            yield tuple(row), Detected(frame, width or 0, height or 0, detections, is_grey=grey)

    def _decide(self, item: Detected, *more: Any) -> None:
        super()._decide(item, *more)
        self._follow(to_microseconds(item.frame.arrived_at))

    def _close_by_tick(self, tick: Tick) -> None:
        super()._close_by_tick(tick)
        self._follow(to_microseconds(tick.now), is_tick=True)

    def _follow(self, clock: int, *, is_tick: bool = False) -> None:
        """Let incidents and notifiers follow what was just published."""
        news: list[IncidentMessage] = []
        if self.writer.revisions:
            self.writer.revisions.clear()
            while self.incidents.is_behind():
                news += self.incidents.update()
        if is_tick and clock >= self.closed_at + CLOSE_EVERY:
            self.closed_at = clock
            news += self.incidents.close_due(clock)
        for message in news:
            for name, rules in self.policies.items():
                made = decide(message, self.sent[name], rules, from_microseconds(clock))
                self.sent[name] |= {row.incident_id: row for row in made.rows}
                if made.action == "loud":
                    self.rang.setdefault((name, message.incident.id), []).append((clock, message.incident.risk_level))


class Comparison:
    """What differs between two runs: events, incidents and notifications, matched by the frames that they are about."""

    def __init__(self, runs: tuple[Run, Run], start: int) -> None:
        self.runs, self.start = runs, start
        graphs = [run.graph for run in runs]
        self.batch, self.incident = (
            _changed(kind, *(graph.options_of(kind) for graph in graphs)) for kind in (Batch, IncidentGrouping)
        )
        names = dict.fromkeys(name for run in runs for name in run.notifiers)
        self.notifiers = {name: _changed(Notifier, *(run.notifiers.get(name) for run in runs)) for name in names}
        self.whys: dict[Subject, tuple[str, ...]] = {}
        """Of the events that differ."""

    def report(self) -> Row:
        sql = "SELECT id, ?, event_id FROM main.frames WHERE event_id > 0 ORDER BY id"
        frames = [run.record.execute(sql, side) for side, run in enumerate(self.runs)]
        pairs = {tuple(row[1:] for row in rows) for _, rows in groupby(merge(*frames), key=lambda row: row[0])}
        sql = "SELECT ?, id, ?, incident_id FROM main.events WHERE status <> 'merged'"
        links = {row[:2]: row[2:] for side, run in enumerate(self.runs) for row in run.record.rows(sql, side, side)}
        visits = {tuple(links[event] for event in pair) for pair in pairs}
        found = {"events": self._differences(pairs, _EVENT)}
        whys, self.whys = self.whys, {}
        for event, why in whys.items():
            self.whys[links[event]] = (*self.whys.get(links[event], self.incident), *why)
        found |= {"incidents": self._differences(visits, _INCIDENT), "notifications": [*self._notifications(visits)]}
        a, b = (_LEVELS.format(schema) for schema in ("main", "stored"))
        sql = f"SELECT count(DISTINCT id) FROM (SELECT * FROM ({a} EXCEPT {b}) UNION SELECT * FROM ({b} EXCEPT {a}))"
        return {
            "changes": [
                *(f"zones of {camera}" for camera in self.runs[1].zones), *self.batch, *self.incident,
                *(f"{name}: {text}" for name, texts in self.notifiers.items() for text in texts),
            ],
            **{side: self._totals(run) for side, run in zip(("before", "after"), self.runs, strict=True)},
            "stored_differ": self.runs[0].record.one(sql, self.start)[0],
            "counts": {name: Counter(row["kind"] for row in rows) for name, rows in found.items()},
            "differences": {name: sorted(rows, key=lambda row: KINDS.index(row["kind"]))[:DESCRIBED_MAX] for name, rows in found.items()},
        }  # fmt: skip

    def _totals(self, run: Run) -> Row:
        which = "WHERE status <> 'merged' AND started_at >= ?"
        levels = dict(run.record.rows(f"SELECT risk_level, count(*) FROM main.events {which} GROUP BY 1", self.start))
        (incidents,) = run.record.one(f"SELECT count(*) FROM main.incidents {which}", self.start)
        rang = sum(at >= self.start for times in run.rang.values() for at, _ in times)
        return {"events": sum(levels.values()), "levels": levels, "incidents": incidents, "notifications": rang}

    def _differences(self, pairs: set[tuple[Subject, ...]], sql: str) -> list[Row]:
        """Describe each group of events, or incidents, that differs."""
        out: list[Row] = []
        alone = {pair[0] for pair in pairs if len(pair) == 1}
        for group in _groups(pairs):
            sides = [
                [row for n, id in group if n == side for row in run.record.dicts(sql, id)]
                for side, run in enumerate(self.runs)
            ]
            same = [[{**row, "id": 0, "thumbnail": 0} for row in rows] for rows in sides]
            every = [row for rows in sides for row in rows]
            if all(row["started_at"] < self.start for row in every) or (same[0] == same[1] and alone.isdisjoint(group)):
                continue
            if sql is _EVENT:
                why = tuple(dict.fromkeys(self._explain(group, sides)))
                self.whys |= dict.fromkeys(group, why)
            for row in every:
                row |= {key: iso(from_microseconds(row[key])) for key in ("started_at", "last_at")}
            about = {key: every[0][key] for key in ("cameras", "started_at")}
            kind = _kind(*([row["risk_level"] for row in rows] for rows in sides))
            out.append({"kind": kind, **about, "before": sides[0], "after": sides[1], "why": self._why(group)})
        return out

    def _explain(self, group: Sequence[Subject], sides: Sequence[Sequence[Row]]) -> Iterator[str]:
        """Yield which boxes count no longer or again, which terms came or went, and what cuts differently."""
        sql = "SELECT id FROM main.frames WHERE event_id = ? LIMIT ?"
        frames = {i for side, event in group for (i,) in self.runs[side].record.rows(sql, event, FRAMES_EXPLAINED_MAX)}
        was, now = (dict(run.record.rows(_SUPPRESSED, json.dumps([*frames]))) for run in self.runs)
        for word, mine, others in (("", now, was), ("no longer ", was, now)):
            reasons = Counter(re.sub(r" for \d+ min$", "", why) for box, why in mine.items() if box not in others)
            yield from (f"{word}{why} ({n} box{'es' * (n > 1)})" for why, n in reasons.most_common())
        if [len(rows) for rows in sides] == [1, 1]:
            old, new = (TERM.findall(row["reasoning"]) for (row,) in sides)
            yield from (term for term in new if term not in old)
            yield from (f"no longer {term}" for term in old if term not in new)
        yield from self.batch

    def _why(self, group: Sequence[Subject], more: Sequence[str] = ()) -> list[str]:
        found = [*more, *(text for subject in group for text in self.whys.get(subject, self.incident))]
        return list(dict.fromkeys(found))[:REASONS_MAX]

    def _notifications(self, visits: set[tuple[Subject, ...]]) -> Iterator[Row]:
        """Yield what differs in when each notifier rang about the same incidents."""
        rang: list[dict[tuple[str, int], list[Row]]] = [{}, {}]
        for final, run in zip(rang, self.runs, strict=True):
            merged = dict(run.record.rows("SELECT id, merged_into FROM main.incidents WHERE merged_into > 0"))
            for (name, id), times in run.rang.items():
                rows = [
                    {"incident": id, "at": iso(from_microseconds(at)), "risk_level": level}
                    for at, level in times
                    if at >= self.start
                ]
                final.setdefault((name, merged.get(id, id)), []).extend(rows)
        for group in _groups(visits):
            for name, changes in self.notifiers.items():
                sides = [
                    [row for n, id in group if n == side for row in rang[side].get((name, id), ())] for side in (0, 1)
                ]
                before, after = [[(row["at"], row["risk_level"]) for row in rows] for rows in sides]
                if before != after:
                    kind = _kind(*(sorted({row["risk_level"] for row in rows}, key=rank)[-1:] for rows in sides))
                    about = {"kind": kind, "notifier": name, "started_at": (sides[0] + sides[1])[0]["at"]}
                    yield {**about, "before": sides[0], "after": sides[1], "why": self._why(group, changes)}


def _groups(pairs: Iterable[tuple[Subject, ...]]) -> list[list[Subject]]:
    """Group what is about the same frames: what stands in one pair belongs together."""
    group: dict[Subject, set[Subject]] = {}
    for pair in pairs:
        whole = set(pair).union(*(group.get(subject, ()) for subject in pair))
        group.update(dict.fromkeys(whole, whole))
    wholes = {id(whole): sorted(whole) for whole in group.values()}.values()
    return sorted(wholes, key=lambda whole: min(id for _, id in whole))


def _kind(before: Sequence[RiskLevel], after: Sequence[RiskLevel]) -> str:
    """Name the difference between these levels before and after."""
    if not before or not after:
        return "appears" if after else "vanishes"
    rise = max(map(rank, after)) - max(map(rank, before))
    return "rises" if rise > 0 else "falls" if rise < 0 else "changes" if len(before) == len(after) else "cut"


def _changed(kind: type[Component], old: Any, new: Any) -> list[str]:
    """Name the options of two components of one kind that differ."""
    if old is None or new is None:
        return ["is new" if old is None else "is not there"]
    options = [(key, getattr(old, key), getattr(new, key)) for key in kind.model_fields]
    return [f"{key} {before} → {after}" for key, before, after in options if before != after]


def summarize(report: Row) -> str:
    """Write the report for people, as Markdown tables."""
    totals = [("", "before", "after", *KINDS)]
    for name, counts in report["counts"].items():
        totals.append((name, report["before"][name], report["after"][name], *(counts[kind] for kind in KINDS)))
    found = [("", "when", "camera or notifier", "before → after", "why")]
    for name, rows in report["differences"].items():
        for row in rows[:SHOWN_MAX]:
            levels = (", ".join(each["risk_level"] for each in row[side]) or "–" for side in ("before", "after"))
            where, when = row.get("cameras") or row["notifier"], row["started_at"][:19] + "Z"
            found.append((f"{name[:-1]} {row['kind']}", when, where, " → ".join(levels), "; ".join(row["why"])))
    return "\n\n".join(
        [
            f"Changed: {', '.join(report['changes']) or 'nothing'}. {report['frames']} pictures with boxes since {report['since'][:19]}Z.",
            *("\n".join(f"| {' | '.join(map(str, row))} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]]) for rows in (totals, found) if rows[1:]),
            f"{report['stored_differ']} stored events have another level than these rules give: by older rules, or a language model.",
        ]
    )  # fmt: skip
