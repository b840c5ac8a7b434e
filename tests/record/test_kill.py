"""Promise: kill -9 at any instant, then a start of any kind, and the record is the one of a run that nobody killed.

Here a seeded sample; `tests/long/kill_every.py` dies at every commit and `tests/long/kill_random.py` thirty times under
load.
"""

import os
import random
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from tests.support.pipeline import RULES, TESTS, Ended, Nursery, Pipeline, check, content, name, picture, replayed

T = 1_700_000_000
PAIRS = [(False, False), (False, True), (True, False), (True, True)]  # with -r: the run that dies, the run after it
TUNE = {
    "TUNE": "hearthwatch.sources.intake.TAKE_AT_ONCE=7"
}  # seven files a transaction, so that there are places to die between
SMALL_STEPS = "batch_max = 3"
SEED = int(os.environ.get("HEARTHWATCH_TEST_SEED", "1"))


def small_world(folder, speed=1):
    """An upload tree with everything that is difficult: (captured, arrived) of a few cameras, and odd files."""
    base = folder / "uploads"
    times = [(f"cam{i % 2}", i * 13 - (4 if i % 5 == 3 else 0), i * 13 + 1) for i in range(14)]  # live, some disorder
    times += [("cam0", -2000 + i * 11, 60 + i * 9) for i in range(8)]  # an old sequence among the live one
    times += [("cam1", -28 + i * 9, 100 + i) for i in range(4)]  # and one that touches it
    times += [("cam2", 0, 0), ("cam2", 33, 33), ("cam2", 29, 34)]  # the third makes one event of two
    times += [("cam2", 300, 300), ("cam2", 40, 310), ("cam2", 335, 335), ("cam2", 50, 380)]  # late for a closed event

    def put(camera, taken, arrived, data, tag=""):
        path = base / camera / name(T + taken / speed, tag)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(0, T * 10**9 + arrived * 10**9 // speed))

    for n, (camera, taken, arrived) in enumerate(times):
        put(camera, taken, arrived, picture(f"{n}"), f"{n}parked" if camera == "cam1" else str(n))
    put("cam1", 20, 21, picture()[:-30], "bad")
    put("cam1", 21, 22, b"", "empty")
    put("cam0", 14, 27, picture("2"), "again")  # the bytes of frame 2
    put("Cam 2", 400, 400, picture("x"))
    put("cam-2", 401, 401, picture("y"))  # a second folder with the same camera id
    put(".", 402, 402, picture("z"))  # in no camera folder
    return base, len(times) + 6


class World:
    """The small world, what an uninterrupted run makes of it, and pipelines that work on it."""

    def __init__(self, folder, nursery, rules=RULES, speed=1):
        self.folder, self.nursery, self.rules, self.made = folder, nursery, rules, 0
        self.base, self.files = small_world(folder, speed)
        first = self.pipeline()
        assert self.live(first) == 0, first.said()
        check(first.record, rules)
        self.expected = content(first.record)

    def pipeline(self):
        self.made += 1
        options = {"options": "", "files": SMALL_STEPS, "nursery": self.nursery, "base": self.base}
        return Pipeline(self.folder / str(self.made), **options, **TUNE)

    def live(self, p, resume=False, **environment):
        """One life: until everything is decided, then SIGTERM; or until it dies. Its exit code."""
        p.start(resume=resume, snapshot_seconds=0, **environment)
        try:
            p.until_quiet(self.files)
        except Ended:
            return p.wait()
        return p.signal(15).wait()

    def dies_and_lives(self, die_at, first_resumes, then_resumes):
        """Whether the first life was cut short; the second one has to reach the expected record."""
        p = self.pipeline()
        code = self.live(p, first_resumes, DIE_AT=die_at)
        assert code in (0, 9), p.said()
        if code == 9:
            check(p.crashed())
        assert self.live(p, then_resumes) == 0, p.said()
        self.verify(p)
        return code == 9

    def verify(self, p):
        record = p.record
        check(record)
        content(record).is_that_of(self.expected)
        record.close()
        shutil.rmtree(p.folder)


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


@pytest.fixture(scope="module")
def world(tmp_path_factory, nursery):
    return World(tmp_path_factory.mktemp("world"), nursery)


def test_the_small_world_has_what_is_difficult(world):
    """Guards the others: they prove nothing on an input where nothing happens."""
    told = [[message["type"] for message in messages] for messages in world.expected.feed.values()]
    assert {"event.opened", "event.closed", "event.merged"} == {type for types in told for type in types}
    assert any(types.count("event.closed") > 1 for types in told), "no late frame"
    assert world.expected.suppressed, "nothing stands still"
    frames = world.expected.frames.values()
    assert Counter(frame["error_stage"] for frame in frames) == {
        "decode": 2,
        "files": 2,
        "duplicate": 1,
        None: len(frames) - 5,
    }
    assert Counter(frame["state"] for frame in frames) == {"settled": len(frames) - 4, "quarantined": 4}


def test_an_uninterrupted_run_equals_one_pass_over_its_ledger(world, tmp_path):
    p = world.pipeline()
    world.live(p)
    again = content(replayed(p.record, tmp_path / "again.db"))
    again.is_that_of(world.expected)


@pytest.mark.parametrize("where", ["before", "after"])
def test_death_at_a_commit_changes_nothing(world, where):
    rnd = random.Random(SEED)
    for n in [1, 2, *rnd.sample(range(3, 25), 4)]:
        assert world.dies_and_lives(f"{where}:{n}", *rnd.choice(PAIRS)) or n > 10


@pytest.mark.parametrize("resume", [False, True])
def test_dying_again_and_again_still_comes_to_an_end(world, resume):
    p, lives = world.pipeline(), 1
    while (code := world.live(p, resume, DIE_AT="after:6")) == 9:
        lives += 1
    assert code == 0 and lives > 2, p.said()
    world.verify(p)


def test_five_kills_under_load_change_nothing(tmp_path):
    """The short version of the long run."""
    command = [sys.executable, TESTS / "long" / "kill_random.py", "5", str(SEED), "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
