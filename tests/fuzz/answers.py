"""Answers of HTTP services, damaged in every way that JSON, HTTP and a socket allow; on a real loopback server."""

import json
import socket
import threading

DEEP = 100_000
BIG = 10_000_000


def damaged(rnd, good):
    """The bytes of an answer that should have been `good`: a JSON value, or text that holds one."""
    text = json.dumps(good)
    return rnd.choice([
        lambda: json.dumps(mutated(good, rnd)).encode("utf-8", "surrogatepass"),
        lambda: json.dumps(mutated(mutated(good, rnd), rnd)).encode(),
        lambda: json.dumps(mutated(good, rnd), ensure_ascii=False).encode("utf-8", "surrogatepass"),
        lambda: text.encode()[: rnd.randrange(len(text) + 1)],
        lambda: flipped(text.encode(), rnd),
        lambda: text.encode("utf-16"), lambda: text.encode("utf-32"), lambda: b"\xef\xbb\xbf" + text.encode(),
        lambda: b"[" * DEEP, lambda: b'{"a":' * DEEP + b"1" + b"}" * DEEP, lambda: b"9" * 100_000, lambda: b"-1e400",
        lambda: text.encode() + text.encode(), lambda: b"```json\n" + text.encode() + b"\n```", lambda: b"NaN", lambda: b"null",
        lambda: b"[]", lambda: b'""', lambda: b"", lambda: b" " * 1000, lambda: rnd.randbytes(300), lambda: b"<html>502</html>",
        lambda: b'{"a":"' + b"x" * rnd.choice([1000, BIG]) + b'"}', lambda: b" " * BIG + text.encode(),
        lambda: b'"' + bytes(range(32)) + b'"', lambda: text.replace(":", ":\x00", 1).encode(), lambda: b"\xed\xa0\x80",
    ])()  # fmt: skip


VALUES = (
    None, True, False, 0, -1, 1, 7, 1e308, -0.0, 0.5, 10**30, float("nan"), float("inf"), -(2**63), 2**63, 101, "", " ", "0", "12", "a" * 5000, "\ud800", "\x00",
    "\x1b[31m", "</s><|im_start|>system", "\u202e", "x" * 300_000, [], {}, [[]], [None], {"a": 1}, [1, 2], [float("nan")] * 4, ["1"] * 4, [-5, -5, 10, 10],
    [10**400, 0, 1, 1], [0] * 5000, {"x": 1, "y": 2, "width": None, "height": 4},
)  # fmt: skip


def mutated(value, rnd):
    """One place in it is another value, is gone, is there twice, or has another name."""
    value = json.loads(json.dumps(value))
    holders = [holder for holder in walk(value) if holder]
    if not holders or rnd.random() < 0.05:
        return rnd.choice(VALUES)
    holder = rnd.choice(holders)
    key = rnd.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    match rnd.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[str(key).upper() + rnd.choice(["", "\ud800", "é"])] = holder.pop(key)
        case 1 | 2 if isinstance(holder, list):
            holder *= rnd.choice([2, 3, 600])
        case 3 if isinstance(holder[key], str) and holder[key][:1] in ("{", "["):
            holder[key] = damaged(rnd, json.loads(holder[key])).decode("utf-8", "replace")
        case _:
            holder[key] = rnd.choice(VALUES)
    return value


def walk(value):
    if isinstance(value, dict | list):
        yield value
        for part in value.values() if isinstance(value, dict) else value:
            yield from walk(part)


def flipped(data, rnd):
    data = bytearray(data)
    for _ in range(rnd.choice([1, 2, 9])):
        data[rnd.randrange(len(data))] = rnd.randrange(256)
    return bytes(data)


def http(body, rnd):
    """A whole HTTP answer, usually a sound one; (bytes, seconds between pieces, whether it hangs up before its end)."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    odd = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 422 No\r\nContent-Length: 2\r\n\r\n", b"HTTP/1.1 999 ?\r\nContent-Length: 2\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"\x16\x03\x01\x02\x00", b"",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"y" * 200_000 + b"\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + head,
        b"HTTP/1.1 500 \xff\xfe\r\nContent-Length: 2\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Encoding: br, gzip, deflate\r\nContent-Length: 8\r\n\r\n",
    ]  # fmt: skip
    if rnd.random() < 0.15:
        return rnd.choice(odd) + body[:2000], 0.0, True
    if rnd.random() < 0.04:
        return head + body[:6], 0.2, False  # a byte now and then, and never the end
    return head + body, 0.0, rnd.random() < 0.05


class Server:
    """Answers each request on a connection of its own with the bytes of `answer`, and `then` once it was given."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.answer, self.then = (b"", 0.0, True), None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        try:
            with connection:
                while self._read(connection):
                    (data, pause, hangs_up), self.answer = self.answer, self.then or self.answer
                    self._send(connection, data, pause)
                    if hangs_up:
                        return
        except OSError:
            pass  # the client had enough

    def _send(self, connection, data, pause):
        if not pause:
            return connection.sendall(data)
        for byte in data:
            connection.sendall(bytes([byte]))
            threading.Event().wait(pause / 100)
        connection.settimeout(2.0)
        return connection.recv(1)  # until the client hangs up

    def _read(self, connection):
        """A whole request; False at the end."""
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(65_536)):
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0
        )
        while len(body) < length:
            body += connection.recv(65_536)
        return True
