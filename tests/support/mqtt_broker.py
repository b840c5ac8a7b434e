"""A real MQTT broker (mosquitto) on a free port of this machine, which tests kill, freeze and start again."""

import os
import shutil
import signal
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.ports import SECONDS_MAX, free_port, wait_until_open


def binary() -> str | None:
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Broker:
    """One broker; it remembers nothing over a kill. `password`: of the user `hearth`; without one anybody may come.
    `certificates`: a folder with ca.pem, server.pem and server.key; a client needs a certificate of that authority, too."""

    def __init__(self, folder: Path, password: str | None = None, certificates: Path | None = None):
        self.program = binary()
        if self.program is None:
            missing = "no mosquitto: apt install mosquitto"
            (pytest.fail if os.environ.get("HEARTHWATCH_TEST_REQUIRE") == "all" else pytest.skip)(missing)
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        config = f"listener {self.port} 127.0.0.1\nallow_anonymous {str(password is None).lower()}\n"
        if password is not None:
            users = folder / "users"
            subprocess.run(["mosquitto_passwd", "-b", "-c", users, "hearth", password], check=True)
            users.chmod(0o644)
            config += f"password_file {users}\n"
        if certificates:
            self.url = f"mqtts://localhost:{self.port}"
            names = {"cafile": "ca.pem", "certfile": "server.pem", "keyfile": "server.key"}
            config += "".join(f"{key} {certificates / name}\n" for key, name in names.items())
            config += "require_certificate true\n"
        self.config, self.process = folder / "mosquitto.conf", None
        self.config.write_text(config + "user root\n")

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()

    def start(self):
        self.process = subprocess.Popen([self.program, "-c", self.config], stderr=subprocess.DEVNULL)
        wait_until_open(self.port, self.process)
        return self

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        if self.process and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Ear:
    """Somebody who listens to everything, from before the test's first message on."""

    def __init__(self, broker: Broker, password: str | None = None):
        self.said = defaultdict(list)  # topic -> payloads, as they came
        self.retained = {}
        self._subscribed, self._ticks = 0, 0
        self.client = Client(CallbackAPIVersion.VERSION2)
        if password is not None:
            self.client.username_pw_set("hearth", password)
        self.client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self.client.on_subscribe = lambda *_: setattr(self, "_subscribed", 1)
        self.client.on_message = self._hear
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        self.until(lambda: self._subscribed)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()

    def _hear(self, _client, _data, message):
        if message.topic == "tick":
            self._ticks += 1
        else:
            (self.retained.__setitem__ if message.retain else lambda t, p: self.said[t].append(p))(
                message.topic, message.payload.decode(errors="surrogateescape")
            )

    def all(self):
        """What was said up to now: our own message comes back behind everything that the broker had taken before."""
        before = self._ticks
        self.client.publish("tick", b"", 1)
        self.until(lambda: self._ticks > before)
        return self.said

    def until(self, condition):
        until = time.monotonic() + SECONDS_MAX
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.002)
