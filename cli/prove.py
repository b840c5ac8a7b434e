"""`hearthwatch prove`: run a graph undisturbed, then with one fault after the other, and compare what is durable.

Kills before and after each commit, failed commits and disk calls, consumers cut off, input in other portions and another order. Input is copied, and everything else is
in a temporary folder: what a graph reads and writes elsewhere is not touched, except by what its own parts do by themselves.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from hearthwatch.flows.graph import configured_graph
from hearthwatch.flows.trial import Trial, run_trial
from hearthwatch.record import Record
from hearthwatch.record.content import IDS_AND_CLOCKS, Content, content
from hearthwatch.schemas import Consumer
from hearthwatch.schemas.errors import UserError
from hearthwatch.sources.files import Files
from hearthwatch.sources.folder import SUFFIXES, Folder

PLACES = ("order", "before", "after", "file", "cut", "sql", "disk")
NAMES = {
    "order": "input in another order",
    "before": "killed before commit",
    "after": "killed after commit",
    "sql": "failed commit",
    "cut": "consumer cut off at",
    "disk": "failed disk call",
    "file": "failed call on a file of a sink",
}
AT_ONCE = {"order:1": 1, "order:2": 1000, "order:3": 2}  # rows or pictures in one portion; the order changes, too
LIVES_MAX = 3
STILL_SECONDS = 2.0  # without news in the record: the graph has done all that it will
STOP_SECONDS = 3.0  # a stop takes less
RUN_SECONDS_MAX = 20.0
ROWS_MAX = 200  # of input
REDUCE_SECONDS_MAX = 15.0
LINES_MAX = 10
DIFFERING_MAX = 3  # then it is clear that something is wrong
T = 1_700_000_000


def prove(
    flow: Annotated[Path, typer.Argument(help="The flow file.")],
    input: Annotated[
        Path | None,
        typer.Option(help="Files for its `folder` or pictures for its `files`; else its own, or drawn ones."),
    ] = None,
    points: Annotated[int, typer.Option(min=1, help="How many faults at most, spread evenly.")] = 208,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object instead of text.")] = False,
) -> None:
    """Run a graph with a fault at every step, and compare with an undisturbed run; exit code 1 if anything differs."""
    sys.path[:0] = [str(Path.cwd()), str(flow.resolve().parent)]
    with tempfile.TemporaryDirectory(prefix="hearthwatch-prove-") as made:
        result = Proof(flow.resolve(), Path(made), input).run(points)
    if as_json:
        print(json.dumps(result._asdict()))
    else:
        print("\n".join([*result.lines[: LINES_MAX - 1], f"{result.points} points, {result.differing} differing"]))
    raise typer.Exit(1 if result.lines else 0)


class ProofResult(NamedTuple):
    """How many points were tried, how many differed, and what is wrong, in words."""

    points: int
    differing: int
    lines: list[str]


class Outcome(NamedTuple):
    """What a run left: the record's content, the lines of each file that was written, and what it says about itself."""

    record: Content
    files: dict[str, list[str]]
    report: dict[str, Any]
    problem: str = ""
    passed: str = ""
    """At what the fault came; empty: there was no such point."""


class Proof:
    """One graph, its input, and runs of it."""

    def __init__(self, flow: Path, folder: Path, input: Path | None) -> None:
        self.flow, self.folder, self.made = flow, folder, 0
        self.graph = configured_graph(flow)
        files, rows = self.graph.first(Files), self.graph.first(Folder)
        self.pictures = files is not None
        self.consumers = {name for name, node in self.graph.nodes.items() if isinstance(node.component, Consumer)}
        where = input or (rows.path if rows else None)
        self.units = list(_read_units(where)) if where else list(_draw()) if files else []
        if (rows or files) and not self.units:
            raise UserError(f"{where}: nothing to read there: give rows or pictures with `--input DIR`")

    def run(self, points_max: int) -> ProofResult:
        """Try all points."""
        calm = self.live("check")
        found = [f"{node}: {words}" for node, words in calm.report.get("found", {}).items()]
        found += [f"{node}: {words}" for node, words in sorted(_log_findings(calm.report["log"]))]
        if calm.problem:
            return ProofResult(0, 0, [*found, calm.problem])
        again = self.live("count")
        found += [f"two undisturbed runs differ: {line}" for line in self.differences(again, calm)[:3]]
        if found:
            return ProofResult(0, 0, found)
        stopped = self.live("count", stop=True)
        if stopped.problem:
            return ProofResult(0, 0, [stopped.problem])
        counts = again.report["counts"] | {"order": len(AT_ONCE)}
        there = [place for place in PLACES if counts.get(place)]
        each = {place: _spread(range(1, 1 + counts[place]), -(-points_max // len(there))) for place in there}
        chosen = [(place, n) for place, numbers in each.items() for n in numbers][:points_max]
        lines: list[str] = []
        differing, tried = 0, 0
        for place, n in chosen:
            outcome = self.live(f"{place}:{n}")
            tried += 1
            if wrong := self.differences(outcome, calm):
                differing += 1
                lines = lines or [
                    f"{NAMES[place]} {n} ({outcome.passed}): {wrong[0]}",
                    *wrong[1:4],
                    self.reduce(place),
                ]
                if differing == DIFFERING_MAX:
                    break
        return ProofResult(tried, differing, lines)

    # -- one point: lives until one ends by itself

    def live(self, fault: str, units: Sequence[tuple[str, bytes]] | None = None, stop: bool = False) -> Outcome:
        """Run the graph with a fault, and start it again until it has ended well; return what is there then."""
        self.made += 1
        folder = self.folder / str(self.made)
        self._write(folder / "input", self.units if units is None else units, is_reversed=fault == "order:1")
        trial = Trial(self.flow, Path.cwd(), folder, AT_ONCE.get(fault) or max(1, len(self.units) // 8))
        code, problem = self._life(trial, fault, stop)
        passed = folder / "passed"
        at = passed.read_text() if passed.exists() else ""
        for _ in range(LIVES_MAX if code or passed.exists() or stop else 0):
            if problem:
                break
            code, problem = self._life(trial, "none")
            if not code:
                break
        log = (folder / "log").read_text(errors="replace")
        if code and not problem:
            problem = (
                f"the graph ends with exit code {code}: {log.strip().splitlines()[-1][:300] if log.strip() else ''}"
            )
        report = {"counts": {}, "log": log}
        if (path := folder / "report.json").exists():
            report |= json.loads(path.read_text())
        outcome = Outcome(self._content(folder), dict(_read_lines(folder / "out")), report, problem, at)
        shutil.rmtree(folder)
        return outcome

    def _life(self, trial: Trial, fault: str, stop: bool = False) -> tuple[int, str]:
        """Run the graph once; return its exit code, and what is wrong if it had to be killed."""
        report = trial.folder / "report.json"
        report.unlink(missing_ok=True)
        if not (pid := os.fork()):
            run_trial(trial, fault)
        ended, news, began, signalled = os.pidfd_open(pid), Any, time.monotonic(), 0.0
        still, problem = began, ""
        try:
            while not select.select([ended], [], [], 0.02)[0]:
                moment = time.monotonic()
                if report.exists():  # the graph has ended; its stages are being checked
                    if moment - began > 2 * RUN_SECONDS_MAX:
                        os.kill(pid, signal.SIGKILL)
                    continue
                if (new := _read_news(trial.folder / "data" / "hearthwatch.db")) != news:
                    news, still = new, moment
                is_ready = new is not None and new[-1] == pid
                is_done = (is_ready and moment - still > STILL_SECONDS) or moment - began > RUN_SECONDS_MAX
                if not signalled and ((is_ready and (stop or self._is_quiet(new))) or is_done):
                    os.kill(pid, signal.SIGUSR1)  # its stack is in the log then
                    time.sleep(0.05)
                    os.kill(pid, signal.SIGTERM)
                    signalled = moment
                if signalled and moment - signalled > STOP_SECONDS and not problem:
                    problem = self._blamed(trial) + f"does not stop within {STOP_SECONDS:.0f} s"
                    os.kill(pid, signal.SIGKILL)
        finally:
            os.close(ended)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code == -signal.SIGTERM and not problem:  # its handler is gone with the last source
            problem = self._blamed(trial) + "does not stop, though its sources have ended"
        return code, problem

    def _blamed(self, trial: Trial) -> str:
        """Return the own node in whose module the process is."""
        stack = (trial.folder / "log").read_text(errors="replace").rpartition("most recent call first")[2]
        for name, node in self.graph.nodes.items():
            module = sys.modules.get(type(node.component).__module__)
            if module and "hearthwatch." not in module.__name__ and str(module.__file__) in stack:
                return f"{name}: "
        return ""

    def _is_quiet(self, news: Any) -> bool:
        return self.pictures and news[:3] == (len(self.units), 0, 0)

    def _content(self, folder: Path) -> Content:
        record = Record(folder / "data" / "hearthwatch.db")
        with closing(record):
            return content(record)

    def _write(self, folder: Path, units: Sequence[tuple[str, bytes]], is_reversed: bool) -> None:
        """Write input: rows are lines of their file, behind its header; a picture is whole.

        Reversed, the last file or camera comes first; its rows or pictures keep their order.
        """
        folder.mkdir(parents=True)
        first = {_group(name): n for n, (name, _) in reversed([*enumerate(units)])}
        order = sorted(enumerate(units), key=lambda unit: -first[_group(unit[1][0])] if is_reversed else 0)
        for n, (name, data) in order:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.suffix == ".csv":
                data = data.partition(b"\n")[2]
            with path.open("ab") as file:
                file.write(data)
            os.utime(path, (T + n, T + n))

    # -- what differs

    def differences(self, found: Outcome, expected: Outcome) -> list[str]:
        """Return what differs, upstream first."""
        if found.problem:
            return [found.problem]
        out = [_in_words(line) for line in found.record.differences(expected.record)]
        for name in sorted({*found.files, *expected.files}):
            one, other = found.files.get(name, []), expected.files.get(name, [])
            if name.partition("/")[0] in self.consumers and not name.endswith(".jsonl"):
                one, other = list(dict.fromkeys(one)), list(dict.fromkeys(other))  # at least once
            lost, more = Counter(other) - Counter(one), Counter(one) - Counter(other)
            for words, lines in (("lost", lost), ("too much", more)):
                if lines:
                    line, count = next(iter(lines.items()))
                    out.append(
                        f"{name.partition('/')[0]}: {lines.total()} lines {words}, such as {line[:120]} ({count} ×)"
                    )
        return out

    def reduce(self, place: str) -> str:
        """Halve the input while a fault of this kind still makes a difference; return how little is enough, in words."""
        units, until, halved = self.units, time.monotonic() + REDUCE_SECONDS_MAX, True
        while halved and len(units) > 1:
            halved = False
            for part in (units[: len(units) // 2], units[len(units) // 2 :]):
                if time.monotonic() < until and self._differs(place, part, until):
                    units, halved = part, True
                    break
        last = units[-1][1].strip().splitlines()[-1:] if units and not self.pictures else []
        return f"input: {len(units)} of {len(self.units)} are enough{': … ' + last[0].decode(errors='replace') if last else ''}"

    def _differs(self, place: str, units: Sequence[tuple[str, bytes]], until: float) -> bool:
        calm = self.live("count", units)
        counts = (calm.report["counts"] | {"order": len(AT_ONCE)}).get(place, 0)
        for n in _spread(range(1, counts + 1), 6):
            if time.monotonic() > until:
                return False
            if self.differences(self.live(f"{place}:{n}", units), calm):
                return True
        return False


def _group(name: str) -> str:
    """Return what keeps its order: a file of rows, a camera."""
    return name if Path(name).suffix.lower() in SUFFIXES else name.partition("/")[0]


def _spread(points: Sequence[Any], count: int) -> list[Any]:
    count = min(count, len(points))
    return [points[(2 * n + 1) * len(points) // (2 * count)] for n in range(count)]


def _read_units(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield input in pieces that may be left out: rows with their header, and pictures."""
    left = ROWS_MAX
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name.startswith("."):
            continue
        name, lines = path.relative_to(folder).as_posix(), path.read_bytes().splitlines(keepends=True)
        if path.suffix.lower() not in SUFFIXES:
            yield name, path.read_bytes()
            continue
        header = lines[:1] if path.suffix.lower() == ".csv" else []
        for line in lines[len(header) :][:left]:
            yield name, b"".join([*header, line])
        left = max(0, left - len(lines))


def _draw() -> Iterator[tuple[str, bytes]]:
    """Draw small pictures of two cameras: two visits each."""
    from PIL import Image

    for n in range(16):
        out = BytesIO()
        Image.new("RGB", (64, 48), (n * 15, 255 - n * 9, 80)).save(out, "JPEG")
        at = datetime.fromtimestamp(T + n * 13 + (n > 8) * 400, UTC)
        yield f"camera {n % 2}/{at:%Y%m%d_%H%M%S}_{n:03d}.jpg", out.getvalue()


def _read_news(path: Path) -> Any:
    """Return numbers that change while something is done: frames, those not decided, open events, feed, journal, cursors, and whose."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)) as db:
            return db.execute(
                "SELECT (SELECT count(*) FROM frames), (SELECT count(*) FROM frames WHERE state = 'discovered'),"
                " (SELECT count(*) FROM events WHERE status = 'open'), (SELECT coalesce(max(seq), 0) FROM feed),"
                " (SELECT count(*) FROM journal), (SELECT coalesce(sum(seq), 0) FROM cursors),"
                " (SELECT pid FROM heartbeat)"
            ).fetchone()
    except sqlite3.Error:
        return None


def _read_lines(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield what sinks wrote, a file each, without what differs from run to run in messages."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        if data.startswith(b"SQLite format 3"):
            with closing(sqlite3.connect(path)) as db:
                lines = list(db.iterdump())
        else:
            lines = data.decode(errors="replace").splitlines()
        yield path.relative_to(folder).as_posix(), [_without_ids(line) for line in lines]


def _without_ids(line: str) -> str:
    if not line.startswith('{"schema": "hearthwatch.'):
        return line
    message = json.loads(line)
    return json.dumps({name: value for name, value in message.items() if name not in IDS_AND_CLOCKS})


def _log_findings(log: str) -> set[tuple[str, str]]:
    """Find what the guard has refused."""
    return set(re.findall(r"`(\w+)` (emitted \w+ but declares `emits = \w+`)", log))


def _in_words(line: str) -> str:
    return re.sub(r"\s+", " ", line)[:300]
