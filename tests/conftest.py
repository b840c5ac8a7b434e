"""What every test relies on: no settings of the user who runs it, SIGINT and SIGTERM end the run, no process outlives it."""

import os
import signal
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

from hearthwatch.schemas.settings import variables
from tests.support.leftovers import MARK, kill_leftovers, mark, seconds_since_boot

# A shell that starts the tests in the background ignores SIGINT for them, and their processes would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" not in os.environ:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: fixtures are closed, processes killed

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch, ours and our processes': workers share the cores

# Python's own caches of compiled files, where the environment forbids them: a worker would compile every test, a process the product.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

SETTINGS = {variable.name for variable in variables()}
for name in [name for name in os.environ if name.upper() in SETTINGS or name.startswith("BYTEWAX_")]:
    del os.environ[name]

# Exports of models outlast a run: making one takes seconds.
os.environ["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir()) / f"hearthwatch-test-cache-{os.getuid()}")

hypothesis.settings.register_profile("tests", deadline=None)  # how long an example takes says how busy the machine is
hypothesis.settings.load_profile("tests")

RUN = mark()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """Kill what a failed or timed-out test has started; fixtures keep theirs until they are closed."""
    began = seconds_since_boot()
    try:
        return (yield)
    except BaseException:
        kill_leftovers(os.environ[MARK], began)
        raise


def pytest_unconfigure(config):
    """Kill what is left at the end of the run, or of this worker."""
    kill_leftovers(os.environ[MARK] if hasattr(config, "workerinput") else RUN)


@pytest.fixture(scope="module")
def one_thread():
    """Torch on one thread: the same answers in every run, and no fight for cores with other workers."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
