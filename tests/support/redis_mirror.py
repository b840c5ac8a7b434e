"""A record and a real Redis that mirrors its feed, with a subscriber."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from hearthwatch.flows.services import ConsumerThread, ServiceThreads
from hearthwatch.record import Record, now
from hearthwatch.record.batching import Batching
from hearthwatch.record.feed import Feed
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas import Detected, Detection
from hearthwatch.sinks.redis import Redis, RedisMirror
from hearthwatch.stages.rules import RulesJudge
from tests.support.context import context
from tests.support.redis_server import SECONDS_MAX, RedisServer

CHANNEL = "security_events"
HOUR = 3_600_000_000


class House:
    """A record, a Redis, and somebody who listens to the channel."""

    def __init__(self, home: Path, durable: bool = False):
        self.context, self.server = context(home), RedisServer(home / "redis", durable)
        self.path = self.context.record_path
        self.url = ""  # of another user
        self.redis: redis.Redis[str]

    def __enter__(self) -> House:
        self.server.start()
        self.redis = self.server.client()
        self.record = Record(self.path)
        self.ledger = Ledger(self.record)
        self.batching = Batching(self.record, RulesJudge)
        return self

    def __exit__(self, *_: object) -> None:
        self.redis.close()
        self.record.close()
        self.server.kill()

    def happen(self, count: int = 1) -> None:
        """`count` pictures of a person, an hour between two: as many events are opened, and the former ones closed."""
        (number,) = self.record.one("SELECT count(*) FROM frames")
        hours = [(number + n + 1) * HOUR for n in range(count)]
        self.ledger.discover([FoundFile("porch", "Porch", f"Porch/{at}.jpg", at, 1, at, at) for at in hours], hours[-1])
        frames = [entry.frame for entry in self.ledger.todo(0, count)]
        self.batching.write([Detected(frame, 64, 48, (Detection("person", 0.9, (1, 2, 3, 4)),)) for frame in frames])

    def pretend(self, count: int, age_seconds: float = 3600) -> None:
        """`count` rows in the feed that are this old; only the numbers matter."""
        last, at = Feed(self.record).last(), now() - round(age_seconds * 1e6)
        rows = [
            (last + n, 10**6 + last + n, 1, "event.closed", f'{{"seq":{last + n}}}', at) for n in range(1, count + 1)
        ]
        self.record.transact(
            lambda: self.record.many(
                "INSERT INTO feed(seq, subject_id, revision, type, payload, at) VALUES (?,?,?,?,?,?)", rows
            )
        )

    def told(self) -> list[int]:
        return [seq for (seq,) in self.record.rows("SELECT seq FROM feed ORDER BY seq")]

    def sink(self, **options: Any) -> Redis:
        return Redis(url=self.url or self.server.url, channel=CHANNEL, **options)

    @contextmanager
    def relay(self) -> Iterator[RedisMirror]:
        """The relay as it is, without the thread that drives it, caught up once."""
        relay = self.sink().build(self.context)
        relay.open()
        try:
            relay.catch_up()
            yield relay
        finally:
            relay.close()

    @contextmanager
    def running(self) -> Iterator[ServiceThreads]:
        """The relay on its thread, as in a graph."""
        services = ServiceThreads()
        services.start(ConsumerThread("redis", self.sink().build(self.context), {}, self.context))
        try:
            yield services
        finally:
            services.stop()

    def entries(self) -> list[tuple[str, dict[str, str]]]:
        return self.redis.xrange(f"{CHANNEL}:stream")

    def stream(self) -> list[int]:
        """The numbers of its entries; each one carries the message of that number."""
        seqs = []
        for id, fields in self.entries():
            seqs.append(int(id.removesuffix("-0")))
            assert json.loads(fields["data"])["seq"] == seqs[-1]
        return seqs

    @contextmanager
    def listening(self) -> Iterator[Callable[[], list[dict[str, Any]]]]:
        """What a subscriber has heard so far."""
        with self.server.client() as client, client.pubsub(ignore_subscribe_messages=True) as radio:
            radio.subscribe(CHANNEL)
            radio.get_message(ignore_subscribe_messages=False, timeout=SECONDS_MAX)
            heard: list[dict[str, Any]] = []

            def listen() -> list[dict[str, Any]]:
                """Everything that was published before this question: our own word comes back behind it."""
                client.publish(CHANNEL, "end")
                while (message := radio.get_message(timeout=SECONDS_MAX)) and message["data"] != "end":
                    heard.append(json.loads(message["data"]))
                return heard

            yield listen


def eventually(what: Callable[[], object]) -> None:
    """Wait until it is so, for a reader on another thread."""
    until = time.monotonic() + SECONDS_MAX
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)
