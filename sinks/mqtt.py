"""Events to an MQTT broker: as they are, as Home Assistant's entities, and as Frigate's reviews.

At least once, in order: a message counts as delivered when the broker has acknowledged it. A broker that is away delays
messages and nothing else; one that comes back empty gets everything that it is meant to retain again.

| topic | what |
|---|---|
| `hearthwatch/available` | `online` or `offline`, retained |
| `hearthwatch/events` | every message (`hearthwatch.event.v1`) |
| `hearthwatch/alerts` | those that are worth a notification |
| `hearthwatch/<camera>/occupancy` | `ON` while an event goes on, else `OFF`, retained |
| `hearthwatch/<camera>/event` | the camera's newest message, retained |
| `homeassistant/…/config` | three entities for each camera, retained |
| `frigate/reviews` | alerts as Frigate tells them: `new`, `update`, `end` |

Pictures that come late (a backfill) are told on `hearthwatch/events` alone.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import AfterValidator, Field, PrivateAttr

from hearthwatch.record import Record
from hearthwatch.schemas import Message
from hearthwatch.schemas.settings import from_settings
from hearthwatch.sinks.notifier import LEVELS, Notifier, is_old

CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 5.0
KEEPALIVE_SECONDS = 30  # a broker that hears nothing for 1.5 times that says `offline` for us
REVIEWS_MAX = 1_000  # remembered, to tell an update from something new
OFF_SECONDS = 300  # should the end of an event be filtered out or lost, Home Assistant forgets it by itself


class BrokerError(Exception):
    """Not delivered; the text says why and names no secret."""


def _url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.port == 0:
        raise ValueError("write mqtt://user:password@host:1883 or mqtts://host")
    return url


Topic = Annotated[str, Field(pattern=r"^[^#+\s/][^#+\s]*$")]


class Mqtt(Notifier):
    """Publish events to an MQTT broker, for Home Assistant and others."""

    url: Annotated[str, Field(repr=False), AfterValidator(_url)]
    """The broker: `mqtt://user:password@host:1883`; `mqtts://` encrypts."""
    topic: Topic = "hearthwatch"
    """What all topics start with."""
    home_assistant: bool = True
    """Whether to announce each camera's entities to Home Assistant."""
    discovery_prefix: Topic = "homeassistant"
    """Where Home Assistant looks for announcements."""
    frigate: Topic | None = None
    """Publish alerts on `<frigate>/reviews` in Frigate's shape, too, such as `frigate`; unset: not."""
    record_path: Path = from_settings("database_path")
    """The record, whose cameras are announced."""

    _link: Link | None = PrivateAttr(None)
    _retained: dict[str, str] = PrivateAttr(default_factory=dict)
    """Topic -> payload that the broker should hold."""
    _going_on: dict[str, set[int]] = PrivateAttr(default_factory=dict)
    """Camera id -> its open events."""
    _reviews: OrderedDict[int, dict[str, Any]] = PrivateAttr(default_factory=OrderedDict)
    """Event id -> its review as published last."""
    _seq: int = PrivateAttr(0)
    """The last message that was mirrored."""

    def label(self) -> str:
        return f"MQTT at {urlsplit(self.url).hostname}"

    def open(self) -> None:
        """Connect, and tell all that is to be retained. Raises `BrokerError`."""
        self._connected()

    def idle(self) -> None:
        """Notice a broker that went away, or came back empty, although nothing happens here."""
        self._connected()

    def deliver(self, messages: Sequence[Message]) -> None:
        for message in messages:
            try:
                if message.seq > self._seq:
                    self._mirror(message)
                    self._seq = message.seq
                super().deliver([message])
                self._end_review(message)
            except BrokerError:
                self.close()  # what is half sent must not overtake what comes again
                raise

    def close(self) -> None:
        if self._link:
            self._link.close()
            self._link = None

    def notify(self, message: Message) -> None:
        """An alert; as a review, it is new at first and then updated."""
        self._publish(f"{self.topic}/alerts", _json(message.as_dict()))
        self._review(message, "update" if message.event.id in self._reviews else "new")

    # -- state

    def _mirror(self, message: Message) -> None:
        event, payload = message.event, _json(message.as_dict())
        self._publish(f"{self.topic}/events", payload)
        if is_old(message, self):
            return
        self._announce(event.camera_id, event.camera_name)
        going_on = self._going_on.setdefault(event.camera_id, set())
        going_on.add(event.id) if event.status == "open" else going_on.discard(event.id)
        self._retain(f"{self.topic}/{event.camera_id}/event", payload)
        self._retain(f"{self.topic}/{event.camera_id}/occupancy", "ON" if going_on else "OFF")

    def _announce(self, camera_id: str, name: str) -> None:
        if self.home_assistant:
            for topic, entity in entities(self, self._connected().name, camera_id, name):
                if self._retained.get(topic) != entity:
                    self._retain(topic, entity)

    def _retain(self, topic: str, payload: str) -> None:
        self._retained[topic] = payload
        self._publish(topic, payload, retain=True)

    def _publish(self, topic: str, payload: str, retain: bool = False) -> None:
        self._connected().publish(topic, payload, retain)

    # -- Frigate

    def _review(self, message: Message, kind: str) -> None:
        if self.frigate:
            after = review(message)
            before = self._reviews.get(message.event.id, after)
            self._publish(f"{self.frigate}/reviews", _json({"type": kind, "before": before, "after": after}))
            self._reviews[message.event.id] = after
            if len(self._reviews) > REVIEWS_MAX:
                self._reviews.popitem(last=False)

    def _end_review(self, message: Message) -> None:
        """The end of what was told; what came behind it is an update."""
        if message.event.id in self._reviews and message.type in ("event.closed", "event.merged"):
            self._review(message, "end")

    # -- the connection

    def _connected(self) -> Link:
        """The connection; a new one if there is none. Raises `BrokerError`."""
        if self._link and not self._link.alive:
            self.close()
        if self._link is None:
            record = Record(self.record_path)
            self._link = Link(self.url, f"hearthwatch-{record.store_id[:8]}", f"{self.topic}/available")
            try:
                for topic, payload in self._retained.items():
                    self._link.publish(topic, payload, True)
                for camera_id, name in record.rows("SELECT id, name FROM cameras ORDER BY id"):
                    self._announce(camera_id, name)
            except BrokerError:
                self.close()
                raise
            finally:
                record.close()
        return self._link


class Link:
    """One connection to one broker. `publish` returns when the broker has taken it; any failure is the link's end."""

    def __init__(self, url: str, name: str, available: str) -> None:
        """Connect; `name` is the client's, two of one name would throw each other out. Raises `BrokerError`."""
        parts = urlsplit(url)
        self.name, self.host, self.available = name, str(parts.hostname), available
        self._answered, self._reason = threading.Event(), ""
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=name, reconnect_on_failure=False)
        self._client.connect_timeout = CONNECT_SECONDS
        self._client.on_connect = self._connected
        self._client.will_set(available, "offline", 1, retain=True)
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            self._client.tls_set()
        try:
            self._client.connect(
                self.host, parts.port or (8883 if parts.scheme == "mqtts" else 1883), KEEPALIVE_SECONDS
            )
        except (OSError, ValueError) as error:
            raise BrokerError(f"the broker at {self.host} cannot be reached: {error}") from None
        self._client.loop_start()
        if not self._answered.wait(ANSWER_SECONDS) or self._reason:
            self.close()
            raise BrokerError(f"the broker at {self.host} {self._reason or 'does not answer'}")
        self.publish(available, "online", True)

    def _connected(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._reason = f"refuses us: {reason}" if reason.is_failure else ""
        self._answered.set()

    @property
    def alive(self) -> bool:
        return self._client.is_connected()

    def publish(self, topic: str, payload: str, retain: bool) -> None:
        """Raises `BrokerError` if the broker did not acknowledge it."""
        if not self._acknowledged(self._client.publish(topic, payload, 1, retain)):
            raise BrokerError(f"the broker at {self.host} did not take a message within {ANSWER_SECONDS:g} s")

    def _acknowledged(self, sent: MQTTMessageInfo) -> bool:
        try:
            sent.wait_for_publish(ANSWER_SECONDS)
            return sent.is_published()
        except (RuntimeError, ValueError):  # not connected any more, or too much in its queue
            return False

    def close(self) -> None:
        """Say goodbye if somebody listens; a broker that is gone says it for us."""
        if self.alive:
            self._acknowledged(self._client.publish(self.available, "offline", 1, True))
        self._client.disconnect()
        self._client.loop_stop()


def entities(options: Mqtt, client: str, camera_id: str, name: str) -> Iterator[tuple[str, str]]:
    """A camera's entities as Home Assistant's discovery wants them: (topic, JSON)."""
    plain = camera_id if camera_id.isascii() else camera_id.encode().hex()  # ids hold a-z, 0-9, _ and - only
    node, where = f"{client.replace('-', '_')}_{plain}", f"{options.topic}/{camera_id}"
    shared = {
        "availability_topic": f"{options.topic}/available",
        "device": {"identifiers": [node], "name": name, "manufacturer": "Hearthwatch", "model": "camera"},
        "origin": {"name": "Hearthwatch"},
    }
    newest = {"state_topic": f"{where}/event"}
    kinds: dict[tuple[str, str], dict[str, Any]] = {
        ("binary_sensor", "occupancy"): {
            "name": "Occupancy", "device_class": "occupancy", "state_topic": f"{where}/occupancy", "off_delay": OFF_SECONDS,
        },
        ("sensor", "risk"): {
            **newest, "name": "Risk", "device_class": "enum", "options": list(LEVELS), "value_template": "{{ value_json.risk_level }}",
            "json_attributes_topic": f"{where}/event",
        },
        ("sensor", "event"): {**newest, "name": "Last event", "value_template": "{{ value_json.summary[:255] }}"},
    }  # fmt: skip
    for (kind, key), own in kinds.items():
        yield (
            f"{options.discovery_prefix}/{kind}/{node}/{key}/config",
            _json({**own, **shared, "unique_id": f"{node}_{key}"}),
        )


def review(message: Message) -> dict[str, Any]:
    """The message's event as Frigate describes a review item."""
    event = message.event
    return {
        "id": event.batch_id,
        "camera": event.camera_id,
        "start_time": event.started_at.timestamp(),
        "end_time": event.ended_at.timestamp() if event.ended_at else None,
        "severity": "alert" if event.verdict.risk_level in ("high", "critical") else "detection",
        "thumb_path": event.thumbnail or "",
        "data": {
            "detections": [str(event.id)],
            "objects": list(event.objects),
            "sub_labels": [],
            "zones": [],
            "audio": [],
            "metadata": {"title": event.verdict.summary, "potential_threat_level": LEVELS.index(event.verdict.risk_level)},
        },
    }  # fmt: skip


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
