"""Promises: what an MQTT broker holds is what the record says, whatever happens to either; several Hearthwatches share a broker;
nothing is left of a camera that is gone."""

from __future__ import annotations

import json
import re
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hearthwatch.flows.services import ConsumerThread
from hearthwatch.record import Record
from hearthwatch.record.cameras import merge_camera, remove_camera
from hearthwatch.record.conditions import OFF_CHECKS, Conditions, Problem
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.thumbnails import bind_picture, write
from hearthwatch.schemas import IncidentMessage
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.testing import check_consumer, incident_message
from hearthwatch.sinks.mqtt import Mqtt, MqttWorker
from hearthwatch.sinks.notifier import DeliveryError
from tests.sinks.test_incident_notifications import publish
from tests.sinks.test_notifier import news
from tests.support.context import context
from tests.support.mqtt_broker import Broker, Ear

CERTIFICATES = Path(__file__).parents[1] / "support" / "certificates"
JPEG = b"\xff\xd8 a picture \xff\xd9"
ENTITIES = 6  # five of a camera, one of no camera


@pytest.fixture
def here(tmp_path: Path) -> Context:
    """The context of a graph whose record knows a camera."""
    here = context(tmp_path)
    add_camera(here, "front_door", "Front Door")
    return here


def add_camera(here: Context, id: str, name: str) -> None:
    record = Record(here.record_path)
    Ledger(record).discover([FoundFile(id, name, f"{name}/1.jpg", 1, 1, 1, 1)], 1)
    record.close()


def store(here: Context) -> str:
    record = Record(here.record_path)
    try:
        return f"hearthwatch/{record.store_id[:8]}"
    finally:
        record.close()


def started(broker: Broker, here: Context, **options: Any) -> MqttWorker:
    worker = Mqtt(url=broker.url, **options).build(here)
    worker.open()
    return worker


def seen(here: Context, seq: int, picture: bytes = JPEG, **more: Any) -> IncidentMessage:
    """An incident whose picture is drawn."""
    there = here.data_dir / "thumbnails" / f"{seq}_thumb.jpg"
    write(there, picture)
    return bind_picture(incident_message(seq, thumbnail=f"/api/media/thumbnails/{there.name}", **more), here)


def image(said: str) -> bytes:
    return said.encode(errors="surrogateescape")


def test_the_broker_holds_what_goes_on_at_a_camera(tmp_path: Path, here: Context) -> None:
    with Broker(tmp_path / "broker") as broker, Ear(broker) as ear:
        first = seen(here, 5, risk_score=40, events=(7,))
        messages = [
            news(1, 7, "low"), news(2, 7, "high", "event.closed"), news(3, 7, "critical", "event.analyzed"),
            news(4, 8, "low", delay=9e6), first, news(6, 9, objects={"backpack": 1}), news(7, 10, objects={"dog": 1}),
        ]  # fmt: skip
        mqtt = Mqtt(url=broker.url, page_url="https://home.example")
        check_consumer(mqtt, messages, seen=lambda: {topic: len(all) for topic, all in ear.all().items()}, context=here)
        said, at = ear.all(), store(here)
        assert said[f"{at}/available"] == ["online", "offline"]
        assert [json.loads(m)["seq"] for m in said[f"{at}/events"]] == [1, 2, 3, 4, 6, 7]
        assert said[f"{at}/front_door/occupancy"] == ["ON", "OFF", "ON"], "a backpack is no occupant, nor is old news"
        assert [json.loads(m)["incident_id"] for m in said[f"{at}/incidents"]] == [5]
        assert [json.loads(m)["risk_level"] for m in said[f"{at}/front_door/incident"]] == ["medium"]
        assert JPEG[2:] in image(said[f"{at}/front_door/image"][-1])
        (alert,) = map(json.loads, said[f"{at}/alerts"])
        assert alert["schema"] == "hearthwatch.incident.v1" and alert["page"] == "https://home.example/?incident=5"
        assert alert["notification"]["tag"] == "incident-5" and alert["notification"]["loud"]
        assert list(alert["answers"]) == ["fine", "nothing_there", "right"]
        assert alert["answers"]["fine"].startswith("https://home.example/api/feedback/5.fine.")
        topics = list(said)
        assert topics.index(f"{at}/front_door/image") < topics.index(f"{at}/alerts"), (
            "the picture is there before the alert"
        )


def test_the_newest_incident_stays_when_an_older_one_ends_and_old_news_is_not_shown(
    tmp_path: Path, here: Context
) -> None:
    with Broker(tmp_path / "broker") as broker, Ear(broker) as ear:
        with closing(Record(here.record_path)) as record:
            record.execute("INSERT INTO cell_cameras VALUES ('shed', 'Shed', NULL, NULL, 1, 'abcdefgh-1')")
        mqtt = started(broker, here)
        mqtt.deliver([seen(here, 2, b"\xff\xd8two\xff\xd9")])
        closed = {"type": "incident.closed", "status": "closed", "revision": 2}
        mqtt.deliver([seen(here, 1, **closed), seen(here, 9, delay_seconds=9e6)])
        into = seen(here, 3, b"\xff\xd8three\xff\xd9", cameras=("gate", "front_door", "shed"))
        mqtt.deliver([into, seen(here, 8, type="incident.merged", status="merged", revision=2, merged_into=3)])
        said, at = ear.all(), f"{store(here)}/front_door"
        mqtt.close()
    assert [json.loads(m)["incident_id"] for m in said[f"{at}/incident"]] == [2, 3]
    assert [re.findall(b"two|three", image(m)) for m in said[f"{at}/image"]] == [[b"two"], [b"three"]]
    assert not [topic for topic in said if "/gate/" in topic], "the record knows no such camera"
    (other,) = said["hearthwatch/abcdefgh/shed/incident"]
    assert json.loads(other)["incident_id"] == 3, "below the topics of that camera's cell"


def test_as_in_0_1_each_event_may_be_an_alert(tmp_path: Path, here: Context) -> None:
    with Broker(tmp_path / "broker") as broker, Ear(broker) as ear:
        mqtt = started(broker, here, messages="event", topic="home/hw", pause_seconds=0)
        mqtt.deliver([news(1, 1), seen(here, 2), news(3, 2)])
        said, at = ear.all(), store(here).replace("hearthwatch", "home/hw")
        mqtt.close()
    assert [json.loads(m)["event_id"] for m in said[f"{at}/alerts"]] == [1, 2]
    assert not [topic for topic in said if topic.startswith("hearthwatch/")]


def test_what_is_wrong_with_a_camera_and_with_the_rest_is_shown(tmp_path: Path, here: Context) -> None:
    record = Record(here.record_path)
    silent = Problem("camera_silent", "front_door is silent", "front_door", "front_door", at_once=True)
    disk = Problem("disk_low", "12 MB free", at_once=True)
    with Broker(tmp_path / "broker") as broker, Ear(broker) as ear:
        mqtt = started(broker, here)
        mqtt.deliver(Conditions(record).report(1, [silent, disk]))
        after = Conditions(record)
        for n in range(OFF_CHECKS):
            mqtt.deliver(after.report(2 + n, [disk]))
        said, at = ear.all(), store(here)
        mqtt.close()
    states = {where: [json.loads(m) for m in said[f"{at}{where}/problem"]] for where in ("", "/front_door")}
    assert [m["state"] for m in states[""]] == ["OFF", "ON"] and states[""][-1]["problems"] == ["12 MB free"]
    assert [m["state"] for m in states["/front_door"]] == ["OFF", "ON", "OFF"]
    assert [json.loads(m)["state"] for m in said[f"{at}/system"]] == ["on", "on", "off"]


def test_two_hearthwatches_share_a_broker(tmp_path: Path, here: Context) -> None:
    there = context(tmp_path / "other")
    there.data_dir.mkdir()
    add_camera(there, "front_door", "Front Door")
    with Broker(tmp_path / "broker") as broker:
        ours, theirs = started(broker, here), started(broker, there)
        ours.deliver([seen(here, 1)])
        assert ours._broker
        ours._broker._client.socket().shutdown(2)  # as a machine that loses its network
        with Ear(broker) as ear:
            mine = f"{store(here)}/available"
            ear.until(lambda: "offline" in (*ear.said[mine], ear.retained.get(mine)))
            theirs.idle()
            ear.all()
            assert ear.retained[f"{store(there)}/available"] == "online" and not ear.said[f"{store(there)}/available"]
            entities = [json.loads(said) for topic, said in ear.retained.items() if topic.endswith("/config")]
            assert len({entity["unique_id"] for entity in entities}) == 2 * ENTITIES
            assert not [topic for topic in ear.retained if topic.startswith("hearthwatch/front_door")]
        ours.close()
        theirs.close()


@pytest.mark.parametrize("how", ["merged", "deleted"])
@pytest.mark.parametrize("is_running", [True, False])
def test_a_camera_that_is_gone_leaves_nothing_behind(tmp_path: Path, here: Context, how: str, is_running: bool) -> None:
    add_camera(here, "gate", "gate")
    with Broker(tmp_path / "broker") as broker:
        mqtt = started(broker, here)
        mqtt.deliver([news(1), seen(here, 2)])
        if not is_running:
            mqtt.close()
        record = Record(here.record_path)
        merge_camera(record, "front_door", "gate") if how == "merged" else remove_camera(
            record, "front_door", here.data_dir
        )
        record.close()
        if not is_running:
            mqtt = started(broker, here)
        with Ear(broker) as ear:
            ear.all()
            ear.until(lambda: not mqtt.idle() and "front_door" not in "".join(held(ear)))
            assert [topic for topic in held(ear) if "_gate/" in topic]
        mqtt.close()


def held(ear: Ear) -> list[str]:
    """The topics that the broker retains something of now."""
    said = ear.all()
    now = {**ear.retained, **{topic: all[-1] for topic, all in said.items()}}
    return [topic for topic, payload in now.items() if payload and topic.endswith(("/config", *KINDS))]


KINDS = "occupancy", "incident", "image", "problem", "event"


def test_what_0_1_retained_is_removed_and_what_others_retain_stays(tmp_path: Path, here: Context) -> None:
    with Broker(tmp_path / "broker") as broker, Ear(broker) as ear:
        node = store(here).replace("/", "_")
        old = [f"hearthwatch/{camera}/{key}" for camera in ("front_door", "gone") for key in ("event", "occupancy")]
        old += [
            f"homeassistant/sensor/{node}_{camera}/{key}/config"
            for camera in ("front_door", "gone")
            for key in ("risk", "event")
        ]
        old += [f"homeassistant/binary_sensor/{node}_gone/occupancy/config"]
        others = [
            "homeassistant/sensor/zigbee_1/risk/config",
            "homeassistant/sensor/hearthwatch_0badcafe_gone/risk/config",
        ]
        for topic in (*old, *others):
            ear.client.publish(topic, "{}", 1, retain=True)
        ear.all()
        mqtt = started(broker, here)
        ear.until(lambda: not mqtt.idle() and not set(old) & set(held(ear)))
        assert set(others) <= set(held(ear))
        before = len(ear.all()[old[0]])
        mqtt.close()
        again = started(broker, here)
        again.idle()
        assert len(ear.all()[old[0]]) == before, "once"
        again.close()


# -- the connection


def test_what_is_retained_is_there_for_who_comes_later(tmp_path: Path, here: Context) -> None:
    with Broker(tmp_path / "broker") as broker:
        mqtt = started(broker, here)
        mqtt.deliver([news(1), seen(here, 2)])
        with Ear(broker) as ear:
            ear.all()
            at = store(here)
            assert ear.retained[f"{at}/front_door/occupancy"] == "ON" and ear.retained[f"{at}/available"] == "online"
            assert json.loads(ear.retained[f"{at}/front_door/incident"])["incident_id"] == 2
            assert JPEG[2:] in image(ear.retained[f"{at}/front_door/image"])
            assert len([topic for topic in ear.retained if topic.endswith("/config")]) == ENTITIES
        mqtt.close()


def test_a_broker_that_was_killed_gets_everything_again(
    tmp_path: Path, here: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Broker(tmp_path / "broker") as broker:
        mqtt = started(broker, here)
        mqtt.deliver([news(1), seen(here, 2)])
        broker.kill()
        with monkeypatch.context() as patch, pytest.raises(DeliveryError, match=r"127\.0\.0\.1"):
            patch.setattr("hearthwatch.sinks.mqtt.ANSWER_SECONDS", 0.3)
            mqtt.deliver([news(3, 2)])
        broker.start()
        with Ear(broker) as ear:
            mqtt.idle()
            mqtt.deliver([news(3, 2), news(4, 3)])
            mqtt.close()
            said, at = ear.all(), store(here)
            assert [json.loads(m)["seq"] for m in said[f"{at}/events"]] == [3, 4]
            assert said[f"{at}/front_door/occupancy"][0] == "ON" and said[f"{at}/front_door/incident"]
            assert JPEG[2:] in image(said[f"{at}/front_door/image"][0])
            assert len([topic for topic in said if topic.endswith("/config")]) == ENTITIES


def test_a_wrong_password_is_told_without_it(tmp_path: Path, here: Context) -> None:
    with Broker(tmp_path / "broker", password="right") as broker:
        wrong, right = (
            Mqtt(url=broker.url.replace("//", f"//hearth:{word}@")).build(here) for word in ("wr0ng", "right")
        )
        with pytest.raises(DeliveryError, match=r"refuses us: Not authorized") as caught:
            wrong.open()
        assert "wr0ng" not in str(caught.value) and "wr0ng" not in repr(wrong.options)
        right.open()
        right.close()


@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)  # paho's
def test_a_broker_may_want_a_certificate_and_have_one_of_its_own_authority(
    tmp_path: Path, here: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "ca_file": CERTIFICATES / "ca.pem",
        "cert_file": CERTIFICATES / "client.pem",
        "key_file": CERTIFICATES / "client.key",
    }
    with Broker(tmp_path / "broker", certificates=CERTIFICATES) as broker:
        started(broker, here, **files).close()
        with pytest.raises(DeliveryError, match="certificate verify failed"):
            started(broker, here)
        monkeypatch.setattr("hearthwatch.sinks.mqtt.ANSWER_SECONDS", 1.0)  # the broker hangs up, and no more
        with pytest.raises(DeliveryError, match="localhost"):
            started(broker, here, ca_file=files["ca_file"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ca_file": "ca.pem"}, "mqtts://"),
        ({"url": "mqtts://host", "key_file": "client.key"}, "`key_file` needs `cert_file`"),
        ({"url": "mqtts://host", "ca_file": "nowhere.pem"}, "does not point to a file"),
    ],
)
def test_certificates_that_cannot_work_are_a_mistake(options: dict[str, str], words: str) -> None:
    files = {key: str(CERTIFICATES / value) for key, value in options.items() if key != "url"}
    with pytest.raises(ValidationError, match=words):
        Mqtt(**{"url": "mqtt://host", **options, **files})


def test_a_frozen_broker_is_given_up_and_nothing_is_lost(
    tmp_path: Path, here: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Broker(tmp_path / "broker") as broker, Ear(broker) as ear:
        mqtt = started(broker, here)
        broker.freeze()
        with (
            monkeypatch.context() as patch,
            pytest.raises(DeliveryError, match=r"did not take a message within 0.3 s"),
        ):
            patch.setattr("hearthwatch.sinks.mqtt.ANSWER_SECONDS", 0.3)
            mqtt.deliver([news(1)])
        broker.thaw()
        mqtt.deliver([news(1)])
        mqtt.close()
        assert {json.loads(m)["seq"] for m in ear.all()[f"{store(here)}/events"]} == {1}


@pytest.mark.parametrize("url", ["http://host", "mqtt://", "broker", "mqtt://host:0"])
def test_an_address_that_is_none_is_a_mistake(url: str) -> None:
    with pytest.raises(ValidationError, match="write mqtt://"):
        Mqtt(url=url)


def test_behind_a_real_feed_alerts_are_updates_of_one_incident_and_the_picture_is_there(
    tmp_path: Path, here: Context
) -> None:
    record, picture = Record(here.record_path), seen(here, 7).incident.thumbnail
    with Broker(tmp_path / "broker") as broker, Ear(broker) as ear:
        mqtt = Mqtt(url=broker.url)
        for revision in (1, 2):
            thread = ConsumerThread("mqtt", mqtt.build(here), {}, here, mqtt.accepts)
            thread.start()
            publish(record, incident_message(7, revision=revision, events=tuple(range(revision)), thumbnail=picture))
            thread.stop(time.monotonic() + 20)
            thread.join(time.monotonic() + 20)
        said, at = ear.all(), store(here)
    alerts = [json.loads(m)["notification"] for m in said[f"{at}/alerts"]]
    assert [(a["tag"], a["id"], a["loud"]) for a in alerts] == [
        ("incident-7", "incident-7-1", True),
        ("incident-7", "incident-7-2", False),
    ]
    assert JPEG[2:] in image(said[f"{at}/front_door/image"][0])
    assert said[f"{at}/available"] == ["online", "offline"] * 2
    record.close()
