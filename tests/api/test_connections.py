"""Promise: clients that hold connections open, or guess tokens, do not block others."""

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from hearthwatch.api.connections import (
    READ_SECONDS_MAX,
    REQUEST_SECONDS_MAX,
    Connections,
    LimitedProtocol,
    client_address,
    connections_max,
)
from hearthwatch.api.security import CLIENTS_MAX, DELAY_SECONDS_MAX, SessionAttempts, open_host_mistake
from hearthwatch.schemas import process
from tests.support.api_record import SECONDS_MAX, Home, serve, wait_for
from tests.support.ports import free_port

TOKEN = "correct-horse-battery"


@contextmanager
def api(home, files_max, **environ):
    """`hearthwatch api` with so few files; its port."""
    port = free_port()
    command = ["bash", "-c", f'ulimit -n {files_max}; exec "$0" -P -m hearthwatch.api', sys.executable]
    environment = home.environment(HEARTHWATCH_API_PORT=str(port), **environ)
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert "at http://" in running.stdout.readline()
        yield port
    finally:
        running.terminate()
        running.communicate(timeout=SECONDS_MAX)


def hold(stack, port, count, sent):
    """So many connections that have sent this and no more."""
    for _ in range(count):
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), SECONDS_MAX))
        if sent:
            try:
                connection.sendall(sent)
            except OSError:
                pass  # closed already: that is its right


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nHost: local", b"POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"],
    ids=["nothing", "half a head", "half a body"],
)  # fmt: skip
def test_1200_half_open_connections_keep_nobody_out(tmp_path, sent):
    process.raise_file_limit()
    with ExitStack() as stack, api(Home(tmp_path), 1024) as port:
        hold(stack, port, 1200, sent)
        for path in ("/health", "/", "/api/events"):
            answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers={"accept": "text/html"}, trust_env=False)
            assert answer.status_code == 200, path


def test_live_streams_are_not_what_gives_way(tmp_path):
    process.raise_file_limit()
    with ExitStack() as stack, api(Home(tmp_path), 260) as port:  # 60 connections
        client = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=SECONDS_MAX)
        )
        lines = stack.enter_context(client.stream("GET", "/api/live")).iter_lines()
        assert next(lines)
        hold(stack, port, 100, b"GET")
        assert any("status" in next(lines) for _ in range(20))
        assert client.get("/health").status_code == 200


def test_a_request_that_never_ends_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr("hearthwatch.api.connections.REQUEST_SECONDS_MAX", 2.0)
    monkeypatch.setattr("hearthwatch.api.connections.SWEEP_SECONDS", 0.1)
    unfinished = (
        b"",
        b"GET / HTTP/1.1\r\nHost",
        b"POST /api/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
    )
    with serve(Home(tmp_path).settings()) as served, served.client() as client, ExitStack() as stack:
        open_ = []
        for sent in unfinished:
            open_.append(stack.enter_context(socket.create_connection(("127.0.0.1", served.port), SECONDS_MAX)))
            open_[-1].sendall(sent)
        assert [is_closed(connection) for connection in open_] == [True] * 3
        with client.stream("GET", "/api/live") as stream:  # an answer may last
            lines = stream.iter_lines()
            assert sum("event: status" in next(lines) for _ in range(8)) >= 2


def test_a_head_without_end_is_closed(tmp_path):
    with (
        serve(Home(tmp_path).settings()) as served,
        socket.create_connection(("127.0.0.1", served.port), SECONDS_MAX) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\n")
        with pytest.raises(OSError):
            while True:
                connection.sendall(b"X-More: " + b"x" * 8000 + b"\r\n")


def is_closed(connection):
    try:
        return connection.recv(65536) == b""
    except ConnectionResetError:
        return True


class Transport:
    """What a protocol asks its transport."""

    unread = 0
    aborted = False

    def get_protocol(self):
        return self.protocol

    def get_write_buffer_size(self):
        return self.unread

    def is_closing(self):
        return self.aborted

    def abort(self):
        self.aborted = True


def test_a_body_that_follows_its_refusal_is_read_to_its_end(tmp_path):
    """A client that sends its whole request before it reads gets the answer, and may ask again."""
    head = b"PATCH /api/events/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n"
    with (
        serve(Home(tmp_path).settings()) as served,
        socket.create_connection(("127.0.0.1", served.port), SECONDS_MAX) as client,
    ):
        client.sendall(head)
        assert client.recv(65536).startswith(b"HTTP/1.1 413")
        client.sendall(b"x" * 5_000_000 + b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_one_client_cannot_take_the_places_of_others():
    class Loop:
        def call_later(self, *_):
            pass

    def connection(limits, address):
        one = LimitedProtocol.__new__(LimitedProtocol)
        one.limits, one.address, one.loop, one.cycle, one.transport = limits, address, Loop(), None, Transport()
        one.transport.protocol = one
        limits.add(one)
        return one

    limits = Connections(total_max=100, client_max=3)
    first = connection(limits, "192.0.2.1")
    greedy = [connection(limits, "192.0.2.9") for _ in range(10)]
    assert [one.transport.aborted for one in greedy] == [True] * 7 + [False] * 3  # its oldest
    assert not first.transport.aborted


def test_an_address_counts_as_one_client():
    assert client_address(("192.0.2.1", 5)) == client_address(("::ffff:192.0.2.1", 6)) == "192.0.2.1"
    assert (
        client_address(("2001:db8::1", 5))
        == client_address(("2001:db8::ffff:2", 6))
        != client_address(("2001:db8:0:1::1", 5))
    )
    assert client_address(None) == "" and client_address(("::1", 5)) == "::1"
    assert connections_max(1024) == 824 and connections_max(64) == 16 and connections_max(1 << 20) == 2048
    assert REQUEST_SECONDS_MAX < READ_SECONDS_MAX


def test_a_client_with_wrong_tokens_waits_longer_and_longer_and_no_other():
    attempts, now = SessionAttempts(), 1000.0
    waits = []
    for _ in range(20):
        now += attempts.wait_seconds("a", now)
        attempts.failed("a", now)
        waits.append(attempts.wait_seconds("a", now))
    assert waits == sorted(waits) and waits[0] <= 1 and waits[-1] == DELAY_SECONDS_MAX
    assert attempts.wait_seconds("b", now) == 0
    attempts.succeeded("a")
    assert attempts.wait_seconds("a", now) == 0
    for number in range(3 * CLIENTS_MAX):
        attempts.failed(str(number), now)
    assert len(attempts._clients) == CLIENTS_MAX


def test_attempts_at_the_same_time_do_not_go_faster(tmp_path):
    with serve(Home(tmp_path).settings(HEARTHWATCH_API_TOKEN=TOKEN)) as served, served.client() as client:
        assert client.post("/api/session", json={"token": "wrong"}).status_code == 401
        attempts = served.server.config.app.state.app_state.session_attempts
        assert attempts.wait_seconds("127.0.0.1", 0.0) > 0
        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(lambda _: client.post("/api/session", json={"token": "no"}).status_code, range(8)))
        assert sorted(codes) == [401] + [429] * 7
        assert wait_for(lambda: client.post("/api/session", json={"token": TOKEN}).status_code == 200)


@pytest.mark.parametrize(
    ("host", "token", "mistake"),
    [
        ("0.0.0.0", None, "anyone there"), ("0.0.0.0", "short", "5 characters"), ("192.168.1.5", "x" * 15, "at least 16"),
        ("0.0.0.0", "x" * 16, None), ("127.0.0.1", "short", None), ("localhost", None, None), ("::1", "x", None),
    ],
)  # fmt: skip
def test_a_short_token_is_for_this_machine_only(tmp_path, host, token, mistake):
    said = open_host_mistake(host, token)
    assert (said is None) if mistake is None else (mistake in said)
    assert token is None or said is None or token not in said


def test_a_server_with_a_short_token_does_not_start(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "hearthwatch.api"], capture_output=True, text=True, timeout=SECONDS_MAX,
        env=Home(tmp_path).environment(HEARTHWATCH_API_HOST="0.0.0.0", HEARTHWATCH_API_TOKEN="short"),
    )  # fmt: skip
    assert ran.returncode == 2 and "at least 16" in ran.stderr and "Traceback" not in ran.stderr


def test_what_a_browser_sends_for_another_site_changes_nothing(tmp_path):
    with (
        serve(Home(tmp_path).settings(HEARTHWATCH_CORS_ORIGINS="https://panel.example")) as served,
        served.client() as client,
    ):
        own, other = f"http://127.0.0.1:{served.port}", f"http://127.0.0.1:{served.port + 1}"
        sent = [
            ({}, True), ({"sec-fetch-site": "same-origin", "origin": own}, True), ({"sec-fetch-site": "none"}, True), ({"origin": own}, True),
            ({"sec-fetch-site": "same-site"}, False), ({"sec-fetch-site": "cross-site"}, False), ({"sec-fetch-site": "same-site", "origin": other}, False),
            ({"origin": other}, False), ({"origin": "null"}, False), ({"origin": "https://evil.example"}, False),
            ({"sec-fetch-site": "cross-site", "origin": "https://panel.example"}, True), ({"origin": "https://panel.example"}, True),
        ]  # fmt: skip
        for headers, allowed in sent:
            answer = client.post("/api/session", json={"token": "x"}, headers=headers)
            assert answer.status_code == (200 if allowed else 403), headers
            assert allowed or "another site" in answer.json()["detail"]
        assert client.get("/api/events", headers={"sec-fetch-site": "cross-site"}).status_code == 200


def test_other_users_read_nothing_and_a_stricter_umask_stays(tmp_path):
    code = (
        "from hearthwatch.schemas import process; process.prepare(); import os; os.mkdir('d'); open('f', 'w').close()"
    )
    for umask, modes in ((0o000, (0o750, 0o640)), (0o022, (0o750, 0o640)), (0o077, (0o700, 0o600))):
        place = tmp_path / oct(umask)
        place.mkdir()
        subprocess.run([sys.executable, "-c", code], cwd=place, umask=umask, check=True, env=Home(place).environment())
        assert tuple((place / name).stat().st_mode & 0o777 for name in "df") == modes
