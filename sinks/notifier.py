"""Decide which events notifiers send (the notification policy), and POST them.

At least once, in order: a `notify` that raises is called again with the same message, and what was sent before it is not
sent twice. An event is sent once, and again only if its level has risen; old events are left out. After a restart the feed
says what was sent before; only the pause of a camera starts again.
"""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, tzinfo
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, Field

from hearthwatch.schemas import Consumer, ConsumerWorker, Message
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import RiskLevel
from hearthwatch.schemas.messages import AnyMessage, SystemMessage
from hearthwatch.schemas.settings import Seconds

log = logging.getLogger(__name__)

LEVELS: tuple[RiskLevel, ...] = get_args(RiskLevel)
EVENTS_MAX = 10_000  # remembered, x 100 bytes: days of events, and their late revisions come within minutes
REFUSED = {400, 409, 413, 415, 422}  # the message's own fault: it would block all others for ever
ANSWER_MAX = 200  # characters of an answer that are worth a log line


def _check_hours(text: str | None) -> str | None:
    if text is not None:
        parse_hours(text)
    return text


def parse_hours(text: str) -> tuple[time, time]:
    """Read `22:00-06:30` as its two ends. Raises ValueError."""
    try:
        start, end = (time.fromisoformat(part) for part in re.split(r"\s*[-–]\s*", text.strip()))
    except ValueError:
        raise ValueError(f"{text!r} is not a span of hours: write 22:00-06:30") from None
    return start, end


class Notifier(Consumer):
    """A consumer with a notification policy: implement `notify(message)`, which sends one message or raises.

    One that `accepts` system messages, too, is asked to send those about errors, and that they are over, at any hour.
    """

    quiet_hours: Annotated[str | None, AfterValidator(_check_hours)] = None
    """Send nothing between these times of day, such as `22:00-06:30`; unset: at all times."""
    quiet_below: RiskLevel = "critical"
    """What reaches this level is sent in quiet hours, too."""
    pause_seconds: Annotated[float, Field(ge=0)] = 60
    """After a notification, a camera's next ones are left out for so long, unless their level is higher."""
    delay_seconds_max: Annotated[float, Field(gt=0)] = 60
    """Nothing is sent about pictures that arrived later than this after they were taken."""

    def notify(self, message: Any) -> None:
        """Send this one, of the types that it `accepts`. Raise to be called again after a while."""
        raise NotImplementedError(f"{type(self).__name__} is a notifier: it needs `notify(message)`")

    def build(self, context: Context) -> ConsumerWorker:
        if type(self).deliver is not Consumer.deliver:
            return super().build(context)  # it has its own policy
        return _PluginWorker(self.copy_fresh(), context)


class NotifierWorker(ConsumerWorker):
    """Sends what the policy allows: implement `notify`."""

    def __init__(self, options: Notifier, context: Context) -> None:
        self.options, self.context = options, context
        self.policy = NotificationPolicy(options, context.zone)
        self._system_seq = 0
        """The last system message that was sent."""

    def notify(self, message: Any) -> None:
        """Send this one. Raise to be called again after a while."""
        raise NotImplementedError

    def resume(self, messages: Sequence[AnyMessage]) -> None:
        for message in messages:
            if isinstance(message, Message):
                self.policy.recall(message)

    def deliver(self, messages: Sequence[AnyMessage]) -> None:
        for message in messages:
            if isinstance(message, SystemMessage):
                self._deliver_system(message)
                continue
            if not isinstance(message, Message):
                continue
            now = datetime.now(UTC)
            if self.policy.should_send(message, now):
                self.notify(message)
                self.policy.record_sent(message, now)

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


class NotificationPolicy:
    """Remembers what was sent, and decides what to send. Time is passed in."""

    def __init__(self, options: Notifier, zone: tzinfo | None = None) -> None:
        self.options, self.zone = options, zone
        self._events: OrderedDict[int, int] = OrderedDict()
        """Event id → the highest level that was sent, or left out."""
        self._cameras: dict[str, tuple[datetime, int]] = {}
        """Camera id → when a notification was sent last, and at which level."""

    def should_send(self, message: Message, now: datetime) -> bool:
        """Decide whether to send this one."""
        event, level = message.event, _rank(message)
        if message.type == "event.merged":
            self._merge(event.id, event.merged_into)
            return False
        if level <= self._events.get(event.id, -1) or is_old(message, self.options):
            return False
        quiet = level < LEVELS.index(self.options.quiet_below) and is_quiet(self.options, self.zone, now)
        if quiet or self._is_paused(event.camera_id, level, now):
            self._remember(event.id, level)  # left out for good, unless its level rises
            return False
        return True

    def record_sent(self, message: Message, now: datetime) -> None:
        """Remember that it was sent."""
        level = _rank(message)
        self._remember(message.event.id, level)
        self._cameras[message.event.camera_id] = (now, level)

    def recall(self, message: Message) -> None:
        """Remember that it was sent, or left out, by an earlier run."""
        event, level = message.event, _rank(message)
        if message.type == "event.merged":
            self._merge(event.id, event.merged_into)
        elif level > self._events.get(event.id, -1) and not is_old(message, self.options):
            self._remember(event.id, level)

    def _remember(self, event: int, level: int) -> None:
        self._events[event] = level
        if len(self._events) > EVENTS_MAX:
            self._events.popitem(last=False)

    def _is_paused(self, camera_id: str, level: int, now: datetime) -> bool:
        last, sent = self._cameras.get(camera_id, (now, -1))
        return level <= sent and 0 <= (now - last).total_seconds() < self.options.pause_seconds

    def _merge(self, event: int, into: int | None) -> None:
        """Two events became one: a notification about either was about both."""
        level = self._events.get(event, -1)
        if into is not None and level > self._events.get(into, -1):
            self._remember(into, level)


def is_old(message: Message, options: Notifier) -> bool:
    """Whether its pictures arrived long after they were taken: a backfill, a camera that was offline."""
    return message.delay_seconds > options.delay_seconds_max


def is_quiet(options: Notifier, zone: tzinfo | None, now: datetime) -> bool:
    """Whether these are quiet hours for this notifier."""
    if options.quiet_hours is None:
        return False
    start, end = parse_hours(options.quiet_hours)
    at = now.astimezone(zone).time()
    return start <= at < end if start <= end else at >= start or at < end


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
        level, objects, where = incident.risk_level, incident.objects, ", ".join(incident.camera_names)
    seen = ", ".join(f"{count} {label}" if count > 1 else label for label, count in objects.items())
    return f"{level.capitalize()}: {seen or 'something'} at {where}"


def _rank(message: Message) -> int:
    return LEVELS.index(message.event.verdict.risk_level)


# -- notifiers that POST


class DeliveryError(Exception):
    """Not delivered; the text says why and names no secret."""


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write http://host:port/… or https://host/…")
    return url


EndpointUrl = Annotated[str, AfterValidator(_check_url)]


class HttpNotifier(Notifier):
    """A notifier that sends HTTP requests."""

    accepts = Message, SystemMessage

    timeout_seconds: Seconds = 10
    """How long connecting, and each wait for the other side, may take."""


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

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Deliver it, or raise `DeliveryError` to be called again."""
        assert self._client, "`open` comes first"
        host = urlsplit(url).hostname  # the rest of a URL is often a secret
        try:
            answer = self._client.post(url, content=body, headers={"Content-Type": "application/json", **headers})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DeliveryError(f"{host} cannot be reached: {str(error) or type(error).__name__}") from None
        if answer.status_code in REFUSED:
            log.error("%s refuses a message for good (%d %r)", host, answer.status_code, answer.text[:ANSWER_MAX])
        elif not answer.is_success:
            moved = f" to {where}: set the url to that" if (where := answer.headers.get("Location")) else ""
            raise DeliveryError(f"{host} answers {answer.status_code}{moved} {answer.text[:ANSWER_MAX]!r}")

    def close(self) -> None:
        if self._client:
            self._client.close()
            self._client = None
