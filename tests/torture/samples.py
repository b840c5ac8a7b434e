"""Memory, open files and threads of the pipeline and the API, once a second, and whether they grow from life to life.

How many files are open follows the load: SQLite keeps two a connection, each thread that reads has one, and the file of
a closed connection stays open (for the next one) while any other is. So a life's most open files are counted without two
for each of its most threads; what is left is the same in every life unless something leaks.
"""

import threading
from collections import defaultdict
from functools import partial
from statistics import median

import psutil

from tests.torture.checks import Check

SAMPLE_SECONDS = 1.0
AT_WORK_MIN = 5  # samples of a life with more than one thread; with one it starts, for 13 s on a busy machine, or ends
GROWTH, MEGABYTES = 1.5, 100.0  # of memory: caches of SQLite fill as the record grows
HANDLES = 40  # of two cells: how a life was started, and how long it was, decides which connections it opened
FILES_PER_THREAD = 2  # of a connection: database and write-ahead log


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
                        self.rows.append((name, pid, numbers))
                except psutil.Error:
                    pass  # it has just ended

    def stop(self):
        self.over.set()
        self.join()


def last(what):
    """The number at the end of a life."""
    return lambda life: life[-1][what]


def files_without_connections(life):
    return max(each["open files"] for each in life) - FILES_PER_THREAD * max(each["threads"] for each in life)


def compare(samples, name, what, measure, bound, unit):
    """A number for each life: those of the last third of the run against those of the first."""
    lives = defaultdict(list)  # in the order of their first samples
    for whose, pid, numbers in samples:
        if whose == name and numbers["threads"] > 1:
            lives[pid].append(numbers)
    values = [measure(life) for life in lives.values() if len(life) >= AT_WORK_MIN]
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


memory = partial(
    compare, what="memory", measure=last("memory"), bound=lambda early: GROWTH * early + MEGABYTES, unit="MB"
)
handles = partial(
    compare,
    what="open files",
    measure=files_without_connections,
    bound=lambda early: early + HANDLES,
    unit="files beyond two a thread",
)
threads = partial(compare, what="threads", measure=last("threads"), bound=lambda early: early + HANDLES, unit="threads")
