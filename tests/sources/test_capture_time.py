"""When a picture was taken: cameras name and tag their files in many ways, and some clocks are wrong."""

import io
import struct
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hearthwatch.schemas.items import from_microseconds
from hearthwatch.schemas.path_rules import TimeFormat
from hearthwatch.sources.capture_time import (
    HEAD_BYTES,
    ends_before_picture,
    find_capture_time,
)

NOON = datetime(2023, 11, 2, 12, 34, 56, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def read_time(mode, path="", head=b""):
    """The time that a name or EXIF gives, local ones as UTC; None: none."""
    found = find_capture_time(path, 0, head, mode, UTC)
    return from_microseconds(found.at) if found.source == mode else None


def name_time(path):
    return read_time("name", path)


def exif_time(head):
    return read_time("exif", head=head)


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


def reading(name="00042.jpg", *, mtime=NOON, head=b"", mode="auto", zone=UTC) -> datetime:
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
    assert reading(name, mtime=NOON + timedelta(minutes=7)) == NOON


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
    assert reading(name) == NOON


def test_exif_goes_before_the_name_and_the_name_before_the_modification():
    head, name = exif("2023:11:02 12:30:00"), "20231102-123100.jpg"
    assert reading(name, head=head) == NOON.replace(minute=30, second=0)
    assert reading(name) == NOON.replace(minute=31, second=0)
    assert reading(name, head=head, mode="name") == NOON.replace(minute=31, second=0)
    assert reading(name, head=head, mode="mtime") == NOON


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
    assert reading("20231102-123100.jpg", head=exif("2000:01:01 00:00:00")) == NOON.replace(minute=31, second=0)


def test_whoever_says_name_or_exif_means_it():
    old = datetime(2019, 5, 6, 7, 8, 9, tzinfo=UTC)
    assert reading("20190506-070809.jpg", mode="name") == old
    assert reading(head=exif("2019:05:06 07:08:09"), mode="exif") == old
    assert reading(mode="name") == reading(mode="exif") == NOON  # nothing said


def test_local_times_are_in_the_zone_of_the_cameras():
    assert reading("20231102-133456.jpg", zone=BERLIN) == NOON


@pytest.mark.parametrize(("uploaded", "meant"), [("00:31", "00:30"), ("01:31", "01:30")])
def test_an_hour_that_exists_twice_is_the_one_next_to_the_upload(uploaded, meant):
    mtime = datetime.fromisoformat(f"2023-10-29T{uploaded}:00+00:00")
    assert reading("20231029-023000.jpg", mtime=mtime, zone=BERLIN) == datetime.fromisoformat(f"2023-10-29T{meant}:00Z")


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


SEEN = datetime(2026, 11, 27, 20, 10, 33, tzinfo=UTC)  # when the pictures below were modified
TAKEN = SEEN.replace(second=30)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("2026-11-27/001/jpg/20/10/20.10.30[M][0@0][0].jpg", TAKEN),  # Amcrest: the folders repeat the name
        ("2026-11-27/001/jpg/20/20.10.30[M][0@0][0].jpg", TAKEN),
        ("2026-11-27/pic_001/20.10.30[M][0@0][0].jpg", TAKEN),
        ("2026-11-27/20/10-30-05.jpg", TAKEN),  # the folder is the hour, 05 a counter
        ("2026-11-27/20/10-30.jpg", TAKEN),
        ("2026-11-27/20.10.30-20.10.45[M][0@0][0].jpg", TAKEN),  # from, until
        ("2026/11/20/20.10.30.jpg", SEEN),  # a week old: not believed
        ("2026/11/27/20/10/30.jpg", TAKEN),
        ("20261127-080000/20-10-30.jpg", TAKEN),  # the folder says when the session began
        ("2026112720103001.jpg", TAKEN),  # a counter, not the year 2034
        ("202611272010300001.jpg", TAKEN),
        ("20261127_20103005.jpg", TAKEN),
        ("Front 2026-11-27 08.10.30 PM.jpg", TAKEN),
        ("Screenshot 2026-11-27 at 8.10.30\u202fPM.png", TAKEN),
        ("2026-11-27_08-10-30_pm.jpg", TAKEN),
        ("2026-11-27 8-10-30 p.m.jpg", TAKEN),
        ("2026-11-27 下午 08.10.30.jpg", TAKEN),
        ("2026-11-27/PM/08-10-30.jpg", TAKEN),
        ("20261127AM/cam-20261127-201030.jpg", TAKEN),
        ("Front Door 11-27-2026, 9.10.30 PM GMT+1.jpg", TAKEN),
        ("20261127T151030-0500.jpg", TAKEN),
        ("2026-11-27T15-10-30-05-00.jpg", TAKEN),
        ("20261127-151030-0500.jpg", TAKEN),
        ("20261127-201030-0500.jpg", TAKEN),  # the same digits as a counter
        ("20261127T211030+01:00.jpg", TAKEN),
        ("2026/11/27/cam_20-10-30.jpg", TAKEN),  # motionEye
        ("26-11-27_20-10-30-05.jpg", TAKEN),  # Axis
        ("27-11-2026_20-10-30.jpg", TAKEN),
        ("11-27-2026 20.10.30.jpg", TAKEN),
        ("26-11-27/20-10-30.jpg", TAKEN),
        ("Schedule_20261127-201030.jpg", TAKEN),  # Foscam
        ("2026/11/27/Front_00_20261127201030.jpg", TAKEN),  # Reolink
        ("Cam1.20261127_201030.jpg", TAKEN),  # Blue Iris
        ("Cam1.20261127_201030.5.jpg", TAKEN),
        ("alarm/20261127/20261127_20_10_30.jpg", TAKEN),  # Wyze
        ("20261127_201030_tp00012.jpg", TAKEN),  # Tapo
        ("FrontDoor_2026-11-27_20-10-30.jpg", TAKEN),  # UniFi
        ("20261127PM/cam-20261127-201030.jpg", TAKEN),  # Synology
        ("front-1795810230.250123-abc12.jpg", TAKEN.replace(microsecond=250_123)),  # Frigate
        ("20261127/201030.jpg", TAKEN),
        ("20261127/201030-00.jpg", TAKEN),
        ("2026-11-27_01-20-10-30.jpg", TAKEN),  # 01 is a channel
        ("a.20261127-201030.jpg.1", TAKEN),
    ],
)
def test_what_cameras_are_known_to_write_is_read(name, taken):
    assert reading(name, mtime=SEEN) == taken


@pytest.mark.parametrize(
    "name",
    [
        "2026-11-27/000123.jpg",  # a counter
        "2026-11-27/cam_001023.jpg",
        "2026-11-27/10.10.10.5_snap.jpg",  # an address
        "2026-11-27/192.168.10.20_00001.jpg",
        "2026-11-27/01/12-34.jpg",  # a channel, hour and minute
        "SN1795790000_0001.jpg",  # a serial number that is a time of today
        "cam_1795790000_0001.jpg",
        "20261127-080000/00001.jpg",  # when the session began
        "2026-11-27 AM 11.10.30 PM.jpg",  # half past eleven tonight has not been yet
        "202611272010.jpg",
    ],
)
def test_digits_that_may_be_something_else_are_not_believed(name):
    assert reading(name, mtime=SEEN) == SEEN


DIGITS = st.sampled_from(
    ["2026", "11", "27", "20", "10", "30", "20261127", "201030", "08", "PM", "am", "-0500", "1795810230", "[M][0@0][0]"]
)
SIGNS = st.sampled_from(["/", "-", "_", ".", " ", ":", "T", "", ", ", "h"])


@given(st.lists(st.tuples(DIGITS, SIGNS), max_size=9), st.integers(0, 400_000), st.booleans())
def test_no_name_says_the_future(parts, later, copied):
    name = "".join(digits + sign for digits, sign in parts)
    at = SEEN + timedelta(seconds=later - 200_000)
    found = find_capture_time(f"{name}.jpg", int(at.timestamp()) * 10**9, b"", "auto", UTC, copied=copied)
    late = from_microseconds(found.at) - at
    assert late <= timedelta(seconds=60)
    assert copied or late >= -timedelta(days=1)
    assert (found.source == "mtime") >= found.doubted


def test_a_copied_picture_is_believed_where_it_can_be_read_in_one_way():
    copied = int(datetime(2027, 3, 1, tzinfo=UTC).timestamp()) * 10**9

    def source(name, formats=()):
        return find_capture_time(name, copied, b"", "auto", UTC, [TimeFormat(text) for text in formats], copied=True)

    for name in (
        "2026/11/27/cam_20-10-30.jpg",
        "26-11-27_20-10-30-05.jpg",
        "27-11-2026_20-10-30.jpg",
        "1795810230.jpg",
    ):
        assert from_microseconds(source(name).at) == TAKEN
    for name in ("11-10-2026_20-10-30.jpg", "20261127/201030.jpg", "cam_1795810230_1.jpg", "00001.jpg"):
        assert source(name).source == "mtime"
    assert source("2026-11-27/20.10.30-20.10.45[M].jpg").source == "mtime"
    assert not source("2026112720103.jpg").doubted  # digits, and no clock of the year 2034
    reading = source("20261127/201030.jpg", ["%Y%m%d/%H%M%S"])
    assert (from_microseconds(reading.at), reading.source) == (TAKEN, "format")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("%Y/%m/%d/cam_%H-%M-%S.jpg", "2026/11/27/cam_20-10-30.jpg"),
        ("%Y%m%d/%H%M%S", "archive/20261127/201030.jpg"),
        ("%y-%m-%d_%H-%M-%S-*", "26-11-27_20-10-30-05.jpg"),
        ("%d %b %Y %I.%M.%S %p", "27 Nov 2026 08.10.30 PM.jpg"),
        ("%Y-%j-%H%M%S%z", "2026-331-151030-0500.jpg"),
        ("*_%s", "serial_1795810230.jpg"),
        ("%Y/**/%Y%m%d%H%M%S", "2026/x/y/20261127201030.png"),
    ],
)
def test_a_format_of_ones_own_is_read(pattern, path):
    at = int(SEEN.timestamp()) * 10**9
    found = find_capture_time(path, at, b"", "auto", UTC, [TimeFormat(pattern)])
    assert (from_microseconds(found.at), found.source) == (TAKEN, "format")


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_format_is_read_or_a_mistake(pattern, path):
    try:
        TimeFormat(pattern).read(path)
    except ValueError as error:
        assert str(error)


# -- EXIF that is broken in part


def tiff(*entries: tuple[int, int, bytes], inner=(), pointer=None) -> bytes:
    """EXIF of these (tag, kind, value) entries, little-endian."""
    out, values = struct.pack("<H", len(entries) + 1), b""
    after = 8 + 2 + 12 * (len(entries) + 1) + 4
    for tag, kind, value in entries:
        out += struct.pack("<HHII", tag, kind, len(value), after + len(values))
        values += value
    out += struct.pack("<HHII", 0x8769, 4, 1, after + len(values) if pointer is None else pointer) + bytes(4)
    start = after + len(values)
    second, texts = struct.pack("<H", len(inner)), b""
    for tag, kind, value in inner:
        second += struct.pack("<HHII", tag, kind, len(value), start + 2 + 12 * len(inner) + 4 + len(texts))
        texts += value
    return b"II*\0" + struct.pack("<I", 8) + out + values + second + bytes(4) + texts


def jpeg(block: bytes, *before: tuple[int, bytes]) -> bytes:
    """The head of a JPEG with this EXIF behind other segments."""
    out = b"\xff\xd8"
    for marker, data in (*before, (0xE1, b"Exif\0\0" + block)):
        out += struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data
    return out + b"\xff\xda\0\x08" + bytes(6)


ORIGINAL = (0x9003, 2, b"2026:11:27 20:10:30\0")


@pytest.mark.parametrize(
    "head",
    [
        jpeg(
            tiff((0x010F, 2, "Überwachung\xff".encode("latin-1") + b"\0"), inner=[ORIGINAL])
        ),  # a text that is not ASCII
        jpeg(tiff((0x0132, 2, b"2026:11:27 20:10:30\0"), pointer=2**31)),  # the second directory lies nowhere
        jpeg(tiff(inner=[(0x9011, 2, b"+99:99\0"), ORIGINAL])),
        jpeg(tiff(inner=[(0x9011, 2, b"local\0"), ORIGINAL, (0x9291, 2, b"zz\0")])),
        jpeg(tiff(inner=[(0x9004, 2, b"\xff\xfe"), ORIGINAL])),
        jpeg(tiff(inner=[(0x9003, 2, b"2026:11:27 08:10:30 PM\0")])),
        jpeg(tiff(inner=[(0x9003, 7, b"2026:11:27 20:10:30\0")])),
        jpeg(tiff(inner=[ORIGINAL]), (0xE2, bytes(60_000))),  # behind a large block
        jpeg(tiff(inner=[ORIGINAL]), (0xE0, b"JFIF\0" + bytes(9)), (0xFE, bytes(9000))),
        jpeg(tiff(inner=[ORIGINAL]), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + bytes(5000))),
        jpeg(tiff(inner=[ORIGINAL]), (0xE1, b"Exif\0\0broken")),
    ],
)
def test_the_tags_of_exif_that_matter_are_read_by_themselves(head):
    assert exif_time(head).replace(tzinfo=UTC) == TAKEN


def test_exif_of_a_wrong_zone_is_read_as_local_time():
    head = jpeg(tiff(inner=[(0x9003, 2, b"2026:11:27 21:10:30\0"), (0x9011, 2, b"+00:00\0")]))
    assert reading(mtime=SEEN, head=head, zone=BERLIN) == TAKEN


def test_exif_behind_more_than_a_segment_is_known_to_be_missing():
    head = jpeg(tiff(inner=[ORIGINAL]), (0xE2, bytes(65_000)), (0xE2, bytes(65_000)))
    assert exif_time(head[:HEAD_BYTES]) is None
    assert ends_before_picture(head[:HEAD_BYTES])
    assert not ends_before_picture(head)
    assert exif_time(head).replace(tzinfo=UTC) == TAKEN
