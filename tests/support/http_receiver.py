"""Real HTTP servers on loopback; `HttpEar` gives the answers that a test wants and keeps what it was sent."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Answering(BaseHTTPRequestHandler):
    """A handler that answers with a length and logs nothing."""

    protocol_version = "HTTP/1.1"

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class LoopbackServer:
    """A server that runs within its `with`."""

    def __init__(self, handler):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class HttpEar(LoopbackServer):
    """`answers`: status codes to give, one per POST; 200 when there are none left; with `said` as the body.
    `pages`: path -> body of a GET, or what makes it."""

    def __init__(self, *answers, said=b"secret words", pages=None):
        self.heard, self.answers, self.pages = [], list(answers), pages or {}

        class Handler(Answering):
            def do_POST(handler):  # noqa: N805
                body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
                status = self.answers.pop(0) if self.answers else 200
                self.heard.append((handler.path, dict(handler.headers), body, status))
                handler.answer(status, said, {"Location": "http://there/"} if status == 301 else {})

            def do_GET(handler):  # noqa: N805
                page = self.pages.get(handler.path)
                page = page() if callable(page) else page
                handler.answer(404 if page is None else 200, page or b"")

        super().__init__(Handler)

    def taken(self):
        """The bodies that were answered with 200, as JSON."""
        return [json.loads(body) for _, _, body, status in self.heard if status == 200]
