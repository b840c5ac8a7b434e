"""Promise: a picture costs the same on an empty record and on one that has seen years.

Counted in steps of SQLite's virtual machine, which no busy neighbour changes.
"""

import pytest

from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.copies import find_original
from hearthwatch.record.feed import Feed
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas import Detected, Detection, Tick
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.stages.rules import RulesJudge
from tests.support.large_record import fill

S = 1_000_000
T = 1_700_000_000 * S
ROWS = 20_000
BOX = Detection("car", 0.9, (10, 20, 30, 40))


def steps(record, work):
    """How many steps the machine takes, and what `work` answers."""
    count = 0

    def step():
        nonlocal count
        count += 1

    record.db.set_progress_handler(step, 1)
    answer = work()
    record.db.set_progress_handler(None, 0)
    return count, answer


def a_day(path):
    """Everything that the spine asks of a record, once: the steps of each."""
    record = Record(path)
    ledger, batching, feed = Ledger(record), Batching(record, RulesJudge), Feed(record)
    (last,) = record.one("SELECT coalesce(max(id), 0) FROM frames")
    seq = feed.last()
    found = [FoundFile("cam1", "cam1", f"cam1/{i}.jpg", i, 9, T + i * S, T + i * S) for i in range(50)]
    keys = [(f.path, f.mtime_ns, f.size) for f in found]
    cost = {}
    cost["known"], _ = steps(record, lambda: ledger.find_known(keys))
    cost["discover"], _ = steps(record, lambda: ledger.discover(found, T + 60 * S))
    cost["todo"], entries = steps(record, lambda: ledger.todo(last, 256))
    cost["todo after a resume"], _ = steps(record, lambda: ledger.todo(last, 256, last + 20))
    cost["start"], _ = steps(record, lambda: (Ledger(record), Batching(record, RulesJudge), record.counters()))
    cost["same picture"], _ = steps(record, lambda: find_original(record, path.parent, "cam1", "ab" * 16))
    cost["reached"], _ = steps(record, lambda: ledger.count_start(entries[0].frame.id))
    detected = [Detected(e.frame, 640, 360, (BOX, BOX)) for e in entries]
    cost["write"], _ = steps(record, lambda: batching.write(detected))
    late = FoundFile("cam1", "cam1", "late.jpg", 1, 9, T - 5 * S, T + 61 * S)
    ledger.discover([late], T + 62 * S)
    (entry,) = ledger.todo(entries[-1].frame.id, 9)
    cost["write, out of order"], _ = steps(record, lambda: batching.write([Detected(entry.frame, 1, 1, (BOX,))]))
    cost["close"], _ = steps(record, lambda: batching.write([Tick(from_microseconds(T + 900 * S))]))
    cost["feed"], messages = steps(record, lambda: feed.after(seq, 100))
    assert len(entries) == 50 and [m.type for m in messages] == ["event.opened", "event.closed"]
    record.close()
    return cost


@pytest.fixture(scope="module")
def costs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("growth")
    fill(folder / "old.db", ROWS)
    return a_day(folder / "new.db"), a_day(folder / "old.db")


@pytest.mark.slow
def test_nothing_that_the_spine_asks_reads_more_of_a_larger_record(costs):
    new, old = costs
    assert {what: old[what] for what in old if old[what] > new[what] + 200} == {}
