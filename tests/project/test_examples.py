"""Promise: the examples run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.support.redis_mirror import House, eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        yield house


class Program:
    """An example, run in a folder of its own against this Redis; -> what it prints."""

    def __init__(self, name: str, server: RedisServer, folder: Path):
        self.process = subprocess.Popen(
            [sys.executable, EXAMPLES / name], cwd=folder, env={**os.environ, "REDIS_URL": server.url},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout
        self.out: IO[str] = self.process.stdout

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.out.close()

    def lines(self, count: int) -> list[str]:
        return [self.out.readline().strip() for _ in range(count)]


def test_subscribe_prints_what_happens(house: House) -> None:
    with Program("subscribe.py", house.server, house.path.parent) as program, house.relay() as relay:
        eventually(lambda: house.redis.pubsub_numsub("security_events") == [("security_events", 1)])
        house.happen()
        relay.catch_up()
        (line,) = program.lines(1)
        assert line.startswith("event.opened Porch ")
        assert "1 person" in line


def test_catch_up_goes_on_where_it_was_killed(house: House) -> None:
    seen: list[str] = []
    place = house.path.parent / "catch_up.place"
    with house.relay() as relay:
        for _ in range(3):
            house.happen(2)
            relay.catch_up()
            with Program("catch_up.py", house.server, house.path.parent) as program:
                while len(seen) < len(house.told()):
                    seen += [line.partition(" ")[0] for line in program.lines(1)]
                eventually(lambda: place.exists() and place.read_text().endswith(f" {house.told()[-1]}-0"))
        assert [int(seq) for seq in seen] == house.told()


def test_catch_up_notices_another_record(house: House) -> None:
    (house.path.parent / "catch_up.place").write_text("somebody-else 999-0")
    house.happen()
    with house.relay(), Program("catch_up.py", house.server, house.path.parent) as program:
        assert program.lines(1)[0].startswith("1 event.opened Porch")
