"""POST notifications to a URL, signed if a secret is set.

At least once; dedupe by the header `Idempotency-Key` (incident id and revision, the id of a digest, the number of a system
message, or node and hash of an item). A server that is down delays messages and nothing else. The body is the message as it is published everywhere
(`hearthwatch.incident.v1` with `notification`, `hearthwatch.event.v1`, `hearthwatch.system.v1`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from hearthwatch.schemas.context import Cell, Context
from hearthwatch.schemas.messages import FeedMessage, IncidentMessage, ItemMessage, Message, SystemMessage
from hearthwatch.sinks.notifier import EndpointUrl, HttpNotifier, HttpWorker

SIGNATURE = "X-Hearthwatch-Signature"


class Webhook(HttpNotifier):
    """POST each notification, and each item of the journals that it is behind, to a URL, as JSON."""

    accepts: ClassVar[type | tuple[type, ...]] = (IncidentMessage, Message, SystemMessage, ItemMessage)

    url: Annotated[EndpointUrl, Field(repr=False)]
    """Where to."""
    secret: Annotated[str | None, Field(repr=False, min_length=1)] = None
    """Signs the body: header `X-Hearthwatch-Signature: sha256=<HMAC-SHA256 of the body, in hex>`; unset: no signature."""
    token: Annotated[str | None, Field(repr=False, min_length=1)] = None
    """Sent as `Authorization: Bearer …`; unset: none."""
    picture: bool = False
    """Whether the picture is in the body: `picture`, a JPEG in base64."""

    def label(self) -> str:
        return f"webhook at {urlsplit(self.url).hostname}"

    def ask(self) -> str:
        return self.ask_url("HEAD", self.url, self.token)

    def build(self, context: Context) -> WebhookWorker:
        return WebhookWorker(self, context)


class WebhookWorker(HttpWorker):
    """Sends the message as it is published everywhere."""

    options: Webhook

    def notify(self, message: FeedMessage) -> bool:
        fields = message.as_dict()
        if page := self.options.page(message):
            fields["page"] = page
        if self.options.picture and isinstance(message, IncidentMessage) and (jpeg := message.picture()):
            fields["picture"] = b64encode(jpeg).decode()
        body = json.dumps(fields, ensure_ascii=False).encode()
        headers = {"Idempotency-Key": _key(message, self.context.cell)}
        if self.options.secret:
            headers[SIGNATURE] = signature(self.options.secret, body)
        if self.options.token:
            headers["Authorization"] = f"Bearer {self.options.token}"
        return self.send(self.options.url, body, headers)


def _key(message: FeedMessage, cell: Cell | None = None) -> str:
    if isinstance(message, SystemMessage):  # each cell numbers its own
        return f"system-{cell.name}-{message.seq}" if cell and cell.number else f"system-{message.seq}"
    if isinstance(message, ItemMessage):
        return f"{message.type}-{message.content_hash}"
    if isinstance(message, IncidentMessage):
        return (
            message.notification.id
            if message.notification
            else f"incident-{message.incident.id}-{message.incident.revision}"
        )
    return f"{message.event.batch_id}-{message.event.revision}"


def signature(secret: str, body: bytes) -> str:
    """Compute what the receiver computes, too, and compares in constant time (`hmac.compare_digest`)."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
