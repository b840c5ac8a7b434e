"""Authenticate and limit requests: an allowed Host, no foreign page, the token if one is set, and a body of limited size.

Applies to every route and every WebSocket, new ones included. All responses get headers that restrict what a browser does
with them.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import socket
import time
from collections import OrderedDict
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from hearthwatch.schemas.settings import Settings

BODY_BYTES_MAX = 64 * 1024  # the longest body is a note
COOKIE = "hearthwatch_session"
SESSION_SECONDS = 30 * 86_400
SIGNED_SECONDS = 15 * 60
PUBLIC_PATHS = ("/", "/health", "/api/session")
WRITE_METHODS = ("POST", "PUT", "PATCH", "DELETE")
TOKEN_CHARACTERS_MIN = 16  # off loopback, where anyone in the network may guess
DELAY_SECONDS, DELAY_SECONDS_MAX = 0.5, 8.0  # between attempts after one wrong token, and after many
FORGET_SECONDS = 600.0
CLIENTS_MAX = 1024  # with wrong tokens, remembered; beyond, the longest quiet one is removed

CSP = (
    "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'; "
    "require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class AccessMiddleware:
    """ASGI middleware that refuses requests which are not allowed, and adds the headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        own = (settings.hearthwatch_public_url,) if settings.hearthwatch_public_url else ()
        self.hosts = AllowedHosts(
            settings.hearthwatch_api_host, (*settings.hearthwatch_cors_origins, *own), settings.hearthwatch_api_names,
            bool(settings.hearthwatch_api_token),
        )  # fmt: skip
        self.session = Session(settings.hearthwatch_api_token)
        self.headers = dict(HEADERS)
        if ancestors := settings.hearthwatch_frame_ancestors:
            named = " ".join("'self'" if ancestor == "self" else ancestor for ancestor in ancestors)
            self.headers["content-security-policy"] = CSP.replace("ancestors 'none'", f"ancestors {named}")
            del self.headers["x-frame-options"]  # it knows no list, and browsers that know the other ignore it
        if settings.hearthwatch_cors_origins:
            self.headers["cross-origin-resource-policy"] = "cross-origin"
        self._raw = [(name.encode(), value.encode()) for name, value in self.headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        refusal = self._refusal(scope)
        if refusal:
            return await self._refuse(scope, send, *refusal)
        if scope["type"] == "http":
            send, receive = self._add_headers(scope, send), _limit_body(receive)
            if scope["method"] == "HEAD" and scope["path"] != "/api/live":
                scope = {**scope, "method": "GET"}
        return await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        given = [value.decode("latin-1") for value in headers.get(b"host", [])]
        if len(given) != 1 or not self.hosts.is_allowed(given[0]):
            return (
                400,
                f"the Host header {', '.join(given) or '(none)'} is not this server's: if browsers call it so, add the name to HEARTHWATCH_API_NAMES",
            )
        is_link = is_answer_link(scope)
        if not is_link and self._is_foreign(scope, headers, given[0]):
            return (
                403,
                "a page of another site may not do this: if it is yours, list its origin in HEARTHWATCH_CORS_ORIGINS",
            )
        path = scope["path"]
        is_public = is_link or path in PUBLIC_PATHS or path.startswith("/static/")
        if not is_public and not self.session.is_authenticated(headers) and not self.session.is_signed(scope):
            return 401, "a token is needed: Authorization: Bearer …, or POST /api/session"
        length = headers.get(b"content-length", [b"0"])[0]
        if length.isdigit() and int(length[:20]) > BODY_BYTES_MAX:
            return 413, f"a body may have {BODY_BYTES_MAX} bytes"
        return None

    def _is_foreign(self, scope: Scope, headers: dict[bytes, list[bytes]], host: str) -> bool:
        """Whether a browser sends a write, or opens a WebSocket, for a page of another site; other programs send no such headers."""
        origin = headers.get(b"origin", [b""])[-1].decode("latin-1")
        if origin in self.hosts.origins:
            return False
        if scope["type"] == "websocket":
            return bool(origin) and not self.hosts.is_allowed_origin(origin)
        if scope["method"] not in WRITE_METHODS:
            return False
        if site := headers.get(b"sec-fetch-site", [b""])[-1]:
            return site not in (b"same-origin", b"none")
        return bool(origin) and urlsplit(origin).netloc.lower() != host.lower()

    def _add_headers(self, scope: Scope, send: Send) -> Send:
        head = scope["method"] == "HEAD"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                extra = [(name, value) for name, value in self._raw if name not in names]
                if b"cache-control" not in names:
                    extra.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*map(self._keep_private, message["headers"]), *extra]}
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        return send_with_headers

    def _keep_private(self, header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        """Keep shared caches from storing what needs a token."""
        name, value = header
        return (
            (name, value.replace(b"public", b"private")) if self.session.token and name == b"cache-control" else header
        )

    async def _refuse(self, scope: Scope, send: Send, code: int, why: str) -> None:
        """Send the refusal as JSON; also before a WebSocket is accepted, where the server can."""
        body = json.dumps({"detail": why}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *self._raw]
        if code == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        kind = "http" if scope["type"] == "http" else "websocket.http"
        if kind == "websocket.http" and "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008, "reason": why[:120]})
            return
        await send({"type": f"{kind}.response.start", "status": code, "headers": headers})
        await send({"type": f"{kind}.response.body", "body": body})


class ForwardedMiddleware(ProxyHeadersMiddleware):
    """Take client, scheme and host from `X-Forwarded-*` of the proxies that may say so."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if (scope.get("client") or ("",))[0] in self.trusted_hosts:
            forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-host"]
            if forwarded:
                others = [(name, value) for name, value in scope["headers"] if name != b"host"]
                scope = {**scope, "headers": [(b"host", forwarded[-1].split(b",")[0].strip()), *others]}
        await super().__call__(scope, receive, send)


def is_answer_link(scope: Scope) -> bool:
    """Whether this is a signed link of a notification: its signature is the right to answer, from wherever it is opened."""
    is_link = scope["path"].startswith("/api/feedback/") and scope["type"] == "http"
    return is_link and scope["method"] in ("GET", "HEAD", "POST")


def _limit_body(receive: Receive) -> Receive:
    """Refuse a body that is too long, also without a declared length."""
    got = 0

    async def receive_limited() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > BODY_BYTES_MAX:
            raise HTTPException(413, f"a body may have {BODY_BYTES_MAX} bytes")
        return message

    return receive_limited


class AllowedHosts:
    """Names by which this server may be called. A name that an attacker points at it (DNS rebinding) is none of them."""

    def __init__(
        self, host: str, origins: tuple[str, ...], names: tuple[str, ...] = (), any_name: bool = False
    ) -> None:
        self.any_address, self.any_name = is_wildcard(host), any_name
        self.names = {"localhost", host.lower(), *names, *(urlsplit(origin).hostname or "" for origin in origins)}
        if self.any_address:
            name = socket.gethostname().lower()
            self.names |= {name, name.partition(".")[0], f"{name.partition('.')[0]}.local"}
        self.origins = set(origins)

    def is_allowed(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname, parts.port
        except ValueError:
            return False
        if not name or parts.path or parts.query or parts.username is not None:
            return False
        if self.any_name:  # who has no token gets nothing by any name
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name.rstrip(".") in self.names
        return address.is_loopback or self.any_address or name in self.names

    def is_allowed_origin(self, origin: str) -> bool:
        if origin in self.origins:
            return True
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and self.is_allowed(parts.netloc)


def is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to this host."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def lan_address() -> str:
    """Return this machine's address in its network, by which a phone finds it; without a network its name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a documentation address: of a datagram socket nothing is sent
        except OSError:
            return socket.gethostname()
        address: str = probe.getsockname()[0]
        return address


def open_host_mistake(
    host: str,
    token: str | None,
    host_name: str = "HEARTHWATCH_API_HOST",
    token_name: str = "HEARTHWATCH_API_TOKEN",
    danger: str = "see your cameras",
) -> str | None:
    """Say what is wrong if other machines could connect without a token, or guess it. The names are of what the user can set."""
    if is_loopback(host):
        return None
    if token and len(token) < TOKEN_CHARACTERS_MIN:
        return f"{token_name} has {len(token)} characters, and with {host_name} = {host} other machines can guess it: use at least {TOKEN_CHARACTERS_MIN} (`openssl rand -hex 24`), or leave the host at 127.0.0.1"
    if token:
        return None
    return f"{host_name} = {host} is open to other machines, and without {token_name} anyone there could {danger}: set a token, or leave the host at 127.0.0.1"


class Session:
    """The token, and the cookie that replaces it in a browser: expiry time and signature, from which it cannot be computed."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def is_authenticated(self, headers: dict[bytes, list[bytes]]) -> bool:
        if self.token is None:
            return True
        scheme, _, given = headers.get(b"authorization", [b""])[0].decode("latin-1").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return True
        cookies = "; ".join(value.decode("latin-1") for value in headers.get(b"cookie", []))
        pairs = (cookie.strip().partition("=") for cookie in cookies.split(";"))
        return any(name == COOKIE and self.is_cookie(value) for name, _, value in pairs)

    def is_token(self, given: str) -> bool:
        """Compare in constant time, also tokens of another length."""
        return self.token is None or hmac.compare_digest(_digest(given), _digest(self.token))

    def cookie(self, now: float) -> str:
        ends = str(int(now) + SESSION_SECONDS)
        return f"{ends}.{self._signature(ends)}"

    def is_cookie(self, value: str) -> bool:
        ends, _, signature = value.partition(".")
        genuine = hmac.compare_digest(signature.encode(), self._signature(ends).encode())
        return genuine and ends.isdigit() and int(ends) > time.time()

    def sign(self, path: str, now: float) -> str:
        """Return `?sig=` of a path, without the question mark: who has it may get the path for a quarter of an hour."""
        ends = str(int(now) + SIGNED_SECONDS)
        return f"sig={ends}.{self._signature(ends, path)}"

    def is_signed(self, scope: Scope) -> bool:
        """Whether a GET has a signature of its path that is valid now."""
        ends, _, signature = parse_qs(scope["query_string"].decode("latin-1")).get("sig", [""])[-1].partition(".")
        genuine = hmac.compare_digest(signature.encode(), self._signature(ends, scope["path"]).encode())
        is_get = scope["type"] == "websocket" or scope["method"] in ("GET", "HEAD")
        return genuine and is_get and ends.isdigit() and int(ends) > time.time()

    def _signature(self, ends: str, path: str = "") -> str:
        what = f"url {ends} {path}" if path else f"session {ends}"
        return hmac.new((self.token or "").encode(), what.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


class SessionAttempts:
    """Slow down a client that sends wrong tokens; in constant memory, and no other client waits for it."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """By address: wrong tokens, and when the next attempt is allowed (monotonic seconds)."""

    def wait_seconds(self, client: str, now: float) -> float:
        """Return how long this client's next attempt has to wait; 0: it may try now."""
        return max(0.0, self._clients.get(client, (0, 0.0))[1] - now)

    def failed(self, client: str, now: float) -> None:
        """Note a wrong token: the wait grows from DELAY_SECONDS to DELAY_SECONDS_MAX."""
        count, until = self._clients.pop(client, (0, now))
        count = 1 if now - until > FORGET_SECONDS else count + 1
        delay = min(DELAY_SECONDS * 2 ** min(count - 1, 10), DELAY_SECONDS_MAX)
        self._clients[client] = count, now + delay
        if len(self._clients) > CLIENTS_MAX:
            self._clients.popitem(last=False)

    def succeeded(self, client: str) -> None:
        self._clients.pop(client, None)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def redact(error: dict[str, Any]) -> dict[str, Any]:
    """Return a validation error without the input, which may be a secret or no JSON."""
    return {name: error[name] for name in ("loc", "msg", "type") if name in error}
