"""Send notifications through Apprise: Telegram, Signal, Pushover, Slack, e-mail and a hundred other services.

At least once; each service of a node once, also when another one of it fails. Most services ring for whatever they get and
cannot replace it, so silent updates are left out unless `updates` is set; digests are sent. Needs `pip install hearthwatch[notify]`.
"""

from __future__ import annotations

import logging
import socket
from functools import partial
from importlib import import_module
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from hearthwatch.schemas.context import Context
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.messages import AnyMessage, IncidentMessage, SystemMessage
from hearthwatch.schemas.probe import PROBE_SECONDS
from hearthwatch.sinks.notifier import DeliveryError, IncidentNotifier, NotifierWorker, title

TYPES = {
    "low": "info", "medium": "warning", "high": "failure", "critical": "failure", "on": "failure", "off": "success",
}  # fmt: skip
"""Level, or state of a system message → Apprise's type, which has a colour."""


def _check_services(urls: tuple[str, ...]) -> tuple[str, ...]:
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it logs URLs, and tokens are in them
    try:
        library = import_module("apprise")
    except ImportError:
        raise ValueError("Apprise is not installed: pip install hearthwatch[notify]") from None
    for n, url in enumerate(urls, 1):
        if library.Apprise.instantiate(url) is None:
            raise ValueError(f"Apprise does not understand number {n}, {urlsplit(url).scheme}://…")
    return urls


class Apprise(IncidentNotifier):
    """Send each notification through Apprise, with its picture."""

    urls: Annotated[tuple[str, ...], Field(repr=False, min_length=1), AfterValidator(_check_services)]
    """Services as Apprise writes them, such as `tgram://token/chat`; all of them get everything."""
    updates: bool = False
    """Whether to send also what is meant to be silent: that an incident grows, or has ended."""

    def ask(self) -> str | None:
        """Connect to the host of each service that names one."""
        asked: list[str] = []
        for url in self.urls:
            service = import_module("apprise").Apprise.instantiate(url)
            fixed = urlsplit(str(getattr(service, "notify_url", "") or ""))
            host = fixed.hostname or getattr(service, "smtp_host", None) or getattr(service, "host", None)
            if not host:
                continue
            port = getattr(service, "port", None) or fixed.port or (443 if fixed.hostname or service.secure else 80)
            try:
                socket.create_connection((host, port), PROBE_SECONDS).close()
            except OSError as error:
                raise UserError(
                    f"{urlsplit(url).scheme}: {host}:{port} cannot be reached: {error}: correct `urls`"
                ) from None
            asked.append(str(host))
        return f"{', '.join(asked)} accept connections" if asked else None

    def build(self, context: Context) -> AppriseWorker:
        return AppriseWorker(self, context)


class AppriseWorker(NotifierWorker):
    """Sends through each service, and remembers which of them took the message in flight."""

    options: Apprise

    def __init__(self, options: Apprise, context: Context) -> None:
        super().__init__(options, context)
        self._taken: tuple[str, set[str]] = ("", set())
        """The id of the message in flight, and the services that took it."""
        self._services: dict[str, Any] = {url: import_module("apprise").Apprise(url) for url in options.urls}

    def notify(self, message: AnyMessage) -> None:
        """Send it. Raises `DeliveryError` if a service does not take it."""
        sent = message.notification if isinstance(message, IncidentMessage) else None
        if sent and sent.kind == "update" and not sent.loud and not self.options.updates:
            return
        id = sent.id if sent else f"{message.type}-{message.seq}"
        if self._taken[0] != id:
            self._taken = id, set()
        fields = message.as_dict()
        kind = TYPES[fields["state"] if isinstance(message, SystemMessage) else fields["risk_level"]]
        words = fields.get("summary") or fields.get("message") or title(message)
        links = (f"{answer.replace('_', ' ').capitalize()}: {url}" for answer, url in self.answers(message).items())
        body = "\n".join(filter(None, (words, self.options.page(message), *links)))
        jpeg = message.picture() if isinstance(message, IncidentMessage) else None
        memory = import_module("apprise.attachment.memory").AttachMemory
        picture = memory(jpeg, name="picture.jpg", mimetype="image/jpeg") if jpeg else None
        for url, service in self._services.items():
            if url not in self._taken[1]:  # a service that refuses the picture gets the words alone
                send = partial(service.notify, body, title(message), kind)
                if send(attach=picture) or (picture and send()):
                    self._taken[1].add(url)
        if failed := ", ".join(urlsplit(url).scheme for url in self._services if url not in self._taken[1]):
            raise DeliveryError(f"Apprise could not send through {failed}: `apprise -vv -b test URL` says why")
