"""Run every benchmark and write one Markdown report, with what it ran on.

    scripts/bench all [--quick] [--long] [--only spine,baseline] [--out report.md]

`--quick`: tiny parameters, to see that all work; the figures mean nothing. `--long`: also those that take an hour. A script
that fails is in the report with its last lines; the others continue, and the exit code is 1.
"""

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
LAST_LINES = 15  # of a failed script's output
SCRIPTS = {  # name: (arguments, arguments of --quick; None: not then)
    "spine": ("", "--pictures 300 --rounds 1 --rows 2000 --memory 0"),
    "suppression": ("", "--pictures 20"),
    "latency": ("", "--pictures 4 --rate 20 --idle-seconds 0.5"),
    "redis_latency": ("", "--pictures 6 --rate 20"),
    "baseline": ("", "--pictures 150 --rounds 1 --live 4 --rate 10 --kills 1"),
    "growth": ("", "--rows 1000 3000 --pictures 100 --live 3"),
    "whatif": ("--frames 1000000", "--frames 5000"),
    "scale": ("", "--pictures 200 --rounds 1"),
    "api": ("--events 100000", "--events 500 --seconds 0.2"),
    "analytics": ("", None),
    "verdicts": ("", "--events 8 --seconds 0.01"),
    "detector": ("", "--models tiny --sizes 90 --quick --pictures 2"),
    "pipeline_gpu": ("", "--model tiny --size 90 --pictures 6 --rounds 1"),
    "precision": ("", "--frames 2"),
    "runtimes": ("", "--model tiny --rounds 1 --threads 1"),
    "stories": ("", None),
}
LONG = {"overload": "", "soak": ""}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny parameters")
    parser.add_argument("--long", action="store_true", help="also what takes an hour")
    parser.add_argument("--only", default="", help="these alone, by name, with commas between them")
    parser.add_argument("--out", type=Path, help="where the report is written, too")
    given = parser.parse_args()
    known = {**SCRIPTS, **{name: (arguments, None) for name, arguments in LONG.items()}}
    wanted = given.only.split(",") if given.only else [*SCRIPTS, *(LONG if given.long else ())]
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"--only {','.join(unknown)}: there is {', '.join(known)}")
    report = Report(given.out)
    report.say(
        f"# Benchmarks{', quick: figures mean nothing' if given.quick else ''}\n\n{machine()}\n\nLoad before: {load()}"
    )
    failed = []
    for name in wanted:
        arguments = known[name][given.quick]
        if arguments is None or not (HERE / f"{name}.py").exists():
            report.say(f"\n## {name}\nLeft out{' of --quick' if given.quick else ': there is no such script'}.")
        elif not run(report, name, arguments.split()):
            failed.append(name)
    report.say(f"\nLoad after: {load()}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


class Report:
    """Text that is printed and kept, line by line."""

    def __init__(self, path):
        self.file = path.open("w") if path else None

    def say(self, text):
        print(text, flush=True)
        if self.file:
            print(text, file=self.file, flush=True)


def run(report, name, arguments):
    """Run one script and write its section; return whether it succeeded."""
    report.say(f"\n## {name}\n`scripts/bench {' '.join([name, *arguments])}`\n")
    began = time.monotonic()
    command = [sys.executable, str(HERE / f"{name}.py"), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    words = done.stdout.strip()
    if done.returncode:
        last = "\n".join(words.splitlines()[-LAST_LINES:])
        report.say(f"**failed**, exit code {done.returncode}:\n```\n{last}\n```")
    else:
        report.say(words)
    report.say(f"\n({time.monotonic() - began:.0f} s)")
    return not done.returncode


# -- what it ran on


def machine():
    facts = {
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "CPU": f"{os.cpu_count()} × {first('/proc/cpuinfo', 'model name')}",
        "memory": f"{int(first('/proc/meminfo', 'MemTotal').split()[0]) / 1e6:.0f} GB",
        "disk": disk(),
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "torch": version("torch"),
        "bytewax": version("bytewax"),
        "commit": commit(),
    }
    return "| | |\n|---|---|\n" + "\n".join(f"| {what} | {value} |" for what, value in facts.items())


def first(path, key):
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "unknown")


def disk():
    """Describe the file system of trees and records: its type, and the time of one durable write."""
    import tempfile

    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    folder = tempfile.gettempdir()
    device, _, kind = max((m for m in mounts if folder.startswith(m[1])), key=lambda m: len(m[1]))
    with tempfile.NamedTemporaryFile() as file:
        times = []
        for _ in range(50):
            began = time.perf_counter()
            os.pwrite(file.fileno(), b"x" * 4096, 0)
            os.fdatasync(file.fileno())
            times.append(1000 * (time.perf_counter() - began))
    times.sort()
    return f"{kind} on {device}, fdatasync of 4 kB {times[25]:.2f} ms (p50), {times[-1]:.2f} ms (slowest of 50)"


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def commit():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def load():
    return ", ".join(f"{value:.2f}" for value in os.getloadavg())


if __name__ == "__main__":
    main()
