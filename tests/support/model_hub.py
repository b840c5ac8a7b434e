"""A model hub on loopback: one model's folder under any id, or a network that is not there yet."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class ModelHub(ThreadingHTTPServer):
    """Answers what the folder holds; until `is_there`, as a captive portal does: 404 for everything.

    A hub that refuses connections or answers 503 is tried by its client for half a minute, with the same error then.
    """

    daemon_threads = True

    def __init__(self, folder, is_there=True):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.is_there = Path(folder), is_there
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        file = self.server.folder / self.path.partition("?")[0].rpartition("/")[2]
        if not self.server.is_there:
            self._answer(404)
        elif "/resolve/" in self.path and file.is_file():
            self._answer(200, file.read_bytes())
        else:
            self._answer(404, b"", ("X-Error-Code", "EntryNotFound"))

    do_GET = do_HEAD  # noqa: N815

    def _answer(self, status, body=b"", *headers):
        self.send_response(status)
        for name, value in (
            *headers,
            ("Content-Length", str(len(body))),
            ("ETag", f'"{hashlib.sha256(body).hexdigest()}"'),
            ("X-Repo-Commit", "0" * 40),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass
