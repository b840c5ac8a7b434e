"""The small world on a disk that fails: the n-th call of a kind fails, and what that led to.

A library below the process (`tests/support/shim/failing.c`) makes the n-th open, read, write, fsync, … on the upload tree,
the record or Bytewax's store fail.
"""

import errno
import re
import shutil
import time

from tests.support.invariants import check
from tests.support.pipeline import Pipeline, content, replayed, rules_and_options
from tests.support.small_world import World

CALLS = ("open", "read", "write", "fsync", "truncate", "rename", "unlink", "stat", "scan")
ERRORS = ("EIO", "ENOSPC", "EACCES")
QUICK = "batch_max = 3\nsweep_seconds = 0.2\nsettle_seconds = 0.05\nstill_seconds = 0.1"
SPEED = 50  # what arrives late is open for as long as life takes: two seconds instead of ninety
RULES, BATCH = rules_and_options(90 / SPEED, 30 / SPEED, 5 / SPEED)
TUNE = {"TUNE": "hearthwatch.sources.intake.TAKE_AT_ONCE=7,hearthwatch.record.connection.BUSY_SECONDS_MAX=2"}


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
        follows = {"arrived_at", "behind", "event_id", "error", "error_stage", "thumbnail_path", "model"}
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
