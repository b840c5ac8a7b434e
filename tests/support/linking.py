"""Incidents of a record, as the component `incident` makes them."""

from hearthwatch.record.incidents import Incidents, Reach
from hearthwatch.record.units import HOUR, SECOND


def link(record, other_camera_seconds=90):
    """Link what is new; close what has no open event."""
    incidents = Incidents(record, Reach(other_camera=other_camera_seconds * SECOND))
    while incidents.is_behind():
        incidents.update()
    (last,) = record.one("SELECT coalesce(max(arrived_at), 0) FROM frames")
    incidents.close_due(last + HOUR)
