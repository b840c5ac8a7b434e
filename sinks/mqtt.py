"""Publish events and incidents to an MQTT broker: as they are, and as Home Assistant's entities.

At least once, in order: a message counts as delivered when the broker has acknowledged it. A broker that is down delays
messages and nothing else; one that comes back empty gets everything that it is meant to retain again.

All topics start with `hearthwatch/<store>/`, the first eight characters of the record's id: several Hearthwatches share a broker.

| topic | what |
|---|---|
| `available` | `online` or `offline`, retained |
| `events`, `incidents`, `system` | every message (`hearthwatch.event.v1`, `hearthwatch.incident.v1`, `hearthwatch.system.v1`) |
| `alerts` | what the notification policy sends, with `notification`, `page` and `answers` (links) |
| `problem` | what is wrong, of no camera: `{"state":"ON"|"OFF","problems":[…]}`, retained |
| `<camera>/occupancy` | `ON` while an event with a person, a vehicle or an animal is in progress, else `OFF`, retained |
| `<camera>/incident`, `<camera>/image` | the camera's newest incident and the picture of its gravest event, a JPEG, retained |
| `<camera>/problem` | what is wrong with the camera, as above, retained |

Home Assistant's entities are announced below `homeassistant/`, retained; those of a camera that was deleted or merged are removed.
Pictures that come late (a backfill) are published on `events` and `incidents` alone.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import quote, unquote, urlsplit

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import AfterValidator, Field, FilePath, model_validator

from hearthwatch.record import Record
from hearthwatch.record.notifications import LEVELS
from hearthwatch.record.suppression import VEHICLES
from hearthwatch.schemas import IncidentMessage, ItemMessage, Message
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.messages import FeedMessage, SystemMessage
from hearthwatch.schemas.text import product_version
from hearthwatch.sinks.notifier import DeliveryError, IncidentNotifier, NotifierWorker, is_old

CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 5.0
KEEPALIVE_SECONDS = 30  # a broker that hears nothing for 1.5 times that publishes `offline` for us
OFF_SECONDS = 300  # Home Assistant turns occupancy off after this long, should the end of an event be lost
TOPICS = {SystemMessage: "system", Message: "events", IncidentMessage: "incidents", ItemMessage: "items"}
STATES = "occupancy", "incident", "image", "problem"  # a camera's retained topics
STATES_0_1, SENSORS_0_1 = (
    ("event", "occupancy", "problem"),
    ("risk", "event"),
)  # what 0.1 retained and is not in use now
ANIMALS = "bird", "cat", "dog", "horse", "sheep", "cow", "bear"
OCCUPANTS = {"person", *VEHICLES, *ANIMALS}


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.port == 0:
        raise ValueError("write mqtt://user:password@host:1883 or mqtts://host")
    return url


Topic = Annotated[str, Field(pattern=r"^[^#+\s/][^#+\s]*$")]


class Mqtt(IncidentNotifier):
    """Publish events, incidents, and items of journals to an MQTT broker, for Home Assistant and others."""

    accepts: ClassVar[type | tuple[type, ...]] = (IncidentMessage, Message, SystemMessage, ItemMessage)

    url: Annotated[str, Field(repr=False), AfterValidator(_check_url)]
    """The broker: `mqtt://user:password@host:1883`; `mqtts://` encrypts."""
    topic: Topic = "hearthwatch"
    """What all topics start with, before the first eight characters of the store's id."""
    home_assistant: bool = True
    """Whether to announce each camera's entities to Home Assistant."""
    discovery_prefix: Topic = "homeassistant"
    """Where Home Assistant looks for announcements."""
    ca_file: FilePath | None = None
    """Certificates (PEM) that the broker's has to be signed with; unset: those that this machine trusts."""
    cert_file: FilePath | None = None
    """Certificate (PEM) that the broker asks for; unset: none."""
    key_file: FilePath | None = None
    """Its private key (PEM); unset: it is in `cert_file`."""

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        if ((self.ca_file or self.cert_file) and not self.url.startswith("mqtts:")) or (
            self.key_file and not self.cert_file
        ):
            raise ValueError(
                "`ca_file` and `cert_file` need a `url` that starts with mqtts://, `key_file` needs `cert_file`"
            )
        return self

    def label(self) -> str:
        return f"MQTT at {urlsplit(self.url).hostname}"

    def ask(self) -> str:
        try:
            BrokerConnection(self, None).close()
        except DeliveryError as error:
            raise UserError(f"{error}: correct `url`, or start the broker") from None
        return f"the broker at {urlsplit(self.url).hostname} accepts us"

    def build(self, context: Context) -> MqttWorker:
        return MqttWorker(self, context)


class MqttWorker(NotifierWorker):
    """Keeps the connection and what the broker should hold."""

    options: Mqtt

    def __init__(self, options: Mqtt, context: Context) -> None:
        super().__init__(options, context)
        self._broker: BrokerConnection | None = None
        self._retained: dict[str, str | bytes] = {}
        """Topic → payload that the broker holds."""
        self._names: dict[str, str] = {}
        """Camera id → its name."""
        self._others: dict[str, str] = {}
        """Camera of another cell, whose worker publishes the rest of it → the start of that record's id."""
        self._occupied: dict[str, set[int]] = {}
        """Camera id → its open events."""
        self._incidents: dict[str, IncidentMessage] = {}
        """Camera id → the newest incident that it is part of."""
        self._seq = 0
        """The last message that was published."""

    @cached_property
    def store(self) -> str:
        """The start of the record's id, which differs from that of other Hearthwatches on the broker."""
        with closing(Record(self.context.record_path)) as record:
            return record.store_id[:8]

    def open(self) -> None:
        """Connect, and publish all that is retained. Raises `DeliveryError`."""
        self._connect()

    def idle(self) -> None:
        """Reconnect to a broker that was down or came back empty; notice that a camera was added or deleted."""
        self._connect()
        self._publish_cameras()

    def deliver(self, messages: Sequence[FeedMessage]) -> None:
        try:
            self._connect()
            self._publish_cameras()
            for message in messages:
                if message.seq > self._seq:
                    self._publish_state(message)
                    self._seq = message.seq
            self._publish_incidents(messages)
            super().deliver(messages)
        except DeliveryError:
            self.close()  # what is half sent must not overtake what comes again
            raise

    def close(self) -> None:
        if self._broker:
            self._broker.close()
            self._broker = None

    def notify(self, message: FeedMessage) -> None:
        """Publish an alert; system messages and items are published already."""
        if not isinstance(message, SystemMessage | ItemMessage):
            links = {"page": self.options.page(message), "answers": self.answers(message)}
            self._publish(f"{self._at()}/alerts", _json({**message.as_dict(), **links}))

    # -- state

    def _publish_state(self, message: FeedMessage) -> None:
        kind = TOPICS[type(message)]
        self._publish(f"{self._at()}/{kind}", _json(message.as_dict()))
        if not isinstance(message, Message) or message.event.camera_id not in self._names:
            return
        event, occupied = message.event, self._occupied.setdefault(message.event.camera_id, set())
        if event.status != "open":
            occupied.discard(event.id)
        elif OCCUPANTS & event.objects.keys() and not is_old(message, self.options):
            occupied.add(event.id)
        topic = f"{self._at(event.camera_id)}/occupancy"
        if occupied or self._retained.get(topic) != "OFF":  # each ON starts Home Assistant's `off_delay` again
            self._retained.pop(topic, None)
            self._retain(topic, "ON" if occupied else "OFF")

    def _publish_incidents(self, messages: Sequence[FeedMessage]) -> None:
        """Publish the newest incident of each camera that one of these is about, and before it the picture."""
        changed: dict[str, IncidentMessage] = {}
        for message in messages:
            if isinstance(message, IncidentMessage) and message.incident.merged_into is None:
                is_fresh = message.incident.delay_seconds <= self.options.delay_seconds_max
                for camera in {*self._names, *self._others}.intersection(message.incident.cameras) if is_fresh else ():
                    last = self._incidents.get(camera, message).incident
                    if message.incident.last_at >= last.last_at:  # else an older one has ended
                        self._incidents[camera] = changed[camera] = message
        pictures = {message.seq: message.picture() or b"" for message in {m.seq: m for m in changed.values()}.values()}
        for camera, message in changed.items():
            self._retain(f"{self._at(camera)}/image", pictures[message.seq])
            self._retain(f"{self._at(camera)}/incident", _json(message.as_dict()))

    def _publish_cameras(self) -> None:
        """Publish each camera's entities, and what is wrong with it and with the rest; remove what the broker has of others."""
        on = "SELECT camera_id, message FROM conditions WHERE state = 'on' ORDER BY since, id"
        with closing(Record(self.context.record_path)) as record:
            before, self._names = self._names, dict(record.rows("SELECT id, name FROM cameras ORDER BY id"))
            self._others = dict(record.rows("SELECT id, substr(store_id, 1, 8) FROM cell_cameras"))
            wrong: dict[str | None, list[str]] = {camera: [] for camera in (None, *self._names)}
            for camera, words in record.rows(on):
                wrong[camera if camera in self._names else None].append(words)
        for camera, problems in wrong.items():
            for topic, entity in entities(self.options, self.store, camera, self._names.get(camera or "", "")):
                self._retain(topic, entity)
            payload = _json({"state": "ON" if problems else "OFF", "problems": problems})
            self._retain(f"{self._at(camera)}/problem", payload)
        for camera in before.keys() - self._names.keys():
            self._remove(camera)
        found = self._connect().found
        while found:
            first, _, rest = found.popleft().removeprefix(f"{self.options.topic}/").partition("/")
            camera = rest.partition("/")[0] if first == self.store else first
            if camera not in self._names:
                self._remove(camera)
            if rest == "occupancy":  # 0.1 had no store in its topics
                sensors = f"{self.options.discovery_prefix}/sensor/{_node(self.store, camera)}"
                self._clear(*(f"{sensors}/{key}/config" for key in SENSORS_0_1))
                self._clear(*(f"{self.options.topic}/{camera}/{key}" for key in STATES_0_1))

    def _remove(self, camera: str) -> None:
        self._clear(*(topic for topic, _ in entities(self.options, self.store, camera, "")))
        self._clear(*(f"{self._at(camera)}/{key}" for key in STATES))

    def _clear(self, *topics: str) -> None:
        for topic in topics:
            self._publish(topic, "", retain=True)  # an empty retained message deletes what is retained
            self._retained.pop(topic, None)

    def _at(self, camera: str | None = None) -> str:
        """Return what the topics of a camera, or those of no camera, start with."""
        store = self._others.get(camera or "", self.store)
        return f"{self.options.topic}/{store}" + (f"/{camera}" if camera else "")

    def _retain(self, topic: str, payload: str | bytes) -> None:
        if self._retained.get(topic) != payload:
            self._publish(topic, payload, retain=True)
            self._retained[topic] = payload

    def _publish(self, topic: str, payload: str | bytes, retain: bool = False) -> None:
        self._connect().publish(topic, payload, retain)

    # -- the connection

    def _connect(self) -> BrokerConnection:
        """Return the connection; make a new one if there is none. Raises `DeliveryError`."""
        if self._broker and not self._broker.is_alive:
            self.close()
        if self._broker is None:
            self._broker = BrokerConnection(self.options, self.store)
            try:
                for topic, payload in self._retained.items():
                    self._broker.publish(topic, payload, True)
                self._publish_cameras()
            except DeliveryError:
                self.close()
                raise
        return self._broker


class BrokerConnection:
    """One connection to one broker. `publish` returns when the broker has taken it; any failure ends the connection."""

    def __init__(self, options: Mqtt, store: str | None) -> None:
        """Connect as the client of this store; the broker disconnects the first of two with one name. Raises `DeliveryError`.

        Without a store it has no name, publishes nothing and subscribes to nothing.
        """
        parts, topic = urlsplit(options.url), options.topic
        self.host, self.available = str(parts.hostname), (available := f"{topic}/{store}/available")
        self.found: deque[str] = deque()
        """Topics that show which cameras the broker retains something of, as they come in."""
        self._answered, self._reason = threading.Event(), ""
        self.store = store
        name = f"hearthwatch-{store}" if store else ""
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=name, reconnect_on_failure=False)
        self._client.connect_timeout = CONNECT_SECONDS
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        if store:
            self._client.will_set(available, "offline", 1, retain=True)
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        try:
            if parts.scheme == "mqtts":
                files = options.ca_file, options.cert_file, options.key_file
                ca, cert, key = (str(file) if file else None for file in files)
                self._client.tls_set(ca, cert, key)
            self._client.connect(
                self.host, parts.port or (8883 if parts.scheme == "mqtts" else 1883), KEEPALIVE_SECONDS
            )
        except (OSError, ValueError) as error:
            raise DeliveryError(f"the broker at {self.host} cannot be reached: {error}") from None
        self._client.loop_start()
        if not self._answered.wait(ANSWER_SECONDS) or self._reason:
            self.close()
            raise DeliveryError(f"the broker at {self.host} {self._reason or 'does not answer'}")
        if store:
            self.publish(available, "online", True)
            self._client.subscribe([(f"{topic}/{store}/+/problem", 1), (f"{topic}/+/occupancy", 1)])

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._reason = f"refuses us: {reason}" if reason.is_failure else ""
        self._answered.set()

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.retain and message.payload:
            self.found.append(message.topic)

    @property
    def is_alive(self) -> bool:
        return self._client.is_connected()

    def publish(self, topic: str, payload: str | bytes, retain: bool) -> None:
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
        if self.store and self.is_alive:
            self._is_acknowledged(self._client.publish(self.available, "offline", 1, True))
        self._client.disconnect()
        self._client.loop_stop()


def entities(options: Mqtt, store: str, camera_id: str | None, name: str) -> Iterator[tuple[str, str]]:
    """Yield the entities of a camera, or those that belong to none, as Home Assistant's discovery: (topic, JSON)."""
    node, base = _node(store, camera_id), f"{options.topic}/{store}"
    where = f"{base}/{camera_id}" if camera_id else base
    device = {
        "identifiers": [node], "name": name or "Hearthwatch", "manufacturer": "Hearthwatch", "sw_version": product_version(),
    }  # fmt: skip
    if options.page_url:
        device["configuration_url"] = f"{options.page_url.rstrip('/')}/" + (
            f"?camera_id={quote(camera_id)}" if camera_id else ""
        )
    origin = {"name": "Hearthwatch", "sw_version": product_version()}
    shared = {"availability_topic": f"{base}/available", "device": device, "origin": origin}
    incident, attributes = {"state_topic": f"{where}/incident"}, {"json_attributes_topic": f"{where}/incident"}
    kinds: dict[tuple[str, str], dict[str, Any]] = {
        ("binary_sensor", "problem"): {
            "name": "Problem", "device_class": "problem", "entity_category": "diagnostic", "state_topic": f"{where}/problem",
            "value_template": "{{ value_json.state }}", "json_attributes_topic": f"{where}/problem",
        },
        ("binary_sensor", "occupancy"): {
            "name": "Occupancy", "device_class": "occupancy", "state_topic": f"{where}/occupancy", "off_delay": OFF_SECONDS,
        },
        ("sensor", "level"): {
            **incident, "name": "Level", "device_class": "enum", "options": list(LEVELS), "value_template": "{{ value_json.risk_level }}",
        },
        ("sensor", "incident"): {
            **incident, **attributes, "name": "Last incident", "value_template": "{{ value_json.summary[:255] }}",
        },
        ("image", "image"): {**attributes, "name": "Picture", "image_topic": f"{where}/image", "content_type": "image/jpeg"},
    }  # fmt: skip
    chosen = kinds if camera_id else [("binary_sensor", "problem")]
    for kind, key in chosen if options.home_assistant else []:
        entity = {**kinds[kind, key], **shared, "unique_id": f"{node}_{key}"}
        yield f"{options.discovery_prefix}/{kind}/{node}/{key}/config", _json(entity)


def _node(store: str, camera_id: str | None) -> str:
    """Return what Home Assistant knows a device by: a-z, 0-9, _ and - only, as camera ids that are ASCII."""
    plain = camera_id if not camera_id or camera_id.isascii() else camera_id.encode().hex()
    return f"hearthwatch_{store}" + (f"_{plain}" if plain else "")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
