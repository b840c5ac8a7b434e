"""A tree of old pictures, and whether a record's events are those of the run over its pictures in order of capture."""

import os
from datetime import UTC, datetime

from hearthwatch.record.batching import Cut, cut
from tests.support.pipeline import picture


def old_pictures(base, count, cameras, end, step=0.5):
    """Write pictures of `cameras` that were taken and modified every `step` seconds, the last at `end`."""
    for n in range(count):
        at = end - (count - n) * step
        camera = base / f"cam{n % cameras}"
        camera.mkdir(parents=True, exist_ok=True)
        file = camera / f"{datetime.fromtimestamp(at, UTC):%Y%m%d_%H%M%S_%f}-{n}.jpg"
        file.write_bytes(picture(str(n)))
        os.utime(file, (at, at))


def differing_cameras(record, rules=None):
    """The cameras whose pictures are not grouped as `cut` does it."""
    found, frames = {}, {}
    for camera, event, at, i in record.rows(
        "SELECT camera_id, event_id, captured_at, id FROM frames WHERE event_id IS NOT NULL"
    ):
        found.setdefault(camera, {}).setdefault(event, set()).add(i)
        frames.setdefault(camera, []).append((at, i))
    wanted = {camera: [{i for _, i in part} for part in cut(all_, rules or Cut())] for camera, all_ in frames.items()}
    return [c for c in wanted if sorted(map(sorted, wanted[c])) != sorted(map(sorted, found[c].values()))]
