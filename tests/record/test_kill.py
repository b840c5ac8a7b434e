"""Promise: kill -9 at any instant, then a start of any kind, and the record is the one of a run that nobody killed.

Here a seeded sample; `tests/long/kill_every.py` dies at every commit and `tests/long/kill_random.py` thirty times under
load.
"""

import os
import random
import subprocess
import sys
from collections import Counter

import pytest

from tests.support.pipeline import TESTS, Nursery, content, replayed
from tests.support.small_world import PAIRS, World

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("HEARTHWATCH_TEST_SEED", "1"))


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
    assert {"event.opened", "event.raised", "event.closed", "event.merged"} == {
        type for types in told for type in types
    }
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
    while (code := world.live(p, resume, DIE_AT="after:12")) == 9:
        lives += 1
    assert code == 0 and lives > 2, p.said()
    world.verify(p)


def test_five_kills_under_load_change_nothing(tmp_path):
    """The short version of the long run."""
    command = [sys.executable, TESTS / "long" / "kill_random.py", "5", str(SEED), "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
