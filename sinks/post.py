"""Notifiers that POST: one client, kept alive; what the other side has not taken comes again, what it refuses is told.

Anything but an answer 2xx is tried again with backoff, for as long as it takes: a wrong token is mended, and then nothing is
missing. Only an answer that is about this one message (400, 409, 413, 415, 422) ends it, with an error in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, PrivateAttr

from hearthwatch.schemas.settings import Seconds
from hearthwatch.sinks.notifier import Notifier

log = logging.getLogger(__name__)

REFUSED = {400, 409, 413, 415, 422}  # the message's own fault: it would block all others for ever
SAID_MAX = 200  # characters of an answer that are worth a log line


class DeliveryError(Exception):
    """Not delivered; the text says why and names no secret."""


def _url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write http://host:port/… or https://host/…")
    return url


HttpUrl = Annotated[str, AfterValidator(_url)]


class Poster(Notifier):
    """A notifier that POSTs: `notify` calls `post`."""

    timeout_seconds: Seconds = 10
    """How long connecting, and each silence of the other side, may last."""

    _client: httpx.Client | None = PrivateAttr(None)

    def open(self) -> None:
        if self._client is None:
            self._client = httpx.Client(timeout=self.timeout_seconds, headers={"User-Agent": "hearthwatch"})

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Deliver it, or raise `DeliveryError` to be asked again."""
        assert self._client, "`open` comes first"
        host = urlsplit(url).hostname  # the rest of a URL is often a secret
        try:
            answer = self._client.post(url, content=body, headers={"Content-Type": "application/json", **headers})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DeliveryError(f"{host} cannot be reached: {str(error) or type(error).__name__}") from None
        if answer.status_code in REFUSED:
            log.error("%s refuses a message for good (%d %r)", host, answer.status_code, answer.text[:SAID_MAX])
        elif not answer.is_success:
            moved = f" to {where}: set the url to that" if (where := answer.headers.get("Location")) else ""
            raise DeliveryError(f"{host} answers {answer.status_code}{moved} {answer.text[:SAID_MAX]!r}")

    def close(self) -> None:
        if self._client:
            self._client.close()
            self._client = None
