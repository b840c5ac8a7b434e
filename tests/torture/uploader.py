"""The cameras: a process that uploads what the plan says, and goes on where it was if it is killed.

    python tests/torture/uploader.py BASE STATE SEED BEGAN SECONDS

STATE holds how many uploads are done. `move`: written elsewhere and renamed; `write`: in place; `slow`: in place, in three
pieces; `folder`: a whole new folder moved in at once, of whose file nobody is told.
"""

import os
import sys
import time
from itertools import islice
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from tests.torture.pictures import plan  # noqa: E402

PIECE_SECONDS = 0.1


def upload(base, elsewhere, one):
    """Once, whatever was done of it before."""
    target, data = os.path.join(base, one.path), one.data()
    folder = os.path.dirname(target)
    if one.how == "folder" and folder != base:
        target = os.path.join(
            folder, b"moved in " + os.path.basename(target).partition(b".")[0], os.path.basename(target)
        )
    if os.path.exists(target) and os.path.getsize(target) == len(data):
        return
    os.makedirs(folder, exist_ok=True)
    if os.path.dirname(target) != folder:
        os.makedirs(elsewhere + b".folder", exist_ok=True)
        write(os.path.join(elsewhere + b".folder", os.path.basename(target)), [data])
        os.rename(elsewhere + b".folder", os.path.dirname(target))
    elif one.how in ("write", "slow"):
        third = len(data) // 3 + 1
        write(target, [data[:third], data[third : 2 * third], data[2 * third :]] if one.how == "slow" else [data])
    else:
        write(elsewhere, [data])
        os.rename(elsewhere, target)


def put_in(base, elsewhere, pictures, modified):
    """At once, as when an old folder is copied: the files keep their times."""
    for one in pictures:
        target = os.path.join(base, one.path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        write(elsewhere, [one.data()])
        os.utime(elsewhere, (modified, modified))
        os.rename(elsewhere, target)


def write(path, pieces):
    with open(path, "wb", buffering=0) as file:
        for n, piece in enumerate(pieces):
            time.sleep(PIECE_SECONDS if n else 0)
            file.write(piece)


def main(base, state, seed, began, seconds):
    base, state, began = os.fsencode(base), Path(state), float(began)
    elsewhere = base + b"-incoming"
    done = int(state.read_text()) if state.exists() else 0
    part = state.with_suffix(".part")
    for n, one in islice(enumerate(plan(int(seed), began, float(seconds))), done, None):
        time.sleep(max(0.0, began + one.at - time.time()))
        upload(base, elsewhere, one)
        part.write_text(str(n + 1))
        part.replace(state)


if __name__ == "__main__":
    main(*sys.argv[1:])
