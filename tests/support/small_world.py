"""An upload tree with everything that is difficult, and pipelines that are killed over it and started again."""

import os
import shutil

from tests.support.invariants import check
from tests.support.pipeline import RULES, Ended, Pipeline, content, name, picture

T = 1_700_000_000
PAIRS = [(False, False), (False, True), (True, False), (True, True)]  # with -r: the run that dies, the run after it
TUNE = {
    "TUNE": "hearthwatch.sources.intake.TAKE_AT_ONCE=7"
}  # seven files a transaction, so that there are places to die between
SMALL_STEPS = "batch_max = 3"


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
            self.until_done(p)
        except Ended:
            return p.wait()
        return p.signal(15).wait()

    def until_done(self, p):
        p.until_quiet(self.files)

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
