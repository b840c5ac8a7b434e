"""Old pictures, `hearthwatch backfill` over them, and the events that a live run would have made of them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas.items import Tick, from_microseconds
from hearthwatch.stages.rules import RulesJudge
from tests.support.invariants import check
from tests.support.pipeline import Pipeline, name, picture, rules_and_options

SECOND = 1_000_000
START = 1_750_000_000  # in June 2025
RULES, OPTIONS = rules_and_options(window=6, idle=2, lateness=0.2)
EVENT = "camera_id, started_at, ended_at, frame_count, status, risk_score, risk_level, summary, objects, analyzer"


class Archive:
    """Cameras that saw something in bursts, for months; files as somebody has copied them: with mtimes of today."""

    def __init__(self, folder: Path, count: int, seed: int = 7) -> None:
        self.folder, self.count, chance = folder, count, random.Random(seed)
        for number, camera in enumerate(("Front Door", "back-yard", "gate")):
            at = START + chance.random()
            for n in range(number, count, 3):
                at += chance.choice((0.25, 0.5, 1, 1.9, 2.1, 60, 3600))
                path = folder / camera / f"{datetime.fromtimestamp(at, UTC):%Y-%m}" / name(at, str(n))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(picture(f"{camera} {n}"))


def command(pipeline: Pipeline, *words: str, **environment: str) -> subprocess.Popen[str]:
    everything = {**os.environ, **pipeline._environment, "HEARTHWATCH_CAPTURE_TIME": "auto", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "hearthwatch.cli", "backfill", *words], cwd=pipeline.folder, env=everything,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def watch(pipeline: Pipeline, process: subprocess.Popen[str]) -> Pipeline:
    """Fails when this process ends while something is waited for."""
    pipeline.pid, pipeline._process = process.pid, process
    return pipeline


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    out, errors = process.communicate(timeout=100)
    assert process.returncode == code, out + errors
    return out + errors


def live(record: Record, path: Path) -> Record:
    """The same pictures as if each had been uploaded half a second after it was taken, and looked at there and then."""
    again, old = Record(path), Ledger(record)
    ledger, batching = Ledger(again), Batching(again, partial(RulesJudge, zone=ZoneInfo("UTC")), RULES)
    frames = "SELECT camera_id, path, mtime_ns, size, captured_at, id FROM frames ORDER BY captured_at"
    for camera_id, file, mtime_ns, size, at, id in record.rows(frames):
        upload = at + SECOND // 2
        ledger.discover([FoundFile(camera_id, camera_id, file, mtime_ns, size, at, upload)], upload)
        (entry,) = ledger.todo(0, 9)
        seen = old.decision(replace(entry.frame, id=id))
        batching.write([replace(seen, frame=entry.frame), Tick(from_microseconds(upload))])
    batching.write([Tick(from_microseconds(1 << 52))])
    return again


def events(record: Record) -> list[Any]:
    names = dict(record.rows("SELECT id, name FROM cameras"))
    return [
        (row[0], *(str(value).replace(names[row[0]], row[0]) if isinstance(value, str) else value for value in row[1:]))
        for row in record.rows(f"SELECT {EVENT} FROM events WHERE status <> 'merged' ORDER BY camera_id, started_at")
    ]


def check_backfilled(pipeline: Pipeline, old: Archive) -> None:
    """Everything is decided, nothing twice, and the events are those of a live run."""
    record = pipeline.record
    check(record, RULES)
    assert pipeline.states() == {"settled": old.count}
    reference = live(record, pipeline.folder / "live.db")
    assert events(record) == events(reference)
    assert len(events(record)) > old.count / 10
    reference.close()
    record.close()
