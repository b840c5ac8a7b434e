"""kill -9 at random moments while pictures keep coming; then everything is compared with a run that nobody killed.

    python tests/long/kill_random.py [KILLS=30] [SEED=1] [--folder DIR]

Bare runs and runs with `-r` take turns at random. New cameras appear, pictures come out of order, an hour late, twice,
truncated or not at all as pictures. Invariants are checked after every kill, on a copy of what the crash left.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from tests.support.invariants import check  # noqa: E402
from tests.support.pipeline import Nursery, Pipeline, content, name, picture, replayed, rules_and_options  # noqa: E402

RULES, BATCH = rules_and_options(1.8, 0.6, 0.4)  # fifty times faster than life, so that many events close
# settled long before an event is over, as in life
FILES = "sweep_seconds = 1\nsettle_seconds = 0.05\nstill_seconds = 2"
SECONDS_PER_KILL = 1.0


def upload(pipeline, seconds, seed):
    """Pictures come for so long, at 20 to 500 a second with pauses, whatever happens to the pipeline."""
    rnd, began, buffered, last = random.Random(seed), time.time(), {}, {}
    count = 0
    while (elapsed := time.time() - began) < seconds:
        camera = f"cam {rnd.randint(0, 1 + int(elapsed / 8))}"
        taken = time.time() - rnd.choice([0, 0, 0, 0.2, 0.39])
        if rnd.random() < 0.35:  # the hour that a camera had buffered
            buffered[camera] = buffered.get(camera, began - 3600) + rnd.choice([0.05, 0.1, 0.3, 0.5, 0.7])
            taken = buffered[camera] - rnd.choice([0, 0, 0.3])
        if rnd.random() < 0.03:
            taken = began + rnd.uniform(0, elapsed)
        data, odds = picture(f"{camera} {count}"), rnd.random()
        if odds < 0.02:
            data = rnd.choice([data[:-40], b"", b"no picture"])
        elif odds < 0.05 and camera in last:
            data = last[camera]
        last[camera] = data
        file = f"{rnd.choice('ab')}/{name(taken, str(count))}"
        pipeline.upload(camera, file, data, how=rnd.choice(["move", "write"]))
        count += 1
        time.sleep(rnd.choice([0.002, 0.01, 0.02, 0.05]) if count % 50 else 0.9)


def kill_again_and_again(pipeline, kills, rnd):
    """Start, kill, look at what is left. How many of each kind of run."""
    done = Counter()
    for _ in range(kills):
        resume = rnd.random() < 0.5
        pipeline.start(resume=resume, snapshot_seconds=rnd.choice([0, 1]))
        time.sleep(rnd.uniform(0.1, 1.8) * SECONDS_PER_KILL)
        assert not pipeline.ended(), f"it died by itself:\n{pipeline.said()}"
        pipeline.kill()
        if pipeline.path.exists():
            check(pipeline.crashed(), RULES)
        done["with -r" if resume else "bare"] += 1
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int, nargs="?", default=30)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--folder", type=Path, help="keep everything there")
    parser.add_argument("--upload", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="kill_random_"))
    if given.upload:
        return upload(Pipeline(folder, batch=BATCH, files=FILES), given.upload, given.seed)
    with Nursery() as nursery:
        pipeline = Pipeline(folder, nursery=nursery, batch=BATCH, files=FILES)
        seconds = given.kills * 1.1 * SECONDS_PER_KILL
        command = [sys.executable, __file__, "0", str(given.seed), "--folder", str(folder), "--upload", str(seconds)]
        with subprocess.Popen(command) as uploader:
            try:
                kills = kill_again_and_again(pipeline, given.kills, random.Random(given.seed))
                pipeline.start()
                assert uploader.wait() == 0
                began = time.monotonic()
                pipeline.until_quiet(timeout=120)
                caught_up = time.monotonic() - began
            finally:
                uploader.kill()
                if pipeline.ended():
                    print(pipeline.said(), file=sys.stderr)
        pipeline.stop()
    return report(pipeline, kills, caught_up)


def report(pipeline, kills, caught_up):
    record = pipeline.record
    check(record, RULES)
    one = replayed(record, pipeline.folder / "one_pass.db", RULES)
    same, other = content(record), content(one)
    paths = {str(file.relative_to(pipeline.base)) for file in pipeline.pictures()}
    known = [path for (path,) in record.rows("SELECT path FROM frames")]
    assert sorted(known) == sorted(paths), (
        f"lost: {paths - set(known)}; not on disk or doubled: {len(known) - len(paths)}"
    )
    same.is_that_of(other)
    stages = Counter(stage for (stage,) in record.rows("SELECT error_stage FROM frames WHERE error_stage IS NOT NULL"))
    feed = record.rows("SELECT type, count(*) FROM feed WHERE kind = 'event' GROUP BY 1 ORDER BY 1")
    (late,) = record.one("SELECT count(*) - count(DISTINCT event_id) FROM feed WHERE type = 'event.closed'")
    for what, value in [
        ("kill -9", ", ".join(f"{n} {how}" for how, n in kills.items())),
        ("pictures on disk = rows in the ledger", len(paths)),
        ("by state", ", ".join(f"{n} {state}" for state, n in sorted(Counter(dict(record.rows("SELECT state, count(*) FROM frames GROUP BY 1"))).items()))),
        ("set aside at", ", ".join(f"{stage} {n}" for stage, n in sorted(stages.items()))),
        ("cameras", record.one("SELECT count(*) FROM cameras")[0]),
        ("events", record.one("SELECT count(*) FROM events WHERE status <> 'merged'")[0]),
        ("feed", ", ".join(f"{type} {n}" for type, n in feed)),
        ("closed again after a late frame", late),
        ("seconds until quiet after the last picture", f"{caught_up:.1f}"),
        ("equal to one uninterrupted pass", "yes"),
    ]:  # fmt: skip
        print(f"{what:<44}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
