"""What a judge knows of an event besides its boxes: places, light, what is normal here, what the owner answered before.

Everything here is in the record and chosen by the time at which the event started, so a replay is given the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

from hearthwatch.record import Record
from hearthwatch.record.baselines import Baseline, read_baseline, version_at
from hearthwatch.record.units import SECOND
from hearthwatch.schemas.zones import Zone, ZoneKind, parse_zones

log = logging.getLogger(__name__)

HANDOVER_MAX = 120 * SECOND  # between two events; a person seen after a longer time counts as another one


class Term(NamedTuple):
    """A number of the score, and its reason in words."""

    points: int
    why: str
    is_hard: bool = False
    """A sign that neither what is normal, nor the owner's answers, nor a language model can cancel."""


class Signature(NamedTuple):
    """What makes two events alike to their owner."""

    camera_id: str
    place: ZoneKind | None
    """The gravest place that the object was in; None: in no zone."""
    kind: str
    """Of the gravest object."""
    from_own_door: bool
    hour: int
    workday: bool


def _nothing(_: Signature) -> Term | None:
    return None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Of one event. Times in microseconds UTC; the size is that of its first picture, in pixels."""

    camera_id: str
    started_at: int
    width: int = 0
    height: int = 0
    is_grey: bool | None = None
    """Whether its first picture has no colour, as infrared light gives at night; None: not known."""
    zones: tuple[Zone, ...] = ()
    """Those that mean something to a judge: all but `ignore`."""
    normal: Callable[[Signature], Term | None] = _nothing
    """The term for what is normal for such an event at this hour; None: not known, or neither rare nor usual."""
    learned: Callable[[Signature], Term | None] = _nothing
    """The term for what the owner answered about such events; None: nothing."""
    hints: Hashable = None
    """What `normal` and `learned` are made of: where it is the same, so are they."""
    before: str = ""
    """Who was there at the end of the camera's last event, if that was just before: what its judge handed over."""


def read_surroundings(record: Record, event: int) -> Surroundings:
    """Read those of an event that has a frame."""
    from hearthwatch.record.feedback import learned_at  # it needs the names above

    camera, started_at, width, height, is_grey, zones = record.one(
        "SELECT e.camera_id, f.captured_at, f.width, f.height, f.is_grey, c.zones FROM events e "
        "JOIN frames f ON f.event_id = e.id LEFT JOIN cameras c ON c.id = e.camera_id "
        "WHERE e.id = ? ORDER BY f.captured_at, f.id LIMIT 1", event,
    )  # fmt: skip
    baseline, learned = read_baseline(record, camera, started_at), learned_at(record, camera, started_at)
    return Surroundings(
        camera, started_at, width or 0, height or 0, None if is_grey is None else bool(is_grey),
        tuple(zone for zone in zones_of(camera, zones) if zone.kind != "ignore"),
        partial(_normal, baseline), learned, hints=(version_at(record, started_at), *learned.args),
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
