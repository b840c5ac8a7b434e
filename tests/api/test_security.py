"""Promise: only those who may ask are answered, on every route, and nothing that is sent breaks the server."""

import json
import random
import re
import socket
import string
import time

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from hearthwatch.api.routes.events import format_cell
from hearthwatch.api.security import CSP, AllowedHosts, Session, is_loopback
from hearthwatch.schemas.settings import SettingsError
from tests.support.api_record import SECONDS_MAX, Home, serve, start, story
from tests.support.ports import free_port

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = story(Home(tmp_path_factory.mktemp("guarded")))
    yield home
    home.close()


@pytest.fixture(scope="module")
def guarded(home):
    with serve(home.settings(HEARTHWATCH_API_TOKEN=TOKEN, HEARTHWATCH_CORS_ORIGINS="https://panel.example")) as served:
        yield served


@pytest.fixture(scope="module")
def open_(home):
    with serve(home.settings()) as served:
        yield served


def operations(served):
    """(method, path with values) of every documented route."""
    with served.client(headers={"authorization": f"Bearer {TOKEN}"}) as client:
        paths = client.get("/openapi.json").json()["paths"]
    values = {
        "event_id": 1,
        "incident_id": 1,
        "camera_id": "front_door",
        "detection_id": 512,
        "frame_id": 6,
        "filename": "x.jpg",
        "feedback_id": 1,
        "token": "1.fine.9.x",
        "name": "ntfy",
    }
    return [(method.upper(), path.format(**values)) for path, methods in paths.items() for method in methods]


FREE = {"/health", "/", "/api/session", "/api/feedback/1.fine.9.x"}  # the last has its own signature


def test_without_the_token_every_route_but_five_is_closed(guarded):
    wrong = [{}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": f"Basic {TOKEN}"}, {"authorization": "Bearer"},
             {"authorization": f"Bearer {TOKEN}x"}, {"cookie": f"hearthwatch_session={TOKEN}"}, {"cookie": "hearthwatch_session=9999999999.00"}]  # fmt: skip
    with guarded.client() as client:
        for method, path in [
            *operations(guarded),
            ("GET", "/docs"),
            ("GET", "/openapi.json"),
            ("GET", "/nothing"),
            ("GET", "/api/../api/events"),
        ]:
            for headers in wrong:
                answer = client.request(method, path, headers=headers)
                assert (answer.status_code == 401) == (path not in FREE), (method, path, headers)
                if path not in FREE:
                    assert answer.headers["www-authenticate"] == "Bearer" and "token" in answer.json()["detail"]
        assert client.get("/static/nothing.js").status_code == 404


def test_the_token_opens_everything_and_so_does_the_cookie_that_it_buys(guarded):
    with guarded.client() as client:
        assert client.get("/api/events", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200
        assert client.get("/api/events").status_code == 401
        answer = client.post("/api/session", json={"token": TOKEN})
        cookie = answer.headers["set-cookie"]
        assert (
            answer.status_code == 200 and "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
        )
        assert client.get("/api/events").status_code == 200
        with client.stream("GET", "/api/live") as stream:
            assert stream.status_code == 200
        assert client.delete("/api/session").status_code == 204 and client.get("/api/events").status_code == 401


def test_the_websocket_wants_the_token_too(guarded):
    url = f"ws://127.0.0.1:{guarded.port}/ws/events"
    with pytest.raises(InvalidStatus) as refused, connect(url, proxy=None):
        pass
    assert refused.value.response.status_code == 401
    with connect(url, additional_headers={"authorization": f"Bearer {TOKEN}"}, proxy=None):
        pass


@pytest.mark.parametrize(
    ("host", "welcome"),
    [
        ("127.0.0.1", True), ("localhost", True), ("LOCALHOST:8000", True), ("[::1]:8000", True), ("127.0.0.2:1", True), ("localhost.", True),
        ("evil.example", False), ("127.0.0.1.evil.example", False), ("localhost.evil.example", False), ("evil@127.0.0.1", False), ("192.168.1.5", False),
        ("", False), ("127.0.0.1:x", False), ("localhost/evil", False), ("0x7f000001", False), ("2130706433", False), ("[::1", False),
    ],
)  # fmt: skip
def test_a_foreign_host_is_refused(open_, host, welcome):
    for path in ("/health", "/api/events", "/ws/events"):
        with socket.create_connection(("127.0.0.1", open_.port), SECONDS_MAX) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            code = int(connection.recv(65536).split()[1])
        assert code == ((404 if "ws" in path else 200) if welcome else 400), path


def test_two_hosts_or_none_are_refused(open_):
    for lines in ("Host: localhost\r\nHost: evil.example\r\n", ""):
        with socket.create_connection(("127.0.0.1", open_.port), SECONDS_MAX) as connection:
            connection.sendall(f"GET /api/events HTTP/1.0\r\n{lines}\r\n".encode())
            assert connection.recv(65536).split()[1] == b"400"


def test_a_server_for_all_addresses_answers_to_addresses_and_its_own_name():
    hosts = AllowedHosts("0.0.0.0", ("https://cams.home.example",))
    name = socket.gethostname()
    assert all(
        hosts.is_allowed(h) for h in ("192.168.1.5:8000", "[fe80::1]:8000", name, "cams.home.example", "localhost")
    )
    assert not hosts.is_allowed("evil.example")
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "192.168.1.5", "nas")] == [
        True
    ] * 3 + [False] * 4


def test_another_page_can_neither_change_nor_read_anything(open_, guarded):
    with open_.client() as client:
        for origin, code in (
            ("https://evil.example", 403),
            ("null", 403),
            (open_.url, 200),
            (f"http://localhost:{open_.port}", 403),
            (f"http://127.0.0.1:{open_.port + 1}", 403),
        ):
            assert (
                client.patch("/api/events/1", json={"notes": None}, headers={"origin": origin}).status_code == code
            ), origin
        answer = client.get("/api/events", headers={"origin": "https://evil.example"})
        assert (
            "access-control-allow-origin" not in answer.headers
            and answer.headers["cross-origin-resource-policy"] == "same-origin"
        )
    with guarded.client() as client:
        ask = {
            "origin": "https://panel.example",
            "access-control-request-method": "GET",
            "access-control-request-headers": "authorization",
        }
        assert (
            client.options("/api/events", headers=ask).headers["access-control-allow-origin"] == "https://panel.example"
        )
        assert (
            "access-control-allow-origin"
            not in client.options("/api/events", headers=ask | {"origin": "https://evil.example"}).headers
        )


def test_every_answer_carries_the_headers_that_protect_a_browser(open_):
    with open_.client() as client:
        for path in (
            "/",
            "/api/events",
            "/api/events/999",
            "/nothing",
            "/api/media/cameras/x/y.jpg",
            "/static/x",
            "/docs",
        ):
            headers = client.get(path).headers
            assert headers["content-security-policy"] == CSP and headers["x-content-type-options"] == "nosniff", path
            assert (
                headers["x-frame-options"] == "DENY"
                and headers["referrer-policy"] == "no-referrer"
                and "server" not in headers
            )
        assert client.get("/api/events").headers["cache-control"] == "no-store"
        assert client.head("/health").status_code == 200 and client.head("/api/events").content == b""
        assert client.put("/api/events").status_code == 405


def test_a_body_has_a_limit_declared_or_not(open_):
    with open_.client() as client:
        big = b'{"notes": "' + b"x" * 70_000 + b'"}'
        headers = {"content-type": "application/json"}
        assert client.patch("/api/events/1", content=big, headers=headers).status_code == 413
        assert (
            client.patch("/api/events/1", content=iter([big[:40_000], big[40_000:]]), headers=headers).status_code
            == 413
        )
        assert client.patch("/api/events/1", json={"notes": "x" * 10_000}).status_code == 200


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@x", "'@x"), ("\tx", "'\tx"), ("\rx", "'\rx"), (" =1", "' =1"), ("＝1", "'＝1"),
        ("a=b", "a=b"), (None, ""), (True, "true"), (7, "7"), ({"person": 2, "dog": 1}, "2 person, 1 dog"), ({"=cmd": 1}, "1 =cmd"),
    ],
)  # fmt: skip
def test_no_cell_is_a_formula(value, shown):
    assert format_cell(value) == shown


def test_secrets_are_in_no_answer(home):
    secret = {
        "REDIS_URL": "redis://:hunter2@127.0.0.1:1/0",
        "NEMOTRON_URL": "http://me:hunter2@127.0.0.1:1",
        "RTDETR_URL": "http://me:hunter2@127.0.0.1:1",
    }
    with serve(home.settings(**secret)) as served, served.client() as client:
        health = client.get("/api/system/health")
        services = health.json()["services"]
        assert health.json()["status"] == "degraded"
        assert {services[name]["status"] for name in ("redis", "nemotron", "detector")} == {"unhealthy"}
        for path in (
            "/api/system/health",
            "/api/system/config",
            "/api/system/stats",
            "/api/status",
            "/openapi.json",
            "/metrics",
        ):
            assert "hunter2" not in client.get(path).text


ODD = ["", "0", "-1", "1e9", "NaN", "null", "true", "[]", "{}", "\x00", "é", "𝕏", "%", "_", "'", '"', "' OR 1=1 --", "../..", "9" * 30, "-" + "9" * 30, "2026-13-45",
       "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999-23:59", "x" * 5000, "\ufffe", "a,b,,c", "\u202e"]  # fmt: skip


@pytest.mark.slow
def test_whatever_is_sent_the_server_has_an_answer(open_, home):
    """Every documented parameter and body with odd values, at random but always the same: no answer is a server error."""
    chance = random.Random(4)
    with open_.client() as client:
        document = client.get("/openapi.json").json()
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if path == "/api/live" or method == "delete" or ("{camera_id}" in path and method == "patch"):
                    continue
                for _ in range(25):
                    url = path
                    for name in [field for _, field, _, _ in string.Formatter().parse(path) if field]:
                        odd = chance.choice(ODD) or "x"
                        url = url.replace("{" + name + "}", "".join(f"%{byte:02x}" for byte in odd.encode()))
                    names = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
                    query = {
                        name: chance.choice(ODD) for name in chance.sample(names, min(len(names), chance.randint(0, 3)))
                    }
                    content = (
                        chance.choice(
                            [b"", b"{", b"[]", b"\xff\xfe", b"[" * 9000, odd_body(chance, document, operation)]
                        )
                        if "requestBody" in operation
                        else None
                    )
                    answer = client.request(
                        method,
                        url,
                        params=query,
                        content=content,
                        headers={"content-type": "application/json"} if content else {},
                    )
                    assert answer.status_code < 500, (method, url, query, content, answer.text)


def odd_body(chance, document, operation):
    reference = operation["requestBody"]["content"]["application/json"]["schema"].get("$ref")
    if reference is None:  # a list
        return json.dumps([chance.choice([*ODD, None, {}, [[0, 0]], {"kind": "x"}])])
    names = list(document["components"]["schemas"][reference.rpartition("/")[2]]["properties"])
    odd = [*ODD, 0, -1, 10**30, 1.5, float("nan"), float("inf"), True, None, [], {}, ["x"], "\ud800", [[0, 0]]]
    return json.dumps(
        {name: chance.choice(odd) for name in chance.sample(names, chance.randint(0, len(names)))}
    ).encode()


def test_a_listed_name_is_allowed_and_with_a_token_any(open_, guarded, home):
    with serve(home.settings(HEARTHWATCH_API_NAMES="cams.home.example")) as named, named.client() as client:
        assert client.get("/api/status", headers={"host": "CAMS.home.example:8443"}).status_code == 200
        refused = client.get("/api/status", headers={"host": "evil.example"})
        assert refused.status_code == 400 and "HEARTHWATCH_API_NAMES" in refused.json()["detail"]
    with open_.client() as client:
        assert client.get("/api/status", headers={"host": "cams.home.example"}).status_code == 400
    with guarded.client(headers={"authorization": f"Bearer {TOKEN}"}) as client:
        assert client.get("/api/status", headers={"host": "any.example"}).status_code == 200


def test_a_signed_url_is_for_its_path_to_read_and_for_a_quarter_of_an_hour(guarded):
    with guarded.client() as client, guarded.client(headers={"authorization": f"Bearer {TOKEN}"}) as known:
        assert client.post("/api/session/signed-url", json={"path": "/api/events"}).status_code == 401
        signed = known.post("/api/session/signed-url", json={"path": "/api/events"}).json()
        assert client.get(signed["url"]).status_code == client.get(f"{signed['url']}&limit=1").status_code == 200
        signature = signed["url"].partition("?")[2]
        ends, _, digest = signature.removeprefix("sig=").partition(".")
        for path in (
            f"/api/cameras?{signature}",
            f"/api/events?sig={int(ends) + 1}.{digest}",
            "/api/events?sig=.",
            "/api/events?sig=x",
        ):
            assert client.get(path).status_code == 401
        assert client.patch(signed["url"], json={"reviewed": True}).status_code == 401
        live = known.post("/api/session/signed-url", json={"path": "/ws/events"}).json()["url"]
        with connect(f"{guarded.url.replace('http', 'ws')}{live}") as messages:
            messages.send("ping")
            assert messages.recv(timeout=SECONDS_MAX) == '{"type":"pong"}'
        session = Session(TOKEN)
        assert client.get(f"/api/events?{session.sign('/api/events', time.time() - 901)}").status_code == 401
        for path in ("api/events", "/health", "/api/events?x=1", "https://evil.example/api/"):
            assert known.post("/api/session/signed-url", json={"path": path}).status_code == 422


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("HEARTHWATCH_API_NAMES", "http://x.example", "http://x.example is not a host name"),
        ("HEARTHWATCH_API_FORWARDED", "10.0.0.1/8", "10.0.0.1/8"),
        ("HEARTHWATCH_FRAME_ANCESTORS", "*", "* is not an origin"),
    ],
)
def test_a_wrong_proxy_setting_is_named(home, name, value, part):
    with pytest.raises(SettingsError, match=re.escape(part)):
        home.settings(**{name: value})


def test_with_a_token_no_shared_cache_keeps_what_is_private(guarded, open_):
    with guarded.client(headers={"authorization": f"Bearer {TOKEN}"}) as client, open_.client() as free:
        picture = client.get("/api/events").json()["events"][0]["thumbnail_url"]
        assert free.get(picture).headers["cache-control"].startswith("public")
        assert client.get(picture).headers["cache-control"].startswith("private")


def test_where_it_listens_on_every_address_it_says_one_for_a_phone(tmp_path):
    port = free_port()
    home = story(Home(tmp_path))
    home.close()
    server = start(home, HEARTHWATCH_API_HOST="0.0.0.0", HEARTHWATCH_API_PORT=str(port), HEARTHWATCH_API_TOKEN=TOKEN)
    try:
        line = server.stdout.readline()
        assert re.fullmatch(rf"Hearthwatch is at http://(?!0\.0\.0\.0)[\w.-]+:{port}\n", line)
    finally:
        server.kill()
        server.communicate()


def test_the_openapi_document_says_what_each_route_needs_and_names_it_once(guarded):
    with guarded.client(headers={"authorization": f"Bearer {TOKEN}"}) as client:
        document = client.get("/openapi.json").json()
    routes = [(path, method, route) for path, methods in document["paths"].items() for method, route in methods.items()]
    names = [route["operationId"] for *_, route in routes]
    assert len(set(names)) == len(names) and all(re.fullmatch(r"[a-z_]+", name) for name in names)
    needs = document["components"]["securitySchemes"]
    assert {name for (name,) in document["security"]} == needs.keys()
    with guarded.client() as stranger:
        for path, method, route in routes:
            code = stranger.request(method.upper(), re.sub(r"{.*?}", "1.fine.9.x", path)).status_code
            assert (route.get("security") != []) == (code == 401), (method, path)
