"""Send notifications to a phone through ntfy, the public service or another server.

At least once. The level is the priority, so `critical` rings through; an update is silent and replaces what was sent before
(ntfy 2.16 and later). The picture is uploaded to the server; one that refuses it gets the words alone. A topic on a public
server is like a password: who knows it can read everything.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field

from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import RiskLevel
from hearthwatch.schemas.messages import AnyMessage, IncidentMessage, Message, SystemMessage
from hearthwatch.sinks.notifier import EndpointUrl, HttpNotifier, HttpWorker, title

PRIORITIES: dict[RiskLevel, int] = {"low": 2, "medium": 3, "high": 4, "critical": 5}
TAGS = {"person": "walking", "dog": "dog", "cat": "cat", "bird": "bird", "package": "package", "bicycle": "bike"}
"""What ntfy shows as an emoji; other labels stay words."""


SILENT = 2  # a priority without sound


class Ntfy(HttpNotifier):
    """Push each notification to a phone through ntfy."""

    topic: Annotated[str, Field(repr=False, pattern=r"^[-_A-Za-z0-9]{1,64}$")]
    """The topic that the phone subscribes to; choose a long random one."""
    server: EndpointUrl = "https://ntfy.sh"
    """The ntfy server."""
    token: Annotated[str | None, Field(repr=False, min_length=1)] = None
    """An access token of that server; unset: the topic needs none."""

    def label(self) -> str:
        return f"ntfy at {urlsplit(self.server).hostname}"

    def ask(self) -> str:
        server = self.server.rstrip("/")
        answer = self.ask_url("GET", f"{server}/v1/health", None)
        return self.ask_url("GET", f"{server}/v1/account", self.token) if self.token else answer

    def build(self, context: Context) -> NtfyWorker:
        return NtfyWorker(self, context)

    def note(self, message: AnyMessage) -> dict[str, Any]:
        """Return the message as ntfy's JSON."""
        note: dict[str, Any] = {"topic": self.topic, "title": title(message)}
        if isinstance(message, SystemMessage):
            priority, tag = (4, "warning") if message.state == "on" else (3, "white_check_mark")
            return {**note, "message": message.message, "priority": priority, "tags": [tag]}
        fields, sent = message.as_dict(), getattr(message, "notification", None)
        note |= {"message": fields["summary"] or title(message), "priority": PRIORITIES[fields["risk_level"]]}
        note["tags"] = [TAGS.get(label, label) for label in fields["objects"]]
        if page := self.page(message):
            note["click"] = page
        if isinstance(message, Message):
            if self.page_url and message.event.thumbnail:
                note["attach"] = self.page_url.rstrip("/") + message.event.thumbnail
        elif sent:
            note |= {"sequence_id": sent.tag} | ({} if sent.loud else {"priority": SILENT})
        return note


class NtfyWorker(HttpWorker):
    """Sends ntfy's JSON, or the picture with the same as headers."""

    options: Ntfy

    def notify(self, message: AnyMessage) -> bool:
        note, server = self.options.note(message), self.options.server.rstrip("/")
        headers = {"Authorization": f"Bearer {self.options.token}"} if self.options.token else {}
        if links := self.answers(message):
            note["actions"] = [
                {"action": "http", "label": answer.replace("_", " ").capitalize(), "url": url, "clear": True}
                for answer, url in links.items()
            ]
        if isinstance(message, IncidentMessage) and (picture := message.picture()):
            fields = {f"X-{key.replace('_id', '-ID')}": _header(value) for key, value in note.items() if key != "topic"}
            if self.send(f"{server}/{note['topic']}", picture, headers | fields | {"X-Filename": "picture.jpg"}, "PUT"):
                return True
        return self.send(server, json.dumps(note, ensure_ascii=False).encode(), headers)


def _header(value: Any) -> str:
    """Format a value for a header: words in base64 (RFC 2047), which ntfy reads as UTF-8."""
    is_words = isinstance(value, list) and all(isinstance(word, str) for word in value)
    text = ",".join(value) if is_words else json.dumps(value) if isinstance(value, list) else str(value)
    return text if text.isascii() and text.isprintable() else f"=?UTF-8?B?{b64encode(text.encode()).decode()}?="
