"""Who may ask: a known Host, no foreign page, the token if one is set, and a body of reasonable size.

Stands before every route and every WebSocket, so that a new route cannot forget it. All answers leave with the headers
that keep a browser from doing more with them than we mean.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hearthwatch.schemas.settings import Settings

BODY_BYTES_MAX = 64 * 1024  # the longest thing that anybody sends is a note
COOKIE = "hearthwatch_session"
SESSION_SECONDS = 30 * 86_400
OPEN = ("/", "/health", "/api/session")
WRITES = ("POST", "PUT", "PATCH", "DELETE")

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


class Gate:
    """Sees to it that a request may pass; an ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.hosts = Hosts(settings.hearthwatch_api_host, settings.hearthwatch_cors_origins)
        self.session = Session(settings.hearthwatch_api_token)
        self.headers = dict(HEADERS)
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
            send, receive = self._dressed(scope, send), _bounded(receive)
            if scope["method"] == "HEAD" and scope["path"] != "/api/live":
                scope = {**scope, "method": "GET"}
        return await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        given = [value.decode("latin-1") for value in headers.get(b"host", [])]
        if len(given) != 1 or not self.hosts.known(given[0]):
            return 400, f"the Host header {', '.join(given) or '(none)'} is not this server's: set HEARTHWATCH_API_HOST"
        if (scope["type"] == "websocket" or scope["method"] in WRITES) and self._foreign(headers):
            return 403, "another web page may not do this: list its origin in HEARTHWATCH_CORS_ORIGINS"
        path = scope["path"]
        if path not in OPEN and not path.startswith("/static/") and not self.session.holds(headers):
            return 401, "a token is needed: Authorization: Bearer …, or POST /api/session"
        length = headers.get(b"content-length", [b"0"])[0]
        if length.isdigit() and int(length[:20]) > BODY_BYTES_MAX:
            return 413, f"a body may have {BODY_BYTES_MAX} bytes"
        return None

    def _foreign(self, headers: dict[bytes, list[bytes]]) -> bool:
        """Whether a browser sends this on behalf of a page of somebody else."""
        origin = headers.get(b"origin", [b""])[-1].decode("latin-1")
        return bool(origin) and not self.hosts.known_origin(origin)

    def _dressed(self, scope: Scope, send: Send) -> Send:
        head = scope["method"] == "HEAD"

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                extra = [(name, value) for name, value in self._raw if name not in names]
                if b"cache-control" not in names:
                    extra.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*message["headers"], *extra]}
            elif head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        return dressed

    async def _refuse(self, scope: Scope, send: Send, code: int, why: str) -> None:
        """Plainly, for HTTP; a WebSocket is refused before it is one, with the same answer where the server can."""
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


def _bounded(receive: Receive) -> Receive:
    """A body without a declared length is cut off at the limit, too."""
    got = 0

    async def bounded() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > BODY_BYTES_MAX:
            raise HTTPException(413, f"a body may have {BODY_BYTES_MAX} bytes")
        return message

    return bounded


class Hosts:
    """By which names this server may be called. A name that an attacker points at us (DNS rebinding) is none of them."""

    def __init__(self, host: str, origins: tuple[str, ...]) -> None:
        self.any_address = is_wildcard(host)
        self.names = {"localhost", host.lower(), *(urlsplit(origin).hostname or "" for origin in origins)}
        if self.any_address:
            name = socket.gethostname().lower()
            self.names |= {name, name.partition(".")[0], f"{name.partition('.')[0]}.local"}
        self.origins = set(origins)

    def known(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname, parts.port
        except ValueError:
            return False
        if not name or parts.path or parts.query or parts.username is not None:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name.rstrip(".") in self.names
        return address.is_loopback or self.any_address or name in self.names

    def known_origin(self, origin: str) -> bool:
        if origin in self.origins:
            return True
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and self.known(parts.netloc)


def is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


class Session:
    """The token, and the cookie that stands for it in a browser: its end and a signature, nothing to steal it from."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def holds(self, headers: dict[bytes, list[bytes]]) -> bool:
        if self.token is None:
            return True
        scheme, _, given = headers.get(b"authorization", [b""])[0].decode("latin-1").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return True
        cookies = "; ".join(value.decode("latin-1") for value in headers.get(b"cookie", []))
        pairs = (cookie.strip().partition("=") for cookie in cookies.split(";"))
        return any(name == COOKIE and self.is_cookie(value) for name, _, value in pairs)

    def is_token(self, given: str) -> bool:
        """In constant time, also for one of another length."""
        return self.token is None or hmac.compare_digest(_digest(given), _digest(self.token))

    def cookie(self, now: float) -> str:
        ends = str(int(now) + SESSION_SECONDS)
        return f"{ends}.{self._signature(ends)}"

    def is_cookie(self, value: str) -> bool:
        ends, _, signature = value.partition(".")
        genuine = hmac.compare_digest(signature.encode(), self._signature(ends).encode())
        return genuine and ends.isdigit() and int(ends) > time.time()

    def _signature(self, ends: str) -> str:
        return hmac.new((self.token or "").encode(), f"session {ends}".encode(), hashlib.sha256).hexdigest()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def plain(error: dict[str, Any]) -> dict[str, Any]:
    """A validation error without what was sent: that may be a secret, or no JSON at all."""
    return {name: error[name] for name in ("loc", "msg", "type") if name in error}
