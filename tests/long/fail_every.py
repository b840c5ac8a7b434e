"""Every single disk call of a run over the small world fails once: EIO, ENOSPC, EACCES in turn; or the process ends there.

    python tests/long/fail_every.py [--all] [--call CALL] [--folder DIR]

Each time the process recovers or ends with a clear message, and the next start without the fault reaches the record of an
uninterrupted run (see tests/test_faults.py for the two allowed differences). `--all`: each call with each of the three.
Deaths go through bare runs and runs with `-r` in turn, Bytewax's own store included; the store fails by itself as well. Goes on after a failure and lists all.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from tests.support.failing_disk import CALLS, ERRORS, RULES, SPEED, Faults  # noqa: E402
from tests.support.pipeline import Nursery  # noqa: E402
from tests.support.shims import compiled  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="each call with each error")
    parser.add_argument("--call", choices=CALLS, action="append", help="only this kind of call")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="fail_every_"))
    folder.mkdir(parents=True, exist_ok=True)
    began, wrong, points = time.monotonic(), [], 0
    with Nursery(preload=compiled("failing", folder)) as nursery:
        faults = Faults(folder, nursery, RULES, SPEED)
        for call in given.call or CALLS:
            rounds = [([e], False) for e in ERRORS] if given.all else [(ERRORS, False)]
            for errors, store in [*rounds, (ERRORS, True), ([None], False)]:
                outcomes = every(faults, call, errors, store, wrong)
                points += outcomes.total()
                told = ", ".join(f"{n} {how}" for how, n in sorted(outcomes.items())) or "never called"
                what = "/".join(e or "death" for e in errors) + (", store" if store else "")
                print(f"{call:<9} {what:<25} {told}", flush=True)
    print(f"{points} fault points in {time.monotonic() - began:.0f} s, {len(wrong)} wrong")
    return int(bool(wrong))


def every(faults, call, errors, store, wrong):
    """How each of the calls ended, counted."""
    outcomes, n = Counter(), 1
    while True:
        error = errors[n % len(errors)]
        try:
            how = faults.outcome(call, n, error, resume=store or (error is None and n % 2 == 0), store=store)
        except AssertionError as failure:
            how = "WRONG"
            wrong.append(f"{call} {n} {error}: {failure}")
            print(f"WRONG {wrong[-1]}", flush=True)
        if how is None:
            return outcomes
        outcomes[how] += 1
        n += 1


if __name__ == "__main__":
    sys.exit(main())
