"""Keep what is wrong with the pipeline: one row for each kind and subject, `on` or `off`, and a message for each change.

The monitor reports everything that is wrong now, every few seconds; what it reports for some checks in a row begins, and
what it does not report for some ends. So a fault that flaps makes no noise, and each message that something began is
followed by one that it ended, also after a kill: the state is in the record, and changes with its message in one transaction.

Other parts of the pipeline report through `add_fact`: the monitor reads facts with each check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, get_args

from hearthwatch.record import Record
from hearthwatch.record.feed import append
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.schemas.messages import Severity, SystemKind, SystemMessage

ON_CHECKS = 3  # in a row before it begins: one picture that waits is no fault
OFF_CHECKS = 5  # in a row before it ends
REFRESH_CHECKS = 5  # the text of what stays wrong is brought up to date this often

ERRORS: frozenset[SystemKind] = frozenset(
    {
        "camera_silent", "detector_down", "disk_low", "notifier_down", "quarantine", "record_locked", "record_restored",
        "uploads_missing",
    }
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
}

Key = tuple[str, str]
"""Kind and subject."""


class Problem(NamedTuple):
    """Something that is wrong now. `subject`: the camera or node that has it, where several can."""

    kind: SystemKind
    message: str
    subject: str = ""
    camera_id: str | None = None
    severity: Severity | None = None
    """None: that of its kind."""
    at_once: bool = False
    """Begin at the first report."""

    @property
    def key(self) -> Key:
        return self.kind, self.subject


class Count(NamedTuple):
    """How many checks in a row reported it (negative: did not), and when the first of them was."""

    checks: int
    since: int


class Change(NamedTuple):
    """A condition that begins (`problem` is set) or ends."""

    key: Key
    problem: Problem | None
    since: int


def count_checks(
    counts: Mapping[Key, Count], problems: Mapping[Key, Problem], on: Iterable[Key], now: int
) -> dict[Key, Count]:
    """Count this check: of what is reported, and of what is on and is not."""
    out = {}
    for key in {*problems, *on}:
        step, before = (1 if key in problems else -1), counts.get(key, Count(0, now))
        same = before.checks * step > 0
        out[key] = Count(before.checks + step, before.since) if same else Count(step, now)
    return out


def find_changes(counts: Mapping[Key, Count], problems: Mapping[Key, Problem], on: Mapping[Key, int]) -> list[Change]:
    """Return what begins and what ends; `on` holds since when each condition is on."""
    begins = [
        Change(key, problem, counts[key].since)
        for key, problem in problems.items()
        if key not in on and (problem.at_once or counts[key].checks >= ON_CHECKS)
    ]
    ends = [
        Change(key, None, since) for key, since in on.items() if key in counts and counts[key].checks <= -OFF_CHECKS
    ]
    return begins + ends


class Conditions:
    """Compares what is wrong with the record, and writes what changed."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._counts: dict[Key, Count] = {}

    def report(
        self, now: int, problems: Iterable[Problem], covers: Callable[[str, str], bool] = lambda kind, subject: True
    ) -> list[SystemMessage]:
        """Take all that is wrong at `now`; return the messages of what began or ended.

        `covers` says of which kinds and subjects the report is complete: others stay as they are.
        """
        wrong = {problem.key: problem for problem in problems}
        rows = self.record.rows("SELECT kind, subject, since, message FROM conditions WHERE state = 'on'")
        on = {(kind, subject): since for kind, subject, since, _ in rows}
        mine = [key for key in on if key in wrong or covers(*key)]
        self._counts = count_checks(self._counts, wrong, mine, now)
        changes = find_changes(self._counts, wrong, on)
        messages = self.record.transact(lambda: [self._write(c, now) for c in changes]) if changes else []
        self._refresh(wrong, {(kind, subject): message for kind, subject, _, message in rows})
        return messages

    def _write(self, change: Change, now: int) -> SystemMessage:
        (kind, subject), problem = change.key, change.problem
        if problem:
            severity = problem.severity or ("error" if problem.kind in ERRORS else "warning")
            row = self.record.one(
                "INSERT INTO conditions(kind, subject, state, severity, camera_id, message, since, changed_at, revision) "
                "VALUES (?,?,'on',?,?,?,?,?,1) ON CONFLICT(kind, subject) DO UPDATE SET state = 'on', "
                "severity = excluded.severity, camera_id = excluded.camera_id, message = excluded.message, "
                "since = excluded.since, changed_at = excluded.changed_at, revision = revision + 1 "
                "RETURNING id, revision, severity, camera_id, message",
                kind, subject, severity, problem.camera_id, problem.message, change.since, now,
            )  # fmt: skip
        else:
            row = self.record.one(
                "UPDATE conditions SET state = 'off', changed_at = ?, revision = revision + 1 WHERE kind = ? AND subject = ? "
                "RETURNING id, revision, severity, camera_id, message", now, kind, subject,
            )  # fmt: skip
        return self._publish(change, now, *row)

    def _publish(
        self, change: Change, now: int, id: int, revision: int, severity: Severity, camera: str | None, was: str
    ) -> SystemMessage:
        kind: Any = change.key[0]
        subject = change.key[1]
        ended = f"{subject}: {RECOVERED[kind].lower()}" if subject else RECOVERED[kind]
        return append(
            self.record, "system", id, revision, now,
            lambda seq: SystemMessage(
                seq, kind, "on" if change.problem else "off", severity, camera, subject, was if change.problem else ended,
                from_microseconds(change.since), from_microseconds(now),
            ),
        )  # fmt: skip

    def _refresh(self, wrong: Mapping[Key, Problem], stored: Mapping[Key, str]) -> None:
        """Bring the texts of what stays wrong up to date, now and then; that is no message."""
        due = [
            (wrong[key].message, *key)
            for key, message in stored.items()
            if key in wrong and wrong[key].message != message and self._counts[key].checks % REFRESH_CHECKS == 0
        ]
        if due:
            sql = "UPDATE conditions SET message = ? WHERE kind = ? AND subject = ?"
            self.record.transact(lambda: self.record.many(sql, due))


# -- facts of other parts


def add_fact(record: Record, problem: Problem, until: int | None = None) -> None:
    """Store that something is wrong, until `remove_fact` or `until` (microseconds); inside a transaction or not."""
    value = json.dumps({**problem._asdict(), "until": until})
    record.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", _name(*problem.key), value)


def remove_fact(record: Record, kind: SystemKind, subject: str = "") -> None:
    """Remove a fact; harmless if there is none."""
    record.execute("DELETE FROM meta WHERE key = ?", _name(kind, subject))


def read_facts(record: Record, now: int) -> list[Problem]:
    """Read the facts that hold at `now`."""
    out = []
    for (value,) in record.rows("SELECT value FROM meta WHERE key >= 'fact.' AND key < 'fact/'"):
        fact = json.loads(value)
        until = fact.pop("until")
        if (until is None or now < until) and fact["kind"] in get_args(SystemKind):
            out.append(Problem(**fact))
    return out


def _name(kind: str, subject: str) -> str:
    return f"fact.{kind}.{subject}"


# -- retention


def delete_old(record: Record, before: int) -> None:
    """Delete the system messages from before this time, and the conditions that ended before it."""

    def write() -> None:
        record.execute("DELETE FROM feed WHERE kind = 'system' AND at < ?", before)
        record.execute("DELETE FROM conditions WHERE state = 'off' AND changed_at < ?", before)

    if record.one("SELECT 1 FROM feed WHERE kind = 'system' AND at < ? LIMIT 1", before):
        record.transact(write)
