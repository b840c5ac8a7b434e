"""Identical pictures of one camera within five minutes are looked at once: which frame was the first?

A function of id order, arrival and content alone, so every restart answers alike. Holds the pictures that arrived in
the last five minutes and nothing older: 250 bytes each, 600 a minute for a busy home.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from record.ledger import DUPLICATE_SECONDS, Seen

WITHIN = DUPLICATE_SECONDS * 1_000_000  # microseconds of arrival


class Recent:
    """Asked frame by frame, in id order. `before` tells what was decided before this run, given a time of arrival."""

    def __init__(self, before: Callable[[int], Iterable[Seen]]) -> None:
        self._before: Callable[[int], Iterable[Seen]] | None = before
        self._seen: dict[tuple[str, str], Seen] = {}

    def original(self, frame: Seen, first_attempt: bool = True) -> int | None:
        """The id of the frame that this one repeats; None: it is the first, and later ones may repeat it.

        A retry is asked for by a person and repeats nobody.
        """
        if self._before:
            for seen in self._before(frame.arrived_at - WITHIN):
                if seen.frame_id < frame.frame_id:
                    self._keep(seen)
            self._before = None
        self._forget(frame.arrived_at - WITHIN)
        first = self._seen.get((frame.camera_id, frame.content_hash))
        if first and first_attempt:
            return first.frame_id
        self._keep(frame)
        return None

    def _keep(self, seen: Seen) -> None:
        key = (seen.camera_id, seen.content_hash)
        self._seen.pop(key, None)  # so that the oldest stays in front
        self._seen[key] = seen

    def _forget(self, since: int) -> None:
        while self._seen and (oldest := next(iter(self._seen.values()))).arrived_at < since:
            del self._seen[oldest.camera_id, oldest.content_hash]
