"""Memory, open files and threads of the pipeline and the API, once a second, and whether they grow from life to life."""

import threading
import time
from functools import partial
from statistics import median

import psutil

from tests.torture.checks import Check

SAMPLE_SECONDS = 1.0
YOUNG_SECONDS = 3.0  # a life that ended before is not compared
GROWTH, MEGABYTES = 1.5, 100.0  # of memory: caches of SQLite fill as the record grows
HANDLES = 20


class Samples(threading.Thread):
    """Memory, open files and threads of the pipeline and the API, once a second."""

    def __init__(self, house):
        super().__init__(daemon=True)
        self.house, self.rows, self.over = house, [], threading.Event()

    def run(self):
        while not self.over.wait(SAMPLE_SECONDS):
            whose = {"pipeline": self.house.pipeline and self.house.pipeline.pid, "api": self.house.parts["api"].pid}
            for name, pid in whose.items():
                try:
                    p = psutil.Process(pid) if pid else None
                    if p and (rss := p.memory_info().rss):  # none: it is about to end
                        numbers = {"memory": rss / 1e6, "open files": p.num_fds(), "threads": p.num_threads()}
                        self.rows.append((time.time(), name, pid, time.time() - p.create_time(), numbers))
                except psutil.Error:
                    pass  # it has just ended

    def stop(self):
        self.over.set()
        self.join()


def flat(samples, name, what, bound, unit):
    """The last sample of each life: those of the last third of the run against those of the first."""
    last = {}
    for at, whose, pid, age, numbers in samples:
        if whose == name and age > YOUNG_SECONDS:
            last[pid] = (at, numbers[what])
    values = [value for _, value in sorted(last.values())]
    third = max(1, len(values) // 3)
    if len(values) < 2:
        return Check(f"{what} of the {name}", "too few lives to compare", [])
    early, late = median(values[:third]), median(values[-third:])
    amiss = [f"{late:.0f} {unit} in the last third, {early:.0f} in the first"] if late > bound(early) else []
    return Check(
        f"{what} of the {name}",
        f"{early:.0f} → {late:.0f} {unit}, at most {max(values):.0f} ({len(values)} lives)",
        amiss,
    )


memory = partial(flat, what="memory", bound=lambda early: GROWTH * early + MEGABYTES, unit="MB")
handles = partial(flat, what="open files", bound=lambda early: early + HANDLES, unit="files")
threads = partial(flat, what="threads", bound=lambda early: early + HANDLES, unit="threads")
