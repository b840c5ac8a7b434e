"""Promise: what is wrong begins once and ends once, whatever flaps and whatever is killed, and each change is a message."""

from hypothesis import given, settings
from hypothesis import strategies as st

from hearthwatch.record import Record
from hearthwatch.record.conditions import (
    ERRORS,
    OFF_CHECKS,
    ON_CHECKS,
    RECOVERED,
    Conditions,
    Problem,
    delete_old,
)
from hearthwatch.record.feed import Feed
from hearthwatch.schemas import SystemMessage
from hearthwatch.schemas.messages import SystemKind

S = 1_000_000
DISK, PORCH, YARD = (
    Problem("disk_low", "12 MB free"),
    Problem("camera_silent", "porch is silent", "porch", "porch"),
    Problem("camera_silent", "yard is silent", "yard", "yard"),
)


def test_each_kind_has_its_words_for_a_recovery():
    assert set(SystemKind.__args__) == set(RECOVERED) and set(RECOVERED) > ERRORS


def test_a_fault_begins_after_some_checks_and_ends_after_some_more(tmp_path):
    record = Record(tmp_path / "r.db")
    conditions, feed, at = Conditions(record), Feed(record), 100 * S
    for n in range(ON_CHECKS):
        assert record.rows("SELECT * FROM conditions") == []
        sent = conditions.report(at + n * S, [DISK])
    (began,) = sent
    assert (began.type, began.state, began.severity, began.message) == ("system.disk_low", "on", "error", "12 MB free")
    assert began.since.timestamp() == 100 and began.at.timestamp() == 100 + ON_CHECKS - 1
    for n in range(OFF_CHECKS):
        assert record.rows("SELECT state FROM conditions") == [("on",)]
        sent = conditions.report(at + (10 + n) * S, [])
    (ended,) = sent
    assert (ended.state, ended.since) == ("off", began.since)
    assert feed.after(0, 9) == [began, ended]
    assert record.rows("SELECT kind, subject_id, revision, type, event_id FROM feed") == [
        ("system", 1, 1, "system.disk_low", None),
        ("system", 1, 2, "system.disk_low", None),
    ]
    assert set(ended.as_dict()) > {
        "schema",
        "seq",
        "type",
        "kind",
        "state",
        "severity",
        "camera_id",
        "message",
        "since",
    }


def test_what_flaps_makes_no_message_and_what_must_not_wait_does_not(tmp_path):
    conditions = Conditions(Record(tmp_path / "r.db"))
    for n in range(20):
        assert conditions.report(n * S, [DISK] if n % ON_CHECKS else []) == []
    (sent,) = conditions.report(30 * S, [DISK._replace(at_once=True)])
    assert sent.state == "on"


def test_a_report_leaves_alone_what_it_does_not_cover(tmp_path):
    record = Record(tmp_path / "r.db")
    for n in range(ON_CHECKS):
        Conditions(record).report(n * S, [DISK._replace(at_once=True), PORCH._replace(at_once=True)])
    other = Conditions(record)
    sent = [m for n in range(OFF_CHECKS) for m in other.report(n * S, [], lambda kind, subject: subject == "porch")]
    assert [(m.kind, m.state) for m in sent] == [("camera_silent", "off")]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sets(st.sampled_from([DISK, PORCH, YARD])), st.integers(1, 7), st.booleans()), max_size=8))
def test_on_and_off_alternate_and_all_that_is_gone_has_ended(tmp_path_factory, story):
    record = Record(tmp_path_factory.mktemp("r") / "r.db")
    conditions, at, sent = Conditions(record), 0, []
    for wrong, checks, restarted in [*story, (set(), OFF_CHECKS, False)]:
        conditions = Conditions(record) if restarted else conditions
        for _ in range(checks):
            at += 2 * S
            sent += conditions.report(at, wrong)
    assert Feed(record).after(0, 1000) == sent
    for problem in (DISK, PORCH, YARD):
        mine = [m for m in sent if (m.kind, m.subject) == problem.key]
        assert [m.state for m in mine] == ["on", "off"] * (len(mine) // 2), "each one that began has ended"
        rows = record.rows(
            "SELECT revision FROM feed WHERE subject_id = (SELECT id FROM conditions WHERE kind = ? AND subject = ?) "
            "AND kind = 'system' ORDER BY seq", *problem.key,
        )  # fmt: skip
        assert [revision for (revision,) in rows] == list(range(1, len(mine) + 1))
        assert all(m.since <= m.at for m in mine)
    record.close()


def test_a_kill_at_any_commit_loses_no_message_and_makes_none_twice(tmp_path):
    """Die instead of each commit in turn; the row and its message are there together or not at all."""

    class DiedError(Exception):
        pass

    class Dying(Record):
        left = 99

        def _transact_once(self, work):
            def and_die():
                result = work()
                if self.left == 0:
                    raise DiedError
                return result

            result = super()._transact_once(and_die)
            self.left -= 1
            return result

    for commit in range(5):
        path = tmp_path / f"{commit}.db"
        record = Dying(path)
        record.left = commit
        story = [[DISK, PORCH]] * ON_CHECKS + [[PORCH]] * OFF_CHECKS + [[]] * OFF_CHECKS
        conditions = Conditions(record)
        for n, wrong in enumerate(story):
            try:
                conditions.report(n * S, wrong)
            except DiedError:
                record.close()
                record = Record(path)
                conditions = Conditions(record)
        for n in range(2 * OFF_CHECKS):
            conditions.report((100 + n) * S, [])
        messages = [(m.kind, m.state) for m in Feed(record).after(0, 99)]
        for kind in ("disk_low", "camera_silent"):
            states = [state for k, state in messages if k == kind]
            assert states == ["on", "off"] * (len(states) // 2), (commit, messages)
        assert record.rows("SELECT state FROM conditions WHERE state = 'on'") == []
        record.close()


def test_retention_takes_old_messages_and_what_has_ended(tmp_path):
    record = Record(tmp_path / "r.db")
    conditions = Conditions(record)
    conditions.report(S, [DISK._replace(at_once=True), PORCH._replace(at_once=True)])
    for n in range(OFF_CHECKS):
        conditions.report((2 + n) * S, [PORCH])
    last = Feed(record).last()
    delete_old(record, 60 * S)
    assert record.rows("SELECT kind, state FROM conditions") == [("camera_silent", "on")]
    assert Feed(record).after(0, 9) == [] and Feed(record).last() == last
    (again,) = conditions.report(99 * S, [DISK._replace(at_once=True)])
    assert isinstance(again, SystemMessage) and again.seq == last + 1


def test_without_a_count_nothing_changes(tmp_path):
    conditions = Conditions(Record(tmp_path / "r.db"))
    conditions.report(S, [DISK._replace(at_once=True)])
    assert [conditions.report(n * S, [], lambda *key: False) for n in range(OFF_CHECKS)] == [[]] * OFF_CHECKS
