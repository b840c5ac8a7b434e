"""Promises: every event at the level is in a notification or in the next digest, whatever fails; nothing is sent twice but what
was in flight at a kill, under the same id; old news never rings; a phone gets the picture."""

from __future__ import annotations

import base64
import json
import threading
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from PIL import Image

from hearthwatch.cli.notify import notify
from hearthwatch.flows.graph import Graph, configured_graph
from hearthwatch.flows.services import ConsumerThread
from hearthwatch.record import Record, now
from hearthwatch.record.feed import Feed, append
from hearthwatch.record.signed_links import read_token
from hearthwatch.record.thumbnails import write
from hearthwatch.schemas import IncidentMessage
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import reload
from hearthwatch.schemas.testing import check_consumer, incident_message
from hearthwatch.sinks.notification_policy import announce
from hearthwatch.sinks.notifier import Notifier
from hearthwatch.sinks.ntfy import Ntfy
from hearthwatch.sinks.webhook import Webhook
from tests.support.context import context
from tests.support.http_receiver import HttpEar
from tests.support.notified import LEVELS, House, torture
from tests.support.ntfy_server import NtfyServer


def jpeg() -> bytes:
    out = BytesIO()
    Image.new("RGB", (32, 24), "red").save(out, "JPEG")
    return out.getvalue()


def sent(ear: HttpEar) -> list[tuple[str, bool, list[int]]]:
    """Kind, loudness and incidents of what was taken."""
    notes = [body["notification"] for body in ear.taken()]
    return [(note["kind"], note["loud"], sorted(note["incidents"])) for note in notes]


# -- outages, downtime, kills


def test_after_an_outage_the_newest_rings_and_the_rest_is_one_digest() -> None:
    with HttpEar(*[503] * 999) as ear:
        house = House(notifier=Webhook(url=ear.url))
        for _ in range(8):
            house.see("medium")
            house.run()
            house.wait(10)
        assert not ear.taken() and ear.heard
        ear.answers.clear()
        house.run()
        assert sent(ear) == [("new", True, [8]), ("digest", False, [1, 2, 3, 4, 5, 6, 7])]
        house.see("medium", 8)
        house.run()
        assert sent(ear)[2:] == [("update", False, [8])]
        house.worker.close()


def test_what_was_taken_in_after_hours_without_a_pipeline_is_one_digest_that_does_not_ring() -> None:
    with HttpEar() as ear:
        house = House(notifier=Webhook(url=ear.url))
        for level in ("medium", "high", "medium", "low", "critical", "medium"):
            house.end(house.see(level, delay=8 * 3600))
            house.run()
            house.wait(2)
        assert not ear.heard
        house.wait(61)
        house.run()
        assert sent(ear) == [("digest", False, [1, 2, 3, 5, 6])]
        (body,) = ear.taken()
        assert body["incident_id"] == 5, "the gravest"
        assert body["notification"]["counts"] == {"incidents": 5, "events": 5, "critical": 1, "high": 1, "medium": 3}
        house.worker.close()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("commit", range(1, 12))
def test_a_kill_at_any_commit_repeats_at_most_what_was_in_flight(commit: int, after: bool) -> None:
    def story(house: House, dies_in: int) -> list[str]:
        first = house.see("medium")
        house.see("high", first)
        house.see("medium", delay=900)
        house.run(dies_in, after)
        house.run()
        house.see("medium", first)
        house.wait(61)
        house.run(max(0, dies_in - house.commits) if not house.kills else 0, after)
        house.rest()
        house.check()
        return [f"{d.id} {d.message.notification.tag}" for d in house.phone if d.message.notification]

    whole, killed = story(House(), 0), story(House(), commit)
    assert list(dict.fromkeys(killed)) == whole
    assert len(killed) <= len(whole) + 1


@pytest.mark.parametrize("seed", range(12))
def test_random_schedules_of_events_outages_quiet_hours_and_kills(seed: int) -> None:
    torture(seed).check()


class Notifications(RuleBasedStateMachine):
    """What may happen, in any order."""

    @initialize(level=st.sampled_from(LEVELS), quiet=st.sampled_from([None, "20:05-21:00"]))
    def begin(self, level: str, quiet: str | None) -> None:
        self.house = House({"level": level, "quiet_hours": quiet})

    @rule(level=st.sampled_from(LEVELS), late=st.booleans())
    def opened(self, level: str, late: bool) -> None:
        self.house.see(level, delay=3600 if late else 0.4)

    @rule(level=st.sampled_from(LEVELS), which=st.integers(0, 3), new=st.booleans())
    def goes_on(self, level: str, which: int, new: bool) -> None:
        if living := [i.id for i in self.house.incidents.values() if i.status == "open"]:
            self.house.see(level, living[which % len(living)], new=new)

    @rule()
    def merged(self) -> None:
        living = sorted(i.id for i in self.house.incidents.values() if i.status == "open")
        if len(living) > 1:
            self.house.merge(living[-1], living[0])

    @rule()
    def receiver_fails_or_works(self) -> None:
        self.house.is_up = not self.house.is_up

    @rule(seconds=st.sampled_from([0.1, 20, 70, 1800, 40_000]))
    def wait(self, seconds: float) -> None:
        self.house.wait(seconds)

    @rule(dies_in=st.sampled_from([0, 0, 1, 2]), after=st.booleans())
    def run(self, dies_in: int, after: bool) -> None:
        self.house.run(dies_in, after)

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.house.rest()
            self.house.check()


TestNotifications = Notifications.TestCase
TestNotifications.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


# -- in a pipeline


def publish(record: Record, *messages: IncidentMessage) -> None:
    for message in messages:
        id, revision = message.incident.id, message.incident.revision
        record.transact(
            lambda m=message, i=id, r=revision: append(  # type: ignore[misc]
                record, "incident", i, r, now(), lambda seq: IncidentMessage(seq, m.type, m.incident)
            )
        )


def test_a_notifier_of_a_pipeline_sends_the_picture_and_goes_on_after_a_restart_without_a_word_twice(
    tmp_path: Path,
) -> None:
    here = context(tmp_path)
    record = Record(here.record_path)
    write(tmp_path / "thumbnails" / "2026-11-27" / "7_thumb.jpg", jpeg())
    picture = "/api/media/thumbnails/2026-11-27/7_thumb.jpg"
    with HttpEar() as ear:
        hook = Webhook(url=ear.url, picture=True, page_url="https://home.example/")
        for revision in (1, 2):
            thread = ConsumerThread("hook", hook.build(here), {}, here, hook.accepts)
            thread.start()
            publish(record, incident_message(7, revision=revision, events=tuple(range(revision)), thumbnail=picture))
            thread.stop(time.monotonic() + 20)
            thread.join(time.monotonic() + 20)
        first, then = ear.taken()
    assert first["notification"]["loud"] and not then["notification"]["loud"]
    assert first["page"] == "https://home.example/?incident=7" and ear.heard[0][1]["Idempotency-Key"] == "incident-7-1"
    assert Image.open(BytesIO(base64.b64decode(first["picture"]))).size == (32, 24)
    assert record.rows("SELECT consumer, incident_id, revision, rang FROM notifications") == [("hook", 7, 2, "high")]
    assert Feed(record).cursor("hook") == Feed(record).last()
    record.close()


def test_a_notifier_passes_the_suite_of_all_consumers_with_incidents() -> None:
    with HttpEar() as ear:
        check_consumer(Webhook(url=ear.url), [incident_message(n) for n in (1, 2)], seen=lambda: len(ear.heard))
        assert [body["incident_id"] for body in ear.taken()] == [1, 2]


def test_a_plug_in_that_accepts_incidents_gets_notifications(tmp_path: Path) -> None:
    heard: list[Any] = []

    class Own(Notifier):
        """Keeps them."""

        accepts = IncidentMessage

        def notify(self, message: IncidentMessage) -> None:
            heard.append(message.notification)

    Own().build(context(tmp_path)).deliver([incident_message(1), incident_message(2, risk_score=5)])
    assert [note.tag for note in heard] == ["incident-1"]


# -- ntfy


def test_a_phone_gets_the_picture_and_an_update_replaces_it_silently(tmp_path: Path) -> None:
    with NtfyServer(token="t0ken") as server:
        phone = Ntfy(server=server.url, topic="mine", token="t0ken", page_url="https://home.example")
        house = House(notifier=phone)
        house.worker.context = context(tmp_path)
        first = house.see("medium")
        house.run()
        assert server.log == [("incident-1", 3)]
        message = announce(incident_message(1, risk_score=90, camera_names=("Tür",)), None, loud=True)
        message = IncidentMessage(9, message.type, message.incident, notification=message.notification)
        with_picture = IncidentMessage(
            9, message.type, incident_message(1, risk_score=90, camera_names=("Tür",), thumbnail="x").incident,
            notification=message.notification, source=lambda url: jpeg(),
        )  # fmt: skip
        house.worker.notify(with_picture)
        (shown,) = server.messages.values()
        assert shown["attachment"] == jpeg() and shown["filename"] == "picture.jpg"
        assert (shown["title"], shown["priority"]) == ("Critical: person at Tür", 5)
        assert shown["click"] == "https://home.example/?incident=1" and shown["tags"] == ["walking"]
        assert [(a["action"], a["label"]) for a in shown["actions"]] == [
            ("http", "Fine"), ("http", "Nothing there"), ("http", "Right")
        ]  # fmt: skip
        for action, answer in zip(shown["actions"], ("fine", "nothing_there", "right"), strict=True):
            page, _, token = action["url"].rpartition("/")
            assert page == "https://home.example/api/feedback"
            link = read_token(house.worker.context.data_dir, token, now())
            assert link and link[:2] == (message.incident.gravest_event_id, answer)
        house.see("medium", first)
        house.run()
        assert server.log[-1] == ("incident-1", 2) and len(server.messages) == 1
        house.worker.close()


def test_no_link_is_sent_without_a_page_about_several_incidents_or_without_a_key(tmp_path: Path) -> None:
    one = announce(incident_message(1), None, loud=True)
    assert one.notification
    two = replace(one, notification=replace(one.notification, incidents=(1, 2)))
    phone = Ntfy(topic="mine", page_url="https://home.example")
    assert len(phone.build(context(tmp_path)).answers(one)) == 3
    assert phone.build(context(tmp_path)).answers(two) == {}
    assert Ntfy(topic="mine").build(context(tmp_path)).answers(one) == {}
    assert phone.build(context(tmp_path / "nowhere")).answers(one) == {}


def test_a_server_without_attachments_gets_the_words() -> None:
    with NtfyServer(keeps_files=False) as server:
        worker = Ntfy(server=server.url, topic="mine").build(context(Path("nowhere")))
        worker.open()
        sample = incident_message(1, thumbnail="x")
        made = IncidentMessage(1, sample.type, sample.incident, source=lambda url: jpeg())
        assert worker.notify(announce(made, None, loud=True))
        (shown,) = server.messages.values()
        assert shown["attachment"] is None and shown["title"] == "High: person at front door"
        worker.close()


# -- notifiers without a flow file


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEARTHWATCH_DATA_DIR", str(tmp_path))
    reload()
    yield monkeypatch
    reload()


def test_settings_alone_add_notifiers_to_the_built_in_graph(environment: pytest.MonkeyPatch) -> None:
    assert not {"ntfy", "webhook", "mqtt"} & configured_graph().nodes.keys()
    environment.setenv("HEARTHWATCH_NTFY_URL", "https://:t0ken@push.example:8443/sub/t0pic")
    environment.setenv("HEARTHWATCH_WEBHOOK_URL", "http://hook.example/s3cret")
    environment.setenv("HEARTHWATCH_MQTT_URL", "mqtt://user:password@broker.example")
    environment.setenv("HEARTHWATCH_NOTIFY_LEVEL", "high")
    environment.setenv("HEARTHWATCH_QUIET_HOURS", "22:00-06:30")
    reload()
    nodes = configured_graph().nodes
    phone, hook = nodes["ntfy"].component, nodes["webhook"].component
    assert isinstance(phone, Ntfy) and isinstance(hook, Webhook) and "mqtt" in nodes
    assert (phone.server, phone.topic, phone.token) == ("https://push.example:8443/sub", "t0pic", "t0ken")
    assert (hook.url, hook.level, hook.quiet_hours) == ("http://hook.example/s3cret", "high", "22:00-06:30")
    more = Graph.from_toml(
        'extends = "default"\n[ntfy]\nlevel = "critical"\n[mine]\nuse = "ntfy"\nfrom = "sqlite"\ntopic = "x"\n'
    )
    assert more.check() == [] and more.nodes["ntfy"].component.level == "critical"  # type: ignore[union-attr]
    own = Graph.from_toml('[hook]\nuse = "webhook"\nurl = "http://there"\n')
    assert list(own.nodes) == ["hook"], "a flow file of one's own names its notifiers"


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("HEARTHWATCH_NTFY_URL", "https://user:s3cret@/topic"),
        ("HEARTHWATCH_NTFY_URL", "https://:s3cret@ntfy.sh"),
        ("HEARTHWATCH_WEBHOOK_URL", "https://user:s3cret@/hook"),
        ("HEARTHWATCH_MQTT_URL", "https://user:s3cret@host"),
    ],
)
def test_a_wrong_setting_is_named_and_not_shown(name: str, url: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(name, url)
    reload()
    with pytest.raises(UserError, match=name) as caught:
        configured_graph()
    assert "s3cret" not in str(caught.value)


def test_a_test_notification_goes_through_each_notifier_and_says_what_failed(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="set HEARTHWATCH_NTFY_URL"):
        notify(None, True)
    with NtfyServer(topic="t0pic") as server, HttpEar(200, 422) as ear:
        environment.setenv("HEARTHWATCH_NTFY_URL", f"{server.url}/t0pic")
        environment.setenv("HEARTHWATCH_WEBHOOK_URL", f"{ear.url}/s3cret")
        reload()
        notify(None, True)
        assert server.messages["incident-0"]["attachment"] and "test" in server.messages["incident-0"]["message"]
        assert json.loads(ear.heard[0][2])["notification"]["loud"]
        with pytest.raises(typer.Exit) as ended:
            notify("webhook", True)
        assert ended.value.exit_code == 1 and len(server.log) == 1
        with pytest.raises(UserError, match="`redis` is no notifier"):
            notify("redis", True)
    out = capsys.readouterr()
    assert "ntfy: ntfy at 127.0.0.1 took it" in out.out and "refused" in out.err
    assert "t0pic" not in out.out + out.err and "s3cret" not in out.out + out.err


def test_a_picture_that_is_drawn_a_moment_later_is_waited_for(tmp_path: Path) -> None:
    from hearthwatch.record.thumbnails import bind_picture

    there = tmp_path / "thumbnails" / "1_thumb.jpg"
    message = bind_picture(incident_message(1, thumbnail="/api/media/thumbnails/1_thumb.jpg"), context(tmp_path))
    timer = threading.Timer(0.05, write, (there, jpeg()))
    timer.start()
    drawn = message.picture()
    assert drawn and Image.open(BytesIO(drawn)).size == (32, 24)
    timer.join()
    assert incident_message(1).picture() is None


# -- held back for the language model, where the owner prefers that


def judged_house(seconds: float, *states: tuple[int, str, str], pictures: bool = True) -> House:
    """A house whose notifier holds back for so long; `states`: id, analysis_status and level of its events."""
    house = House(options={"hold_seconds": seconds})
    house.record.execute("INSERT INTO heartbeat VALUES ('judge', 1, 0, ?)", json.dumps({"pictures": int(pictures)}))
    for state in states:
        verdict_is(house, *state)
    return house


def verdict_is(house: House, event: int, status: str, level: str) -> None:
    house.record.execute(
        "INSERT OR REPLACE INTO events(id, batch_id, camera_id, started_at, frame_count, status, last_at, close_at, analysis_status, risk_level) "
        "VALUES (?1, ?1, 'porch', ?1, 1, 'open', 0, 0, ?2, ?3)", event, status, level,
    )  # fmt: skip


def rung(house: House) -> list[tuple[str, bool]]:
    notes = [(d.message.incident.risk_level, d.message.notification) for d in house.phone]
    return [(level, bool(note and note.loud)) for level, note in notes]


@pytest.mark.parametrize(("level", "seconds", "at_once"), [("high", 0, 1), ("high", 8, 0), ("medium", 8, 0), ("critical", 8, 1)])  # fmt: skip
def test_an_alert_waits_for_a_verdict_only_if_wanted_and_never_a_critical_one(level: str, seconds: float, at_once: int) -> None:  # fmt: skip
    house = judged_house(seconds, (1, "pending", level))
    house.see(level)
    house.run()
    assert len(house.phone) == at_once
    house.wait(7)
    house.run()
    assert len(house.phone) == at_once
    house.wait(2)
    house.run()
    assert rung(house) == [(level, True)] and not house.worker.history.held()


def test_nothing_waits_for_a_model_that_reads_no_pictures() -> None:
    house = judged_house(8, (1, "pending", "high"), pictures=False)
    house.see("high")
    house.run()
    assert rung(house) == [("high", True)]


def test_a_verdict_ends_the_wait() -> None:
    house = judged_house(8, (1, "pending", "high"), (2, "pending", "high"), (3, "pending", "high"))
    for _ in range(3):
        house.see("high")
    house.run()
    house.wait(1)
    verdict_is(house, 1, "done", "high")  # it stands
    verdict_is(house, 2, "done", "low")  # the incident follows …
    house.run()
    assert rung(house) == [("high", True)]
    house._publish(2, "updated", (2,), 10, 0.4)
    house._publish(3, "raised", (3,), 90, 0.4)  # the rules saw more: nothing more to wait for
    house.run()
    house.wait(20)
    house.run()
    assert rung(house) == [("high", True), ("critical", True)]
    assert not house.worker.history.held()


def test_a_lower_verdict_after_the_alert_updates_it_silently() -> None:
    house = judged_house(0, (1, "pending", "high"))
    house.see("high")
    house.run()
    verdict_is(house, 1, "done", "low")
    house._publish(1, "updated", (1,), 10, 0.4)
    house.run()
    assert rung(house) == [("high", True), ("low", False)]


def test_what_waits_for_a_verdict_is_delivered_once_though_the_notifier_is_killed_at_any_commit() -> None:
    commits = 0
    while True:
        commits += 1
        house = judged_house(8, (1, "pending", "high"))
        house.see("high")
        house.run(commits)
        for _ in range(4):
            house.wait(9)
            house.run(max(0, commits - house.commits))
        assert {level for level, _ in rung(house)} == {"high"} and len(house.phone) <= 1 + house.kills
        if not house.kills:
            break
    assert commits > 3
