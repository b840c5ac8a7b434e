"""20,000 old pictures of three cameras give the events of a live run: `python tests/long/backfill.py [PICTURES]`.

Prints pictures a second, with a detector that only looks at a picture's hash.
"""

import re
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from tests.support.backfills import OPTIONS, Archive, check_backfilled, command, finish  # noqa: E402
from tests.support.pipeline import Pipeline  # noqa: E402


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pipeline, archive = Pipeline(folder, batch=OPTIONS), Archive(Path(folder) / "old", count)
        process, began, sure = command(pipeline, str(archive.folder)), 0.0, 0
        while process.poll() is None:
            settled = pipeline.states().get("settled", 0)
            if settled and not began:
                began, sure = time.monotonic(), settled
            if settled == archive.count:
                break
            time.sleep(0.05)
        seconds = time.monotonic() - began
        said = finish(process)
        print(
            f"{(archive.count - sure) / seconds:.0f} pictures/s; {re.sub(r'.*known already', '', said, flags=re.S).strip()}"
        )
        check_backfilled(pipeline, archive)
        print("the events are those of a live run")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
