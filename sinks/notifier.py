"""What notifiers share: they send what the notification policy decides, once, and POST it.

At least once: a `notify` that raises is called again, and a kill repeats at most what was in flight, with the same id. After
an outage the newest comes first. What was sent is in the record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, Field

from hearthwatch.record import Record
from hearthwatch.record.feed import Feed
from hearthwatch.record.notifications import JUDGE, SENDING, DeliveryHistory, Sent, rank
from hearthwatch.record.signed_links import answer_paths
from hearthwatch.record.thumbnails import bind_picture
from hearthwatch.schemas import Consumer, ConsumerWorker, IncidentMessage, Message
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.items import RiskLevel, to_microseconds
from hearthwatch.schemas.messages import AnyMessage, FeedMessage, ItemMessage, SystemMessage
from hearthwatch.schemas.probe import probe_http
from hearthwatch.schemas.settings import QuietHours, Seconds, from_settings
from hearthwatch.sinks.notification_policy import Rules, announce, decide, digest, due, risk

log = logging.getLogger(__name__)

EVENT_PAUSE_SECONDS = 60  # of notifiers that send each event, as in 0.1, unless `pause_seconds` is set
REFUSED = {400, 409, 413, 415, 422}  # the message's own fault: it would block all others for ever
ANSWER_MAX = 200  # characters of an answer that are worth a log line


def _check_quiet_below(level: RiskLevel) -> RiskLevel:
    if level == "critical":
        raise ValueError("quiet hours hold back medium, never high")
    return level


class Notifier(Consumer):
    """A consumer with a notification policy: implement `notify(message)`, which sends one message or raises.

    One that `accepts` IncidentMessage sends one notification for each incident, another one each event. One that `accepts` system
    messages, too, is asked to send those about errors, and that they are over, at any hour.
    """

    level: RiskLevel = from_settings("hearthwatch_notify_level")
    """Incidents are sent when they reach this level; a camera may have its own."""
    quiet_hours: QuietHours = from_settings("hearthwatch_quiet_hours")
    """Hold back what happens between these times of day, such as `22:00-06:30`; unset: nothing."""
    quiet_below: Annotated[RiskLevel, AfterValidator(_check_quiet_below)] = "high"
    """What reaches this level is sent in quiet hours, too."""
    pause_seconds: Annotated[float, Field(ge=0)] = 300
    """An incident rings again so long after it rang at the earliest, unless its level rises."""
    hold_seconds: Annotated[float, Field(ge=0, le=8)] = from_settings("hearthwatch_hold_seconds")
    """How long what is below critical waits for the language model, if its event is being judged; 0: not at all."""
    delay_seconds_max: Annotated[float, Field(gt=0)] = 60
    """What is decided or delivered later than this after it happened does not ring: it is in the next digest."""

    def notify(self, message: Any) -> bool | None:
        """Send this one, of the types that it `accepts`. Raise to be called again after a while; False: it was refused for good."""
        raise NotImplementedError(f"{type(self).__name__} is a notifier: it needs `notify(message)`")

    def by_incident(self) -> bool:
        """Whether it sends about incidents; else about each event."""
        accepts = self.accepts if isinstance(self.accepts, tuple) else (self.accepts,)
        return IncidentMessage in accepts and getattr(self, "messages", "incident") == "incident"

    def ask(self) -> str | None:
        """Ask the receiver, for `doctor`, and send it nothing: what it answers; None: it cannot be asked.

        Raises:
            UserError: it does not respond, or refuses us; the text says what to do.
        """
        return None

    def build(self, context: Context) -> ConsumerWorker:
        if type(self).deliver is not Consumer.deliver:
            return super().build(context)  # it has its own policy
        return _PluginWorker(self.copy_fresh(), context)


class NotifierWorker(ConsumerWorker):
    """Sends what the policy allows: implement `notify`."""

    def __init__(self, options: Notifier, context: Context) -> None:
        self.options, self.context = options, context
        self.by_incident = options.by_incident()
        self.clock: Callable[[], datetime] = partial(datetime.now, UTC)
        self._is_late = False
        """Whether the last attempt failed: what waits is not sent one by one."""
        self._cameras: dict[str, tuple[datetime, int]] = {}
        """Camera id → when an event of it was sent last, and at which level."""
        self._system_seq = 0
        """The last system message that was sent."""

    @cached_property
    def history(self) -> DeliveryHistory:
        """What was sent; in a pipeline it is set to the record's."""
        return DeliveryHistory(Feed(Record(":memory:")), "")

    @property
    def rules(self) -> Rules:
        o, own = self.options, self.history.camera_levels()
        times = o.quiet_hours, o.quiet_below, o.delay_seconds_max, self.context.zone
        return Rules(o.level, own, o.pause_seconds, *times, o.hold_seconds if self.context.analysis else 0.0)

    def notify(self, message: Any) -> bool | None:
        """Send this one. Raise to be called again after a while; False: it was refused for good."""
        raise NotImplementedError

    def answers(self, message: AnyMessage) -> dict[str, str]:
        """Return a signed link for each answer to what this is about; none if it is about several incidents, or no page is set."""
        page, event = getattr(self.options, "page_url", None), None
        if isinstance(message, Message):
            event = message.event.id
        elif isinstance(message, IncidentMessage) and not (
            message.notification and len(message.notification.incidents) > 1
        ):
            event = message.incident.gravest_event_id
        if not page or event is None:
            return {}
        try:
            paths = answer_paths(self.context.data_dir, event, to_microseconds(self.clock()))
        except OSError as error:
            log.warning("%s: a notification is sent without links to answer it: the key cannot be used", error)
            return {}
        return {answer: f"{page.rstrip('/')}/{path}" for answer, path in paths.items()}

    def deliver(self, messages: Sequence[FeedMessage]) -> None:
        was_late, self._is_late = self._is_late, False
        self._repeat()
        if was_late and self.by_incident:
            newest = {m.incident.id: m for m in messages if isinstance(m, IncidentMessage)}
            rung = -1
            for late in sorted(newest.values(), key=lambda m: (m.type != "incident.merged", -m.seq)):
                rung = max(rung, self._deliver_incident(late, rung))
        for message in messages:
            if isinstance(message, SystemMessage):
                self._deliver_system(message)
            elif isinstance(message, ItemMessage):
                self.notify(message)
            elif isinstance(message, IncidentMessage) and self.by_incident:
                self._deliver_incident(message)
            elif isinstance(message, Message) and not self.by_incident:
                self._deliver_event(message)

    def send_digest(self) -> None:
        """Send what was held back, if that is over."""
        self._repeat()
        for row in self.history.held(JUDGE):
            if row.message and (self._is_judged(row.message) or not row.waits(self.rules.hold_seconds, self.clock())):
                self._deliver_incident(row.message, held=row)
        held = self.history.held()
        if rows := due(held, self.rules, self.clock()):
            ids = {row.incident_id for row in rows}
            self._send(digest(rows), rows, [row for row in held if row.incident_id in ids])
            self.history.save([row.cover(row.message) for row in rows if row.message])

    def _repeat(self) -> None:
        """Send what was in flight at a kill: under the same id, and aloud only if it is still fresh."""
        for row in self.history.held(SENDING + "%"):
            if message := row.message:
                is_fresh = self.rules.is_fresh(message, self.history.waited(message, self.clock()))
                again = announce(message, row, loud=is_fresh and row.held == f"{SENDING}loud")
                self._send(again, [row], [row])
                self.history.save([row.cover(message)])

    def _send(self, message: IncidentMessage, begun: list[Sent], before: list[Sent]) -> None:
        """Send it. While it is in flight, `begun` is in the record; after a failure it is as `before`."""
        self.history.save(begun)
        try:
            self.notify(bind_picture(message, self.context))
        except Exception:
            self._is_late = True
            self.history.save(before)
            raise

    def _is_judged(self, message: IncidentMessage) -> bool:
        """Whether no verdict of a model that reads pictures is awaited that could lower this; the incident follows its event."""
        row = self.history.record.one(
            "SELECT analysis_status = 'pending', risk_level FROM (SELECT id, analysis_status, risk_level FROM events "
            "UNION ALL SELECT id, analysis_status, risk_level FROM cell_members) WHERE id = ? AND EXISTS "
            "(SELECT 1 FROM heartbeat WHERE chain = 'judge' AND counters ->> 'pictures')", message.incident.gravest_event_id,
        )  # fmt: skip
        return not row or not (row[0] or rank(row[1]) < risk(message))

    def _deliver_incident(self, message: IncidentMessage, rung: int | None = None, *, held: Sent | None = None) -> int:
        """Do what the policy decides; return the rank of what rang, else -1. `held`: it has waited for a verdict."""
        now, before = self.clock(), self.history.get(message.incident.id)
        waited, known = self.history.waited(message, now), self.history
        if held:
            waited, known = 0.0, {message.incident.id: replace(held, revision=message.incident.revision - 1)}  # type: ignore[assignment]
        waits = not held and bool(self.rules.hold_seconds) and not self._is_judged(message)
        made = decide(message, known, self.rules, now, waited, rung=rung, waits=waits)
        if made.action in ("loud", "update"):
            begun = made.rows[0].hold(message, SENDING + made.action, now)
            self._send(
                announce(message, before, loud=made.action == "loud"), [begun], [before or Sent(message.incident.id)]
            )
        if made.rows:
            self.history.save(made.rows, message.seq if rung is None else 0)
        return risk(message) if made.action == "loud" else -1

    def _deliver_event(self, message: Message) -> None:
        """Send an event once, and again only if its level has risen, as in 0.1. What is held back is not sent later."""
        event, rules, now = message.event, self.rules, self.clock()
        before, level = self.history.get(-event.id) or Sent(-event.id), event.verdict.risk_level
        if message.type == "event.merged":
            into = self.history.get(-(event.merged_into or 0)) or Sent(-(event.merged_into or 0))
            return self.history.save([replace(into, rang=max(into.rang, before.rang, key=rank))], message.seq)
        if rank(level) <= rank(before.rang) or is_old(message, self.options):
            return None
        pause = rules.pause_seconds if "pause_seconds" in self.options.model_fields_set else EVENT_PAUSE_SECONDS
        last, sent = self._cameras.get(event.camera_id, (now, -1))
        is_paused = rank(level) <= sent and 0 <= (now - last).total_seconds() < pause
        if not is_paused and not rules.is_quiet(rank(level), now):
            self.notify(message)
            self._cameras[event.camera_id] = (now, rank(level))
        return self.history.save([replace(before, revision=event.revision, rang=level)], message.seq)

    def _deliver_system(self, message: SystemMessage) -> None:
        """Send what a person has to act on, once: of messages that come again after a failure, those that were not sent."""
        if message.severity == "error" and message.seq > self._system_seq:
            self.notify(message)
            self._system_seq = message.seq


class _PluginWorker(NotifierWorker):
    """Runs a plug-in whose `notify` is on the component itself."""

    def __init__(self, plugin: Notifier, context: Context) -> None:
        super().__init__(plugin, context)
        self.plugin = plugin
        self.notify, self.open, self.idle, self.close = plugin.notify, plugin.open, plugin.idle, plugin.close  # type: ignore[method-assign]


def is_old(message: Message, options: Notifier) -> bool:
    """Whether its pictures arrived long after they were taken: a backfill, a camera that was offline."""
    return message.delay_seconds > options.delay_seconds_max


def title(message: AnyMessage) -> str:
    """`High: person at Front Door`, for a reader who reads nothing else."""
    if isinstance(message, SystemMessage):
        words = message.kind.replace("_", " ").capitalize()
        return words if message.state == "on" else f"{words}: over"
    if isinstance(message, Message):
        event = message.event
        level, objects, where = event.verdict.risk_level, event.objects, event.camera_name or event.camera_id
    else:
        incident = message.incident
        objects = {**incident.objects, **incident.alert_counts}
        level, where = incident.risk_level, ", ".join(incident.camera_names)
        sent = message.notification
        if sent and len(sent.incidents) > 1:
            where = f"{where}, and {len(sent.incidents) - 1} more"
    seen = ", ".join(f"{count} {label}" if count > 1 else label for label, count in objects.items())
    return f"{level.capitalize()}: {seen or 'something'} at {where}"


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write http://host:port/… or https://host/…")
    return url


EndpointUrl = Annotated[str, AfterValidator(_check_url)]


class IncidentNotifier(Notifier):
    """A notifier that sends one notification for each incident."""

    accepts: ClassVar[type | tuple[type, ...]] = (IncidentMessage, Message, SystemMessage)

    messages: Literal["incident", "event"] = "incident"
    """What is sent: one notification for each incident, or each event as in 0.1."""
    page_url: EndpointUrl | None = from_settings("hearthwatch_public_url")
    """Where the receiver reaches the Hearthwatch page: notifications link to it; unset: no link."""

    def page(self, message: FeedMessage) -> str | None:
        """Return the page's address that shows this."""
        if not self.page_url or isinstance(message, SystemMessage | ItemMessage):
            return None
        subject = f"?event={message.event.id}" if isinstance(message, Message) else f"?incident={message.incident.id}"
        return f"{self.page_url.rstrip('/')}/{subject}"


# -- notifiers that POST


class DeliveryError(Exception):
    """Not delivered; the text says why and names no secret."""


class HttpNotifier(IncidentNotifier):
    """A notifier that sends HTTP requests."""

    timeout_seconds: Seconds = 10
    """How long connecting, and each wait for the other side, may take."""

    def ask_url(self, method: str, url: str, token: str | None) -> str:
        """Send a request that is no notification; any answer below 502 counts, but for a refusal.

        Raises:
            UserError: there is none.
        """
        host = urlsplit(url).hostname  # the rest of a URL is often a secret
        try:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            status = probe_http(method, url, 502, headers=headers).status_code
        except UserError as error:
            raise UserError(f"{host}: {error}: correct the address, or start the server") from None
        if status in (401, 403):
            raise UserError(f"{host} refuses us ({status}): correct the token")
        return f"{host} answers"


class HttpWorker(NotifierWorker):
    """One client, kept alive. Anything but an answer 2xx is tried again with backoff, for as long as it takes.

    After a wrong token is fixed, nothing is missing. Only a message that the server refuses (`REFUSED`) is dropped, with an
    error in the log.
    """

    _client: httpx.Client | None = None

    def __init__(self, options: HttpNotifier, context: Context) -> None:
        super().__init__(options, context)
        self.timeout_seconds = options.timeout_seconds

    def open(self) -> None:
        if self._client is None:
            self._client = httpx.Client(timeout=self.timeout_seconds, headers={"User-Agent": "hearthwatch"})

    def send(self, url: str, body: bytes, headers: Mapping[str, str], method: str = "POST") -> bool:
        """Deliver it, or raise `DeliveryError` to be called again. Return False if it was refused for good."""
        assert self._client, "`open` comes first"
        host = urlsplit(url).hostname  # the rest of a URL is often a secret
        try:
            kind = "application/json" if method == "POST" else "image/jpeg"
            answer = self._client.request(method, url, content=body, headers={"Content-Type": kind, **headers})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DeliveryError(f"{host} cannot be reached: {str(error) or type(error).__name__}") from None
        if answer.status_code in REFUSED:
            log.error("%s refuses a message for good (%d %r)", host, answer.status_code, answer.text[:ANSWER_MAX])
        elif not answer.is_success:
            moved = f" to {where}: set the url to that" if (where := answer.headers.get("Location")) else ""
            raise DeliveryError(f"{host} answers {answer.status_code}{moved} {answer.text[:ANSWER_MAX]!r}")
        return answer.is_success

    def close(self) -> None:
        if self._client:
            self._client.close()
            self._client = None
