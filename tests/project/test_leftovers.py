"""Promise: no process outlives the test that started it, whatever ended the test."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
HANGS = """
import pathlib, subprocess, sys, time
import pytest

CHILD = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)', sys.argv[1]], start_new_session=True); time.sleep(300)"
HERE = pathlib.Path(__file__)

@pytest.fixture(scope="module")
def kept():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", HERE]) as process:
        time.sleep(0.1)
        yield process
        process.kill()

def test_a_test_that_hangs(kept):
    subprocess.Popen([sys.executable, "-c", CHILD, HERE])
    HERE.with_suffix(".started").touch()
    time.sleep(60)

def test_the_processes_of_a_module_stay(kept):
    assert kept.poll() is None
"""


def run_of(script: Path, timeout: float) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-c",
        ROOT / "pyproject.toml",
    ]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    return subprocess.Popen([*command, f"--timeout={timeout}", script], cwd=ROOT, env=alone, stdout=subprocess.PIPE)


def left(script: Path) -> list[list[str]]:
    """The processes that were started by the script."""
    return [p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if str(script) in (p.info["cmdline"] or [])]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "test_hangs.py").write_text(HANGS)
    return tmp_path / "test_hangs.py"


def test_a_timed_out_test_leaves_no_process_and_takes_none_of_its_module(script: Path) -> None:
    with run_of(script, timeout=2) as run:
        out, _ = run.communicate(timeout=60)
    assert b"Timeout" in out and b"1 failed, 1 passed" in out, out.decode()
    assert left(script) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_no_process(script: Path, number: int) -> None:
    with run_of(script, timeout=60) as run:
        until = time.monotonic() + 30
        while len(left(script)) < 4:  # pytest, the module's process, the test's and its child
            assert time.monotonic() < until
            time.sleep(0.05)
        os.kill(run.pid, number)
        run.communicate(timeout=30)
    assert left(script) == []
