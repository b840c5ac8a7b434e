"""Promise: a disk that fails at any one call costs a clear message or nothing, and the next start reaches the same record.

A library below the process (`tests/support/shim/failing.c`) makes the n-th open, read, write, fsync, … on the upload tree, the
record or Bytewax's store fail. Here a seeded sample; `tests/long/fail_every.py` goes through all of them.

A picture that cannot be read is set aside as unreadable; a retry takes it in. A folder that could not be listed at the
start is taken in later. In both cases the record equals one uninterrupted pass over its own ledger.
"""

import os
import random

import pytest

from tests.support.failing_disk import CALLS, ERRORS, RULES, SPEED, Faults
from tests.support.pipeline import Nursery
from tests.support.shims import compiled

pytestmark = pytest.mark.slow

SURE = 60  # calls that every life makes; a slow one has more sweeps, and so more calls
SEED = int(os.environ.get("HEARTHWATCH_TEST_SEED", "1"))


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    library = compiled("failing", folder)
    if library is None:
        pytest.skip("no C compiler")
    with Nursery(preload=library) as nursery:
        yield Faults(folder, nursery, RULES, SPEED)


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_costs_a_clear_message_or_nothing(faults, call):
    p = faults.pipeline()
    assert faults.live(p, **faults.fault(p, call, 0, "EIO")) == 0, p.said()
    calls, rnd = faults.calls(p), random.Random(SEED)
    if call in ("rename", "unlink", "truncate"):
        return  # only at the end of a life, if at all
    assert calls > 5
    for at in rnd.sample(range(1, max(4, min(calls // 2, SURE))), 2):
        assert faults.outcome(call, at, rnd.choice(ERRORS)), f"{call} {at} was not reached"


def test_a_disk_that_is_full_for_a_while_is_waited_for(faults):
    assert faults.outcome("write", 30, "ENOSPC", times=6) in ("recovered", "message")


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_death_at_a_call_of_the_disk_changes_nothing(faults, call):
    for at in random.Random(SEED).sample(range(1, 30), 2):
        assert faults.outcome(call, at, None, resume=bool(at % 2)) in ("death", None)


@pytest.mark.parametrize("call", ["open", "read", "write", "fsync"])
def test_a_recovery_store_that_fails_ends_in_words_and_the_next_start_is_fine(faults, call):
    assert faults.outcome(call, 3, "EIO", resume=True, store=True) in ("message", "recovered")
