"""The facts of a graph in a folder, for tests that build a component in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hearthwatch.schemas.context import Context


def context(folder: Path, record: str = "hearthwatch.db", **more: Any) -> Context:
    """Make the context of a graph whose record, data and uploads lie in this folder."""
    return Context(folder / record, folder, folder / "uploads", **more)
