"""Promises: one walk through the garden is one notification, nights are quiet, old news is left alone; nothing worth telling
is lost while a server is away, and every notifier passes the suite of all consumers."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hearthwatch.flows.graph import Graph
from hearthwatch.flows.services import ConsumerThread, ServiceThreads
from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas import Detected, Detection, Message, Tick
from hearthwatch.schemas.context import Cell, Context
from hearthwatch.schemas.items import Verdict, to_microseconds
from hearthwatch.schemas.testing import check_consumer, event, incident_message, system_message, temporary_context
from hearthwatch.sinks.notifier import DeliveryError, Notifier
from hearthwatch.sinks.ntfy import Ntfy
from hearthwatch.sinks.webhook import Webhook, signature
from hearthwatch.stages.rules import RulesJudge
from tests.support.context import context
from tests.support.http_receiver import HttpEar

DOCS = Path(__file__).parents[2] / "docs"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SCORES = {"low": 10, "medium": 40, "high": 70, "critical": 90}
VALUES: Any = {"low": 0, "medium": 1, "high": 2, "critical": 3}


def news(
    seq: int, id: int = 1, level: str = "low", type: str = "event.opened", delay: float = 0.4, **more: Any
) -> Message:
    """A message about event `id` at this level."""
    status = {"event.opened": "open", "event.merged": "merged"}.get(type, "closed")
    values = {"type": type, "status": status, "revision": seq, "ended_at": None if status == "open" else NOON, **more}
    verdict = Verdict(SCORES[level], f"1 person, {level}", "")
    return Message(seq, type, delay, event(id, verdict=verdict, delay_seconds=delay, **values))  # type: ignore[arg-type]


# -- each event, as in 0.1


class Bell(Notifier):
    """Rings, as a plug-in of 0.1 does."""

    def notify(self, message: Message) -> None:
        rung.append(message.seq)


rung: list[int] = []


def sent(options: Notifier, *messages: Message) -> list[int]:
    """Which of these messages are sent when they come one after the other."""
    rung.clear()
    with temporary_context() as here:
        options.build(here).deliver(messages)
    return list(rung)


def test_an_event_is_told_once_and_again_only_when_its_level_rises() -> None:
    analyzed = partial(news, type="event.analyzed")
    assert sent(
        Bell(pause_seconds=0),
        news(1, level="medium"),
        news(2, level="medium", type="event.closed"),
        analyzed(3, level="low"),
        analyzed(4, level="high"),
        analyzed(5, level="high"),
        news(6, 2),
    ) == [1, 4, 6]


def test_a_walk_through_the_garden_is_one_notification_unless_it_gets_worse() -> None:
    walk = [news(n, n, "medium") for n in range(1, 6)]
    other = news(8, 8, camera_id="back_yard")
    assert sent(Bell(), *walk, news(6, 6, "critical"), news(7, 7, "high"), other) == [1, 6, 8]
    assert sent(Bell(pause_seconds=0), *walk) == [1, 2, 3, 4, 5]


def test_in_quiet_hours_an_event_below_high_is_not_sent_and_old_news_never() -> None:
    always = Bell(quiet_hours="00:00-23:59", pause_seconds=0)
    assert sent(always, news(1, 1, "medium"), news(2, 2, "high"), news(3, 1, "high")) == [2, 3]
    assert sent(Bell(pause_seconds=0), news(1, 1, delay=60), news(2, 2, delay=60.1), news(3, 3, delay=-7200)) == [1, 3]


def test_two_events_that_turn_out_to_be_one_are_told_once() -> None:
    merged = news(3, 2, "high", "event.merged", merged_into=1)
    assert sent(Bell(pause_seconds=0), news(1, 1), news(2, 2, "high"), merged, news(9, 1, "high")) == [1, 2]


def test_a_notifier_that_fails_is_asked_again_with_what_it_has_not_told(tmp_path: Path) -> None:
    class Stumbling(Bell):
        """Fails at the second message, once."""

        def notify(self, message: Message) -> None:
            if message.seq == 2 and not stumbled:
                stumbled.append(True)
                raise OSError("no")
            super().notify(message)

    stumbled: list[bool] = []
    rung.clear()
    bell, messages = Stumbling(pause_seconds=0).build(context(tmp_path)), [news(n, n) for n in (1, 2, 3)]
    with pytest.raises(OSError):
        bell.deliver(messages)
    bell.deliver(messages)
    assert rung == [1, 2, 3]


def test_quiet_hours_never_hold_back_high() -> None:
    with pytest.raises(ValidationError, match="quiet hours hold back medium, never high"):
        Bell(quiet_below="critical")


@pytest.mark.parametrize("hours", ["22", "22:00", "25:00-06:00", "22:00-06:00-07:00", ""])
def test_hours_that_are_none_are_a_mistake_that_says_how_to_write_them(hours: str) -> None:
    with pytest.raises(ValidationError, match=r"write 22:00-06:30"):
        Bell(quiet_hours=hours)


# -- webhook


def test_the_webhook_posts_the_message_and_signs_it() -> None:
    with HttpEar() as ear:
        hook = Webhook(url=f"{ear.url}/hook?key=1", secret="s3cret", token="t0ken", messages="event")
        check_consumer(hook, [news(n, n, camera_id=f"c{n}") for n in (1, 2, 3)], seen=lambda: len(ear.heard))
        assert [body["seq"] for body in ear.taken()] == [1, 2, 3]
        path, headers, body, _ = ear.heard[0]
        assert path == "/hook?key=1" and json.loads(body)["schema"] == "hearthwatch.event.v1"
        by_hand = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
        assert headers["X-Hearthwatch-Signature"] == f"sha256={by_hand}" == signature("s3cret", body)
        assert headers["Authorization"] == "Bearer t0ken"
        assert headers["Idempotency-Key"] == "batch-1-1"


@pytest.mark.parametrize("status", [301, 401, 404, 408, 429, 500, 503])
def test_what_a_server_does_not_take_comes_again_in_order_and_once(status: int, tmp_path: Path) -> None:
    with HttpEar(200, status, status) as ear:
        hook = Webhook(url=f"{ear.url}/t0psecret", pause_seconds=0, messages="event").build(context(tmp_path))
        messages = [news(n, n) for n in (1, 2, 3)]
        hook.open()
        for _ in range(2):
            with pytest.raises(DeliveryError, match=str(status)) as caught:
                hook.deliver(messages)
            assert "t0psecret" not in str(caught.value)
        hook.deliver(messages)
        hook.close()
        assert [body["seq"] for body in ear.taken()] == [1, 2, 3]


def test_a_message_that_is_refused_for_good_does_not_block_the_others(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with HttpEar(422) as ear, caplog.at_level(logging.ERROR):
        hook = Webhook(url=ear.url, pause_seconds=0, messages="event").build(context(tmp_path))
        hook.open()
        hook.deliver([news(1, 1), news(2, 2)])
        hook.close()
        assert [body["seq"] for body in ear.taken()] == [2]
        assert "refuses a message for good (422" in caplog.text


def test_a_server_that_is_not_there_is_an_error_without_secrets(tmp_path: Path) -> None:
    with HttpEar() as ear:
        url = ear.url
    options = Webhook(url=f"{url}/t0psecret", secret="s3cret", messages="event")
    assert "t0psecret" not in repr(options) and "s3cret" not in repr(options)
    hook = options.build(context(tmp_path))
    hook.open()
    with pytest.raises(DeliveryError, match=r"127\.0\.0\.1 cannot be reached") as caught:
        hook.deliver([news(1)])
    assert "t0psecret" not in str(caught.value)
    hook.close()


# -- ntfy


def test_ntfy_pushes_level_words_and_picture() -> None:
    with HttpEar() as ear:
        phone = Ntfy(server=ear.url, topic="mine", token="t0ken", page_url="https://home.example/", messages="event")
        messages = [news(1, 1, "critical", thumbnail="/api/media/thumbnails/2026-11-22/1_thumb.jpg", camera_name="Tür")]
        check_consumer(phone, messages, seen=lambda: len(ear.heard))
        (note,) = ear.taken()
        assert [action["label"] for action in note.pop("actions")] == ["Fine", "Nothing there", "Right"]
        assert [note] == [
            {
                "topic": "mine", "title": "Critical: person at Tür", "message": "1 person, critical", "priority": 5,
                "tags": ["walking"], "click": "https://home.example/?event=1",
                "attach": "https://home.example/api/media/thumbnails/2026-11-22/1_thumb.jpg",
            }
        ]  # fmt: skip
        assert ear.heard[0][1]["Authorization"] == "Bearer t0ken"
        plain = Ntfy(server=ear.url, topic="mine").note(news(2, objects={"person": 2, "car": 1}))
        assert plain == {
            "topic": "mine", "title": "Low: 2 person, car at front door", "message": "1 person, low", "priority": 2,
            "tags": ["walking", "car"],
        }  # fmt: skip


def test_an_error_of_the_system_and_its_end_are_sent_at_any_hour_and_a_warning_is_not(here: Context) -> None:
    on, off = system_message(1), system_message(2)
    warning = replace(system_message(3), severity="warning")
    with HttpEar(200, 503) as ear:
        hook = Webhook(url=ear.url, quiet_hours="00:00-23:59", pause_seconds=900).build(here)
        hook.open()
        with pytest.raises(DeliveryError):
            hook.deliver([on, warning, off])
        hook.deliver([on, warning, off])
        bodies = [body for body in ear.taken() if body["schema"] == "hearthwatch.system.v1"]
        assert [(body["state"], body["seq"]) for body in bodies] == [("on", 1), ("off", 2)], "none twice"
        assert ear.heard[0][1]["Idempotency-Key"] == "system-1"
        hook.close()
        other = Cell(1, "yard", here.record_path, here.data_dir, here.base_path)
        hook = Webhook(url=ear.url).build(replace(here, cell=other))
        hook.open()
        hook.deliver([on])
        assert ear.heard[-1][1]["Idempotency-Key"] == "system-yard-1", "each cell numbers its own"
        hook.close()
    note = Ntfy(topic="t").note(on)
    assert note["title"] == "Camera silent" and note["message"] == "porch has sent no picture for an hour"


@pytest.fixture
def here(tmp_path: Path) -> Context:
    """The context of a graph whose record knows a camera."""
    here = context(tmp_path)
    Ledger(Record(here.record_path)).discover(
        [FoundFile("front_door", "Front Door", "Front Door/1.jpg", 1, 1, 1, 1)], 1
    )
    return here


# -- in a pipeline


def test_a_notifier_behind_a_real_feed_is_told_of_what_happened_while_its_server_was_away(here: Context) -> None:
    record, services = Record(here.record_path), ServiceThreads()
    with HttpEar(503) as ear:
        hook = Webhook(url=ear.url, messages="event")
        services.start(ConsumerThread("hook", hook.build(here), {"risk_level": ["low", "medium"]}, here))
        (entry,) = Ledger(record).todo(0, 1)
        Batching(record, RulesJudge).write([Detected(entry.frame, 64, 48, (Detection("person", 0.9, (1, 2, 3, 4)),))])
        services.wake()
        services.stop()
        assert ear.heard, "it was asked at once"
        again = ServiceThreads()
        again.start(ConsumerThread("hook", hook.build(here), {}, here))
        again.wake()
        again.stop()
        assert [body["type"] for body in ear.taken()] == ["event.opened"]
    record.close()


def test_after_a_restart_an_event_that_goes_on_is_not_told_again(here: Context) -> None:
    record = Record(here.record_path)
    batching, ledger, began = Batching(record, RulesJudge), Ledger(record), datetime.now(UTC)

    def run(ear: HttpEar, *items: Detected | Tick) -> None:
        services = ServiceThreads()
        services.start(ConsumerThread("hook", Webhook(url=ear.url, messages="event").build(here), {}, here))
        batching.write(items)
        services.wake()
        services.stop()

    def seen(number: int) -> Detected:
        at = to_microseconds(began + timedelta(hours=number))
        ledger.discover([FoundFile("front_door", "front_door", f"front_door/{number}.jpg", at, 1, at, at)], at)
        return Detected(ledger.todo(0, 9)[-1].frame, 64, 48, (Detection("person", 0.9, (1, 2, 3, 4)),))

    with HttpEar(200) as ear:
        run(ear, seen(1))
        (first,) = record.rows("SELECT id, risk_level FROM events WHERE status = 'open'")
        run(ear, Tick(began + timedelta(minutes=90)))
        assert record.rows("SELECT id, risk_level FROM events WHERE status = 'closed'") == [first]
        run(ear, seen(2))
        sent_events = [(body["type"], body["event_id"] == first[0]) for body in ear.taken()]
    assert sent_events == [("event.opened", True), ("event.opened", False)]
    record.close()


# -- the guide


def test_the_guide_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own notifier works and has at most 20 lines; its flow files are right; its receiver checks signatures."""
    text = (DOCS / "notifications.md").read_text()
    receiver, own = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(own.strip().splitlines()) <= 20
    (tmp_path / "my_notifier.py").write_text(own)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import my_notifier  # type: ignore[import-not-found]

    shout = my_notifier.Shout(path=tmp_path / "log")
    check_consumer(shout, [incident_message(1), incident_message(2)], seen=(tmp_path / "log").read_text)
    assert (tmp_path / "log").read_text() == "High: person at front door\n" * 2

    body = json.dumps(news(1).as_dict()).encode()
    names: dict[str, Any] = {}
    exec(receiver, names)
    assert names["genuine"](body, signature("s3cret", body), "s3cret")
    assert not names["genuine"](body + b" ", signature("s3cret", body), "s3cret")

    monkeypatch.setenv("MQTT_URL", "mqtt://user:password@127.0.0.1")
    monkeypatch.setenv("APPRISE_URL", "json://127.0.0.1")
    monkeypatch.setenv("NTFY_TOPIC", "long-and-random")
    monkeypatch.setenv("WEBHOOK_SECRET", "s3cret")
    flows = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(flows) >= 3
    assert Graph.from_toml('extends = "default"\n' + "\n".join(flows)).check() == []
