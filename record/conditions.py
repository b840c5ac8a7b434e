"""Keep what is wrong with the pipeline: one row for each kind and subject, `on` or `off`, and a message for each change.

The monitor reports everything that is wrong now, every few seconds; what it reports for some checks in a row begins, and
what it does not report for some ends. So a fault that flaps makes no noise, and each message that something began is
followed by one that it ended, also after a kill: the state is in the record, and changes with its message in one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.feed import append
from hearthwatch.record.read.over_cells import merge_pages
from hearthwatch.record.units import NEVER
from hearthwatch.schemas.items import from_microseconds, iso
from hearthwatch.schemas.messages import Severity, SystemKind, SystemMessage

ON_CHECKS = 3  # in a row before it begins: one picture that waits is no fault
OFF_CHECKS = 5  # in a row before it ends
REFRESH_CHECKS = 5  # the text of what stays wrong is brought up to date this often
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")

ERRORS: frozenset[SystemKind] = frozenset(
    ("camera_silent", "detector_down", "disk_low", "notifier_down", "quarantine", "record_locked", "record_restored", "uploads_missing")
)  # fmt: skip
"""Pictures or alerts do not arrive, or are about to: a person has to act. The others are warnings."""

RECOVERED: dict[SystemKind, str] = {
    "behind": "The pictures that waited are processed",
    "camera_clock": "The clock is right again",
    "camera_silent": "Pictures arrive again",
    "clock_stepped": "The server's clock and the order of arrival agree again",
    "detector_down": "The detector works again",
    "disk_low": "There is enough free space again",
    "files_unreadable": "All files can be read again",
    "judge_failed": "Judges again",
    "lake_down": "Works again",
    "llm_down": "The language model responds again",
    "notifier_down": "Delivers again",
    "part_restarted": "Has run without a restart for a while",
    "quarantine": "Pictures can be used again",
    "record_locked": "The record can be written again",
    "record_restored": "Numbers continue above those of before the restore",
    "redis_down": "Redis works again",
    "same_picture": "The pictures differ again",
    "uploads_missing": "The upload folder is there again",
    "watch_off": "New pictures are found at once again",
    "zones_invalid": "The zones can be used again",
    "neighbours_invalid": "The neighbours can be used again",
}


class Problem(NamedTuple):
    """Something that is wrong now. `subject`: the camera or node that has it, where several can."""

    kind: str
    """A `SystemKind`, or one that health alone knows (`pipeline_down`, `stalled`)."""
    message: str
    subject: str = ""
    camera_id: str | None = None
    severity: Severity | None = None
    """None: that of its kind."""
    since: int = 0
    """Microseconds."""
    at_once: bool = False
    """Begin at the first report."""

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.subject

    def as_dict(self) -> dict[str, Any]:
        """Return it for the API."""
        names = ("kind", "subject", "severity", "camera_id", "message")
        return {name: getattr(self, name) for name in names} | {"since": iso(from_microseconds(self.since))}


class Conditions:
    """Compares what is wrong with the record, and writes what changed."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._checks: dict[tuple[str, str], tuple[int, int]] = {}
        """How many checks in a row reported it (negative: did not), and when the first of them was."""

    def report(
        self, now: int, problems: Iterable[Problem], covers: Callable[[str, str], bool] = lambda kind, subject: True
    ) -> list[SystemMessage]:
        """Take all that is wrong at `now`; return the messages of what began or ended.

        `covers` says of which kinds and subjects the report is complete: others stay as they are.
        """
        wrong, on = {p.key: p for p in problems}, {p.key: p for p in read_conditions(self.record)}
        self._checks = {
            key: self._count(key, key in wrong, now) for key in {*wrong, *on} if key in wrong or covers(*key)
        }
        begun = [
            p._replace(since=self._checks[key][1])
            for key, p in wrong.items()
            if key not in on and (p.at_once or self._checks[key][0] >= ON_CHECKS)
        ]
        ended = [p for key, p in on.items() if self._checks.get(key, (0, now))[0] <= -OFF_CHECKS]
        changed = [(p.message, *key) for key, p in wrong.items() if key in on and p.message != on[key].message and not self._checks[key][0] % REFRESH_CHECKS]  # fmt: skip

        def write() -> list[SystemMessage]:
            self.record.many("UPDATE conditions SET message = ? WHERE kind = ? AND subject = ?", changed)  # no message
            return [self._write(p, "on", now) for p in begun] + [self._write(p, "off", now) for p in ended]

        return self.record.transact(write) if begun or ended or changed else []

    def _count(self, key: tuple[str, str], is_wrong: bool, now: int) -> tuple[int, int]:
        step, (checks, since) = 1 if is_wrong else -1, self._checks.get(key, (0, now))
        return (checks + step, since) if checks * step > 0 else (step, now)

    def _write(self, p: Problem, state: Literal["on", "off"], now: int) -> SystemMessage:
        kind: Any = p.kind
        severity: Severity = p.severity or ("error" if kind in ERRORS else "warning")
        id, revision = self.record.one(
            "INSERT INTO conditions(kind, subject, state, severity, camera_id, message, since, changed_at, revision) VALUES (?,?,?,?,?,?,?,?,1) "
            "ON CONFLICT(kind, subject) DO UPDATE SET state = excluded.state, severity = excluded.severity, camera_id = excluded.camera_id, "
            "message = excluded.message, since = excluded.since, changed_at = excluded.changed_at, revision = revision + 1 RETURNING id, revision",
            kind, p.subject, state, severity, p.camera_id, p.message, p.since, now,
        )  # fmt: skip
        recovered = f"{p.subject}: {RECOVERED[kind].lower()}" if p.subject else RECOVERED[kind]
        says, times = p.message if state == "on" else recovered, (from_microseconds(p.since), from_microseconds(now))
        make = lambda seq: SystemMessage(seq, kind, state, severity, p.camera_id, p.subject, says, *times)  # noqa: E731
        return append(self.record, "system", id, revision, now, make)


def read_conditions(record: Record) -> list[Problem]:
    """Read what is wrong, the worst first, the oldest first among equals."""
    rows = record.rows("SELECT kind, message, subject, camera_id, severity, since FROM conditions WHERE state = 'on' ORDER BY since, id")  # fmt: skip
    return worst_first([Problem(*row) for row in rows])


def worst_first(found: list[Problem]) -> list[Problem]:
    return sorted(found, key=lambda problem: SEVERITIES.index(problem.severity or "warning"))


def read_messages(
    record: Record, limit: int, before: tuple[int, int] = (NEVER, NEVER)
) -> list[tuple[int, int, dict[str, Any]]]:
    """Read the system messages of the feed as they were published, newest first, as (when, number, message), from behind `before`."""
    sql = "SELECT at, seq, payload FROM feed WHERE kind = 'system' AND (+at, +seq) < (?, ?) ORDER BY +at DESC, +seq DESC LIMIT ? OFFSET ?"
    # `+`: they are few, and found by the index of kinds
    rows = merge_pages(record, lambda cell, *page: cell.execute(sql, *before, *page), limit)
    return [(at, seq, json.loads(payload)) for at, seq, payload in rows]


def delete_old(record: Record, before: int) -> None:
    """Delete the system messages from before this time, and the conditions that ended before it."""

    def write() -> None:
        record.execute("DELETE FROM feed WHERE kind = 'system' AND at < ?", before)
        record.execute("DELETE FROM conditions WHERE state = 'off' AND changed_at < ?", before)

    if record.one("SELECT 1 FROM feed WHERE kind = 'system' AND at < ? LIMIT 1", before):
        record.transact(write)
