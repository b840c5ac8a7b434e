"""A detector that only looks at a file's hash: 0 to 3 boxes, or always as many as told. Some names misbehave.

`abort` in a file's name ends the process where it stands, `raise` raises, `slow` takes `slow_seconds`; on a picture with
`empty` in it is nothing, on one with `parked` the same car stands in the same place.
"""

import os
import time
from pathlib import Path

from hearthwatch.schemas import Detected, Detection, Frame, Stage

TYPES = ("person", "car", "dog")
PARKED = Detection("car", 0.8, (300, 200, 90, 60))


class NullDetector(Stage):
    accepts = Frame
    emits = Detected

    boxes: int | None = None
    """Per picture; None: its hash decides, 0 to 3."""
    kind: str | None = None
    """What each box is; None: its hash decides."""
    slow_seconds: float = 0.0
    """What a picture with `slow` in its name takes."""
    gate: Path | None = None
    """A file that "loading the model" waits for; `<gate>.reached` says that it waits."""

    def open(self):
        if self.gate:
            self.gate.with_suffix(".reached").touch()
            while not self.gate.exists():
                time.sleep(0.005)

    def process(self, items):
        return [self._look(frame) for frame in items]

    def _look(self, frame):
        if "abort" in frame.path:
            os.abort()
        if "raise" in frame.path:
            raise RuntimeError("no detector likes this one")
        if "slow" in frame.path:
            time.sleep(self.slow_seconds)
        opened = frame.opened
        digest = bytes.fromhex(opened.content_hash)
        count = 0 if "empty" in frame.path else digest[0] % 4 if self.boxes is None else self.boxes
        found = tuple(
            Detection(self.kind or TYPES[digest[n] % 3], 0.5 + n / 10, (*digest[n + 3 : n + 5], 20, 30))
            for n in range(count)
        )
        if "parked" in frame.path:
            found += (PARKED,)
        return Detected(frame, opened.width, opened.height, found, model="null", detect_ms=0.0, is_grey=opened.is_grey)
