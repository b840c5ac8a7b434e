"""What the pipeline asks over HTTP, as processes that can be killed, frozen and started again at the same port.

    python tests/torture/stand_ins.py llm|detector PORT SEED
    python tests/torture/stand_ins.py webhook PORT NOTES

Both fail now and then by themselves: the language model answers one in ten questions with a 500 and takes up to 0.3 s; the
detector answers one in twenty with a 503 and hangs up on one in twenty. The receiver of webhooks answers 503 while
NOTES/refusing is there, and notes every other message in NOTES/webhook: by which connection, its Idempotency-Key.
"""

import os
import random
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from tests.support.llm_server import Server, Standin  # noqa: E402

FAILING, SLOW_SECONDS = 0.1, 0.3


class Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *words):
        pass

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def llm(port, seed):
    with Standin(port=port, seconds=(0.0, SLOW_SECONDS), failing=FAILING, seed=int(seed)):
        threading.Event().wait()


def detector(port, seed):
    from tests.torture.pictures import answer

    rnd, turn = random.Random(int(seed)), threading.Lock()

    class Handler(Quiet):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with turn:
                odds = rnd.random()
            if odds < FAILING / 2:
                self.close_connection = True  # hangs up
            elif odds < FAILING:
                self.reply(503, b"busy")
            else:
                self.reply(200, answer(picture(body, self.headers.get_boundary())))

    Server(("127.0.0.1", port), Handler).serve_forever()


def webhook(port, notes):
    out, turn = (Path(notes) / "webhook").open("a", buffering=1), threading.Lock()

    class Handler(Quiet):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            with turn:
                if taken := not (Path(notes) / "refusing").exists():
                    out.write(f"{os.getpid()}:{self.client_address[1]} {self.headers['Idempotency-Key']}\n")
            self.reply(200 if taken else 503, b"")

    Server(("127.0.0.1", port), Handler).serve_forever()


def picture(body, boundary):
    """The only part of a multipart body."""
    end = b"\r\n--" + boundary.encode()
    return body[body.index(b"\r\n\r\n") + 4 : body.rindex(end)]


if __name__ == "__main__":
    {"llm": llm, "detector": detector, "webhook": webhook}[sys.argv[1]](int(sys.argv[2]), sys.argv[3])
