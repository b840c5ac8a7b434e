"""When a picture was taken: cameras name and tag their files in many ways, and some clocks are wrong."""

import io
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hearthwatch.schemas.items import from_microseconds
from hearthwatch.sources.capture_time import exif_time, find_capture_time, name_time

NOON = datetime(2023, 11, 2, 12, 34, 56, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def exif(original=None, digitized=None, plain=None, fraction=None, offset=None, kind="JPEG") -> bytes:
    """A small picture whose EXIF says these times."""
    tags = Image.Exif()
    inner = {0x9003: original, 0x9004: digitized, 0x9291: fraction, 0x9011: offset}
    tags[0x8769] = {tag: text for tag, text in inner.items() if text is not None}
    if plain:
        tags[0x0132] = plain
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, kind, exif=tags.tobytes())
    return file.getvalue()


def told(name="00042.jpg", *, mtime=NOON, head=b"", mode="auto", zone=UTC) -> datetime:
    return from_microseconds(find_capture_time(name, int(mtime.timestamp()) * 10**9, head, mode, zone).at)


@pytest.mark.parametrize(
    "name",
    [
        "MDAlarm_20231102-123456.jpg",  # Foscam, motion
        "Schedule_20231102-123456.jpg",  # Foscam, schedule
        "Front_00_20231102123456.jpg",  # Reolink
        "192.168.1.64_01_20231102123456000_MOTION_DETECTION.jpg",  # Hikvision
        "01-20231102123456-00.jpg",  # motion
        "2023-11-02/12-34-56.jpg",  # motionEye
        "2023-11-02/001/jpg/12/34/56[M][0@0][0].jpg",  # Dahua
        "2023-11-02/001/jpg/12/34.56[M][0@0][0].jpg",  # Dahua
        "2023-11-02_12-34-56.png",
        "2023-11-02T12:34:56.jpg",
        "2023-11-02T12:34:56Z.jpg",
        "2023-11-02 at 12.34.56.jpeg",
        "IMG_20231102_123456.JPG",
        "20231102T133456+01:00.jpg",
        "1698928496.jpg",
        "cam-1698928496000.jpg",
        "20231399-123456 20231102-123456.jpg",  # the first is no date
    ],
)
def test_a_name_tells_when_the_picture_was_taken(name):
    assert told(name, mtime=NOON + timedelta(minutes=7)) == NOON


def test_fractions_of_a_second_are_kept():
    assert name_time("20231102123456789.jpg").microsecond == 789_000
    assert name_time("20231102_123456_789.jpg").microsecond == 789_000
    assert name_time("1698928496789.jpg").microsecond == 789_000
    assert name_time("20231102-123456-01.jpg").microsecond == 0  # a counter


@pytest.mark.parametrize(
    "name", ["00002.jpg", "20231102.jpg", "IMG_4711.jpg", "202311021234567.jpg", ".jpg", "", "a/b"]
)
def test_a_name_without_a_time_leaves_the_modification(name):
    assert name_time(name) is None
    assert told(name) == NOON


def test_exif_goes_before_the_name_and_the_name_before_the_modification():
    head, name = exif("2023:11:02 12:30:00"), "20231102-123100.jpg"
    assert told(name, head=head) == NOON.replace(minute=30, second=0)
    assert told(name) == NOON.replace(minute=31, second=0)
    assert told(name, head=head, mode="name") == NOON.replace(minute=31, second=0)
    assert told(name, head=head, mode="mtime") == NOON


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_tells_its_fraction_and_its_zone(kind):
    head = exif("2023:11:02 13:34:56", fraction="25", offset="+01:00", kind=kind)
    assert exif_time(head) == NOON + timedelta(milliseconds=250)


def test_digitized_and_plain_times_stand_in_for_the_original():
    assert exif_time(exif(digitized="2023:11:02 12:34:56")).replace(tzinfo=UTC) == NOON
    assert exif_time(exif(plain="2023:11:02 12:34:56")).replace(tzinfo=UTC) == NOON
    assert exif_time(exif(original="0000:00:00 00:00:00", plain="2023:11:02 12:34:56")).replace(tzinfo=UTC) == NOON


@pytest.mark.parametrize(
    ("off", "believed"),
    [
        (timedelta(0), True),
        (timedelta(hours=24), True),
        (timedelta(hours=24, seconds=1), False),
        (timedelta(seconds=-60), True),
        (timedelta(seconds=-61), False),
        (timedelta(days=-365 * 20), False),
    ],
)
def test_a_wrong_camera_clock_gives_way_to_the_modification_and_is_noticed(off, believed):
    clock = NOON - off
    found = find_capture_time(f"{clock:%Y%m%d-%H%M%S}.jpg", int(NOON.timestamp()) * 10**9, b"", "auto", UTC)
    assert from_microseconds(found.at) == (clock if believed else NOON)
    assert found.doubted is not believed


def test_a_wrong_exif_clock_gives_way_to_a_right_name():
    assert told("20231102-123100.jpg", head=exif("2000:01:01 00:00:00")) == NOON.replace(minute=31, second=0)


def test_whoever_says_name_or_exif_means_it():
    old = datetime(2019, 5, 6, 7, 8, 9, tzinfo=UTC)
    assert told("20190506-070809.jpg", mode="name") == old
    assert told(head=exif("2019:05:06 07:08:09"), mode="exif") == old
    assert told(mode="name") == told(mode="exif") == NOON  # nothing said


def test_local_times_are_in_the_zone_of_the_cameras():
    assert told("20231102-133456.jpg", zone=BERLIN) == NOON


@pytest.mark.parametrize(("uploaded", "meant"), [("00:31", "00:30"), ("01:31", "01:30")])
def test_an_hour_that_exists_twice_is_the_one_next_to_the_upload(uploaded, meant):
    mtime = datetime.fromisoformat(f"2023-10-29T{uploaded}:00+00:00")
    assert told("20231029-023000.jpg", mtime=mtime, zone=BERLIN) == datetime.fromisoformat(f"2023-10-29T{meant}:00Z")


@pytest.mark.slow
@given(
    st.binary(max_size=300), st.text(max_size=40), st.integers(0, 2**63 - 1), st.sampled_from(["auto", "name", "exif"])
)
def test_whatever_a_file_holds_there_is_a_time(junk, name, mtime_ns, mode):
    real = exif("2023:11:02 12:34:56")
    for head in (junk, b"Exif\0\0II*\0" + junk, b"Exif\0\0MM\0*" + junk, real[:40] + junk + real[40:]):
        from_microseconds(find_capture_time(name, mtime_ns, head, mode, BERLIN).at)


@given(st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_broken_exif_is_no_exif(at, noise):
    real = bytearray(exif("2023:11:02 12:34:56", fraction="1", offset="+00:00"))
    real[at : at + len(noise)] = noise
    exif_time(bytes(real))
