"""Sources that read from elsewhere, each in a few lines: Kafka, MQTT, an HTTP API. Behind them hang your stages, then `journal` or `files`.

Their positions are in the recovery store, which `hearthwatch run` keeps: after a kill they read up to two seconds again, and the
journal and the ledger take each item once.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any

import httpx
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from hearthwatch.schemas import Context, Poller, Source, Stage, Upload


class Kafka(Source):
    """Messages of Kafka topics, from the first one on."""

    emits = KafkaSourceMessage

    brokers: tuple[str, ...] = ("localhost:9092",)
    """`host:port` of some brokers."""
    topics: tuple[str, ...]
    """Topics to read."""
    follow: bool = True
    """Wait for more; false: end with the last message."""

    def build(self, context: Context) -> KafkaSource:
        return KafkaSource(self.brokers, self.topics, tail=self.follow)


class Arrivals(Stage):
    """Kafka messages `{"camera": …, "path": …}` to pictures for `files`."""

    accepts = KafkaSourceMessage
    emits = Upload

    def process(self, items: list[KafkaSourceMessage[bytes, bytes]]) -> list[Upload]:
        found = [json.loads(item.value) for item in items]
        return [Upload(one["camera"], one["path"], None) for one in found]


class Api(Poller):
    """Rows of an HTTP API that returns `[{"id": 17, …}, …]` behind `?after=16`, oldest first."""

    emits = dict

    url: str
    """Where to ask."""

    def poll(self, after: int | None) -> tuple[list[dict], int]:
        rows = httpx.get(self.url, params={"after": after or 0}, timeout=5).raise_for_status().json()
        return rows, max([after or 0, *(row["id"] for row in rows)])


class Mqtt(Source):
    """Messages of an MQTT topic, as `topic` and `payload`; the broker keeps what is not acknowledged."""

    emits = dict

    host: str = "localhost"
    port: int = 1883
    topic: str
    """With wildcards: `doors/+/level`."""
    client_id: str = "hearthwatch-source"
    """Under this name the broker keeps messages while this does not run."""

    def build(self, context: Context) -> OnePart:
        return OnePart(lambda _: MqttPart(self))


class MqttPart(StatefulSourcePartition[dict[str, Any], None]):
    """Acknowledges a message two snapshots after it was handed on: by then it is behind the stages."""

    def __init__(self, options: Mqtt) -> None:
        self.queue = SimpleQueue[tuple[int, MQTTMessage]]()
        self.connection = 0
        """Counts connections: a message comes again on the next one, under another number."""
        self.handed: list[tuple[int, MQTTMessage]] = []
        self.before: list[tuple[int, MQTTMessage]] = []
        self.client = Client(CallbackAPIVersion.VERSION2, options.client_id, clean_session=False, manual_ack=True)
        self.client.on_connect = lambda *_: self._subscribe(options.topic)
        self.client.on_message = lambda client, data, message: self.queue.put((self.connection, message))
        self.client.connect_async(options.host, options.port)
        self.client.loop_start()

    def next_batch(self) -> list[dict[str, Any]]:
        new: list[tuple[int, MQTTMessage]] = []
        while not self.queue.empty():
            new.append(self.queue.get())
        self.handed += new
        return [{"topic": message.topic, "payload": message.payload.decode(errors="replace")} for _, message in new]

    def next_awake(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=0.02)

    def snapshot(self) -> None:
        for connection, message in self.before:
            if connection == self.connection:
                self.client.ack(message.mid, message.qos)
        self.before, self.handed = self.handed, []

    def _subscribe(self, topic: str) -> None:
        self.connection += 1
        self.client.subscribe(topic, qos=1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class OnePart(FixedPartitionedSource):
    """A source with one position."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def list_parts(self) -> list[str]:
        return ["all"]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> Any:
        return self.make(resume_state)
