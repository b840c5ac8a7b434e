"""Notifications on a phone through ntfy, the service of that name or a server of your own.

At least once, in order. The level is the priority, so `critical` rings through. A topic on a public server is as good as a
password: who knows it reads along.
"""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from hearthwatch.schemas import Message
from hearthwatch.schemas.items import RiskLevel
from hearthwatch.sinks.notifier import title
from hearthwatch.sinks.post import HttpUrl, Poster

PRIORITIES: dict[RiskLevel, int] = {"low": 2, "medium": 3, "high": 4, "critical": 5}
TAGS = {"person": "walking", "dog": "dog", "cat": "cat", "bird": "bird", "package": "package", "bicycle": "bike"}
"""What ntfy shows as an emoji; other labels stay words."""


class Ntfy(Poster):
    """Push each notification to a phone through ntfy."""

    topic: Annotated[str, Field(repr=False, pattern=r"^[-_A-Za-z0-9]{1,64}$")]
    """The topic that the phone subscribes to; choose a long random one."""
    server: HttpUrl = "https://ntfy.sh"
    """The ntfy server."""
    token: Annotated[str | None, Field(repr=False, min_length=1)] = None
    """An access token of that server; unset: anybody may write to the topic."""
    page_url: HttpUrl | None = None
    """Where the phone reaches the Hearthwatch page: a tap opens the event, and its picture is shown; unset: words alone."""

    def label(self) -> str:
        return f"ntfy at {urlsplit(self.server).hostname}"

    def notify(self, message: Message) -> None:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self.post(self.server, json.dumps(self.note(message), ensure_ascii=False).encode(), headers)

    def note(self, message: Message) -> dict[str, object]:
        """The message as ntfy's JSON."""
        event = message.event
        note: dict[str, object] = {
            "topic": self.topic,
            "title": title(message),
            "message": event.verdict.summary or title(message),
            "priority": PRIORITIES[event.verdict.risk_level],
            "tags": [TAGS.get(label, label) for label in event.objects],
        }
        if self.page_url:
            page = self.page_url.rstrip("/")
            note["click"] = f"{page}/?event={event.id}"
            if event.thumbnail:
                note["attach"] = page + event.thumbnail
        return note
