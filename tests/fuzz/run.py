"""Cases by the thousand for everything that comes from outside: nothing may end a process, take long or take much memory.

    scripts/fuzz [--cases N] [--seed S] [--only KIND] [--case NUMBER]

Kinds: pictures, names, exif, llm, remote, flow, settings. Each runs in a process of its own with bounded memory, and a case
that takes longer than 10 s is ended with it. A failure prints its seed and number and keeps the case; `--case` repeats it.
"""

import argparse
import json
import os
import pickle
import re
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from tests.fuzz.worker import KINDS, TESTS, case, kind  # noqa: E402

SHARES = {"pictures": 40, "names": 12, "exif": 12, "llm": 10, "remote": 10, "flow": 8, "settings": 8}  # per cent
SECONDS_MAX = 10.0  # of one case; nearly all take a few milliseconds, what unpacks to 50 megapixels a second
GROWTH_BYTES_MAX = 150_000_000  # of a whole worker between its first tenth and its end
REASONS_SHOWN = 4


@dataclass
class Tally:
    """What became of the cases of one kind."""

    kind: str
    cases: int = 0
    accepted: int = 0
    refused: Counter = field(default_factory=Counter)
    failures: list = field(default_factory=list)
    slowest_ms: float = 0.0
    peak_bytes: int = 0
    seconds: float = 0.0
    rss: list = field(default_factory=list)

    def add(self, said, peak_max):
        self.cases += 1
        self.slowest_ms, self.peak_bytes = max(self.slowest_ms, said["ms"]), max(self.peak_bytes, said["peak"])
        self.rss.append(said["rss"])
        if said["crash"]:
            self.failures.append((said["number"], said["crash"]))
        elif said["ms"] > SECONDS_MAX * 1e3:
            self.failures.append((said["number"], f"took {said['ms'] / 1e3:.1f} s"))
        elif said["peak"] > peak_max:
            self.failures.append((said["number"], f"took {said['peak'] / 1e6:.0f} MB"))
        elif said["refused"]:
            self.refused[plain(said["refused"])] += 1
        else:
            self.accepted += 1

    def growth(self):
        """By how much the process has grown since it was warm."""
        return max(0, self.rss[-1] - max(self.rss[: max(1, len(self.rss) // 10)])) if self.rss else 0

    def row(self):
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.refused.most_common(REASONS_SHOWN))
        return (
            f"| {self.kind} | {self.cases:,} | {self.accepted:,} | {self.refused.total():,}: {reasons} | {len(self.failures)} "
            f"| {self.slowest_ms:,.0f} | {self.peak_bytes / 1e6:.0f} | {self.growth() / 1e6:.0f} |"
        )


def plain(reason):
    """A reason without what differs from case to case."""
    reason = re.sub(r"http://[^ :]+:\d+:? ?", "", reason)
    reason = re.sub(r"[`'\"(\[{].*", "", reason.partition(": ")[0] if len(reason.partition(": ")[0]) > 8 else reason)
    return " ".join(re.sub(r"\d[\d.,x]*", "N", reason).split())[:48].strip(" :,;") or "…"


HEAD = "| kind | cases | accepted | refused, and most often why | failures | slowest ms | peak MB | grown MB |\n|---|---|---|---|---|---|---|---|"


def run(name, seed, numbers, folder):
    """All these cases of a kind; a process that dies of one is followed by another that goes on behind it."""
    tally, began = Tally(name), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    peak_max = import_module(KINDS[name][0]).PEAK_BYTES_MAX
    at = numbers.start
    while at < numbers.stop:
        at = one_worker(tally, seed, range(at, numbers.stop), folder, peak_max)
    if tally.growth() > GROWTH_BYTES_MAX:
        tally.failures.append((-1, f"the process grew by {tally.growth() / 1e6:.0f} MB"))
    tally.seconds = time.monotonic() - began
    return tally


def one_worker(tally, seed, numbers, folder, peak_max):
    """As many cases as one process lives to see; the number of the next one."""
    work = Path(tempfile.mkdtemp(dir=folder))
    command = [
        sys.executable,
        TESTS / "fuzz" / "worker.py",
        tally.kind,
        str(seed),
        str(numbers.start),
        str(numbers.stop),
        work,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    begun = None
    with (
        (work / "stderr").open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment) as child,
    ):
        for said in lines(child, 60.0):
            if "begins" in said:
                begun = said["begins"]
            else:
                tally.add(said, peak_max)
                begun = None
                if said["number"] == numbers.stop - 1:
                    child.wait()
                    return numbers.stop
        slow = child.poll() is None
        child.kill()
    words = (work / "stderr").read_text(errors="replace")[-2000:]
    if begun is None:
        raise SystemExit(f"fuzz: the worker of {tally.kind} ended between two cases:\n{words}")
    tally.cases += 1
    tally.failures.append((begun, f"no end within {SECONDS_MAX:g} s" if slow else f"the process ended:\n{words}"))
    return begun + 1


def lines(child, patience):
    """What it says; ends when it ends, or says nothing for too long once the first case has begun."""
    buffer = b""
    while select.select([child.stdout], [], [], patience)[0]:
        if not (more := os.read(child.stdout.fileno(), 1 << 16)):
            child.wait()
            return
        *whole, buffer = (buffer + more).split(b"\n")
        for line in whole:
            yield json.loads(line)
            patience = SECONDS_MAX + 5


def keep(tally, seed, folder):
    """The cases that failed, on disk, and how to repeat them."""
    for number, why in tally.failures:
        if number >= 0:
            work = Path(tempfile.mkdtemp(dir=folder))
            made = kind(tally.kind, work)
            one = case(made, tally.kind, seed, number)
            file = folder / f"{tally.kind}-{seed}-{number}"
            file.write_bytes(one if isinstance(one, bytes) else pickle.dumps(one))
        print(
            f"FAILED {tally.kind}: scripts/fuzz --seed {seed} --only {tally.kind} --case {number}\n{why.strip()[-1500:]}"
        )


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--case", type=int, help="only the case of this number")
    parser.add_argument("--folder", type=Path, help="keep what failed there")
    given = parser.parse_args(arguments)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="fuzz_"))
    sys.stdout.reconfigure(errors="backslashreplace")
    tallies = []
    for name in [given.only] if given.only else KINDS:
        count = given.cases if given.only else max(1, given.cases * SHARES[name] // 100)
        numbers = range(given.case, given.case + 1) if given.case is not None else range(count)
        tally = run(name, given.seed, numbers, folder / name)
        keep(tally, given.seed, folder)
        tallies.append(tally)
        print(
            f"{name}: {tally.cases} cases in {tally.seconds:.0f} s, {len(tally.failures)} failures",
            file=sys.stderr,
            flush=True,
        )
    print(HEAD, *(tally.row() for tally in tallies), sep="\n")
    failed = sum(len(tally.failures) for tally in tallies)
    print(f"{sum(t.cases for t in tallies):,} cases, seed {given.seed}, {failed} failures; kept in {folder}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
