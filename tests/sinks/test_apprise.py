"""Promises: the real Apprise library sends notifications with their picture, each service once; no URL is shown anywhere."""

from __future__ import annotations

import base64
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hearthwatch.cli.notify import notify
from hearthwatch.flows.graph import Graph, configured_graph
from hearthwatch.schemas.settings import masked, reload
from hearthwatch.schemas.testing import check_consumer, incident_message, system_message
from hearthwatch.sinks.apprise import Apprise
from hearthwatch.sinks.notification_policy import announce
from hearthwatch.sinks.notifier import DeliveryError
from tests.sinks.test_mqtt import JPEG, seen
from tests.sinks.test_notifier import news
from tests.support.context import context
from tests.support.http_receiver import HttpEar


def service(ear: HttpEar) -> str:
    return ear.url.replace("http://", "json://t0psecret:w0rd@")


def pictures(body: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(attached["base64"]) for attached in body["attachments"]]


def test_a_notification_has_title_words_link_and_picture(tmp_path: Path) -> None:
    here = context(tmp_path)
    with HttpEar() as ear:
        phone = Apprise(urls=(service(ear),), page_url="https://home.example/")
        high = seen(here, 1, risk_score=70, summary="1 person, at the door")
        messages = [high, system_message(3), system_message(4)]
        check_consumer(phone, messages, seen=lambda: len(ear.heard), context=here)
        note, *system = ear.taken()
    assert (note["title"], note["type"]) == ("High: person at front door", "failure")
    words, page, *answers = note["message"].splitlines()
    assert (words, page) == ("1 person, at the door", "https://home.example/?incident=1")
    assert [line.partition(": ")[0] for line in answers] == ["Fine", "Nothing there", "Right"]
    assert all(": https://home.example/api/feedback/" in line for line in answers)
    assert len(pictures(note)) == 1 and JPEG[2:] in pictures(note)[0]
    assert note["attachments"][0]["mimetype"] == "image/jpeg"
    assert [body["type"] for body in system] == ["failure", "success"], "a camera is silent, and is not any more"


def test_what_is_silent_is_sent_only_if_wanted_and_a_digest_always(tmp_path: Path) -> None:
    loud = announce(incident_message(1), None, loud=True)
    assert loud.notification
    kinds = [("new", True), ("update", False), ("update", True), ("digest", False)]
    for updates, count in ((False, 3), (True, 4)):
        with HttpEar() as ear:
            phone = Apprise(urls=(service(ear),), updates=updates).build(context(tmp_path))
            for n, (kind, rings) in enumerate(kinds):
                sent = replace(loud.notification, id=str(n), loud=rings, kind=kind)
                phone.notify(replace(loud, notification=sent))
            assert len(ear.heard) == count


def test_each_service_gets_a_message_once_though_another_is_down(tmp_path: Path) -> None:
    with HttpEar() as well, HttpEar(503, 503) as ill:
        phone = Apprise(urls=(service(ill), service(well))).build(context(tmp_path))
        for again in (True, True, False):
            if again:
                with pytest.raises(DeliveryError, match="Apprise could not send through json"):
                    phone.deliver([incident_message(1)])
            else:
                phone.deliver([incident_message(1)])
        assert (len(well.heard), len(ill.heard)) == (1, 3)


def test_a_service_that_refuses_the_picture_gets_the_words(tmp_path: Path) -> None:
    with HttpEar(413) as ear:
        here = context(tmp_path)
        Apprise(urls=(service(ear),)).build(here).deliver([seen(here, 1)])
        assert [pictures(body) for body in ear.taken()] == [[]] and len(ear.heard) == 2


def test_each_event_may_be_sent_as_other_notifiers_do(tmp_path: Path) -> None:
    with HttpEar() as ear:
        phone = Apprise(urls=(service(ear),), messages="event", pause_seconds=0).build(context(tmp_path))
        phone.deliver([news(1, 1, "low"), news(2, 2, "critical")])
        assert [body["type"] for body in ear.taken()] == ["info", "failure"]


def test_no_url_is_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with HttpEar() as ear:
        url = service(ear)
    phone = Apprise(urls=(url,))
    said = [repr(phone), masked("HEARTHWATCH_APPRISE_URLS", f"{url},{url}")]
    with caplog.at_level(logging.DEBUG):
        said += mistakes(f'["{url}", "nope://t0psecret"]')
        with pytest.raises(DeliveryError, match="json") as caught:
            phone.build(context(tmp_path)).notify(incident_message(1))
    assert "Apprise does not understand number 2, nope://…" in said[-1]
    said += [str(caught.value), caplog.text]
    assert not [text for text in said if "t0psecret" in text or "w0rd" in text]
    assert mistakes("[]")


def mistakes(urls: str) -> list[str]:
    return Graph.from_toml(f'extends = "default"\n[apprise]\nuse = "apprise"\nfrom = "sqlite"\nurls = {urls}\n').check()


def test_without_the_library_check_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    (mistake,) = mistakes('["json://host"]')
    assert "pip install hearthwatch[notify]" in mistake and "json" not in mistake


def test_a_setting_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with HttpEar() as one, HttpEar() as two:
        for name, value in {
            "HEARTHWATCH_APPRISE_URLS": f"{service(one)}, {service(two)}",
            "HEARTHWATCH_DATA_DIR": str(tmp_path),
            "FOSCAM_BASE_PATH": str(tmp_path / "uploads"),
        }.items():
            monkeypatch.setenv(name, value)
        reload()
        graph = configured_graph()
        assert [n for n in graph.nodes if n.startswith("apprise")] == ["apprise", "apprise_2"]
        notify(test=True)
        assert [len(pictures(body)) for ear in (one, two) for body in ear.taken()] == [1, 1]
    assert capsys.readouterr().out.count("Apprise took it") == 2
