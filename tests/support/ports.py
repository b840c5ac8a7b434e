"""TCP ports of this machine: one that was free a moment ago, one at which a server answers."""

import socket
import subprocess
import time
from collections.abc import Callable

SECONDS_MAX = 20.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def free_url() -> str:
    return f"http://127.0.0.1:{free_port()}"


def wait_until_open(port: int, server: subprocess.Popen[bytes], output: Callable[[], str] = str) -> None:
    """Wait until the server accepts a connection; fail with its output once it has ended."""
    until = time.monotonic() + SECONDS_MAX
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), SECONDS_MAX).close()
        except OSError:
            assert server.poll() is None, output() or f"{server.args} ended with {server.returncode}"
            assert time.monotonic() < until, f"{server.args} does not answer"
            time.sleep(0.01)
