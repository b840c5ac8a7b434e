"""A server on loopback that takes what ntfy's documentation says: JSON by POST to `/`, files by PUT to `/<topic>` with headers."""

import json
import re
from email.header import decode_header, make_header

from tests.support.http_receiver import Answering, LoopbackServer

HEADERS = {"title", "message", "priority", "tags", "click", "filename", "sequence-id", "actions"}


class NtfyServer(LoopbackServer):
    """`messages`: what subscribers see, by sequence id; `keeps_files`: whether attachments are allowed."""

    def __init__(self, topic="mine", token="", keeps_files=True):
        self.topic, self.token, self.keeps_files = topic, token, keeps_files
        self.messages, self.log = {}, []

        class Handler(Answering):
            def do_POST(handler):  # noqa: N805
                body = handler.body()
                handler.take(json.loads(body), None) if handler.path == "/" else handler.reply(404, {"code": 40401})

            def do_PUT(handler):  # noqa: N805
                body, given = handler.body(), {}
                for key, value in handler.headers.items():
                    if (name := key.lower().removeprefix("x-")) in HEADERS:
                        given[name.replace("-", "_")] = str(make_header(decode_header(value)))
                note = {**given, "topic": handler.path.removeprefix("/"), "priority": int(given.get("priority", 3))}
                if "actions" in note:
                    note["actions"] = json.loads(note["actions"])
                note["tags"] = note["tags"].split(",") if note.get("tags") else []
                if "filename" in note and not self.keeps_files:
                    return handler.reply(400, {"code": 40014, "error": "invalid request: attachments not allowed"})
                return handler.take(note, body)

            def do_GET(handler):  # noqa: N805
                wrong = handler.path == "/v1/account" and handler.headers.get("Authorization") != f"Bearer {self.token}"
                handler.reply(401 if wrong else 200, {"healthy": True})

            def body(handler):  # noqa: N805
                return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))

            def take(handler, note, attachment):  # noqa: N805
                if self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
                    return handler.reply(403, {"code": 40301, "error": "forbidden"})
                id = note.get("sequence_id", f"m{len(self.log)}")
                good = note["topic"] == self.topic and 1 <= note.get("priority", 3) <= 5
                if not good or not re.fullmatch(r"[-_A-Za-z0-9]{1,64}", id):
                    return handler.reply(400, {"code": 40024, "error": "invalid request"})
                self.messages[id] = note | {"attachment": attachment}
                self.log.append((id, note.get("priority", 3)))
                return handler.reply(200, {"id": f"m{len(self.log)}", "sequence_id": id})

            def reply(handler, status, content):  # noqa: N805
                handler.answer(status, json.dumps(content).encode())

        super().__init__(Handler)
