"""Decide whether it is dark where the cameras are: by the sun, else by an infrared picture, else by the clock.

Pure: the same time and picture give the same answer live, replayed and recovered, as long as the settings are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from functools import lru_cache, partial

from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import from_microseconds

Darkness = Callable[[int, bool | None], bool]
"""When a picture was captured (microseconds UTC), and whether it has no colour (None: not known) → whether it is dark."""

SUN_BELOW = (
    -4.0
)  # degrees: between sunset (400 lx) and the end of civil twilight (-6°, 3 lx); about 20 lx, a street lamp's
NIGHT_FROM, NIGHT_UNTIL = 22, 5  # hours of the camera's clock, where nothing says more
MINUTE = 60_000_000  # the sun moves a quarter of a degree in one


def darkness(context: Context) -> Darkness:
    """Return the darkness of one graph: by the sun where it knows the cameras' location."""
    return by_sun(context.location) if context.location else partial(by_picture, zone=context.zone)


def by_picture(at: int, is_grey: bool | None, zone: tzinfo | None = None) -> bool:
    """Decide by infrared light, else by the hours of the camera's clock; None: the system's zone."""
    hour = from_microseconds(at).astimezone(zone).hour
    return bool(is_grey) or hour >= NIGHT_FROM or hour < NIGHT_UNTIL


def by_sun(location: tuple[float, float]) -> Darkness:
    """Decide by how far below the horizon the sun is at this latitude and longitude, polar day and night included."""
    from astral import Observer
    from astral.sun import elevation

    observer = Observer(*location)

    @lru_cache(maxsize=256)
    def is_dark(minute: int) -> bool:
        return elevation(observer, from_microseconds(minute * MINUTE), with_refraction=False) < SUN_BELOW

    return lambda at, is_grey: is_dark(at // MINUTE)
