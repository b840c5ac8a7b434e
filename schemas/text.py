"""Did you mean …?"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A full stop, and the nearest known name if one is near: `. Did you mean `channel`?`."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f". Did you mean `{near[0]}`?" if near else "."
