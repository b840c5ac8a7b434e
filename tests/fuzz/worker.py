"""Runs cases of one kind, one after the other, in a process that may die of them: `worker.py KIND SEED FIRST LAST FOLDER`.

A line of JSON before and after each case. A case is made from the seed, its kind and its number alone.
"""

import json
import logging
import pickle
import random
import resource
import sys
import time
import traceback
import warnings
from importlib import import_module
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).parents[2])]

KINDS = {
    "pictures": ("tests.fuzz.pictures", "Pictures"),
    "names": ("tests.fuzz.names", "Names"),
    "exif": ("tests.fuzz.exif", "Exif"),
    "llm": ("tests.fuzz.llm", "Llm"),
    "remote": ("tests.fuzz.remote", "Remote"),
    "flow": ("tests.fuzz.flow_files", "Flow"),
    "settings": ("tests.fuzz.environments", "Environments"),
}
ADDRESS_BYTES_MAX = 6 << 30  # what all of this maps, and the largest case; beyond it malloc fails, and the case with it


def kind(name, folder):
    """The kind, ready to make and to run cases."""
    module, maker = KINDS[name]
    return getattr(import_module(module), maker)(folder)


def case(made, name, seed, number):
    return made.make(random.Random(f"{seed} {name} {number}"))


def memory(field):
    """VmRSS or VmHWM, the most since `forget`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def forget():
    Path("/proc/self/clear_refs").write_text("5")


def main():
    name, seed, first, last, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5])
    out = sys.stdout
    sys.stdout = sys.stderr
    logging.basicConfig(level=logging.CRITICAL)
    warnings.simplefilter("ignore")  # Pillow tells of odd metadata; as an error that would hide what comes after
    made = kind(name, folder)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES_MAX, ADDRESS_BYTES_MAX))

    def say(**words):
        print(json.dumps(words), file=out, flush=True)

    for number in range(first, last):
        one = case(made, name, seed, number)
        say(begins=number)
        forget()
        before, began = memory("VmRSS"), time.perf_counter()
        try:
            refused, crash = made.run(one), None
        except BaseException:
            refused, crash = None, traceback.format_exc()
        ms = (time.perf_counter() - began) * 1e3
        say(
            number=number,
            refused=refused,
            crash=crash,
            ms=ms,
            peak=max(0, memory("VmHWM") - before),
            rss=memory("VmRSS"),
        )
        if crash:
            (folder / "crash.pickle").write_bytes(pickle.dumps(one))


if __name__ == "__main__":
    main()
