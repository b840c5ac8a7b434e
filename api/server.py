"""Serve API and page until SIGTERM or Ctrl-C. Exit codes: 0 stopped, 2 a setting or the record has to be fixed first.

Ends within a few seconds however many clients are connected: live streams are ended first, and clients reconnect.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import signal
import socket
import sys
from functools import partial
from types import FrameType
from typing import Any

import uvicorn

from hearthwatch.api.app import create
from hearthwatch.api.connections import Connections, LimitedProtocol, connections_max
from hearthwatch.api.security import is_wildcard, lan_address, open_host_mistake
from hearthwatch.record import OlderRecordError, Record
from hearthwatch.schemas import process
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import Settings, SettingsError, settings

STOP_SECONDS_MAX = 3
PING_SECONDS = 30.0
BACKLOG = 512
MESSAGE_BYTES_MAX = 4096  # clients of the WebSocket send nothing but pings


class Server(uvicorn.Server):
    """Ends live streams before it waits for requests in flight."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.config.app.state.app_state.hub.stop()  # type: ignore[union-attr]
        super().handle_exit(sig, frame)


def serve(chosen: Settings) -> None:
    """Serve with these settings until stopped.

    Raises:
        UserError: the port, the host, the token or the record has to be fixed first.
    """
    host, port = chosen.hearthwatch_api_host, chosen.hearthwatch_api_port
    if mistake := open_host_mistake(host, chosen.hearthwatch_api_token):
        raise UserError(mistake)
    with listen(host, port) as listening:
        if chosen.database_path.exists():
            with contextlib.suppress(OlderRecordError):  # the pipeline upgrades it; until then, answers say so
                Record(chosen.database_path).close()  # refuses a file that is none
        shown = lan_address() if is_wildcard(host) else host
        shown = f"[{shown}]" if ":" in shown else shown
        print(f"Hearthwatch is at http://{shown}:{port}", flush=True)  # noqa: T201
        Server(uvicorn_config(chosen)).run(sockets=[listening])


def uvicorn_config(chosen: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        create(chosen), log_level="debug" if chosen.debug else "warning", access_log=chosen.debug, **uvicorn_options(),
        ws="websockets-sansio", ws_ping_interval=PING_SECONDS, ws_ping_timeout=PING_SECONDS, ws_max_size=MESSAGE_BYTES_MAX,
    )  # fmt: skip


def uvicorn_options() -> dict[str, Any]:
    """Return the limits of any server of this product."""
    limits = Connections(connections_max(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    return {
        "server_header": False, "proxy_headers": False, "http": partial(LimitedProtocol, limits),
        "timeout_graceful_shutdown": STOP_SECONDS_MAX, "backlog": BACKLOG,
    }  # fmt: skip


def listen(
    host: str, port: int, host_name: str = "HEARTHWATCH_API_HOST", port_name: str = "HEARTHWATCH_API_PORT"
) -> socket.socket:
    """Open a listening socket. The names are of what the user can set.

    Raises:
        UserError: the port is in use or not permitted, or there is no such host.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise UserError(f"{host_name} = {host}: no such host ({error.strerror})") from None
    listening = socket.socket(family, kind)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise UserError(_explain(error, host, port, host_name, port_name)) from None
    return listening


def _explain(error: OSError, host: str, port: int, host_name: str, port_name: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use by another program: stop it, or set {port_name} to another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host_name} = {host} is no address of this machine"
    return f"port {port} on {host} cannot be used: {error.strerror}; set {port_name} to another one (1024 and up need no root)"


def _exit(sig: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> None:
    process.prepare()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, _exit)  # uvicorn stops cleanly, and then raises the signal once more
    try:
        serve(settings())
    except (UserError, SettingsError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(0) from None
