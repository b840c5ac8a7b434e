"""Promises: one visit is one notification; what is held back is in the next digest; old news never rings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hearthwatch.schemas import Incident, IncidentMessage
from hearthwatch.sinks.notification_policy import Rules, Sent, announce, decide, digest, due

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SCORES = {"low": 10, "medium": 40, "high": 70, "critical": 90}


def news(
    at: float, id: int = 1, level: str = "medium", type: str = "raised", revision: int = 0, **more: Any
) -> IncidentMessage:
    """What happened in incident `id`, so many seconds after noon; each second is a revision and an event of its own."""
    when, events = NOON + timedelta(seconds=at), tuple(range(id, id + int(abs(at)) % 90 + 1))
    values: dict[str, Any] = {
        "type": f"incident.{type}", "revision": revision or int(at) + 1_000_000, "started_at": when, "last_at": when,
        "status": type if type in ("closed", "merged") else "open", "ended_at": None, "risk_score": SCORES[level],
        "summary": level, "cameras": ("porch",), "camera_names": ("Porch",), "events": events, "event_count": len(events),
        "frame_count": 9, "objects": {"person": 1}, "gravest_event_id": id, "thumbnail": None, "delay_seconds": 0.4,
    }  # fmt: skip
    values |= more
    return IncidentMessage(values["revision"], values["type"], Incident(id, **values))


class Phone:
    """A receiver that works, and the history of what it got."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules, self.rows, self.now = rules or Rules(), dict[int, Sent](), NOON

    def hear(self, *messages: IncidentMessage, late: float = 1.0, **more: Any) -> list[str]:
        """What is done about each message, `late` seconds after it happened."""
        done: list[str] = []
        for message in messages:
            self.now = message.incident.last_at + timedelta(seconds=late)
            made = decide(message, self.rows, self.rules, self.now, **more)
            self.rows |= {row.incident_id: row for row in made.rows}
            done.append(made.action)
        return done

    def digest(self, hours: float = 0.0) -> IncidentMessage | None:
        """The digest that is sent so many hours after noon, else at once."""
        rows = due(self.rows.values(), self.rules, NOON + timedelta(hours=hours) if hours else self.now)
        self.rows |= {row.incident_id: row.cover(row.message) for row in rows if row.message}
        return digest(rows) if rows else None


def test_a_visit_rings_once_and_again_only_when_its_level_rises() -> None:
    visit = (
        news(0, level="low"),
        news(9),
        news(50),
        news(99, level="high"),
        news(400, level="high"),
        news(9e2, type="closed"),
    )
    assert Phone().hear(*visit) == ["nothing", "loud", "update", "loud", "update", "update"]


def test_the_end_of_an_incident_never_rings() -> None:
    assert Phone().hear(news(0, type="closed"), news(9, level="high", type="closed")) == ["update", "update"]


def test_a_digest_whose_sending_began_is_sent_again_as_it_was() -> None:
    rows = [
        Sent(n, 1, held=held).hold(news(n, n), held, NOON) for n, held in ((1, "outage"), (2, "digest-2-1"), (3, "old"))
    ]
    assert [(row.incident_id, row.held) for row in due(rows, Rules(), NOON)] == [(2, "digest-2-1")]


def test_after_half_an_hour_without_anything_at_the_level_it_rings_again() -> None:
    assert Phone().hear(news(0), news(600), news(2399), news(4199)) == ["loud", "update", "update", "loud"]


def test_somebody_new_at_high_or_a_graver_place_rings_again_but_not_within_the_pause() -> None:
    phone = Phone()
    assert phone.hear(news(0, level="high")) == ["loud"]
    assert phone.hear(news(299, level="high"), newcomer=True, graver_place=True) == ["update"]
    assert phone.hear(news(300, level="high"), newcomer=True) == ["loud"]
    assert phone.hear(news(800, level="high"), graver_place=True) == ["loud"]
    assert Phone().hear(news(0), news(400), newcomer=True) == ["loud", "update"]


def test_each_camera_may_have_its_own_level() -> None:
    phone = Phone(Rules(level="high", camera_levels={"street": "critical", "porch": "low"}))
    assert phone.hear(news(0, 1, "low"), news(1, 2, cameras=("garden",)), news(2, 3, "high", cameras=("street",))) == [
        "loud", "nothing", "nothing",
    ]  # fmt: skip


def test_quiet_hours_hold_back_medium_never_high_and_end_with_one_digest() -> None:
    phone = Phone(Rules(quiet_hours="22:00-06:30", zone=ZoneInfo("Europe/Berlin")))
    night = 9.5 * 3600  # 22:30 in Berlin
    assert phone.hear(news(night, 1), news(night + 60, 2), news(night + 90, 3, "high")) == ["hold", "hold", "loud"]
    assert phone.hear(news(night + 99, 2, "high"), news(night + 300, 3, type="closed")) == ["loud", "update"]
    assert phone.hear(news(night + 999, 4)) == ["hold"]
    assert phone.digest(17.4) is None
    sent = phone.digest(17.5)
    assert sent and sent.notification and not sent.notification.loud
    assert sent.notification.incidents == (1, 4) and sent.notification.counts["incidents"] == 2
    assert phone.digest(18) is None


def test_old_news_never_rings_and_is_one_digest_when_the_backlog_has_ended() -> None:
    phone = Phone()
    assert phone.hear(*(news(n, n, "high", delay_seconds=9e3) for n in range(1, 9))) == ["hold"] * 8
    assert phone.digest() is None
    sent = phone.digest(0.02)
    assert sent and sent.notification and sent.notification.incidents == tuple(range(1, 9))
    assert phone.hear(news(300, 8, "high", type="closed", events=(8,), delay_seconds=9e3)) == ["nothing"]
    assert phone.hear(news(80, 1, "high")) == ["loud"], "a person is still there"


def test_after_an_outage_what_is_fresh_and_graver_rings_and_the_rest_is_a_digest_at_once() -> None:
    phone = Phone()
    assert phone.hear(news(60, 6)) == ["loud"]
    assert phone.hear(news(50, 5), news(40, 4), rung=1) == ["hold", "hold"]
    assert phone.hear(news(30, 3, "high"), rung=1) == ["loud"]
    assert phone.hear(news(1, 2), waited=70, rung=2) == ["hold"]
    sent = phone.digest()
    assert sent and sent.notification and set(sent.notification.incidents) == {2, 4, 5}


def test_two_incidents_that_turn_out_to_be_one_ring_once() -> None:
    phone = Phone()
    assert phone.hear(news(0, 1), news(5, 2, "high")) == ["loud", "loud"]
    assert phone.hear(news(9, 2, "high", "merged", merged_into=1), news(10, 1, "high")) == ["update", "update"]


def test_a_notification_says_what_it_replaces_and_what_it_counts() -> None:
    first = announce(news(1), None, loud=True).notification
    then = announce(news(2), Sent(1, loud_at=NOON), loud=False).notification
    assert first and then and (first.tag, first.kind, then.kind) == (then.tag, "new", "update") and first.id != then.id
    assert first.counts == {"incidents": 1, "events": 2, "medium": 1}
