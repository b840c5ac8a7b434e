"""`hearthwatch api`: the read API and the page alone, in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from hearthwatch import ROOT


def api() -> None:
    """Serve the read API and the page, alone: http://127.0.0.1:8000 unless HEARTHWATCH_API_HOST and _PORT say otherwise."""
    os.execve(sys.executable, command(), environment(os.environ))


def command() -> list[str]:
    """What starts the server; `-P`: a folder `api` where somebody happens to be is not ours."""
    return [sys.executable, "-P", "-m", "hearthwatch.api"]


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Ours, with the rooms on the path."""
    return {**ours, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), ours.get("PYTHONPATH"))))}
