"""What a judge knows of an event besides its boxes: places, light, what is normal here, what the owner answered before.

Everything here is in the record and chosen by the time at which the event started, so a replay is given the same.
"""

from __future__ import annotations

import json
import logging
from functools import lru_cache, partial

from hearthwatch.record import Record
from hearthwatch.record.baselines import Baseline, read_baseline, version_at
from hearthwatch.record.units import SECOND
from hearthwatch.schemas.case import Signature, Surroundings, Term
from hearthwatch.schemas.zones import Zone, parse_zones

log = logging.getLogger(__name__)

HANDOVER_MAX = 300 * SECOND  # between two events


def read_surroundings(record: Record, event: int) -> Surroundings:
    """Read those of an event that has a frame."""
    from hearthwatch.record.feedback import learned_at  # it needs the names above

    camera, started_at, width, height, is_grey, zones, name = record.one(
        "SELECT e.camera_id, f.captured_at, f.width, f.height, f.is_grey, c.zones, c.name FROM events e "
        "JOIN frames f ON f.event_id = e.id LEFT JOIN cameras c ON c.id = e.camera_id "
        "WHERE e.id = ? ORDER BY f.captured_at, f.id LIMIT 1", event,
    )  # fmt: skip
    baseline, learned = read_baseline(record, camera, started_at), learned_at(record, camera, started_at)
    return Surroundings(
        camera, started_at, width or 0, height or 0, None if is_grey is None else bool(is_grey),
        tuple(zone for zone in zones_of(camera, zones) if zone.kind != "ignore"),
        partial(_normal, baseline), learned, hints=(version_at(record, started_at), *learned.args), camera_name=name or camera,
        before=(previous_event(record, camera, started_at) or ("", "", ""))[2],
    )  # fmt: skip


def previous_event(record: Record, camera: str, started_at: int) -> tuple[int, str, str] | None:
    """Return id, status and handover of the camera's event that ended just before."""
    row = record.one(
        "SELECT id, status, coalesce(handover, ''), last_at FROM events WHERE camera_id = ? AND started_at < ? "
        "AND status <> 'merged' ORDER BY started_at DESC LIMIT 1", camera, started_at,
    )  # fmt: skip
    return row[:3] if row and row[3] >= started_at - HANDOVER_MAX else None


def _normal(baseline: Baseline, s: Signature) -> Term | None:
    found = baseline.usual(s.place or "", s.kind, s.hour, s.workday)
    return Term(found.points, found.words) if found and found.points else None


@lru_cache(maxsize=256)
def zones_of(camera: str, text: str | None) -> tuple[Zone, ...]:
    """Parse a camera's zones; what is wrong is logged, once, and gives none."""
    try:
        return parse_zones(text)
    except ValueError as error:
        log.warning("camera %s: %s; no zone of it counts", camera, error)
        return ()


def parse_neighbours(text: str | None) -> tuple[str, ...] | None:
    """Parse `cameras.neighbours`, a JSON list of ids of cameras; None: all are.

    Raises:
        ValueError: it is not; the text says what is wrong.
    """
    names = None if text is None else json.loads(text)
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"neighbours are a list of ids of cameras, not {names!r:.80}")
    return None if names is None else tuple(names)


def neighbours_of(text: str | None) -> tuple[str, ...] | None:
    """Parse a camera's neighbours; what is wrong is a problem of the health page, and all cameras are neighbours."""
    try:
        return parse_neighbours(text)
    except ValueError:
        return None
