"""A TCP port of this machine that was free a moment ago."""

import socket


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def free_url() -> str:
    return f"http://127.0.0.1:{free_port()}"
