"""An RT-DETR service on loopback, over real HTTP, with the answers that a test sets."""

import json
import threading
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PERSON = {"class": "person", "confidence": 0.97, "bbox": {"x": 10, "y": 20, "width": 30, "height": 40}}


def answer(*rows, status=200):
    return status, json.dumps({"detections": rows}).encode()


class DetectorService(ThreadingHTTPServer):
    """An RT-DETR service that gives `script(n, file)` to the n-th request: (status, body), or None to hang up."""

    daemon_threads = True
    connections = 0

    def __init__(self, script, port=0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.script, self.files, self.turn = script, [], threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.released = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def end(self):
        self.released.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    def get_request(self):
        self.connections += 1
        return super().get_request()

    def handle_error(self, request, client_address):
        """A client that hangs up is none of our business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.headers["Content-Type"].encode()
        (part,) = BytesParser().parsebytes(b"Content-Type: " + kind + b"\r\n\r\n" + body).get_payload()
        assert (self.path, part.get_param("name", header="content-disposition")) == ("/detect", "file")
        with self.server.turn:
            self.server.files.append(part.get_payload(decode=True))
            number = len(self.server.files)
        self.server.headers = self.headers
        said = self.server.script(number, part.get_payload(decode=True))
        if said is None:
            self.close_connection = True
            return
        self.send_response(said[0])
        self.send_header("Content-Length", str(len(said[1])))
        for header in said[2:]:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(said[1])

    def log_message(self, *_):
        pass
