"""Find the first of identical pictures of one camera within five minutes: the others are not processed.

A function of id order, arrival and content alone, so every restart decides alike. Holds the pictures that arrived in
the last five minutes and nothing older: 300 bytes each, 600 a minute for a busy home.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from hearthwatch.record.ledger import DUPLICATE_SECONDS, KnownPicture

WINDOW_MICROSECONDS = DUPLICATE_SECONDS * 1_000_000  # of arrival


class DuplicateFinder:
    """Asked frame by frame, in id order. `before` returns what was decided before this run, since a time of arrival."""

    def __init__(self, before: Callable[[int], Iterable[KnownPicture]]) -> None:
        self._before: Callable[[int], Iterable[KnownPicture]] | None = before
        self._seen: OrderedDict[bytes, tuple[int, int]] = OrderedDict()
        """Picture → its frame and when it arrived, the oldest in front; a plain dict is slow to find that again."""

    def find_original(self, frame: KnownPicture, first_attempt: bool = True) -> int | None:
        """Return the id of the frame that this one repeats; None: it is the first, and later ones may repeat it.

        A retry, which a person asked for, is no duplicate.
        """
        if self._before:
            for seen in self._before(frame.arrived_at - WINDOW_MICROSECONDS):
                if seen.frame_id < frame.frame_id:
                    self._keep(seen)
            self._before = None
        self._drop_before(frame.arrived_at - WINDOW_MICROSECONDS)
        first = self._seen.get(_key(frame))
        if first and first_attempt:
            return first[0]
        self._keep(frame)
        return None

    def _keep(self, seen: KnownPicture) -> None:
        key = _key(seen)
        self._seen[key] = seen.frame_id, seen.arrived_at
        self._seen.move_to_end(key)

    def _drop_before(self, since: int) -> None:
        while self._seen and next(iter(self._seen.values()))[1] < since:
            self._seen.popitem(last=False)


def _key(seen: KnownPicture) -> bytes:
    """Half the memory of the two strings."""
    return bytes.fromhex(seen.content_hash) + seen.camera_id.encode()
