"""C libraries that stand between a process and its disk: tests/support/shim/failing.c, journal.c and slow.c, for LD_PRELOAD."""

import shutil
import subprocess
from pathlib import Path

SHIM = Path(__file__).with_name("shim")


def compiled(name, folder):
    """`<folder>/<name>.so`, or None without a C compiler."""
    if (compiler := shutil.which("cc")) is None:
        return None
    library = folder / f"{name}.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", library, SHIM / f"{name}.c", "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library
