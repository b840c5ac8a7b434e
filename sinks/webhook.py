"""POST events to a URL of yours, signed if you like.

At least once, in order of `seq`; dedupe by the header `Idempotency-Key` (event id and revision). A server that is away delays
messages and nothing else. The body is the message as it is published everywhere (`hearthwatch.event.v1`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from hearthwatch.schemas import Message
from hearthwatch.sinks.post import HttpUrl, Poster

SIGNATURE = "X-Hearthwatch-Signature"


class Webhook(Poster):
    """POST each notification to a URL, as JSON."""

    url: Annotated[HttpUrl, Field(repr=False)]
    """Where to."""
    secret: Annotated[str | None, Field(repr=False, min_length=1)] = None
    """Signs the body: header `X-Hearthwatch-Signature: sha256=<HMAC-SHA256 of the body, in hex>`; unset: no signature."""
    token: Annotated[str | None, Field(repr=False, min_length=1)] = None
    """Sent as `Authorization: Bearer …`; unset: none."""

    def label(self) -> str:
        return f"webhook at {urlsplit(self.url).hostname}"

    def notify(self, message: Message) -> None:
        body = json.dumps(message.as_dict(), ensure_ascii=False).encode()
        headers = {"Idempotency-Key": f"{message.event.batch_id}-{message.event.revision}"}
        if self.secret:
            headers[SIGNATURE] = signature(self.secret, body)
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        self.post(self.url, body, headers)


def signature(secret: str, body: bytes) -> str:
    """What the receiver computes, too, and compares in constant time (`hmac.compare_digest`)."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
