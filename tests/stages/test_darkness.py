"""Promise: it is dark where the cameras are when the sun is far enough down, at any place and time, live and again."""

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.units import SECOND
from hearthwatch.schemas import Detected, Detection, Tick
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import from_microseconds, to_microseconds
from hearthwatch.schemas.settings import load
from hearthwatch.stages.batch import Batch, BatchWriter
from hearthwatch.stages.darkness import SUN_BELOW, darkness
from tests.support.context import context

BERLIN = ZoneInfo("Europe/Berlin")
MAINZ, TROMSO, SYDNEY = (50.0, 8.27), (69.65, 18.96), (-33.87, 151.2)


def dark(folder, location, moment, is_grey=None, zone=BERLIN):
    at = to_microseconds(moment if moment.tzinfo else moment.replace(tzinfo=zone))
    return darkness(context(folder, zone=zone, location=location))(at, is_grey)


@pytest.mark.parametrize(
    ("location", "moment", "expected"),
    [
        (MAINZ, datetime(2026, 12, 21, 17, 30), True),  # dusk in winter
        (MAINZ, datetime(2026, 12, 21, 7, 0), True),  # dawn
        (MAINZ, datetime(2026, 12, 21, 8, 30), False),
        (MAINZ, datetime(2026, 6, 21, 21, 30), False),
        (MAINZ, datetime(2026, 6, 21, 23, 0), True),
        (MAINZ, datetime(2026, 6, 21, 4, 58), False),  # where the clock alone says night
        (TROMSO, datetime(2026, 12, 21, 18, 0), True),  # polar night: no sunrise, and dark but at noon
        (TROMSO, datetime(2026, 12, 21, 11, 45), False),
        (TROMSO, datetime(2026, 6, 21, 1, 0), False),  # polar day: no sunset
        (SYDNEY, datetime(2026, 12, 21, 9, 0, tzinfo=UTC), False),  # a summer's evening there, 20:00
        (SYDNEY, datetime(2026, 6, 21, 9, 0, tzinfo=UTC), True),
        (SYDNEY, datetime(2026, 12, 21, 23, 0, tzinfo=UTC), False),
    ],
)
def test_the_sun_decides_where_the_location_is_known(tmp_path, location, moment, expected):
    assert dark(tmp_path, location, moment) is expected
    assert dark(tmp_path, location, moment, True) is expected, "a camera may have no colour by day"


def test_without_a_location_a_grey_picture_is_dark_else_the_clock_decides(tmp_path):
    noon, night = datetime(2026, 6, 21, 12), datetime(2026, 6, 21, 23)
    assert [dark(tmp_path, None, noon, grey) for grey in (True, False, None)] == [True, False, False]
    assert [dark(tmp_path, None, night, grey) for grey in (True, False, None)] == [True, True, True]
    hours = [h for h in range(24) if not dark(tmp_path, None, datetime(2026, 6, 21, h, 30))]
    assert hours == list(range(5, 22))
    assert dark(tmp_path, None, datetime(2026, 6, 21, 21, tzinfo=UTC)), "23:00 in Berlin"


def judged(folder, **where):
    """The rules' reasons for a person at dusk in winter, judged by the node `batch`."""
    at = to_microseconds(datetime(2026, 12, 21, 17, 30, tzinfo=BERLIN))
    writer = BatchWriter(Batch(), context(folder, zone=BERLIN, **where), None)
    times = [at + n * SECOND for n in range(8)]
    Ledger(writer.record).discover([FoundFile("c", "C", f"{t}.jpg", 0, 1, t, t) for t in times], at + 9 * SECOND)
    frames = [entry.frame for entry in Ledger(writer.record).todo(0, 99)]
    boxes = [(Detection("person", 0.9, (100 + 30 * n, 99, 40, 120)),) for n in range(len(frames))]
    writer.write([Detected(frame, 640, 360, found) for frame, found in zip(frames, boxes, strict=True)])
    writer.write([Tick(from_microseconds(at + 1000 * SECOND))])
    (reasons,) = writer.record.one("SELECT reasoning FROM events")
    writer.record.close()
    return reasons


def test_the_rules_judge_by_the_location_of_the_graph(tmp_path):
    for name in ("unset", "set", "south"):
        (tmp_path / name).mkdir()
    assert "dark" not in judged(tmp_path / "unset")
    assert "in the dark" in judged(tmp_path / "set", location=MAINZ)
    assert "dark" not in judged(tmp_path / "south", location=(-50.0, 8.27))
    chosen = load(environ={"HEARTHWATCH_LOCATION": "50,8.27"})
    assert Context.from_settings(chosen).location == MAINZ


def elevation(latitude, longitude, moment):
    """The sun's, by the short formulas of the Astronomical Almanac, good to 0.01° from 1950 to 2050."""
    n = (moment - datetime(2000, 1, 1, 12, tzinfo=UTC)) / timedelta(days=1)
    mean, anomaly = math.radians(280.46 + 0.9856474 * n), math.radians(357.528 + 0.9856003 * n)
    ecliptic = mean + math.radians(1.915 * math.sin(anomaly) + 0.02 * math.sin(2 * anomaly))
    tilt = math.radians(23.439 - 0.0000004 * n)
    right = math.atan2(math.cos(tilt) * math.sin(ecliptic), math.cos(ecliptic))
    declination = math.asin(math.sin(tilt) * math.sin(ecliptic))
    hour = math.radians((280.46061837 + 360.98564736629 * n + longitude) % 360) - right
    phi = math.radians(latitude)
    up = math.sin(phi) * math.sin(declination) + math.cos(phi) * math.cos(declination) * math.cos(hour)
    return math.degrees(math.asin(max(-1.0, min(1.0, up))))


@given(st.floats(-90, 90), st.floats(-180, 180), st.datetimes(datetime(1990, 1, 1), datetime(2049, 12, 31)))
def test_it_agrees_with_the_almanac_everywhere(tmp_path_factory, latitude, longitude, moment):
    moment = moment.replace(tzinfo=UTC, second=0, microsecond=0)
    height = elevation(latitude, longitude, moment)
    is_dark = dark(tmp_path_factory.getbasetemp(), (latitude, longitude), moment)
    assert is_dark == (height < SUN_BELOW) or abs(height - SUN_BELOW) < 0.3, height


@given(st.floats(-90, 90), st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30)))
def test_no_time_and_no_place_is_an_error_and_a_minute_has_one_answer(tmp_path_factory, latitude, moment):
    moment = moment.replace(tzinfo=UTC, second=0, microsecond=0)
    folder = tmp_path_factory.getbasetemp()
    late = moment + timedelta(seconds=59)
    assert dark(folder, (latitude, 0.0), moment) == dark(folder, (latitude, 0.0), late)
