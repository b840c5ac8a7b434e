"""Find when a picture was taken: a configured format, EXIF, its name, else the time of its last modification.

Pure; never raises. A time that cannot be true is skipped, and the next best is used. A camera's clock is believed only
where it can be right: a picture is uploaded within a day of being taken. A name that can be read in several ways is
believed only where the modification confirms one of them. Local times that exist twice (or never) because clocks are
changed are read as the one nearest to the modification.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, NamedTuple

from hearthwatch.schemas.items import from_microseconds, to_microseconds
from hearthwatch.schemas.path_rules import TimeFormat

Mode = Literal["auto", "mtime", "name", "exif"]

HEAD_BYTES = 64 * 1024  # of the file, enough for most EXIF: a JPEG segment is no longer …
HEAD_BYTES_MAX = 1024 * 1024  # … but others may come before it
UPLOAD_SECONDS_MAX = 24 * 3600  # a camera that buffers uploads a picture within a day …
CLOCK_SECONDS_AHEAD = 60  # … and its clock is at most this far ahead of ours
UNIX_MAX = 1_990_000_000  # seconds, the year 2033: later ones begin as 2001010100 does
CONFIRMED_SECONDS = 600  # a reading that may be something else has to lie within this time before the modification


class TimeReading(NamedTuple):
    """A time that a picture may mean; `sure` if these digits can hardly mean another one, or none."""

    at: datetime
    sure: bool = True


class CaptureTime(NamedTuple):
    """A capture time in microseconds UTC, what gave it, and whether the picture named another one that cannot be true."""

    at: int
    source: Literal["format", "exif", "name", "mtime"]
    doubted: bool


def find_capture_time(
    path: str, mtime_ns: int, head: bytes, mode: Mode = "auto", zone: tzinfo | None = None,
    formats: Sequence[TimeFormat] = (), copied: bool = False,
) -> CaptureTime:  # fmt: skip
    """Find the capture time of the file at `path` (below its camera's folder) that starts with `head`.

    `zone` is where the camera's clock is; None: the system's zone. `mtime_ns` lies in 1970 … 2262. `copied`: the file may
    have been copied since, so in mode `auto` any older time is believed that can be read in one way only.
    """
    if mode == "mtime":
        return CaptureTime(mtime_ns // 1000, "mtime", False)
    modified, doubted = from_microseconds(mtime_ns // 1000), False
    for source, readings in _sources(path, head, mode, formats):
        times = [(_nearest(at, modified, zone), sure) for at, sure in readings]
        if mode != "auto" and times:
            return CaptureTime(to_microseconds(times[0][0]), source, False)
        if (found := _believe(times, modified, copied)) is not None:
            return CaptureTime(to_microseconds(found), source, False)
        doubted = doubted or any(sure for _, sure in times)
    return CaptureTime(mtime_ns // 1000, "mtime", doubted)


def _sources(
    path: str, head: bytes, mode: Mode, formats: Sequence[TimeFormat]
) -> Iterator[tuple[Literal["format", "exif", "name"], list[TimeReading]]]:
    """Yield what the picture says, best first."""
    if mode in ("auto", "name"):
        for known in formats:
            if at := known.read(path):
                yield "format", [TimeReading(at)]
    if mode in ("auto", "exif"):
        for at in exif_times(head):
            yield "exif", [TimeReading(at)]
    if mode in ("auto", "name"):
        yield "name", list(_calendar_readings(path))
        yield "name", list(_unix_readings(path))


def _believe(times: list[tuple[datetime, bool]], modified: datetime, copied: bool) -> datetime | None:
    """Return the one time that can be true: the only sure one, else the one that the modification confirms."""
    past = [(at, sure) for at, sure in times if (modified - at).total_seconds() >= -CLOCK_SECONDS_AHEAD]
    sure = {at for at, sure in past if sure and (copied or (modified - at).total_seconds() <= UPLOAD_SECONDS_MAX)}
    confirmed = [(at, certain) for at, certain in past if (modified - at).total_seconds() <= CONFIRMED_SECONDS]
    if confirmed and not (copied and sure):
        return max(confirmed, key=lambda one: (one[1], -abs(modified - one[0])))[0]
    return sure.pop() if len(sure) == 1 else None


def _nearest(at: datetime, modified: datetime, zone: tzinfo | None) -> datetime:
    """Convert a time; of a local one that exists twice, that which is nearer to the modification: a file is not older."""
    latest, both = modified + timedelta(seconds=CLOCK_SECONDS_AHEAD), []
    for time in [at] if at.tzinfo else [at.replace(tzinfo=zone), at.replace(tzinfo=zone, fold=1)]:
        try:
            both.append(time.astimezone(UTC))
        except (OverflowError, OSError, ValueError):  # the first or last day of the calendar
            both.append(time.replace(tzinfo=UTC))
    return min(both, key=lambda at: (at > latest, abs(modified - at)))


# -- names

_DATE = re.compile(
    r"(?<!\d)(?:(?P<y>(?:19|20)\d\d)(?P<s>[-_./ ]?)(?P<m>\d\d)(?P=s)(?P<d>\d\d)(?=\D|\d{6}|$)"  # 20260131, 2026-01-31, 2026/01/31
    r"|(?P<a>\d\d?)(?P<t>[-_. ])(?P<b>\d\d?)(?P=t)(?P<c>(?:19|20)?\d\d)(?!\d))"  # 31-01-2026, 1-31-2026, 26-01-31
)
_TIME = re.compile(
    r"(?<!\d)(?P<h>\d\d|\d(?=\D))(?P<t>[-_.:h ]?)(?P<m>\d\d)(?:(?P=t)|(?<=h..)m)(?P<s>\d\d)"  # 235959, 23-59-59, 23h59m59
    r"(?:[-_.,]?(?P<f>\d{6}|\d{3})|(?:\d\d){1,2})?(?!\d)"  # a fraction, or a counter
    r"(?:[ _.\u202f-]?(?P<half>[AaPp])\.?[Mm](?![A-Za-z]))?"
    r"(?P<z>Z(?!\w)|[ _]?(?:UTC|GMT)(?:[+-]\d\d?)?(?!\w)|[+-]\d\d(?:[:-]?\d\d)?(?!\d))?"
)
_HALF = re.compile(r"(?<![A-Za-z])([AaPp])\.?[Mm](?![A-Za-z])|(上午|午前|오전)|(下午|午後|오후)")
_NEXT = re.compile(r"(?:[-_T /.,~@]|at|\u202f){0,3}")  # what stands between a date and its time
_LEAD = re.compile(r"(\d\d)(?:[-_.]?(\d\d))?(?!\d)")
# seconds, milliseconds, microseconds
_UNIX = re.compile(r"(?<![^\W_])(\d{10})(?:(\d{6}|\d{3})|\.(\d{3,6}))?(?![^\W_])")


def _calendar_readings(path: str) -> Iterator[TimeReading]:
    """Yield the times that a path can mean, likeliest first. The seconds have to stand in the file's name."""
    stem = path.rpartition(".")[0] or path
    folders, _, name = stem.rpartition("/")
    half, found = _HALF.search(stem), False
    above = list(_DATE.finditer(folders))
    for date in _DATE.finditer(name):
        if above and not (date["y"] or len(date["c"]) == 4):
            continue  # 20.10.30-20.10.45 in a date's folder are two times
        for reading in _join(date, list(_clocks(name[date.end() :], half, inside=True))):
            found = True
            yield reading
    if above and not found:
        yield from _join(above[-1], list(_folder_clocks(folders[above[-1].end() :], name, half)))


class _Clock(NamedTuple):
    """A time of day as its digits stand, the zones it may be in, and whether it is surely one."""

    digits: tuple[str, str, str]
    fraction: str = ""
    zones: tuple[str, ...] = ("",)
    sure: bool = True


def _clocks(text: str, half: re.Match[str] | None, start: int = 0, inside: bool = False) -> Iterator[_Clock]:
    """Yield the times of day in the text behind a date, from `start` on. `inside`: the date is in the same name."""
    while match := _TIME.search(text, start):
        start = match.end("h")
        sign, at, after = match["t"], match.start(), match.end("s")
        alone = not sign or not (
            (text[at - 1 : at] == sign and text[at - 2 : at - 1].isdigit())
            or (text[after : after + 1] == sign and text[after + 1 : after + 2].isdigit())
        )
        follows = _NEXT.fullmatch(text, 0, at) is not None
        if not sign and not follows:
            continue  # six digits somewhere in a name are a number
        sure = alone or (inside and follows and sign != ".")  # a fourth number may be a fraction; 1.2.3.4 is an address
        sure = sure and (inside or bool(sign) or after < len(text))  # 20260131/000123.jpg may be a counter
        for hour, certain in _hours(match["h"], match["half"], half):
            yield _Clock(
                (hour, match["m"], match["s"]), match["f"] or "", _zones(match["z"], text[:at]), sure and certain
            )


def _hours(hour: str, attached: str | None, half: re.Match[str] | None) -> Iterator[tuple[str, bool]]:
    """Yield the hour of a day of 24, with whether it is sure: AM or PM elsewhere in the name may mean another thing."""
    afternoon = attached in ("P", "p") if attached else bool(half and (half[1] in ("P", "p") if half[1] else half[3]))
    if int(hour) > 12 or not (attached or half):
        yield hour, True
        return
    meant = str(int(hour) % 12 + 12 * afternoon)
    yield meant, bool(attached) or int(meant) == int(hour)
    if not attached and int(meant) != int(hour):
        yield hour, False


def _zones(zone: str | None, before: str) -> tuple[str, ...]:
    """Return the offsets that may be meant: `-0500` may be a counter, unless the time is written as ISO 8601 has it."""
    if zone is None:
        return ("",)
    if "UTC" in zone or "GMT" in zone or zone == "Z":
        sign = re.search(r"([+-])(\d+)", zone)
        return (f"{sign[1]}{int(sign[2]):02}:00" if sign else "Z",)
    hours, minutes = zone[:3], zone[3:].lstrip(":-") or "00"
    offset = f"{hours}:{minutes}"
    if int(hours[1:]) > 14 or minutes not in ("00", "15", "30", "45") or (len(zone) == 3 and before != "T"):
        return ("",)
    return (offset,) if before == "T" or zone[0] == "+" else ("", offset)


def _folder_clocks(below: str, name: str, half: re.Match[str] | None) -> Iterator[_Clock]:
    """Yield the times of day in a name below a date's folder, and in hour and minute folders with what the name begins with."""
    hours = [part.strip("-_T ") for part in below.split("/")][-2:]
    clocks = list(_clocks(f"{below}/{name}", half, len(below)))
    repeated = [clock for clock in clocks if clock.digits[0] in hours]  # 20/10/20.10.30: the folders repeat the name
    lead = _LEAD.match(name)
    if lead and not repeated:
        marked = "[" in name and not clocks  # Dahua's 12/34.56[M][0@0][0]
        if lead[2] and re.fullmatch(r"\d\d", hours[-1]):
            clocks.append(_Clock((hours[-1], lead[1], lead[2]), sure=marked))
        if len(hours) == 2 and all(re.fullmatch(r"\d\d", part) for part in hours):
            clocks.append(_Clock((hours[0], hours[1], lead[1]), sure=marked and not lead[2]))
        clocks = [clock._replace(sure=clock.sure and len(clocks) == 1) for clock in clocks]
    yield from repeated or clocks


def _join(date: re.Match[str], clocks: list[_Clock]) -> Iterator[TimeReading]:
    for clock in clocks:
        for year, month, day in _days(date):
            for zone in clock.zones:
                if at := _datetime(year, month, day, *clock.digits, clock.fraction, zone):
                    yield TimeReading(at, clock.sure)


def _days(date: re.Match[str]) -> list[tuple[str, str, str]]:
    """Return the days that a date can mean: year first, else day or month first."""
    if date["y"]:
        return [(date["y"], date["m"], date["d"])]
    a, b, c = date["a"], date["b"], date["c"]
    days = [(c, b, a), (c, a, b)] if len(c) == 4 else [("20" + a, b, c), ("20" + c, b, a), ("20" + c, a, b)]
    return list(dict.fromkeys((y, m.zfill(2), d.zfill(2)) for y, m, d in days if len(y) == 4))


def _unix_readings(path: str) -> Iterator[TimeReading]:
    """Yield seconds since 1970 in a file's name. Between other words they may be a serial number."""
    name = (path.rpartition(".")[0] or path).rpartition("/")[2]
    for unix in _UNIX.finditer(name):
        if int(unix[1]) > UNIX_MAX:
            continue
        at = datetime.fromtimestamp(int(unix[1]), UTC) + timedelta(seconds=float(f"0.{unix[2] or unix[3] or 0}"))
        yield TimeReading(at, sure=unix[3] is not None or unix[0] == name)


def _datetime(
    year: str, month: str, day: str, hour: str, minute: str, second: str, fraction: str = "", offset: str = ""
) -> datetime | None:
    """Return a time of these digits; None if there is none."""
    try:
        return datetime.fromisoformat(
            f"{year}-{month:>02}-{day:>02}T{hour:>02}:{minute:>02}:{second:>02}.{fraction:0<6.6}{offset}"
        )
    except ValueError:
        return None


# -- EXIF (TIFF 6.0 and Exif 2.32: a header, directories of 12-byte entries, values behind offsets)

_EXIF_IFD, _OFFSET, _ORIGINAL_OFFSET = 0x8769, 0x9010, 0x9011
_TIMES = ((0x9003, 0x9291, _ORIGINAL_OFFSET), (0x9004, 0x9292, 0x9012), (0x0132, 0x9290, _OFFSET))
_TEXT = (2, 7, 129)  # ASCII, undefined, UTF-8
_EXIF = re.compile(r"\s*(\d{4})\D(\d\d)\D(\d\d)\D{1,2}(\d\d?)\D(\d\d)\D(\d\d)(?:\s*([AaPp])\.?[Mm])?")
ENTRIES_MAX = 512  # per directory; real ones have some dozens


def exif_times(head: bytes) -> Iterator[datetime]:
    """Yield DateTimeOriginal, DateTimeDigitized and DateTime, with fraction and zone if they are there, then without the zone."""
    for tiff in _tiffs(head):
        tags = _tags(tiff)
        for time, fraction, offset in _TIMES:
            if match := _EXIF.match(tags.get(time, "")):
                year, month, day, hour, minute, second, half = match.groups()
                hour = next(_hours(hour, half, None))[0]
                digits = re.match(r"\d*", tags.get(fraction, "").strip())
                zone = re.fullmatch(r"([+-]\d\d):?(\d\d)|Z", tags.get(offset, "").strip())
                written = "" if zone is None else f"{zone[1]}:{zone[2]}" if zone[1] else "Z"
                for known in dict.fromkeys((written, "")):
                    if at := _datetime(year, month, day, hour, minute, second, digits[0] if digits else "", known):
                        yield at


def _tiffs(head: bytes) -> Iterator[bytes]:
    """Yield the EXIF blocks of a JPEG or PNG: in a JPEG any APP1 segment before the picture."""
    if head.startswith(b"\x89PNG"):
        at = 8
        while at + 8 <= len(head):
            (length,) = struct.unpack_from(">I", head, at)
            if head[at + 4 : at + 8] == b"eXIf":
                yield head[at + 8 : at + 8 + length]
            at += 12 + length
        return
    for at, length in jpeg_segments(head):
        if head[at + 1] == 0xE1 and head.startswith(b"Exif\0", at + 4):
            yield head[at + 10 : at + 2 + length]


def jpeg_segments(head: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each segment of a JPEG stands and its length, up to and including the start of the picture's data.

    One that does not lie in `head` whole comes last, too.
    """
    at = 2
    while head[at : at + 1] == b"\xff" and at + 4 <= len(head):
        marker = head[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        length = int.from_bytes(head[at + 2 : at + 4], "big")
        yield at, length
        if marker == 0xDA:
            return
        at += 2 + length


def ends_before_picture(head: bytes) -> bool:
    """Whether this part of a JPEG ends before its picture starts, so that EXIF may stand behind it."""
    segments = list(jpeg_segments(head)) if head.startswith(b"\xff\xd8") else []
    return bool(segments) and head[segments[-1][0] + 1] != 0xDA and sum(segments[-1]) + 4 >= len(head)


def _tags(tiff: bytes) -> dict[int, str]:
    """Read the text tags of the main directory and of the Exif directory, each by itself: a broken one spoils no other."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    tags: dict[int, str] = {}
    if order is None or len(tiff) < 8:
        return tags
    directories = [struct.unpack_from(order + "I", tiff, 4)[0]]
    for directory in directories:
        count = int.from_bytes(tiff[directory : directory + 2], "little" if order == "<" else "big")
        end = min(directory + 2 + 12 * min(count, ENTRIES_MAX), len(tiff) - 11)
        for entry in range(directory + 2, end, 12):
            tag, kind, length, value = struct.unpack_from(order + "HHII", tiff, entry)
            if tag == _EXIF_IFD and len(directories) == 1:
                directories.append(value)
            elif kind in _TEXT:  # up to four bytes stand in the entry itself
                text = tiff[entry + 8 : entry + 8 + length] if length <= 4 else tiff[value : value + min(length, 64)]
                tags.setdefault(tag, text.split(b"\0")[0].decode("ascii", "replace"))
    return tags
