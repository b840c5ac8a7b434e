"""Promise: what is normal for a camera is learned from the days on which it was watched, and a verdict that stands keeps it."""

import sqlite3
from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearthwatch.record.baselines import Baseline, BaselineRow, read_baseline, version_at, write_baselines
from hearthwatch.record.batching import Batching
from hearthwatch.record.cameras import remove_camera
from hearthwatch.record.retention.visits import build_baselines, watched_quarters
from hearthwatch.record.surroundings import read_surroundings
from hearthwatch.schemas.case import Signature, Term
from hearthwatch.schemas.items import to_microseconds
from hearthwatch.sinks.retention import Retention
from hearthwatch.stages.rules import RulesJudge
from tests.support.context import context
from tests.support.events import Cameras

S = 1_000_000
DAY = 86_400 * S
BERLIN = ZoneInfo("Europe/Berlin")
FIRST = datetime(2026, 9, 7)  # a Monday


class Yard:
    """A record of one camera: when it was watched, and visits to it, by day and hour of its clock."""

    def __init__(self, path, zone=UTC):
        self.cameras, self.zone, self.visits = Cameras(path), zone, 0
        self.record = self.cameras.record
        self.cameras.see((FIRST - timedelta(days=400)).replace(tzinfo=UTC).timestamp()).close()
        self.record.execute("PRAGMA synchronous = OFF")
        self.clear()

    def clear(self):
        for table in ("events", "pictures", "baselines"):
            self.record.execute(f"DELETE FROM {table}")
        return self

    def at(self, day, hour=12.0):
        moment = FIRST.replace(tzinfo=self.zone) + timedelta(days=day, hours=hour)
        return to_microseconds(moment.astimezone(UTC))

    def watch(self, days, hours=range(24)):
        """With a picture in each quarter of these hours."""
        quarters = {self.at(day, hour) // (900 * S) + n for day in days for hour in hours for n in range(4)}
        rows = [("front_door", quarter, 1) for quarter in quarters]
        insert = "INSERT OR IGNORE INTO pictures VALUES (?, ?, ?)"
        self.record.transact(lambda: self.record.many(insert, rows))
        return self

    def visit(self, *days, hour, minutes=5.0, kind="person", is_one=True):
        """A visit on each day: events of 90 s, all of one incident, or each one by itself."""
        rows = []
        for day in days:
            first = None
            for n in range(max(1, round(minutes / 1.5))):
                self.visits += 1
                first = first if first and is_one else 1000 + self.visits
                begin = self.at(day, hour) + n * 90 * S
                rows.append((1000 + self.visits, str(self.visits), begin, begin + 90 * S, kind, first))
        insert = (
            "INSERT INTO events(id, batch_id, camera_id, started_at, last_at, frame_count, status, objects, close_at, incident_id) "
            "VALUES (?, ?, 'front_door', ?, ?, 1, 'closed', json_object(?, 1), 0, ?)"
        )
        self.record.transact(lambda: self.record.many(insert, rows))
        return self

    def learn(self, day, hour=0.5):
        at = self.at(day, hour)
        assert build_baselines(self.record, at, self.zone) > 0
        return read_baseline(self.record, "front_door", at + DAY)  # tests have visits behind `at`, too

    def rows(self):
        return self.record.rows(f"SELECT {', '.join(BaselineRow._fields)} FROM baselines ORDER BY 1, 2, 3, 4, 5")


@pytest.fixture
def yard(tmp_path):
    yard = Yard(tmp_path / "r.db")
    yield yard
    yard.record.close()


# -- what is learned


@pytest.mark.parametrize("is_one", [True, False])
def test_a_visit_of_half_an_hour_every_night_counts_once_a_night(yard, is_one):
    learned = yard.watch(range(28)).visit(*range(28), hour=2.25, minutes=30, is_one=is_one).learn(28)
    words = "a person is here at this hour on 28 of 28 watched nights"
    assert learned.usual("", "person", 2, True) == learned.usual("", "person", 2, False) == (28, 28, words, -18)
    (minutes, watched) = yard.record.one("SELECT sum(minutes), sum(watched) FROM baselines WHERE hour = 2 AND kind = 'person' AND camera_id <> ''")  # fmt: skip
    assert minutes / watched == pytest.approx(30)


def test_one_night_with_twenty_visits_is_no_habit(yard):
    learned = yard.watch(range(28)).visit(20, hour=2.25, minutes=30, is_one=False).learn(28)
    usual = learned.usual("", "person", 2, True)
    assert (usual.visits, usual.of_days) == (1, 28) and usual.points > 0


def test_the_words_say_on_how_many_of_the_watched_nights(yard):
    learned = yard.watch(range(28)).visit(*range(4, 28), hour=23, kind="elephant").learn(28)
    usual = learned.usual("", "elephant", 23, True)
    assert usual.words == "an elephant is here at this hour on 24 of 28 watched nights" and usual.points <= -16


@pytest.mark.parametrize("minute", [58, 61])
def test_two_minutes_to_three_and_one_past_are_alike(yard, minute):
    learned = yard.watch(range(14)).visit(*range(0, 14, 2), hour=2 + minute / 60).learn(14)
    two, three = (learned.usual("", "person", hour, True) for hour in (2, 3))
    assert two.visits == three.visits == 7 and abs(two.points - three.points) <= 1 and two.points < 0
    assert learned.usual("", "person", 6, True).visits == 0


def test_a_visit_over_midnight_is_of_both_hours(yard):
    learned = yard.watch(range(14)).visit(*range(13), hour=23.9, minutes=15).learn(14)
    assert [learned.usual("", "person", hour, True).visits for hour in (22, 23, 0, 1)] == [0, 13, 13, 0]


def test_a_week_offline_is_not_watched(yard):
    yard.watch([*range(14), *range(21, 35)]).visit(*range(14), *range(21, 35), hour=10)
    usual = yard.learn(35).usual("", "person", 10, True)
    assert usual.words == "a person is here at this hour on 28 of 28 watched days" and usual.points == -18


def test_a_camera_that_uploads_only_what_moves_is_watched_while_nothing_does(yard):
    yard.watch([*range(10), *range(12, 28)], hours=(7, 8, 13, 18))  # and is off for two days
    usual = yard.learn(28).usual("", "person", 3, True)
    assert 24 <= usual.of_days <= 26 and usual.points > 6


@given(st.lists(st.integers(0, 2000), unique=True, max_size=60))
def test_a_camera_was_watched_in_every_quarter_with_a_picture_and_never_outside(quarters):
    watched = list(watched_quarters(sorted(quarters)))
    assert set(quarters) <= set(watched) and watched == sorted(set(watched))
    assert not watched or (min(quarters) <= watched[0] and watched[-1] <= max(quarters))


def test_a_new_camera_says_nothing_until_it_was_watched_for_seven_days(yard):
    yard.watch(range(9)).visit(*range(9), hour=12)
    assert yard.learn(6).usual("", "person", 12, True) is None
    assert yard.learn(7).usual("", "person", 12, True).of_days == 7


@pytest.mark.parametrize("workday", [True, False])
def test_the_first_visit_after_forty_quiet_days_is_rare(yard, workday):
    usual = yard.watch(range(40)).learn(40).usual("", "person", 14, workday)
    assert usual == (0, 40, "no person here at this hour in 40 watched days", 12)


def test_an_hour_that_is_not_watched_has_nothing_to_say(yard):
    learned = yard.watch(range(28), hours=range(8, 18)).visit(*range(28), hour=12).learn(28)
    assert learned.usual("", "person", 3, True) is None
    assert learned.usual("", "person", 12, True).points == -18


def test_workdays_and_days_off_are_told_apart_but_learn_from_each_other(yard):
    workdays = [day for day in range(28) if day % 7 < 5]
    learned = yard.watch(range(28)).visit(*workdays, hour=11).learn(28)
    points = {workday: learned.usual("", "person", 11, workday).points for workday in (True, False)}
    assert points[True] == -18 < points[False]


def test_where_an_object_stands_decides_its_place(yard):
    yard.record.execute(
        "UPDATE cameras SET zones = ?",
        '[{"name": "yard", "kind": "private", "points": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}, '
        '{"name": "bush", "kind": "ignore", "points": [[0.9, 0.9], [1, 0.9], [1, 1]]}]',
    )  # fmt: skip
    yard.watch(range(28))
    for day in range(28):
        yard.cameras.see(yard.at(day, 10) / S, labels=["person"])  # at the left
        yard.cameras.see(yard.at(day, 15) / S, labels=["dog"] * 40)  # all over the picture
        yard.cameras.close()
    learned = yard.learn(28)
    assert learned.usual("private", "person", 10, True).visits == learned.usual("", "person", 10, True).visits == 28
    assert learned.usual("private", "person", 15, True).words == "no person here at this hour in 28 watched days"
    assert learned.usual("ignore", "person", 10, True) is None is learned.usual("public", "person", 10, True)


@pytest.mark.parametrize("day", [48, 202])  # clocks are set back on 25 October, and forward on 28 March
def test_days_on_which_the_clock_changes_are_days(tmp_path, day):
    yard = Yard(tmp_path / "r.db", BERLIN)
    days = range(day - 20, day + 8)
    learned = yard.watch(days).visit(*days, hour=3.5).learn(day + 8)
    assert {learned.usual("", "person", 3, workday)[:2] for workday in (True, False)} == {(28, 28)}
    assert learned.usual("", "person", 2, True).of_days == 28
    yard.record.close()


VISITS = st.lists(st.tuples(st.integers(0, 13), st.floats(0, 23.9), st.sampled_from(["person", "dog"])), max_size=8)


@settings(max_examples=25)
@given(VISITS, st.randoms())
def test_what_is_learned_depends_on_no_order(visits, rnd):
    yard = Yard(":memory:")
    out = []
    for _ in range(2):
        yard.clear().watch(range(14))
        for day, hour, kind in visits:
            yard.visit(day, hour=hour, kind=kind)
        yard.learn(14)
        out.append(yard.rows())
        rnd.shuffle(visits)
    yard.record.close()
    assert out[0] == out[1]


# -- what it is worth

DAYS = st.integers(0, 20)
HOURS = st.dictionaries(st.tuples(st.integers(0, 23), st.booleans()), st.tuples(DAYS, DAYS), min_size=1)


def rows(hours):
    """Of watched days, and those of them with a person, by hour and workday."""
    for key, (days, seen) in hours.items():
        yield BaselineRow("front_door", "", "", *key, days * 0.8, days)
        yield BaselineRow("front_door", "person", "", *key, days * 0.8, days, min(days, seen) * 0.8, min(days, seen))


@given(HOURS, st.floats(0, 3), st.data(), st.randoms())
def test_the_term_is_bounded_and_more_visits_never_raise_it(hours, everywhere, data, rnd):
    key = data.draw(st.sampled_from(sorted(hours)))
    more = hours | {other: (days, seen + data.draw(DAYS)) for other, (days, seen) in hours.items()}
    found = []
    for each, mean in ((hours, everywhere), (more, everywhere), (more, everywhere + 1)):
        shuffled = list(rows(each))
        usual = Baseline(shuffled, {"person": mean}).usual("", "person", *key)
        rnd.shuffle(shuffled)
        again = Baseline(shuffled, {"person": mean}).usual("", "person", *key)
        assert again == usual
        if usual is not None:
            assert -18 <= usual.points <= 12 and usual.of_days >= 7
            found.append(usual.points)
    assert found == sorted(found, reverse=True) and len(found) in (0, 3)


def test_neither_rare_nor_usual_is_no_term(yard):
    yard.watch(range(28)).visit(3, 11, 19, 26, hour=12.5).learn(28)
    yard.cameras.see(yard.at(29) / S)
    ask = read_surroundings(yard.record, yard.record.one("SELECT max(id) FROM frames")[0]).normal
    assert ask(Signature("front_door", None, "person", False, 12, True)) is None
    assert ask(Signature("front_door", None, "person", False, 3, True)) == Term(
        12, "no person here at this hour in 28 watched nights"
    )


# -- versions


def judged(yard):
    """All events, judged by the rules after a restart."""
    writer = Batching(yard.record, partial(RulesJudge, zone=UTC)).writer
    return [(id, writer._verdict(writer.facts(id))) for (id,) in yard.record.rows("SELECT id FROM events ORDER BY id")]


def test_a_version_changes_no_verdict_on_an_event_that_had_begun(yard):
    yard.watch(range(28)).learn(28)
    yard.record.execute("DELETE FROM events")
    yard.cameras.see(*(yard.at(28, hour) / S for hour in (2, 9, 15)))
    before = judged(yard)
    assert all("in 28 watched" in verdict.reasoning for _, verdict in before)
    rows = [BaselineRow("front_door", kind, "", hour, workday, 20, 20, 20 if kind else 0, 20 if kind else 0) for kind in ("", "person") for hour in range(24) for workday in (True, False)]  # fmt: skip
    assert write_baselines(yard.record, yard.at(28, 1), rows) > yard.at(28, 15)  # later than the last that began
    assert judged(yard) == before
    yard.cameras.see(yard.at(28, 20) / S)
    assert "a person is here at this hour on 40 of 40 watched days −18" in judged(yard)[-1][1].reasoning


def test_a_version_a_day_and_an_event_is_judged_by_that_which_was_there_before_it(yard):
    yard.watch(range(10)).learn(8)
    assert build_baselines(yard.record, yard.at(8, 23), yard.zone) == 0
    yard.cameras.see(yard.at(8, 23.5) / S)
    yard.learn(9)
    versions = [yard.at(8, 0.5), yard.at(9, 0.5)]
    assert [version_at(yard.record, yard.at(8, hour)) for hour in (0, 0.5, 23, 26)] == [None, versions[0], *versions]


def test_the_current_day_is_not_in_its_own_baseline(yard):
    learned = yard.watch(range(15)).visit(14, hour=2).learn(14, hour=20)
    assert learned.usual("", "person", 2, True) == (0, 14, "no person here at this hour in 14 watched nights", 10)


def test_a_build_that_is_killed_leaves_the_version_before_it(yard):
    yard.watch(range(30)).visit(*range(28), hour=10).learn(28)
    before = yard.rows()
    for step in (1, 20, len(before) - 1):
        yard.record.execute(
            f"CREATE TEMP TRIGGER dies AFTER INSERT ON main.baselines WHEN (SELECT count(*) FROM baselines) = {len(before) + step} "
            "BEGIN SELECT RAISE(ABORT, 'killed'); END"
        )
        with pytest.raises(sqlite3.IntegrityError, match="killed"):
            yard.learn(29)
        assert yard.rows() == before and version_at(yard.record, yard.at(40)) == yard.at(28, 0.5)
        yard.record.execute("DROP TRIGGER dies")
    assert yard.learn(29).usual("", "person", 10, True).of_days == 29


def test_a_build_that_is_to_stop_writes_nothing(yard):
    yard.watch(range(28))
    assert build_baselines(yard.record, yard.at(28), yard.zone, lambda: True) == 0 == len(yard.rows())


def test_versions_by_which_no_event_was_judged_are_deleted_and_all_with_their_camera(yard, tmp_path):
    yard.watch(range(20))
    for day in range(8, 14):
        yard.learn(day)
        if day in (9, 11):
            yard.cameras.see(yard.at(day, 14) / S)
    kept = [yard.at(day, 0.5) for day in (9, 11, 13)]
    assert [at for (at,) in yard.record.rows("SELECT DISTINCT as_of FROM baselines ORDER BY 1")] == kept
    assert remove_camera(yard.record, "front_door", tmp_path)
    assert yard.record.rows("SELECT DISTINCT camera_id FROM baselines") == [("",)]


def test_the_node_retention_learns_once_a_day(yard, tmp_path):
    yard.watch(range(28)).visit(*range(28), hour=10)
    worker = Retention(days=365).build(context(tmp_path, "r.db", zone=UTC))
    for hour in (1, 2):
        worker.run(datetime.fromtimestamp(yard.at(28, hour) / S, UTC), lambda: False)
    worker.finish(datetime.now(UTC), lambda: True)
    assert yard.record.rows("SELECT DISTINCT as_of FROM baselines") == [(yard.at(28, 1),)]
