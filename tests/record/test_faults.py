"""Promise: a disk that fails at any one call costs a clear message or nothing, and the next start reaches the same record.

A library below the process (`tests/shim/failing.c`) makes the n-th open, read, write, fsync, … on the upload tree, the
record or Bytewax's store fail. Here a seeded sample; `tests/long/fail_every.py` goes through all of them.

A picture that cannot be read is set aside as unreadable; a retry takes it in. A folder that could not be listed at the
start is taken in later. In both cases the record equals one uninterrupted pass over its own ledger.
"""

import errno
import os
import random
import re
import shutil
import time

import pytest

from tests.record.test_kill import World
from tests.support.pipeline import Nursery, Pipeline, check, content, replayed, rules_and_options
from tests.support.shims import compiled

CALLS = ("open", "read", "write", "fsync", "truncate", "rename", "unlink", "stat", "scan")
ERRORS = ("EIO", "ENOSPC", "EACCES")
QUICK = "batch_max = 3\nsweep_seconds = 0.2\nsettle_seconds = 0.05\nstill_seconds = 0.1"
SPEED = 50  # what arrives late is open for as long as life takes: two seconds instead of ninety
RULES, BATCH = rules_and_options(90 / SPEED, 30 / SPEED, 5 / SPEED)
TUNE = {"TUNE": "hearthwatch.sources.intake.TAKE_AT_ONCE=7,hearthwatch.record.connection.BUSY_SECONDS_MAX=2"}
SEED = int(os.environ.get("HEARTHWATCH_TEST_SEED", "1"))


class Faults(World):
    """The small world on a disk that fails. Each pipeline has an upload tree of its own, which may fail as well."""

    def pipeline(self):
        self.made += 1
        p = Pipeline(self.folder / str(self.made), files=QUICK, batch=BATCH, nursery=self.nursery, **TUNE)
        shutil.copytree(self.base, p.base, dirs_exist_ok=True)
        return p

    def outcome(self, call, at, error, resume=False, times=1, store=False):
        """What the fault led to, in a word; None if there was no such call. `error` None: the process ends there.

        `store`: only calls on Bytewax's recovery store count and fail, else those on everything.
        """
        p = self.pipeline()
        code = self.live(p, resume, **self.fault(p, call, at, error, times, store))
        if self.calls(p) < at:
            shutil.rmtree(p.folder)
            return None
        how = "death" if error is None else "recovered" if code == 0 else "message"
        if error is None:
            assert code in (0, 9), p.said()
        elif code:
            self.clear(p, code)
        assert self.live(p, resume) == 0, f"the next start:\n{p.said()}"
        how += self.compared(p)
        shutil.rmtree(p.folder)
        return how

    def fault(self, p, call, at, error, times=1, store=False):
        (p.folder / "count").write_bytes(bytes(8))
        return {
            "FAIL_UNDER": str(p.store if store else p.world), "FAIL_CALL": call, "FAIL_AT": str(at), "FAIL_TIMES": str(times),
            "FAIL_ERRNO": str(getattr(errno, error) if error else 0), "FAIL_COUNT": str(p.folder / "count"),
        }  # fmt: skip

    def calls(self, p):
        """How many such calls there were."""
        return int.from_bytes((p.folder / "count").read_bytes(), "little")

    def clear(self, p, code):
        """The last words of a process that gave up are for a person."""
        words = p.said()
        assert code in (1, 2), f"exit code {code}:\n{words}"
        assert "Traceback" not in words, words
        assert re.search(r"[a-z]{3}.* [a-z]{3}", words.strip().splitlines()[-1]), words
        assert "RUST_BACKTRACE" not in words.strip().splitlines()[-1], words

    def compared(self, p):
        """ "" if the record is the expected one, else in what it differs; anything but the two allowed ways fails."""
        record = p.record
        check(record, RULES)
        found = content(record)
        if found == self.expected:
            record.close()
            return ""
        content(replayed(record, p.folder / "one_pass.db", RULES)).is_that_of(found)
        assert found.frames.keys() == self.expected.frames.keys()
        if unreadable := self.unreadable(found):
            self.retried(p, record)
        else:
            self.only_later(found)
        record.close()
        return ", unreadable" if unreadable else ", later"

    def unreadable(self, found):
        """The pictures that were set aside because of the fault, and nothing else."""
        changed = [frame for _, frame, expected in self.pairs(found) if frame["state"] != expected["state"]]
        for frame in changed:
            assert frame["state"] == "quarantined" and "unreadable" in frame["error"], frame
        return changed

    def only_later(self, found):
        """What arrived later is in the same state; its event, and who repeats whom, follow from the arrival."""
        follows = {"arrived_at", "event_id", "error", "error_stage", "thumbnail_path", "model"}
        for key, frame, expected in self.pairs(found):
            for column in frame.keys() - follows:
                assert frame[column] == expected[column], (key, column, frame)

    def pairs(self, found):
        """Frames as found and as expected; but of two folders with one camera id, the first to be listed has it."""
        for key, frame in found.frames.items():
            if frame["camera_id"] != "cam_2":
                yield key, frame, self.expected.frames[key]

    def retried(self, p, record):
        from hearthwatch.record.ledger import Ledger

        bad = [i for (i,) in record.rows("SELECT id FROM frames WHERE error LIKE '%unreadable%'")]
        for i in bad:
            Ledger(record).retry(i, time.time_ns() // 1000)
        goal = self.files + len(bad)
        p.start().until(lambda: p.rows("SELECT count(*) FROM frames WHERE state <> 'discovered'") == [(goal,)]).stop()
        states = record.rows("SELECT state FROM frames WHERE attempt = 2")
        assert states == [("settled",)] * len(bad)
        check(record, RULES)


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
    for at in rnd.sample(range(1, calls), 2):
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
