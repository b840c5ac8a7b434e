"""Promises: Redis mirrors the feed. Each message once in the stream, in order, whatever dies; old news is not published;
a Redis that is down, hung or forgetful delays messages and nothing else."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import hearthwatch.sinks.redis
from hearthwatch.flows.graph import Graph
from hearthwatch.record import Record, now
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import Settings, SettingsError, in_force, load
from hearthwatch.schemas.testing import check_consumer
from hearthwatch.sinks.redis import ROWS_MAX, STREAM_MAX, Redis
from tests.support.linking import link
from tests.support.pipeline import Pipeline, name
from tests.support.redis_mirror import CHANNEL, House, eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.slow

HOME = Path(__file__).parents[2]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        yield house


# -- what is published


def test_the_relay_keeps_the_contract(house: House) -> None:
    house.happen(5)
    check_consumer(house.sink(), seen=house.entries, context=house.context)
    assert house.stream() == house.told()


def test_a_message_is_published_and_kept_as_the_feed_has_it(house: House) -> None:
    with house.relay() as relay, house.listening() as heard:
        house.happen()
        relay.catch_up()
        (payload,) = house.record.one("SELECT payload FROM feed")
        assert house.entries() == [("1-0", {"data": payload})]
        (message,) = heard()
        assert message == json.loads(payload)
        assert (message["schema"], message["type"], message["camera_name"]) == (
            "hearthwatch.event.v1",
            "event.opened",
            "Porch",
        )
        assert message["thumbnail"] == "/api/media/thumbnails/1970-01-01/1_thumb.jpg"


def test_messages_of_events_incidents_and_the_system_go_the_same_way(house: House) -> None:
    sentence = {"schema": "hearthwatch.system.v1", "type": "system.redis_down", "seq": 3}
    house.happen()
    link(house.record)
    house.record.transact(lambda: house.record.execute(
        "INSERT INTO feed(kind, subject_id, revision, type, payload, at) VALUES ('system', 1, 1, 'system.redis_down', ?, ?)",
        json.dumps(sentence), now(),
    ))  # fmt: skip
    with house.listening() as heard, house.relay():
        messages = heard()
        assert [json.loads(entry["data"]) for _, entry in house.entries()] == messages
        assert [(m["seq"], m["schema"], m["type"]) for m in messages] == [
            (1, "hearthwatch.event.v1", "event.opened"), (2, "hearthwatch.incident.v1", "incident.opened"),
            (3, "hearthwatch.system.v1", "system.redis_down"),
        ]  # fmt: skip
        assert messages[1]["incident_id"] == 1 and messages[1]["events"] == [messages[0]["event_id"]]


def test_old_news_goes_to_the_stream_alone(house: House) -> None:
    """A pipeline that was away for an hour does not ring the bell for what happened meanwhile."""
    house.pretend(2, age_seconds=61)
    house.happen()
    with house.listening() as heard, house.relay():
        assert house.stream() == [1, 2, 3]
        assert [message["seq"] for message in heard()] == [3]


def test_a_node_without_a_url_is_off_and_says_so() -> None:
    with in_force(Settings()):
        graph = Graph().add("redis", Redis(), after="sqlite")
        assert graph.off() == {"redis": "REDIS_URL is not set: events are not published"}
        assert Redis().label() == CHANNEL


def test_a_mirror_cannot_be_narrowed() -> None:
    graph = Graph().add("redis", Redis(), after="sqlite", only={"risk_level": "high"})
    assert "mirrors the whole feed" in "\n".join(graph.check())


def test_a_password_is_shown_nowhere() -> None:
    sink = Redis(url="redis://me:hunter2@example.org/0")
    assert "hunter2" not in f"{sink!r} {sink} {sink.label()}"
    assert sink.label() == "security_events at example.org"


# -- where it goes on


def test_the_stream_itself_says_where_to_go_on(house: House) -> None:
    """The relay keeps nothing: whatever its cursor says, what Redis has is not sent again and what it lacks is."""
    for _ in range(3):
        with house.listening() as heard, house.relay():
            assert not heard() or house.stream() == house.told()
        house.happen(2)
    with house.relay() as relay:
        relay.catch_up()
        assert house.stream() == house.told()


@pytest.mark.parametrize("forgets", ["flushall", "delete", "trim"])
def test_what_redis_forgot_is_filled_in_again(house: House, forgets: str) -> None:
    house.happen(3)
    with house.relay() as relay, house.listening() as heard:
        assert len(heard()) == 0, "it was published before anybody listened"
        before = house.stream()
        {
            "flushall": house.redis.flushall,
            "delete": lambda: house.redis.delete(f"{CHANNEL}:stream"),
            "trim": lambda: house.redis.xtrim(f"{CHANNEL}:stream", 0),
        }[forgets]()
        relay.catch_up()
        assert house.stream() == ([] if forgets == "trim" else before), "what somebody trims away on purpose stays away"
        house.happen()
        relay.catch_up()
        assert house.stream()[-2:] == house.told()[-2:]


def test_an_emptied_redis_gets_as_much_as_the_stream_holds(house: House) -> None:
    house.pretend(STREAM_MAX + ROWS_MAX + 7)
    with house.relay() as relay:
        assert house.stream() == house.told()[-STREAM_MAX:]
        house.pretend(3 * ROWS_MAX)
        relay.catch_up()
        kept = house.stream()
        assert kept == house.told()[-len(kept) :]
        assert STREAM_MAX <= len(kept) <= STREAM_MAX + 200


def test_a_feed_that_was_pruned_leaves_the_stream_alone(house: House) -> None:
    house.pretend(5)
    with house.relay() as relay:
        house.record.execute("DELETE FROM feed")
        relay.catch_up()
        assert house.stream() == [1, 2, 3, 4, 5]


def test_a_new_record_is_not_refused_by_the_stream_of_an_old_one(house: House, tmp_path: Path, caplog: Any) -> None:
    house.pretend(50)
    with house.relay():
        pass
    other = House(tmp_path / "other")
    other.path.parent.mkdir(exist_ok=True)
    other.server, other.redis = house.server, house.redis
    other.record = Record(other.path)
    other.pretend(3)
    with other.relay():
        assert other.stream() == [1, 2, 3]
    assert "it is replaced" in caplog.text
    other.record.close()


def test_a_record_restored_from_a_backup_starts_the_stream_anew(house: House) -> None:
    house.pretend(50)
    with house.relay():
        pass
    house.record.execute("DELETE FROM feed WHERE seq > 20")
    house.record.execute("UPDATE sqlite_sequence SET seq = 20 WHERE name = 'feed'")
    with house.relay() as relay:
        assert house.stream() == house.told()
        house.pretend(3)
        relay.catch_up()
        assert house.stream() == house.told() == list(range(1, 24))


def test_a_group_of_readers_survives_a_stream_that_starts_anew(house: House) -> None:
    stream = "security_events:stream"
    house.pretend(50)
    with house.relay():
        pass
    house.redis.xgroup_create(stream, "readers", id="0")
    assert len(house.redis.xreadgroup("readers", "one", {stream: ">"})[0][1]) == 50
    house.record.execute("DELETE FROM feed WHERE seq > 20")
    house.record.execute("UPDATE sqlite_sequence SET seq = 20 WHERE name = 'feed'")
    with house.relay():
        assert house.stream() == house.told()
        assert len(house.redis.xreadgroup("readers", "one", {stream: ">"})[0][1]) == 20


ACL = re.findall(r"ACL SETUSER (.*)", (Path(__file__).parents[2] / "docs/redis.md").read_text())[0]


def test_the_documented_user_may_do_what_is_needed_and_one_who_may_not_is_named(house: House) -> None:
    words = ACL.replace("PASSWORD", "secret").split()
    house.redis.execute_command("ACL", "SETUSER", *words)
    url = house.server.url.replace("redis://", f"redis://{words[0]}:secret@")
    assert Redis(url=url, channel="security_events").probe().startswith("redis://")
    house.pretend(3)
    house.url = url
    with house.relay() as relay:
        assert house.stream() == house.told()
        assert "hearthwatch" in {client["name"] for client in house.redis.client_list()}, (
            "who it is stands in CLIENT LIST"
        )
        house.record.execute("DELETE FROM feed WHERE seq > 1")
        house.record.execute("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'feed'")
        relay.catch_up()
    house.redis.execute_command("ACL", "SETUSER", words[0], "-xadd", "resetchannels")
    can_say = int(house.redis.info("server")["redis_version"].split(".")[0]) >= 7
    refused = pytest.raises(UserError, match="may not call XADD, PUBLISH for security_events")
    with refused if can_say else nullcontext():
        Redis(url=url, channel="security_events").probe()


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("redis+sentinel://a:26379/0", "Sentinel is not supported"),
        ("redis://a:1,b:2/0", "several servers"),
        ("redis://a/0?ssl_ca_cert=x", "no option ssl_ca_cert. Did you mean `ssl_ca_certs`?"),
    ],
)
def test_a_url_that_would_fail_later_is_refused_at_once(url: str, part: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(part)):
        load(None, {"REDIS_URL": url})


def test_a_server_of_a_cluster_is_refused(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "node", more=("--cluster-enabled", "yes")) as server,
        pytest.raises(UserError, match="is a cluster, which is not supported: give one server's address"),
    ):
        Redis(url=server.url).probe()


def test_two_relays_at_once_double_nothing(house: House) -> None:
    house.pretend(20 * ROWS_MAX)

    def run() -> None:
        with house.relay():
            pass

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert house.stream() == house.told()


# -- what goes wrong


def test_a_redis_that_comes_later_gets_everything(house: House) -> None:
    house.server.kill()
    with house.running():
        house.happen(3)
        house.server.start()
        eventually(lambda: house.stream() == house.told())


def test_a_redis_that_comes_back_empty_is_filled_while_nothing_happens(house: House) -> None:
    with house.running():
        house.happen(3)
        eventually(lambda: house.stream() == house.told())
        house.server.kill()
        house.server.start()
        eventually(lambda: house.stream() == house.told())


def test_a_frozen_redis_holds_nobody_up_and_gets_each_message_once(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls that timed out run when it thaws, late, beside those that were made since."""
    monkeypatch.setattr(hearthwatch.sinks.redis, "ANSWER_SECONDS", 0.1)
    with house.running() as services, house.listening() as heard:
        house.happen(2)
        eventually(lambda: house.stream() == house.told())
        house.server.freeze()
        for _ in range(5):
            house.happen()
            services.wake()
        eventually(lambda: "Timeout" in caplog.text)
        house.happen()
        house.server.thaw()
        eventually(lambda: house.stream() == house.told())
        assert [message["seq"] for message in heard()] == house.told()


def test_a_stop_does_not_wait_for_a_frozen_redis(house: House) -> None:
    with house.running() as services:
        house.server.freeze()
        house.happen()
        services.wake()
        services.stop()
        house.server.thaw()
    with house.relay():
        assert house.stream() == house.told()


@pytest.mark.parametrize("durable", [True, False])
def test_each_message_once_though_redis_is_killed_ten_times(tmp_path: Path, durable: bool) -> None:
    dice = random.Random(7)
    with House(tmp_path, durable) as house, house.running() as services:
        for _ in range(10):
            house.happen(dice.randint(1, 30))
            services.wake()
            enough = dice.randint(1, len(house.told()))
            eventually(lambda n=enough: len(house.stream()) >= n)
            house.server.kill()
            house.happen(dice.randint(1, 30))
            house.server.start()
        eventually(lambda: house.stream() == house.told())


RELAY = """
import sys
from pathlib import Path
from hearthwatch.flows.services import ConsumerThread
from hearthwatch.sinks.redis import Redis
from tests.support.context import context
url, here = sys.argv[1], context(Path(sys.argv[2]))
thread = ConsumerThread("redis", Redis(url=url, channel="security_events").build(here), {}, here)
thread.start()
thread._thread.join()
"""


def test_each_message_once_though_the_relay_is_killed_five_times(house: House) -> None:
    dice = random.Random(8)
    for _ in range(5):
        house.pretend(10 * ROWS_MAX)
        relay = subprocess.Popen([sys.executable, "-c", RELAY, house.server.url, house.path.parent], cwd=HOME)
        enough = len(house.told()) - dice.randint(0, 8 * ROWS_MAX)
        eventually(lambda n=enough: house.redis.xlen(f"{CHANNEL}:stream") >= min(n, STREAM_MAX))
        relay.kill()
        relay.wait()
    with house.relay():
        assert house.stream() == house.told()


def test_a_pipeline_killed_again_and_again_tells_redis_everything_once(tmp_path: Path) -> None:
    """The whole flow, bare and with a recovery store in turns; pictures three hours apart: each opens an event."""
    dice = random.Random(9)
    node = '\n[redis]\nuse = "redis"\nfrom = "batch"\n'
    with RedisServer(tmp_path / "redis") as server, server.client() as client:
        p = Pipeline(tmp_path, options="boxes = 2", more=node, REDIS_URL=server.url)

        def stream() -> list[int]:
            return [int(id.removesuffix("-0")) for id, _ in client.xrange(f"{CHANNEL}:stream")]

        def told() -> list[int]:
            return [seq for (seq,) in p.rows("SELECT seq FROM feed ORDER BY seq")]

        for start in range(3):
            for n in range(10):
                p.upload("porch", name(1_700_000_000 + 10_800 * (10 * start + n)))
            p.start(resume=start % 2 == 1)
            enough = 10 * start + dice.randint(1, 10)
            p.until(lambda n=enough: len(stream()) >= n).kill()
        p.start().until(lambda: p.rows("SELECT 1 FROM heartbeat WHERE pid = ?", p.pid))
        p.until(lambda: p.states() == {"settled": 30} and stream()[-1:] == told()[-1:]).stop()
        assert stream() == told()
        assert len(stream()) >= 30
