"""Death before and after every commit of a run over the small world of `tests/test_kill.py`, until a run completes.

    python tests/long/kill_every.py [FOLDER]

For each point all four pairs of modes: the run that dies and the run after it, each bare or with `-r`. After each death
the invariants hold, and the run after it reaches the record of an uninterrupted run. Prints the number of points.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from tests.support.pipeline import Nursery  # noqa: E402
from tests.support.small_world import PAIRS, World  # noqa: E402


def main():
    began, deaths = time.monotonic(), 0
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="kill_every_"))
    with Nursery() as nursery:
        world = World(folder, nursery)
        messages = sum(map(len, world.expected.feed.values()))
        print(f"{world.files} files, {len(world.expected.events)} events, {messages} messages", flush=True)
        for where in ("before", "after"):
            n = 1
            while died := sum(world.dies_and_lives(f"{where}:{n}", *pair) for pair in PAIRS):
                deaths, n = deaths + died, n + 1
            print(f"{where} commit 1 to {n - 1}, all pairs of bare and -r: equal to the uninterrupted run", flush=True)
    print(f"{deaths} kill points in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
