"""Promise: every closed event is judged once per revision, or visibly not; whatever the server, the process or a late frame does."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.testing import run_main

import hearthwatch.stages.llm_client as client_module
import hearthwatch.stages.llm_queue as analyst_module
from hearthwatch.flows.graph import Graph
from hearthwatch.record.baselines import BaselineRow, write_baselines
from hearthwatch.record.feed import Feed
from hearthwatch.record.verdicts import FAR_BEHIND, FailedAttempt, Verdicts
from hearthwatch.schemas import Source, Verdict
from hearthwatch.schemas.case import Case
from hearthwatch.schemas.testing import check_component, check_sink
from hearthwatch.sinks.sqlite import Sqlite
from hearthwatch.sources.pending import PendingEvents
from hearthwatch.stages.analyze import Nemotron
from hearthwatch.stages.llm_queue import LlmQueue
from tests.support.context import context
from tests.support.events import Cameras
from tests.support.llm_server import Standin, images
from tests.support.pipeline import Pipeline, name

DAY = 86400
T = 1_790_000_000  # a Monday in September 2026, 14:13 UTC


@pytest.fixture
def cameras(tmp_path):
    cameras = Cameras(tmp_path / "r.db")
    yield cameras
    cameras.record.close()


@pytest.fixture
def verdicts(cameras):
    return Verdicts(cameras.record, UTC)


def verdict(score=40, *evidence):
    return Verdict(score, "Somebody", "Because.", evidence, "nemotron", "nemotron", "v1", 12.5)


def missed(case, final=False, wait_seconds=0.0):
    return FailedAttempt("analyze", "no JSON", case.event.id, case.event.revision, final, wait_seconds)


# -- the queue and the verdicts


def test_an_event_waits_from_its_close_to_its_verdict(cameras, verdicts):
    cameras.see(T)
    assert not verdicts.due(8)  # open
    cameras.close()
    (case,) = verdicts.due(8)
    assert cameras.events() == [("closed", "pending", "rules", 25, 0, 2)]
    (judged,) = verdicts.write([case.with_verdict(verdict(70, 512))])
    assert cameras.events() == [("closed", "done", "nemotron", 70, 1, 3)]
    assert not verdicts.due(8)
    assert (judged.type, judged.revision, judged.verdict.latency_ms) == ("event.analyzed", 3, 12.5)
    assert cameras.feed() == [(1, 1, "event.opened"), (1, 2, "event.closed"), (1, 3, "event.analyzed")]
    message = Feed(cameras.record).after(2, 10)[0]
    assert (
        message.as_dict() | {"seq": 3, "risk_level": "high", "analyzer": "nemotron", "analysis_status": "done"}
        == message.as_dict()
    )
    assert message.event.verdict.model == "nemotron"


def test_of_two_verdicts_for_one_revision_the_first_counts(cameras, verdicts):
    (case,) = verdicts.due(8) or Verdicts(cameras.see(T).close().record).due(8)
    assert len(verdicts.write([case.with_verdict(verdict(70)), case.with_verdict(verdict(10))])) == 1
    assert not verdicts.write([case.with_verdict(verdict(10)), missed(case, final=True)])
    assert cameras.events() == [("closed", "done", "nemotron", 70, 1, 3)]


def test_a_late_frame_makes_a_verdict_too_late_and_asks_again(cameras, verdicts):
    (case,) = Verdicts(cameras.see(T).close().record).due(8)
    cameras.see(T + 10)  # joins; it is open again, at the same revision
    assert not verdicts.write([case.with_verdict(verdict(70)), missed(case)])
    assert cameras.events()[0][:3] == ("open", "pending", "rules")
    cameras.close()
    assert not verdicts.write([case.with_verdict(verdict(70))])
    (again,) = verdicts.due(8)
    assert (again.event.revision, again.facts.frame_count, again.attempts) == (3, 2, 0)
    assert len(verdicts.write([again.with_verdict(verdict(50))])) == 1
    assert cameras.events() == [("closed", "done", "nemotron", 50, 1, 4)]


def test_a_judged_event_keeps_its_verdict_until_a_late_frame_brings_the_next(cameras, verdicts):
    (case,) = Verdicts(cameras.see(T).close().record).due(8)
    verdicts.write([case.with_verdict(verdict(70))])
    cameras.see(T + 10).close()
    assert cameras.events() == [("closed", "pending", "nemotron", 70, 0, 4)]


def test_attempts_are_counted_in_the_record_and_end_visibly(cameras, verdicts):
    cameras.see(T).close()
    for attempt in range(3):
        (case,) = verdicts.due(8)
        assert case.attempts == attempt
        verdicts.write([missed(case)])
    (case,) = verdicts.due(8)
    (failed,) = verdicts.write([missed(case, final=True)])
    assert (failed.type, failed.verdict.analyzer, failed.verdict.risk_score) == ("event.failed", "rules", 25)
    assert cameras.events() == [("closed", "failed", "rules", 25, 4, 3)]
    assert cameras.feed()[-1] == (1, 3, "event.failed") and not verdicts.due(8)


def test_an_event_is_asked_about_again_only_when_its_pause_is_over(cameras, verdicts):
    (case,) = Verdicts(cameras.see(T).close().record).due(8)
    verdicts.write([missed(case, wait_seconds=3600)])
    assert not verdicts.due(8) and verdicts.waiting() == 1
    cameras.record.execute("UPDATE events SET retry_at = retry_at + 7200 * 1000000")  # the clock is set back by 2 h
    assert [again.event.id for again in verdicts.due(8)] == [case.event.id]


@pytest.mark.parametrize(("score", "reviewed"), [(70, 0), (30, 0), (29, 1), (0, 1)])
def test_a_reviewed_event_comes_back_only_if_its_level_rises(cameras, verdicts, score, reviewed):
    (case,) = Verdicts(cameras.see(T).close().record).due(8)  # the rules: 25, low
    cameras.record.execute("UPDATE events SET reviewed = 1")
    verdicts.write([case.with_verdict(verdict(score))])
    assert cameras.events("reviewed") == [(reviewed,)]


def test_the_oldest_is_judged_first_and_the_newest_when_far_behind(cameras, verdicts):
    cameras.see(*(T + 100 * n for n in range(FAR_BEHIND))).close()
    first = [case.event.id for case in verdicts.due(3)]
    assert first == [1, 2, 3] and [case.event.id for case in verdicts.due(2, taken=first)] == [4, 5]
    cameras.see(T - 5000).close()  # an old picture, found last
    assert [case.event.id for case in verdicts.due(2)] == [FAR_BEHIND, FAR_BEHIND - 1]


def test_a_case_knows_what_is_usual_for_this_camera_at_this_hour(cameras, verdicts):
    rows = [("front_door", kind, "", 14, True, 20.0, 28) for kind in ("", "person", "dog")]
    rows = [BaselineRow(*row, *seen) for row, seen in zip(rows, [(), (18.0, 24), (1.0, 2)], strict=True)]
    write_baselines(cameras.record, (T - DAY) * 1_000_000, rows)
    cameras.see(T, labels=("dog", "person", "dog")).see(T + DAY, labels=("dog",)).see(T, camera="Shed").close()
    words = [case.usual and case.usual.words for case in verdicts.closed()]
    assert sorted(map(str, words)) == [
        "None",
        "a dog is here at this hour on 2 of 28 watched days",
        "a person is here at this hour on 24 of 28 watched days",
    ]


def test_a_shadow_is_in_the_history_only(cameras, verdicts):
    (case,) = Verdicts(cameras.see(T).close().record).due(8)
    before = cameras.events(), cameras.feed()
    assert not verdicts.has_shadow(case.event, "nemotron", "v1")
    verdicts.shadow(case.with_verdict(verdict(88)))
    assert (cameras.events(), cameras.feed()) == before and verdicts.has_shadow(case.event, "nemotron", "v1")
    shadows = cameras.record.rows(
        "SELECT event_id, revision, risk_score, prompt_version FROM event_history WHERE shadow"
    )
    assert shadows == [(1, 2, 88, "v1")]


# -- questions in flight


@pytest.fixture
def analyst():
    """Makes analysts; none outlives its test."""
    made = []

    def make(server, **options):
        made.append(LlmQueue(Nemotron(url=server.url, **options), UTC))
        return made[-1]

    yield make
    for each in made:
        each.close()


def cases(cameras, count):
    cameras.see(*(T + 100 * n for n in range(count))).close()
    return Verdicts(cameras.record, UTC).due(count)


def all_done(analyst, count, seconds=20):
    done, until = [], time.monotonic() + seconds
    while len(done) < count:
        assert time.monotonic() < until, f"{len(done)} of {count}"
        analyst.wait(0.2)
        done += analyst.take_finished()
    return done


def test_questions_in_flight_are_bounded_and_all_answered(cameras, analyst):
    with Standin(seconds=(0.02, 0.05)) as server:
        a = analyst(server, concurrency=4)
        waiting, done = cases(cameras, 20), []
        while waiting or a.is_busy():
            for case in [waiting.pop() for _ in range(min(a.room(), len(waiting)))]:
                a.submit(case)
            done += all_done(a, 1)
    assert server.most_at_once == 4 and len(server.questions) == 20
    assert all(event.type == "event.analyzed" and event.verdict.evidence == (event.id * 512,) for _, event in done)
    assert all(event.verdict.latency_ms > 10 and event.verdict.prompt_version == "v2" for _, event in done)


@pytest.mark.parametrize(("word", "final"), [(500, False), ("garbage", False), (400, True), ({"risk_score": 3}, False)])
def test_what_is_no_verdict_counts_as_an_attempt(cameras, analyst, word, final):
    with Standin([word]) as server:
        a = analyst(server)
        a.submit(cases(cameras, 1)[0])
        ((case, miss),) = all_done(a, 1)
    assert isinstance(miss, FailedAttempt)
    assert (miss.event_id, miss.revision, miss.final, miss.stage) == (case.event.id, 2, final, "analyze")


def test_the_last_attempt_is_final(cameras, analyst):
    with Standin(otherwise="prose") as server:
        a = analyst(server, attempts=2)
        (case,) = cases(cameras, 1)
        a.submit(Case(case.event, case.facts, attempts=1))
        ((_, miss),) = all_done(a, 1)
    assert miss.final


def test_a_server_that_is_away_is_waited_for_and_nothing_is_counted(cameras, analyst):
    server = Standin()
    server.server.server_close()
    a = analyst(server)
    waiting = cases(cameras, 3)
    for case in waiting:
        a.submit(case)
    assert [outcome for _, outcome in all_done(a, 3)] == [None, None, None]
    assert a.capacity() == 0
    with Standin(port=server.port) as back:
        until(lambda: a.capacity() == 1)
        a.submit(waiting[0])
        assert all_done(a, 1)[0][1].type == "event.analyzed" and a.capacity() == 8
        assert back.looks == 1


@pytest.mark.slow
def test_a_server_that_went_silent_gives_its_questions_back(cameras, analyst, monkeypatch):
    """Not after their whole time-out, and not at their expense; a server that is just slow may finish."""
    monkeypatch.setattr(analyst_module, "SILENT_SECONDS", 0.3)
    waiting = cases(cameras, 2)
    with Standin(["slow:2"]) as server:
        a = analyst(server)
        a.submit(waiting[0])
        assert all_done(a, 1)[0][1].type == "event.analyzed"
    with Standin(["hang", "hang"]) as server:
        a = analyst(server)
        for case in waiting:
            a.submit(case)
        server.wait_for(2)
        server.deaf()
        monkeypatch.setattr(client_module, "PROBE_SECONDS", 0.3)
        assert [outcome for _, outcome in all_done(a, 2)] == [None, None]
        assert a.capacity() == 0


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# -- the chain, in a flow


class Until(Source):
    """Keeps a graph alive until `done`."""

    def build(self, context):
        return _Until(self._done)

    def label(self):
        return "until"


class _Until(DynamicSource, StatelessSourcePartition):
    def __init__(self, done):
        self.done = done
        self.due = datetime.now(UTC)

    def build(self, *where):
        return self

    def next_batch(self):
        self.due = datetime.now(UTC) + timedelta(seconds=0.02)
        if self.done():
            raise StopIteration
        return []

    def next_awake(self):
        return self.due


def run(cameras, url, done, seconds=25, **options):
    """The judge chain on this record until `done(events)`."""
    end = time.monotonic() + seconds

    class Here(Until):
        _done = staticmethod(lambda: done() or time.monotonic() > end)

    graph = Graph(of(cameras)).add("until", Here())
    graph.add("analyze", Nemotron(url=url, **options))
    graph.add("sqlite", Sqlite(), after="analyze")
    run_main(graph.build())
    assert done(), cameras.events()


def of(cameras):
    """The context of a graph on this record."""
    return context(cameras.record.path.parent, cameras.record.path.name, zone=UTC)


def statuses(cameras):
    return {status for (status,) in cameras.record.rows("SELECT DISTINCT analysis_status FROM events")}


@pytest.mark.slow
def test_every_event_is_judged_though_one_answer_in_five_fails(cameras, monkeypatch):
    monkeypatch.setattr(analyst_module, "RETRY_SECONDS_MAX", 0.2)
    cameras.see(*(T + 100 * n for n in range(60))).close()
    with Standin(failing=0.2, seconds=(0.0, 0.05)) as server:
        run(cameras, server.url, lambda: statuses(cameras) == {"done"}, attempts=9)
    assert len(server.questions) > 60 and server.most_at_once <= 8
    told = [row for row in cameras.feed() if row[2] == "event.analyzed"]
    assert len(told) == len(set(told)) == 60
    assert cameras.record.one("SELECT sum(attempts) FROM events") == (len(server.questions),)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_questions_are_in_flight_than_asked_for(cameras, concurrency):
    cameras.see(*(T + 100 * n for n in range(12))).close()
    with Standin(seconds=(0.05, 0.05)) as server:
        run(cameras, server.url, lambda: statuses(cameras) == {"done"}, concurrency=concurrency)
    assert server.most_at_once == concurrency


def test_an_event_that_no_answer_fits_ends_as_failed_and_the_others_go_on(cameras):
    cameras.see(T, labels=("bear",)).see(T + 100).close()

    class Picky(Standin):
        def _next(self, question):
            word, seconds = super()._next(question)
            return ("prose" if "bear" in question["messages"][1]["content"] else word), seconds

    with Picky() as server:
        run(cameras, server.url, lambda: "pending" not in statuses(cameras), attempts=2)
    assert [row[1] for row in cameras.events()] == ["failed", "done"]
    assert cameras.feed()[-1] == (1, 3, "event.failed")


@pytest.mark.slow
def test_events_wait_for_a_server_that_comes_later(cameras):
    cameras.see(*(T + 100 * n for n in range(5))).close()
    late = Standin()
    late.server.server_close()
    arrives = threading.Timer(1.0, lambda: late.__class__.__init__(late, port=late.port) or late.__enter__())
    arrives.start()
    run(cameras, late.url, lambda: statuses(cameras) == {"done"})
    late.__exit__()
    assert {row[4] for row in cameras.events()} == {1}  # nothing was counted while it was away


def test_a_second_judge_of_one_record_is_refused(cameras):
    queue = PendingEvents(of(cameras))
    first = queue.build_part("analyze", "record", None)
    with pytest.raises(Exception, match="already works on"):
        queue.build_part("analyze", "record", None)
    first.close()


def test_without_a_url_the_chain_is_idle_and_says_why(cameras):
    assert Nemotron(url=None).off() == "NEMOTRON_URL is not set: rules alone judge"
    cameras.see(T).close()
    end = time.monotonic() + 0.5
    run(cameras, None, lambda: time.monotonic() > end)
    assert cameras.events() == [("closed", "pending", "rules", 25, 0, 2)]
    PendingEvents(of(cameras)).build_part("analyze", "record", None).close()  # no lock was left


def test_the_parts_keep_what_the_kit_asks_for(cameras):
    (case,) = cases(cameras, 1)
    check_component(Nemotron())
    check_sink(Sqlite(), [case.with_verdict(verdict()), missed(case)], seen=cameras.events, context=of(cameras))


JUDGED = """
[analyze]
use = "nemotron"
from = "batch"
attempts = 50

[sqlite]
use = "sqlite"
from = ["batch", "analyze"]
"""

WAITING = "SELECT count(*) FROM events WHERE status <> 'merged' AND analysis_status = 'pending'"


@pytest.mark.slow
def test_a_pipeline_killed_with_pictures_in_flight_judges_each_revision_once_open_events_too(tmp_path):
    times = "window_seconds = 6\nidle_timeout_seconds = 2\nlateness_seconds = 0.2"
    with Standin(failing=0.2, seconds=(0.05, 0.3), pictures=True) as server:
        p = Pipeline(tmp_path, options='boxes = 1\nkind = "bear"', batch=times, more=JUDGED, NEMOTRON_URL=server.url)
        for kill in range(2):
            p.start(resume=kill > 0)
            p.until(lambda kill=kill: server.probes > kill)
            for n in range(12):
                at = time.time() - 2 + n // 4
                p.upload(f"cam{n % 4}", name(at, f"{kill}{n}"), mtime=at)
            enough = len(server.questions) + 3
            p.until(lambda enough=enough: len(server.questions) >= enough).kill()
        p.start().until(lambda: p.rows(WAITING) == [(0,)])
        p.until(lambda: p.rows("SELECT count(*), min(status) FROM events WHERE status <> 'merged'")[0][1] == "closed")
        p.until(lambda: p.rows(WAITING) == [(0,)]).stop()
    judged_once(p)
    seen = p.rows("SELECT type, picture_verdict FROM event_history WHERE type = 'event.analyzed'")
    assert seen and {verdict for _, verdict in seen} <= {"confirmed", "unclear"}
    assert any(images(question) for question in server.questions)


def judged_once(p):
    """No revision has two verdicts, each verdict is of a revision that was published, and each closed event has one."""
    feed = p.rows("SELECT event_id, revision, type FROM feed WHERE kind = 'event' ORDER BY seq")
    published = {(event, revision): kind for event, revision, kind in feed}
    analyzed = [(event, revision - 1) for event, revision, kind in feed if kind == "event.analyzed"]
    assert len(published) == len(feed) and len(analyzed) == len({*analyzed})
    assert {published[of] for of in analyzed} <= {"event.opened", "event.raised", "event.closed"}
    assert not p.rows(
        "SELECT id FROM events WHERE status <> 'merged' AND (analysis_status, analyzer) <> ('done', 'nemotron')"
    )


@pytest.mark.slow
def test_a_pipeline_killed_at_random_judges_every_event_once_per_revision(tmp_path):
    """The real flow as a process, killed -9 with questions in flight; see tests/long for the thirty kills."""
    times = "window_seconds = 1\nidle_timeout_seconds = 0.5\nlateness_seconds = 0.2"
    with Standin(failing=0.2, seconds=(0.05, 0.3)) as server:
        p = Pipeline(tmp_path, options="boxes = 1", batch=times, more=JUDGED, NEMOTRON_URL=server.url)
        for kill in range(3):
            for n in range(12):
                at = T + 1000 * kill + 5 * n
                p.upload(f"cam{n % 4}", name(at, str(n)), mtime=at)
            p.start(resume=kill > 0)
            enough = len(server.questions) + 6
            p.until(lambda enough=enough: len(server.questions) >= enough).kill()
        p.start().until(
            lambda: (
                p.rows("SELECT count(*) FROM events WHERE analysis_status = 'done' AND status = 'closed'") == [(36,)]
            )
        )
        p.stop()
    closed = p.rows("SELECT event_id, revision FROM feed WHERE type = 'event.closed'")
    analyzed = p.rows("SELECT event_id, revision - 1 FROM feed WHERE type = 'event.analyzed'")
    assert len(analyzed) == len(set(analyzed)) and set(analyzed) <= set(closed)
    assert {event for event, _ in analyzed} == {event for event, _ in closed} and len({e for e, _ in closed}) == 36
    assert not p.rows("SELECT * FROM events WHERE attempts > 40")
