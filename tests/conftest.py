"""What every test can rely on: no setting of whoever runs them, and a Ctrl-C that reaches the processes they start."""

import os
import signal

import pytest

from hearthwatch.schemas.settings import variables

# A shell that starts the tests in the background ignores SIGINT for them, and their processes would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SETTINGS = {variable.name for variable in variables()}
for name in [name for name in os.environ if name.upper() in SETTINGS or name.startswith("BYTEWAX_")]:
    del os.environ[name]


@pytest.fixture(scope="module")
def one_thread():
    """torch on one thread: others work here, too, and answers are the same in every run."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
