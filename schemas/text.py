"""Write messages: counts with their noun, the nearest known name for an unknown one, the version."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib.metadata import PackageNotFoundError, version


def did_you_mean(name: str, known: Iterable[str], similarity: float = 0.6) -> str:
    """Return `. Did you mean `channel`?`, to end a sentence with; nothing if no known name is that similar (0 to 1)."""
    near = get_close_matches(name, list(known), n=1, cutoff=similarity)
    return f". Did you mean `{near[0]}`?" if near else ""


def plural(n: int, one: str, more: str | None = None) -> str:
    """Return `1 picture`, `2,000 pictures`; with `more`, `1 picture waits`, `2 pictures wait`."""
    return f"1 {one}" if n == 1 else f"{n:,} {more or one + 's'}"


@cache
def product_version() -> str:
    """Return the version of Hearthwatch."""
    try:
        return version("hearthwatch")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"
