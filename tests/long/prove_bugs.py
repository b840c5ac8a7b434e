"""`hearthwatch prove` on tiny graphs with one planted bug each, and on the same without it: `python tests/long/prove_bugs.py [NAME …]`.

Prints what it says about each, and how long it took; exit code 1 if a bug is missed or a right part accused.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAGES = {
    "ForgetsState": "killed", "EmitsTwice": "the same twice", "Sleeps": "waited 1", "Grows": "keeps", "WrongType": "declares",
    "Reorders": "one by one", "Swallows": "swallows", "UsesTheClock": "answers differently", "UsesChance": "answers differently",
    "CountsPortions": "input in another order", "LeaksAThread": "leaves a thread", "BlocksStop": "does not stop",
}  # fmt: skip
SINKS = {"DropsOnRetry": "lost", "AppendsAgain": "too much"}
WORDS = STAGES | SINKS
FLOW = """
[rows]
use = "folder"
path = "rows"

[own]
use = "tests.support.planted_bugs:{stage}"
from = "rows"
right = {right}

[journal]
use = "journal"
from = "own"
"""
MORE = """
[sink]
use = "tests.support.planted_bugs:{sink}"
from = "{after}"
path = "written"
right = {right}
"""


def make_graph(folder, name, right):
    stage, right = ("Base" if name in SINKS else name), str(right).lower()
    flow = FLOW.format(stage=stage, right=right)
    if name in SINKS:
        flow += MORE.format(sink=name, after="journal" if name == "DropsOnRetry" else "own", right=right)
    (folder / "rows").mkdir(parents=True)
    (folder / "rows" / "a.csv").write_text("n,x\n" + "".join(f"{n},{n}\n" for n in range(24)))
    (folder / "flow.toml").write_text(flow)
    return folder


def prove(folder, *more, timeout=300):
    command = [sys.executable, "-m", "hearthwatch.cli", "prove", "flow.toml", *more]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)


def check(name, right, folder, points="24"):
    """Whether it says what it has to, and what it says."""
    done = prove(make_graph(folder, name, right), "--points", points)
    ok = (done.returncode == 0) if right else (done.returncode == 1 and WORDS[name] in done.stdout)
    return ok, done.stdout + done.stderr[-2000:]


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as made:
        for name in sys.argv[1:] or WORDS:
            for right in (False, True):
                began = time.monotonic()
                ok, words = check(name, right, Path(made) / f"{name}{right}")
                failed += not ok
                print(
                    f"{name:14} {'right' if right else 'bug':6} {'ok' if ok else 'FAILED':7} {time.monotonic() - began:5.1f} s"
                )
                print(words.strip(), flush=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
