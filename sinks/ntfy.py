"""Send notifications to a phone through ntfy, the public service or another server.

At least once, in order. The level is the priority, so `critical` rings through. A topic on a public server is like a
password: who knows it can read everything.
"""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import Event, Incident, RiskLevel
from hearthwatch.schemas.messages import AnyMessage, Message, SystemMessage
from hearthwatch.sinks.notifier import EndpointUrl, HttpNotifier, HttpWorker, title

PRIORITIES: dict[RiskLevel, int] = {"low": 2, "medium": 3, "high": 4, "critical": 5}
TAGS = {"person": "walking", "dog": "dog", "cat": "cat", "bird": "bird", "package": "package", "bicycle": "bike"}
"""What ntfy shows as an emoji; other labels stay words."""


class Ntfy(HttpNotifier):
    """Push each notification to a phone through ntfy."""

    topic: Annotated[str, Field(repr=False, pattern=r"^[-_A-Za-z0-9]{1,64}$")]
    """The topic that the phone subscribes to; choose a long random one."""
    server: EndpointUrl = "https://ntfy.sh"
    """The ntfy server."""
    token: Annotated[str | None, Field(repr=False, min_length=1)] = None
    """An access token of that server; unset: the topic needs none."""
    page_url: EndpointUrl | None = None
    """Where the phone reaches the Hearthwatch page: a tap opens the event, and its picture is shown; unset: words alone."""

    def label(self) -> str:
        return f"ntfy at {urlsplit(self.server).hostname}"

    def build(self, context: Context) -> NtfyWorker:
        return NtfyWorker(self, context)

    def note(self, message: AnyMessage) -> dict[str, object]:
        """Return the message as ntfy's JSON."""
        if isinstance(message, SystemMessage):
            priority, tag = (4, "warning") if message.state == "on" else (3, "white_check_mark")
            text: dict[str, object] = {"title": title(message), "message": message.message}
            return {"topic": self.topic, **text, "priority": priority, "tags": [tag]}
        if isinstance(message, Message):
            subject: Event | Incident = message.event
            page = f"?event={message.event.id}"
            summary, level = message.event.verdict.summary, message.event.verdict.risk_level
        else:
            subject, page = message.incident, f"?incident={message.incident.id}"
            summary, level = message.incident.summary, message.incident.risk_level
        note: dict[str, object] = {
            "topic": self.topic,
            "title": title(message),
            "message": summary or title(message),
            "priority": PRIORITIES[level],
            "tags": [TAGS.get(label, label) for label in subject.objects],
        }
        if self.page_url:
            root = self.page_url.rstrip("/")
            note["click"] = f"{root}/{page}"
            if subject.thumbnail:
                note["attach"] = root + subject.thumbnail
        return note


class NtfyWorker(HttpWorker):
    """Sends ntfy's JSON."""

    options: Ntfy

    def notify(self, message: AnyMessage) -> None:
        o = self.options
        headers = {"Authorization": f"Bearer {o.token}"} if o.token else {}
        self.post(o.server, json.dumps(o.note(message), ensure_ascii=False).encode(), headers)
