"""A graph without cameras: the loudness at a doorbell, from CSV files to bursts of sound that are kept for good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import bytewax.operators as op
from bytewax.dataflow import Stream
from bytewax.operators import StatefulBatchLogic

from hearthwatch.schemas import Stage


@dataclass(frozen=True)
class Level:
    """How loud it was at one moment."""

    door: str
    at: datetime
    db: float


@dataclass(frozen=True)
class Burst:
    """A time of loud sound at one door."""

    door: str
    started_at: datetime
    ended_at: datetime
    db_max: float


class Loud(Stage):
    """Read rows with `door`, `at` and `db`, and keep what is loud."""

    accepts = dict
    emits = Level

    db: float = 60
    """What counts as loud, in dB."""

    def process(self, rows: list[dict[str, str]]) -> list[Level]:
        levels = [Level(row["door"], datetime.fromisoformat(row["at"]), float(row["db"])) for row in rows]
        return [level for level in levels if level.db >= self.db]


class Bursts(Stage):
    """Join loud levels of a door into bursts. One that may grow is state, which Bytewax keeps: a kill or a stop loses nothing."""

    accepts = Level
    emits = Burst

    pause_seconds: float = 2
    """A longer silence ends a burst."""

    def attach(self, step_id: str, up: Stream[object]) -> Stream[object]:
        pause = self.pause_seconds

        class Join(StatefulBatchLogic[object, object, "Burst | None"]):
            """Holds the burst that grows."""

            def __init__(self, resumed: Burst | None) -> None:
                self.burst = resumed

            def on_batch(self, levels: list[object]) -> tuple[list[object], bool]:
                return [burst for level in levels for burst in self.take(level)], False

            def take(self, level: object) -> Iterator[object]:
                if not isinstance(level, Level):
                    yield level  # what failed before is for the journal
                elif self.burst and (level.at - self.burst.ended_at).total_seconds() <= pause:
                    self.burst = replace(self.burst, ended_at=level.at, db_max=max(level.db, self.burst.db_max))
                else:
                    yield from [self.burst] if self.burst else []
                    self.burst = Burst(level.door, level.at, level.at, level.db)

            def snapshot(self) -> Burst | None:
                return self.burst

        keyed = op.key_on(f"{step_id}_door", up, lambda item: item.door if isinstance(item, Level) else "")
        return op.map(f"{step_id}_values", op.stateful_batch(f"{step_id}_join", keyed, Join), lambda pair: pair[1])
