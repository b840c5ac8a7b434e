"""Promise: a power cut at any instant loses nothing that was told to anybody, and the next start reaches the same record.

A library below the process (`tests/support/shim/journal.c`) writes down every write, rename and sync of a run over the small world,
SQLite's, Bytewax's and the lake's included. `tests/support/disk_model.py` makes out of it what a disk may hold after a cut: what was
synced, and any choice of the rest. Here a few seeded cuts; `tests/long/power_loss.py` makes hundreds.

Uploads are the FTP server's: they are there, whole. Nobody else's word is taken for anything.
"""

import os
import random

import pytest

from tests.support.disk_model import TOLD, Disk
from tests.support.pipeline import Nursery
from tests.support.power_loss import PowerCuts
from tests.support.shims import compiled

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("HEARTHWATCH_TEST_SEED", "1"))
CUTS = 7


class Everything:
    """The choice that loses nothing."""

    sector = 4096

    def survives(self):
        return True


@pytest.fixture(scope="module")
def dark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dark")
    library = compiled("journal", folder)
    if library is None:
        pytest.skip("no C compiler")
    with Nursery(preload=library) as nursery:
        yield PowerCuts(folder, nursery)


def test_the_journal_has_everything_that_reached_the_disk(dark):
    """Guards the others: what the library does not see is not lost in any cut."""
    there = Disk(dark.before).happen(dark.calls).survivors(Everything())
    differing = {name for name in {*there, *dark.after} if there.get(name, 0) != dark.after.get(name, 0)}
    assert {name for name in differing if not name.endswith("-shm")} == set()
    written = {call.path for call in dark.calls if call.what == "w"}
    assert {"data/hearthwatch.db", "data/hearthwatch.db-wal", "store/part-0.sqlite3-wal", TOLD} <= written


@pytest.mark.parametrize("n", range(CUTS))
def test_a_power_cut_loses_nothing_that_was_told(dark, n):
    rnd = random.Random(f"{SEED} {n}")
    dark.cut(rnd.randrange(len(dark.calls)), rnd.random())
