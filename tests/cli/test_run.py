"""Promises: `hearthwatch run` restarts what dies, stops all of it, and says what is off and why."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from hearthwatch.cli.run import commands
from tests.support.pipeline import SLOW, Pipeline, name
from tests.support.ports import free_port

pytestmark = pytest.mark.slow

HOME = Path(__file__).parents[2]
LONELY = {"REDIS_URL": "", "NEMOTRON_URL": ""}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_has_to_run() -> None:
    parts = dict(commands(llm=True, model="some/model"))
    assert parts["pipeline"][-2:] == ["bytewax.run", "flow"]
    assert parts["llm"][-3:] == ["llm", "--model", "some/model"]
    assert "--model" not in dict(commands(llm=True, model=None))["llm"]
    assert "llm" not in dict(commands(llm=False, model=None))


# -- the real thing


class House:
    """`hearthwatch run` over a pipeline with the null detector."""

    def __init__(self, folder: Path, **environment: str):
        self.pipeline = Pipeline(folder)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hearthwatch.cli", "run"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env={**os.environ, **self.pipeline._environment, **LONELY, "HEARTHWATCH_API_PORT": str(free_port()), **environment},
        )  # fmt: skip
        assert self.process.stdout
        self.out: IO[str] = self.process.stdout
        self.said = ""

    def __enter__(self) -> House:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.out.close()

    def says(self, pattern: str) -> str:
        """Wait until it does; the first group."""
        while not (found := re.search(pattern, self.said)):
            line = self.out.readline()
            assert line, f"it ended without saying {pattern!r}:\n{self.said}"
            self.said += line
        self.said = self.said[found.end() :]
        return found[1] if found.groups() else found[0]

    def works(self, pid: int) -> None:
        """Wait until this pipeline process works."""
        self._until(lambda: self.pipeline.rows("SELECT pid FROM heartbeat") == [(pid,)])

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SLOW
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def uploads(self, file: str) -> None:
        """A picture; wait until it is decided."""
        self.pipeline.upload("porch", file)
        self._until(
            lambda: self.pipeline.rows("SELECT state FROM frames WHERE path = ?", f"porch/{file}") == [("settled",)]
        )


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        yield house


def test_a_killed_pipeline_comes_back_and_a_stop_ends_all(house: House) -> None:
    first = int(house.says(r"pipeline started, pid (\d+)"))
    house.works(first)
    house.uploads(name(1_700_000_000))
    os.kill(first, signal.SIGKILL)
    house.says(r"pipeline died \(SIGKILL\)")
    second = int(house.says(r"pipeline started, pid (\d+)"))
    house.works(second)
    house.uploads(name(1_700_001_000))
    house.process.send_signal(signal.SIGTERM)
    assert house.process.wait(SLOW) == 0
    assert not alive(second)


def test_ctrl_c_is_told_to_the_parts_once(tmp_path: Path) -> None:
    """A terminal sends it to all processes of its group: the parts are in groups of their own."""
    with House(tmp_path) as house:
        pid = int(house.says(r"pipeline started, pid (\d+)"))
        assert os.getpgid(pid) != os.getpgid(house.process.pid)
        house.works(pid)
        house.process.send_signal(signal.SIGINT)
        assert house.process.wait(SLOW) == 0, house.out.read()
        house.says("SIGTERM: stopping")
        assert "Traceback" not in house.said + house.out.read()


def test_a_killed_supervisor_takes_its_parts_with_it(house: House) -> None:
    pid = int(house.says(r"pipeline started, pid (\d+)"))
    house.works(pid)
    ended = os.pidfd_open(pid)
    house.process.kill()
    assert select.select([ended], [], [], SLOW)[0]
    os.close(ended)


def test_systemd_hears_of_a_start_of_progress_and_of_a_part_that_hangs(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(SLOW)

        def heard(state: str) -> list[str]:
            """Wait for it; what came until then, it included."""
            states = [systemd.recv(4096).decode()]
            while states[-1] != state:
                states.append(systemd.recv(4096).decode())
            return states

        with House(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="20000000") as house:
            pipeline = int(house.says(r"pipeline started, pid (\d+)"))
            api = int(house.says(r"api started, pid (\d+)"))
            assert heard("READY=1") == ["READY=1"]
            heard("WATCHDOG=1")
            for pid, words in (pipeline, "the pipeline makes no progress"), (api, "the API does not answer"):
                os.kill(pid, signal.SIGSTOP)
                assert heard(f"STATUS={words}").count("WATCHDOG=1") <= 1, "pinged while it hung"
                os.kill(pid, signal.SIGCONT)
                assert heard("STATUS=").count("WATCHDOG=1") == 1
            house.process.send_signal(signal.SIGTERM)
            heard("STOPPING=1")
            assert house.process.wait(SLOW) == 0


def test_a_second_run_on_the_same_data_is_refused_and_not_tried_again(house: House, tmp_path: Path) -> None:
    pid = int(house.says(r"pipeline started, pid (\d+)"))
    house.works(pid)
    with House(tmp_path) as second:
        assert second.process.wait(SLOW) == 2
        second.says(rf"another pipeline \(pid {pid}\) already works on")
        second.says(r"pipeline cannot run like this")
    assert alive(pid)


def test_what_is_off_is_said_first(tmp_path: Path) -> None:
    with House(tmp_path, HEARTHWATCH_FLOW="") as house:
        house.says("redis is off: REDIS_URL is not set: events are not published\n(.|\n)*pipeline started")


def test_mistakes_are_told_and_nothing_starts(tmp_path: Path) -> None:
    with House(tmp_path, RETENTION_DAYS="0") as house:
        assert house.process.wait(SLOW) == 2
        assert house.out.read() == "RETENTION_DAYS = 0: allowed: whole days, 1 to 36500\n"


def test_a_model_without_llm_is_a_mistake(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hearthwatch.cli", "run", "some/model"],
        cwd=HOME,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "some/model: a model is for `--llm some/model`\n")
