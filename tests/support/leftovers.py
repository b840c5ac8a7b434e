"""Kill what a test leaves running: processes of any depth, session or process group, also when a time-out ended the test.

Every process that the tests start inherits the variable `MARK`, which names the run and the worker. A process that
overwrites its environment (Chromium, Redis) is found while it is a descendant. Linux only; elsewhere descendants alone.
"""

import os
import signal
import time
from pathlib import Path

import psutil

MARK = "HEARTHWATCH_TEST_RUN"


def mark() -> str:
    """Mark this process' children from now on; return the mark of the run, with which those of all its workers begin."""
    run = os.environ.get(MARK) or str(os.getpid())
    os.environ[MARK] = f"{run}.{os.getpid()}"
    return run


def seconds_since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else 0.0


def kill_leftovers(marked: str, since: float = 0.0) -> None:
    """Kill our descendants and all processes with this mark that started `since` (seconds since boot)."""
    me = psutil.Process()
    found = {process.pid for process in me.children(recursive=True)}
    found |= {int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if _is_marked(path, marked)}
    for pid in found - {me.pid, *(parent.pid for parent in me.parents())}:
        try:
            if _start(pid) >= since:
                os.kill(pid, signal.SIGKILL)
        except OSError:
            pass  # it has just ended


def _start(pid: int) -> float:
    """Seconds from boot to the start of this process, in steps of 10 ms, rounded up."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return seconds_since_boot()
    return (int(stat.read_text().rpartition(")")[2].split()[19]) + 1) / os.sysconf("SC_CLK_TCK")


def _is_marked(environ: Path, marked: str) -> bool:
    try:
        values = environ.read_bytes().split(b"\0")
    except OSError:  # it has ended, or is another user's
        return False
    wanted = f"{MARK}={marked}".encode()
    return any(value == wanted or value.startswith(wanted + b".") for value in values)
