"""Publish events to an MQTT broker: as they are, and as Home Assistant's entities.

At least once, in order: a message counts as delivered when the broker has acknowledged it. A broker that is down delays
messages and nothing else; one that comes back empty gets everything that it is meant to retain again.

| topic | what |
|---|---|
| `hearthwatch/available` | `online` or `offline`, retained |
| `hearthwatch/events` | every message about an event (`hearthwatch.event.v1`) |
| `hearthwatch/system` | every system message (`hearthwatch.system.v1`) |
| `hearthwatch/problem` | what is wrong, of no camera: `{"state":"ON"|"OFF","problems":[…]}`, retained |
| `hearthwatch/alerts` | those that are worth a notification |
| `hearthwatch/<camera>/occupancy` | `ON` while an event is in progress, else `OFF`, retained |
| `hearthwatch/<camera>/event` | the camera's newest message, retained |
| `hearthwatch/<camera>/problem` | what is wrong with the camera, as above, retained |
| `homeassistant/…/config` | four entities for each camera, one for Hearthwatch, retained |

Pictures that come late (a backfill) are published on `hearthwatch/events` alone.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import AfterValidator, Field

from hearthwatch.record import Record
from hearthwatch.record.notifications import LEVELS
from hearthwatch.schemas import Message
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.messages import AnyMessage, SystemMessage
from hearthwatch.sinks.notifier import DeliveryError, Notifier, NotifierWorker, is_old

CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 5.0
KEEPALIVE_SECONDS = 30  # a broker that hears nothing for 1.5 times that publishes `offline` for us
OFF_SECONDS = 300  # Home Assistant turns occupancy off after this long, should the end of an event be lost


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.port == 0:
        raise ValueError("write mqtt://user:password@host:1883 or mqtts://host")
    return url


Topic = Annotated[str, Field(pattern=r"^[^#+\s/][^#+\s]*$")]


class Mqtt(Notifier):
    """Publish events to an MQTT broker, for Home Assistant and others."""

    url: Annotated[str, Field(repr=False), AfterValidator(_check_url)]
    """The broker: `mqtt://user:password@host:1883`; `mqtts://` encrypts."""
    topic: Topic = "hearthwatch"
    """What all topics start with."""
    home_assistant: bool = True
    """Whether to announce each camera's entities to Home Assistant."""
    discovery_prefix: Topic = "homeassistant"
    """Where Home Assistant looks for announcements."""

    accepts = Message, SystemMessage

    def label(self) -> str:
        return f"MQTT at {urlsplit(self.url).hostname}"

    def build(self, context: Context) -> MqttWorker:
        return MqttWorker(self, context)


class MqttWorker(NotifierWorker):
    """Keeps the connection and what the broker should hold."""

    options: Mqtt

    def __init__(self, options: Mqtt, context: Context) -> None:
        super().__init__(options, context)
        self._broker: BrokerConnection | None = None
        self._retained: dict[str, str] = {}
        """Topic → payload that the broker should hold."""
        self._open_events: dict[str, set[int]] = {}
        """Camera id → its open events."""
        self._seq = 0
        """The last message that was published."""

    def open(self) -> None:
        """Connect, and publish all that is to be retained.

        Raises:
            DeliveryError: the broker cannot be reached, or refuses.
        """
        self._connect()

    def idle(self) -> None:
        """Reconnect to a broker that was down or came back empty, although there is no message."""
        self._connect()

    def deliver(self, messages: Sequence[AnyMessage]) -> None:
        for message in messages:
            try:
                if message.seq > self._seq:
                    if isinstance(message, SystemMessage):
                        self._publish(f"{self.options.topic}/system", _json(message.as_dict()))
                        self._publish_problems()
                    elif isinstance(message, Message):
                        self._publish_state(message)
                    self._seq = message.seq
                super().deliver([message])
            except DeliveryError:
                self.close()  # what is half sent must not overtake what comes again
                raise

    def close(self) -> None:
        if self._broker:
            self._broker.close()
            self._broker = None

    def notify(self, message: AnyMessage) -> None:
        """Publish an alert; system messages are published already."""
        if isinstance(message, Message):
            self._publish(f"{self.options.topic}/alerts", _json(message.as_dict()))

    # -- state

    def _publish_state(self, message: Message) -> None:
        event, payload = message.event, _json(message.as_dict())
        self._publish(f"{self.options.topic}/events", payload)
        if is_old(message, self.options):
            return
        self._announce(event.camera_id, event.camera_name)
        open_events = self._open_events.setdefault(event.camera_id, set())
        open_events.add(event.id) if event.status == "open" else open_events.discard(event.id)
        self._retain(f"{self.options.topic}/{event.camera_id}/event", payload)
        self._retain(f"{self.options.topic}/{event.camera_id}/occupancy", "ON" if open_events else "OFF")

    def _publish_problems(self) -> None:
        """Publish what the record says is wrong now with each camera, and with the rest."""
        record = Record(self.context.record_path)
        try:
            cameras = dict(record.rows("SELECT id, name FROM cameras ORDER BY id"))
            merged = [id for (id,) in record.rows("SELECT id FROM camera_aliases") if id not in cameras]
            wrong: dict[str | None, list[str]] = {camera: [] for camera in (*cameras, None)}
            for camera, words in record.rows(
                "SELECT camera_id, message FROM conditions WHERE state = 'on' ORDER BY since, id"
            ):
                wrong[camera if camera in cameras else None].append(words)
        finally:
            record.close()
        for camera in merged:  # an empty retained message deletes what is retained
            where = f"{self.options.topic}/{camera}"
            gone = [topic for topic, _ in entities(self.options, self._connect().name, camera, "")]
            for topic in (*gone, f"{where}/event", f"{where}/occupancy", f"{where}/problem"):
                if self._retained.get(topic) != "":
                    self._retain(topic, "")
        for camera, name in cameras.items():
            self._announce(camera, name)
        for camera, words in wrong.items():
            where = self.options.topic if camera is None else f"{self.options.topic}/{camera}"
            payload = _json({"state": "ON" if words else "OFF", "problems": words})
            if self._retained.get(f"{where}/problem") != payload:
                self._retain(f"{where}/problem", payload)

    def _announce(self, camera_id: str, name: str) -> None:
        if self.options.home_assistant:
            for topic, entity in entities(self.options, self._connect().name, camera_id, name):
                if self._retained.get(topic) != entity:
                    self._retain(topic, entity)

    def _retain(self, topic: str, payload: str) -> None:
        self._retained[topic] = payload
        self._publish(topic, payload, retain=True)

    def _publish(self, topic: str, payload: str, retain: bool = False) -> None:
        self._connect().publish(topic, payload, retain)

    # -- the connection

    def _connect(self) -> BrokerConnection:
        """Return the connection; make a new one if there is none. Raises `DeliveryError`."""
        if self._broker and not self._broker.is_alive:
            self.close()
        if self._broker is None:
            record = Record(self.context.record_path)
            self._broker = BrokerConnection(
                self.options.url, f"hearthwatch-{record.store_id[:8]}", f"{self.options.topic}/available"
            )
            try:
                for topic, payload in self._retained.items():
                    self._broker.publish(topic, payload, True)
                self._publish_problems()
                if self.options.home_assistant:
                    self._retain(*problem_of_all(self.options, self._broker.name))
            except DeliveryError:
                self.close()
                raise
            finally:
                record.close()
        return self._broker


class BrokerConnection:
    """One connection to one broker. `publish` returns when the broker has taken it; any failure ends the connection."""

    def __init__(self, url: str, name: str, available: str) -> None:
        """Connect; `name` is the client's, the broker disconnects the first of two with one name. Raises `DeliveryError`."""
        parts = urlsplit(url)
        self.name, self.host, self.available = name, str(parts.hostname), available
        self._answered, self._reason = threading.Event(), ""
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=name, reconnect_on_failure=False)
        self._client.connect_timeout = CONNECT_SECONDS
        self._client.on_connect = self._on_connect
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
            raise DeliveryError(f"the broker at {self.host} cannot be reached: {error}") from None
        self._client.loop_start()
        if not self._answered.wait(ANSWER_SECONDS) or self._reason:
            self.close()
            raise DeliveryError(f"the broker at {self.host} {self._reason or 'does not answer'}")
        self.publish(available, "online", True)

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._reason = f"refuses us: {reason}" if reason.is_failure else ""
        self._answered.set()

    @property
    def is_alive(self) -> bool:
        return self._client.is_connected()

    def publish(self, topic: str, payload: str, retain: bool) -> None:
        """Publish, and wait for the acknowledgement.

        Raises:
            DeliveryError: there was none in time.
        """
        if not self._is_acknowledged(self._client.publish(topic, payload, 1, retain)):
            raise DeliveryError(f"the broker at {self.host} did not take a message within {ANSWER_SECONDS:g} s")

    def _is_acknowledged(self, sent: MQTTMessageInfo) -> bool:
        try:
            sent.wait_for_publish(ANSWER_SECONDS)
            return sent.is_published()
        except (RuntimeError, ValueError):  # not connected any more, or too much in its queue
            return False

    def close(self) -> None:
        """Publish `offline`; where the connection is gone, the broker does."""
        if self.is_alive:
            self._is_acknowledged(self._client.publish(self.available, "offline", 1, True))
        self._client.disconnect()
        self._client.loop_stop()


def entities(options: Mqtt, client: str, camera_id: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield a camera's entities in the form of Home Assistant's discovery: (topic, JSON)."""
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
        ("binary_sensor", "problem"): {"name": "Problem", **_problem(where)},
    }  # fmt: skip
    for (kind, key), own in kinds.items():
        yield (
            f"{options.discovery_prefix}/{kind}/{node}/{key}/config",
            _json({**own, **shared, "unique_id": f"{node}_{key}"}),
        )


def problem_of_all(options: Mqtt, client: str) -> tuple[str, str]:
    """Return the entity that is on while something is wrong that is no camera's: (topic, JSON)."""
    node = client.replace("-", "_")
    entity = {
        "name": "Problem", **_problem(options.topic), "unique_id": f"{node}_problem", "origin": {"name": "Hearthwatch"},
        "availability_topic": f"{options.topic}/available",
        "device": {"identifiers": [node], "name": "Hearthwatch", "manufacturer": "Hearthwatch"},
    }  # fmt: skip
    return f"{options.discovery_prefix}/binary_sensor/{node}/problem/config", _json(entity)


def _problem(where: str) -> dict[str, str]:
    return {
        "device_class": "problem", "entity_category": "diagnostic", "state_topic": f"{where}/problem",
        "value_template": "{{ value_json.state }}", "json_attributes_topic": f"{where}/problem",
    }  # fmt: skip


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
