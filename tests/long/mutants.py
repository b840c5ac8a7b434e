"""Break the placing code by hand, one way at a time: the tests must notice each.

python tests/long/mutants.py            # every mutant; prints which test noticed it
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BATCHING = "record/batching.py"
MUTANTS = [
    ("the idle timeout does not end an event", "return min(first + self.window, last + self.idle)", "return first + self.window"),
    ("the window does not end an event", "return min(first + self.window, last + self.idle)", "return last + self.idle"),
    ("a frame at the deadline still joins", "frame[0] >= rules.deadline", "frame[0] > rules.deadline"),
    ("placing: a frame at the deadline still joins", "and at < rules.deadline(before.first, before.last)", "and at <= rules.deadline(before.first, before.last)"),
    ("closes without waiting for disorder", "- last + self.lateness", "- last"),
    ("closes by the capture clock", "return arrival + self.deadline(first, last) - last", "return self.deadline(first, last)"),
    ("never re-cuts", "and after.first < rules.deadline(first, last)", "and False"),
    ("re-cuts sealed events", "and not after.sealed\n", "\n"),
    ("re-cuts from the frame only", "return self._recut(id, camera, at, arrival, first)", "return self._recut(id, camera, at, arrival, at)"),
    ("re-cuts across a closed event", "AND sealed AND started_at > ?", "AND sealed AND started_at > ? AND 0"),
    ("never joins a closed event backwards", "after.first - at < rules.idle", "False"),
    ("joins backwards beyond the window", "and after.last - at < rules.window", "and True"),
    ("a replayed frame is counted again", "elif item.frame.id in undecided:", "else:"),
    ("a join does not move the last frame", "(before.first, max(before.last, at)) if joins", "(before.first, before.last) if joins"),
    ("forgets to close before placing", "        self._close(arrived)\n", ""),
    ("re-cut frames keep their old event", "            self._move(event, [i for _, i in part if i != id])\n", ""),
    ("swallowed events are not merged", "                self.announcer.merge(event, into)", "                pass"),
    ("old news is announced early", "early=arrival - at < LATE", "early=True"),
    ("a tick that closed something is forgotten", "if by_tick:", "if False:"),
    ("events are opened by frames without detections", "if boxes else None", "if not error else None"),
    ("duplicates keep their boxes", "boxes = () if error else item.detections", "boxes = item.detections"),
]  # fmt: skip


def survives(name: str, old: str, new: str) -> str | None:
    """What noticed the mutant; None: nothing did."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("record", "schemas", "stages", "gpu"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
        shutil.copy(ROOT / "tests/test_batching.py", copy)
        source = (copy / BATCHING).read_text()
        assert source.count(old) == 1, f"{name}: the code it breaks is not there (once) any more: {old!r}"
        (copy / BATCHING).write_text(source.replace(old, new))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-W",
            "ignore",
            "test_batching.py",
        ]
        ran = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300)
        failed = [line for line in ran.stdout.splitlines() if line.startswith("FAILED")]
        return failed[0].split("::")[1].split(" ")[0] if failed else None


def main() -> int:
    alive = 0
    for mutant in MUTANTS:
        by = survives(*mutant)
        alive += by is None
        print(f"{'ALIVE ' if by is None else 'killed'}  {mutant[0]:48}  {by or ''}", flush=True)
    print(f"{len(MUTANTS) - alive} of {len(MUTANTS)} mutants killed")
    return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main())
