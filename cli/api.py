"""`hearthwatch api`: the read API and the page alone, in this process."""

from __future__ import annotations

import os

from hearthwatch.cli.supervisor import API, with_package_path


def api() -> None:
    """Serve the read API and the page, without the pipeline, at HEARTHWATCH_API_HOST and HEARTHWATCH_API_PORT."""
    os.execve(API[0], API, with_package_path(os.environ))
