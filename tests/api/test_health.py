"""Promise: health, page, metrics and doctor measure the job, say the same, and say it in words."""

import itertools
import json
import re
import sqlite3
import threading
from pathlib import Path

import pytest

from hearthwatch.api.health import KINDS, PipelineView, Storage
from hearthwatch.cli.machine_checks import check_pipeline
from hearthwatch.flows.graph import DEFAULT, Graph
from hearthwatch.record import acquire_lock, connection, now, problems
from hearthwatch.record.connection import find_lock
from hearthwatch.record.feed import append
from hearthwatch.record.graph_description import store_description
from hearthwatch.record.read.snapshot import SnapshotReader
from hearthwatch.record.read.status import found_before, pictures_found, rate_history
from hearthwatch.record.units import QUARTER
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.schemas.messages import SystemMessage
from hearthwatch.schemas.text import plural
from tests.support.api_record import Home, S, serve, story, wait_for
from tests.support.redis_server import RedisServer

SERVICES = "database redis detector nemotron pipeline uploads cameras consumers lake retention journal".split()


@pytest.fixture
def own(tmp_path):
    home = story(Home(tmp_path))
    with serve(home.settings()) as served, served.client() as client:
        yield home, client
    home.close()


def health(client):
    return client.get("/api/system/health").raise_for_status().json()


def settled(client, condition):
    """Health once it is so; it is cached for a second."""
    return wait_for(lambda: condition(found := health(client)) and found)


def words(home):
    return {(finding.health, finding.subject, finding.words) for finding in check_pipeline(home.settings())}


def test_what_the_monitor_finds_is_said_everywhere_in_the_same_words(own):
    home, client = own
    home.beat()
    found = settled(client, lambda found: found["status"] == "healthy")
    assert list(found["services"]) == SERVICES and found["conditions"] == []
    assert client.get("/api/status").json()["problem"] is None
    missing, bad = "the upload tree /x is missing", "28 of 29 pictures of Driveway in the last hour could not be used"
    home.wrong("quarantine", bad, subject="driveway", camera="driveway")
    home.wrong("uploads_missing", missing, severity="error")
    home.wrong("camera_clock", "front_door's clock is 90 s slow", subject="front_door", severity="info")
    found = settled(client, lambda found: found["status"] == "degraded")
    assert [c["message"] for c in found["conditions"]] == [missing, bad, "front_door's clock is 90 s slow"]
    services = found["services"]
    assert (services["uploads"]["status"], services["uploads"]["message"]) == ("unhealthy", missing)
    assert (services["cameras"]["status"], services["cameras"]["message"]) == ("degraded", f"{bad} (and 1 more)")
    line = client.get("/api/status").json()
    assert (line["problem"]["message"], line["problems"]) == (missing, 2), "what is mere information is no problem"
    metrics = client.get("/metrics").text
    assert 'hearthwatch_condition{kind="quarantine",severity="warning",subject="driveway"} 1.0' in metrics
    lock = acquire_lock("see", home.path, home.data)
    assert {("wrong", "cameras", bad), ("note", "cameras", "front_door's clock is 90 s slow")} <= words(home)
    lock.release()
    assert ("note", "cameras", f"when the pipeline last ran: {bad}") in words(home)
    home.record.transact(lambda: home.record.execute("UPDATE conditions SET state = 'off'"))
    settled(client, lambda found: found["status"] == "healthy" and not found["conditions"])
    assert client.get("/api/status").json()["problem"] is None
    assert (
        'hearthwatch_condition{kind="uploads_missing",severity="error",subject=""} 0.0' in client.get("/metrics").text
    )


def test_services_and_conditions_never_contradict_each_other(own):
    home, _ = own
    home.beat()
    store_description(home.record, Graph.from_toml(DEFAULT).describe())
    kinds = [kind for kinds in KINDS.values() for kind in kinds] + [
        "clock_stepped",
        "part_restarted",
        "behind",
        "lake_down",
    ]
    off = {"redis_down", "llm_down", "judge_failed"}  # of nodes that this graph has off
    for kind, severity in itertools.product(kinds, ("info", "warning", "error")):
        says = f"{kind}, {severity}."
        home.record.execute("DELETE FROM conditions")
        home.wrong(kind, says, subject="x", severity=severity)
        with SnapshotReader(home.path).snapshot() as record:
            view = PipelineView(record, home.settings(), now(), False, Storage())
            services = view.services()
        bad = [s for s in services.values() if s["status"] in ("degraded", "unhealthy")]
        assert [problem.message for problem in view.wrong] == ([] if kind in off else [says])
        assert [s["message"] for s in bad] == ([] if severity == "info" or kind in off else [says]), kind


def test_information_alone_degrades_nothing(own):
    home, client = own
    home.beat()
    home.wrong("camera_clock", "front_door's clock is 90 s slow", subject="front_door", severity="info")
    found = settled(client, lambda found: found["conditions"])
    assert found["status"] == "healthy" and found["services"]["cameras"]["status"] == "healthy"
    assert client.get("/api/status").json()["problem"] is None


def test_without_a_pipeline_everything_says_so_and_redis_is_still_asked(tmp_path):
    home = story(Home(tmp_path))
    home.wrong("camera_silent", "stale news")
    with RedisServer(tmp_path / "redis") as redis:
        settings = home.settings(REDIS_URL=redis.url, NEMOTRON_URL="http://me:s3cret@127.0.0.1:9")
        with serve(settings) as served, served.client() as client:
            found = health(client)
            assert found["status"] == "degraded"
            services = found["services"]
            assert (
                services["pipeline"]["status"] == "unhealthy" and "has not run yet" in services["pipeline"]["message"]
            )
            for name in ("nemotron", "detector", "uploads", "cameras", "consumers", "lake", "retention"):
                assert services[name]["status"] == "unhealthy" and "not running" in services[name]["message"], name
            assert services["redis"]["status"] == "healthy" and services["redis"]["details"]["redis_version"]
            assert "s3cret" not in json.dumps(found)
            assert [c["kind"] for c in found["conditions"]] == ["pipeline_down"], "old news are no news"
            home.beat(ago=3600)
            found = settled(client, lambda found: "no heartbeat since" in found["services"]["pipeline"]["message"])
            line = client.get("/api/status").json()
            assert (line["problem"], line["problems"]) == (found["conditions"][0], 1)
    home.close()


def test_a_pipeline_that_ends_again_and_again_before_it_runs_is_no_pipeline_that_starts(own):
    home, client = own
    for failed, status in ((1, "healthy"), (2, "degraded")):
        state = json.dumps({"at": now(), "starting": True, "failed_starts": failed, "services": {}})
        home.record.transact(
            lambda text=state: home.record.execute("INSERT OR REPLACE INTO meta VALUES ('services', ?)", text)
        )
        home.beat()
        found = settled(client, lambda found, status=status: found["status"] == status)
    assert (
        found["services"]["pipeline"]["message"] == "the pipeline ended 2 times before it had started: its log says why"
    )
    assert found["services"]["lake"]["status"] == "starting"


def test_a_node_that_is_off_or_not_in_the_graph_is_disabled(own):
    home, client = own
    home.beat()
    flow = 'extends = "default"\n[duckdb]\nuse = "none"\n'
    store_description(home.record, Graph.from_toml(flow).describe())
    found = settled(client, lambda found: found["services"]["lake"]["status"] == "disabled")
    assert found["status"] == "healthy"
    assert found["services"]["redis"]["message"] == "REDIS_URL is not set: events are not published"
    assert found["services"]["retention"]["status"] == "healthy"


def test_pictures_from_before_the_start_are_imported_and_no_fault(own):
    home, client = own
    home.beat()
    waits = {"waiting": 3120, "oldest_waiting": now() - 3 * 3600 * S}
    home.record.transact(
        lambda: home.record.execute("INSERT OR REPLACE INTO meta VALUES ('discovery', ?)", json.dumps(waits))
    )
    found = settled(client, lambda found: found["services"]["pipeline"]["details"]["backlog"] >= 3120)
    assert found["status"] == "healthy" and found["services"]["pipeline"]["message"].startswith("importing: 3,12")
    line = client.get("/api/status").json()
    assert line["importing_since"] and line["backlog"] >= 3120 and line["problems"] == 0
    waits["oldest_waiting"] = now() - 60 * S
    home.record.transact(
        lambda: home.record.execute("INSERT OR REPLACE INTO meta VALUES ('discovery', ?)", json.dumps(waits))
    )
    found = settled(client, lambda found: found["status"] == "degraded")
    assert "more arrive than can be processed" in found["services"]["pipeline"]["message"]
    assert client.get("/api/status").json()["importing_since"] is None


def test_consumers_show_what_they_delivered_and_where_they_fail(own):
    home, client = own
    home.beat()
    flow = 'extends = "default"\n[webhook]\nuse = "webhook"\nfrom = "sqlite"\nurl = "http://127.0.0.1:9"\n'
    store_description(home.record, Graph.from_toml(flow).describe())
    last = home.record.one("SELECT max(seq) FROM feed")[0]
    failed = ("webhook", 3, 12, now() - 60 * S, now() - S, "connection refused")
    home.record.transact(lambda: home.record.execute("INSERT INTO deliveries VALUES (?,?,?,?,?,?)", *failed))
    home.record.transact(
        lambda: home.record.execute("INSERT INTO cursors VALUES ('webhook', ?), ('gone', 1)", last - 2)
    )
    found = settled(client, lambda found: found["services"]["consumers"]["details"])
    details = found["services"]["consumers"]["details"]
    assert list(details) == ["incident", "webhook"], "one that is in the graph no more is not late"
    row = details["webhook"]
    assert (row["delivered"], row["failed"], row["lag"], row["error"]) == (3, 12, 2, "connection refused")
    assert row["last_success"] < row["last_failure"]
    metrics = client.get("/metrics").text
    for line in ("delivered_total", "failed_total", "lag"):
        assert f'hearthwatch_consumer_{line}{{consumer="webhook"}}' in metrics
    assert ("note", "webhook", "connection refused; 2 messages to deliver") in words(home)


def test_a_camera_shows_its_share_of_unusable_pictures(own):
    home, client = own
    home.beat()
    for n in range(3):
        home.picture("Driveway", 10 - n, bad="truncated")
    home.picture("Driveway", 1)
    found = settled(client, lambda found: found["services"]["cameras"]["details"]["driveway"]["quarantined"] == 3)
    details = found["services"]["cameras"]["details"]["driveway"]
    assert (details["pictures"], details["quarantined_share"]) == (4, 0.75)
    assert ("note", "cameras", "3 of 4 pictures of driveway in the last hour could not be used: GET /api/system/quarantine says why") in words(home)  # fmt: skip
    metrics = client.get("/metrics").text
    assert 'hearthwatch_camera_quarantined{camera="driveway"} 4.0' in metrics
    assert 'hearthwatch_camera_pictures{camera="driveway"} 8.0' in metrics
    assert 'hearthwatch_camera_detections{camera="driveway"} 2.0' in metrics
    assert 'hearthwatch_camera_events{camera="front_door"} 3.0' in metrics


def test_a_missing_tree_is_said_before_the_monitor_is_sure_and_what_discovery_counts_is_shown(own):
    home, client = own
    home.beat()

    def note(**notes):
        text = json.dumps(notes)
        home.record.transact(lambda: home.record.execute("INSERT OR REPLACE INTO meta VALUES ('discovery', ?)", text))

    note(base_missing=True)
    found = settled(client, lambda found: found["status"] == "degraded")
    assert found["services"]["uploads"]["status"] == "unhealthy" and len(found["conditions"]) == 1
    assert str(home.base) in client.get("/api/status").json()["problem"]["message"]
    note(ignored=1, ignored_names={"#recycle": 8, "@eaDir": 12}, no_time={"": 3} | {f"cam{n}": 1 for n in range(20)})
    found = settled(client, lambda found: found["status"] == "healthy")
    ignored = "1 link or device ignored", "20 files or folders ignored by name (@eaDir 12, #recycle 8)"
    cameras = ", ".join(f"cam{n} 1" for n in range(11))  # not all: there may be hundreds
    ignored += (
        f"23 pictures without a time in name or EXIF, dated by modification (in no camera folder 3, {cameras}, 9 more)",
    )
    assert found["services"]["uploads"]["message"] == "; ".join(["the tree is watched", *ignored])
    assert {("note", "uploads", words) for words in ignored} <= words(home)


def test_what_a_service_answered_to_the_monitor_is_shown(own):
    home, client = own
    home.beat()
    flow = 'extends = "default"\n[mirror]\nuse = "redis"\nfrom = "sqlite"\nurl = "redis://127.0.0.1:9"\n[redis]\nuse = "none"\n'
    store_description(home.record, Graph.from_toml(flow).describe())
    answers = {"mirror": {"message": "redis://127.0.0.1:9: Redis 7.2", "details": {"redis_version": "7.2"}}}
    text = json.dumps({"at": now(), "starting": False, "services": answers})
    home.record.transact(lambda: home.record.execute("INSERT INTO meta VALUES ('services', ?)", text))
    redis = settled(client, lambda found: found["services"]["redis"]["details"])["services"]["redis"]
    assert (redis["status"], redis["details"]["redis_version"]) == ("healthy", "7.2")
    home.wrong("redis_down", "mirror fails: connection refused", subject="mirror")
    home.wrong("lake_down", "retention fails: disk full", subject="retention")
    services = settled(client, lambda found: found["status"] == "degraded")["services"]
    assert services["redis"]["message"] == "mirror fails: connection refused"
    assert (services["retention"]["status"], services["lake"]["status"]) == ("degraded", "healthy")
    assert ("note", "retention", "when the pipeline last ran: retention fails: disk full") in words(home)


# -- no contradictions


def test_rates_on_page_stats_and_metrics_are_of_the_same_count(own):
    home, client = own
    for n in range(6):
        home.picture("Front Door", 20 - n)
    found = [at for (at,) in home.record.rows("SELECT discovered_at FROM frames ORDER BY id")]
    end = found[-1] + 1
    by_hand = [sum(n * QUARTER <= end - at - 1 < (n + 1) * QUARTER for at in found) for n in range(60)]
    assert [round(rate * QUARTER / S) for rate in reversed(rate_history(home.record, end))] == by_hand
    assert (
        sum(by_hand) == len(found) == 14 == found_before(home.record, end) and found_before(home.record, found[0]) == 0
    )
    stats = client.get("/api/system/stats").json()
    assert round(sum(stats["images_per_s_history"]) * QUARTER / S) == 14
    home.record.transact(lambda: home.record.execute("DELETE FROM frames WHERE id < 4"))  # as retention does
    (total,) = re.findall(r"hearthwatch_pictures_total (\d+)", client.get("/metrics").text)
    assert int(total) == 14 == pictures_found(home.record), "a counter never decreases"


def test_since_midnight_is_only_what_is_since_midnight(own):
    home, client = own
    status = client.get("/api/status").json()
    home.picture("Front Door", 3 * 86400, "person")
    home.picture("Front Door", 3 * 86400 - 200)
    after = wait_for(lambda: (now := client.get("/api/status").json())["to_review"] == status["to_review"] + 1 and now)
    assert after["today"] == status["today"]


def test_one_picture_waits_and_two_wait(own):
    home, client = own
    home.beat()
    home.waiting("Front Door")
    settled(client, lambda found: found["services"]["pipeline"]["message"] == "1 picture waits")
    home.waiting("Front Door", 1)
    settled(client, lambda found: found["services"]["pipeline"]["message"] == "2 pictures wait")
    assert client.get("/api/status").json()["backlog"] == client.get("/api/system/stats").json()["backlog"] == 2
    assert plural(0, "camera") == "0 cameras"
    text = json.dumps({"waiting": 1998, "oldest_waiting": now() - 90 * S})
    home.record.transact(lambda: home.record.execute("INSERT INTO meta VALUES ('discovery', ?)", text))
    found = settled(client, lambda found: found["status"] == "degraded")["services"]["pipeline"]
    assert re.match(r"2,000 pictures wait, the oldest for 9\d s", found["message"]), "what waits on disk waits, too"
    assert client.get("/api/status").json()["backlog"] == client.get("/api/system/stats").json()["backlog"] == 2000
    assert "hearthwatch_backlog 2000.0" in client.get("/metrics").text


# -- messages


def test_system_messages_come_newest_first_by_pages(own):
    home, client = own
    for n in range(5):
        at = from_microseconds(now())

        def make(seq, n=n, at=at):
            return SystemMessage(seq, "quarantine", "on", "warning", "driveway", "driveway", f"number {n}", at, at)

        home.record.transact(lambda n=n, make=make: append(home.record, "system", 1, n, now(), make))
        home.picture("Front Door", -n, "person")
    first = client.get("/api/system/messages", params={"limit": 3}).json()
    assert [m["message"] for m in first["messages"]] == ["number 4", "number 3", "number 2"]
    rest = client.get("/api/system/messages", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [m["message"] for m in rest["messages"]] == ["number 1", "number 0"] and rest["next_cursor"] is None
    assert client.get("/api/system/messages", params={"cursor": "n.1"}).status_code == 422


def test_every_metric_is_in_the_manual_and_in_one_family(own):
    home, client = own
    home.beat()
    home.record.transact(
        lambda: home.record.execute("INSERT INTO heartbeat SELECT 'judge', pid, at, '{\"n\": 1}' FROM heartbeat")
    )
    text, manual = client.get("/metrics").text, (Path(__file__).parents[2] / "docs/api.md").read_text()
    names = re.findall(r"# TYPE (\w+)", text)
    assert len(names) == len(set(names)) > 25
    assert not [name for name in names if f"`{name}" not in manual]


def test_a_record_that_is_locked_is_said_at_once_and_no_longer(own):
    home, client = own
    home.beat()
    settled(client, lambda found: found["status"] == "healthy")
    other = sqlite3.connect(home.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    says = "the record is locked by another program: end its write transaction"
    database = settled(client, lambda found: found["status"] == "unhealthy")["services"]["database"]
    assert (database["status"], database["message"]) == ("unhealthy", says)
    assert client.get("/api/status").json()["problem"]["message"] == says
    lock = acquire_lock("see", home.path, home.data)
    assert ("wrong", "record", says) in words(home)
    other.execute("ROLLBACK")
    assert ("wrong", "record", says) not in words(home)
    lock.release()
    home.beat()
    settled(client, lambda found: found["status"] == "healthy")


def test_a_record_that_is_always_being_written_is_not_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "LOCKED_SECONDS", 0.5)
    home, ending, busy = story(Home(tmp_path)), threading.Event(), threading.Event()

    def write():
        db = sqlite3.connect(home.path, isolation_level=None)
        while not ending.is_set():
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT OR REPLACE INTO meta VALUES ('busy', random())")
            busy.set()
            ending.wait(0.02)
            db.execute("COMMIT")
        db.close()

    writer = threading.Thread(target=write)
    writer.start()
    busy.wait(30)
    found = [find_lock(home.path) for _ in range(3)]
    ending.set()
    writer.join()
    home.close()
    assert busy.is_set() and found == [None] * 3


def test_a_full_disk_is_said_and_over_at_once(own, monkeypatch):
    home, client = own
    home.beat()
    home.wrong("disk_low", "little room", subject=str(home.data), severity="error")
    settled(client, lambda found: found["status"] == "healthy")
    monkeypatch.setattr(problems.shutil, "disk_usage", lambda folder: (10**12, 0, 10**8))
    found = settled(client, lambda found: found["status"] == "unhealthy")
    assert {c["subject"] for c in found["conditions"]} == {str(home.base), str(home.data)}
    assert found["services"]["database"]["message"].split(" GB", 1)[0].endswith("has 0.1")
    monkeypatch.undo()
    settled(client, lambda found: found["status"] == "healthy" and not found["conditions"])
