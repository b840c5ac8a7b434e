"""Hundreds of power cuts, each at a random call of a run over the small world, with a random choice of what was not synced.

    python tests/long/power_loss.py [CUTS=300] [SEED=1] [--folder DIR]

See tests/test_power_loss.py for what has to hold. Half of the cuts come anywhere, half right behind something that was
told to the outside or right before a sync, where a promise would break. Goes on after a failure and lists all.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

import duckdb  # noqa: E402

from tests.support.disk_model import TOLD, Choice, Disk  # noqa: E402
from tests.support.pipeline import Nursery  # noqa: E402
from tests.support.power_loss import PowerCuts  # noqa: E402
from tests.support.shims import compiled  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cuts", type=int, nargs="?", default=300)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="power_loss_"))
    folder.mkdir(parents=True, exist_ok=True)
    began, wrong, found = time.monotonic(), [], Counter()
    with Nursery(preload=compiled("journal", folder)) as nursery:
        dark = PowerCuts(folder, nursery)
        told(dark)
        close = [n + (call.path == TOLD) for n, call in enumerate(dark.calls) if call.what == "s" or call.path == TOLD]
        for n in range(given.cuts):
            rnd = random.Random(f"{given.seed} {n}")
            at = rnd.randrange(len(dark.calls)) if n % 2 else rnd.choice(close)
            seed = rnd.random()
            found.update(lost(dark, at, seed))
            try:
                dark.cut(at, seed)
            except (AssertionError, duckdb.Error) as failure:
                wrong.append(n)
                print(f"WRONG cut {n} at call {at}: {str(failure)[:600]}", flush=True)
            if n % 50 == 49:
                print(f"{n + 1} cuts, {time.monotonic() - began:.0f} s, {len(wrong)} wrong", flush=True)
    for what, count in sorted(found.items()):
        print(f"{what:<48}{count:>8}")
    print(f"{given.cuts} cuts in {time.monotonic() - began:.0f} s, {len(wrong)} wrong {wrong}")
    return int(bool(wrong))


def told(dark):
    kinds = Counter(call.what for call in dark.calls)
    words = {"w": "writes", "s": "syncs", "c": "files made", "r": "renames", "u": "unlinks", "m": "folders made", "t": "truncations"}  # fmt: skip
    print(f"{len(dark.calls)} calls: " + ", ".join(f"{kinds[kind]} {word}" for kind, word in words.items()), flush=True)


def lost(dark, at, seed):
    """What this cut takes away, counted, so that the figures say whether the test was one."""
    disk = Disk(dark.before).happen(dark.calls[:at])
    after = disk.survivors(Choice(random.Random(seed)))
    whole = {name: file for name, file in disk.names.items() if file is not None and not name.endswith("-shm")}
    missing = sum(name not in after for name in whole)
    other = sum(name in after and after[name] != everything(file) for name, file in whole.items())
    yield from ["cuts"]
    yield from ["names lost"] * missing + ["files with other bytes than were written"] * other
    if not missing and not other:
        yield "cuts that lost nothing"
    if disk.told:
        yield "cuts after somebody was told"


def everything(file):
    class All:
        sector = 4096

        def survives(self):
            return True

    return file.survivors(All())


if __name__ == "__main__":
    sys.exit(main())
