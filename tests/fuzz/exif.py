"""EXIF dates and file names that no calendar knows, through `hearthwatch.sources.capture_time.find_capture_time` in every mode and zone.

Always a capture time, and one that the record and everybody behind it can hold.
"""

import struct
from zoneinfo import ZoneInfo

from hearthwatch.record.thumbnails import path
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.sources.capture_time import find_capture_time

NAME = "exif"
PEAK_BYTES_MAX = 50_000_000
ZONES = (None, *map(ZoneInfo, ("UTC", "Europe/Berlin", "Pacific/Kiritimati", "America/Adak", "Africa/Monrovia")))
TAGS = (0x9003, 0x9004, 0x0132, 0x9290, 0x9291, 0x9292, 0x9010, 0x9011, 0x9012)
YEARS = (
    "0000",
    "0001",
    "-001",
    "1899",
    "1970",
    "1969",
    "2026",
    "2026",
    "2026",
    "2038",
    "9999",
    "10000",
    "20.6",
    "２０２６",
)


class Exif:
    def __init__(self, folder):
        pass

    def make(self, rnd):
        """(mode, zone's number, mtime_ns, path, head)"""
        tags = {tag: said(rnd, tag) for tag in rnd.sample(TAGS, rnd.randint(0, 5))}
        block = b"Exif\0\0" + tiff(tags, rnd.choice("<<>"))
        head = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(block) + 2) + block
        if rnd.random() < 0.3:
            head = bytearray(head)
            for _ in range(rnd.choice([1, 3, 20])):
                head[rnd.randrange(len(head))] = rnd.randrange(256)
        mtime = rnd.choice([0, 1, 1_795_335_330 * 10**9 + rnd.randrange(10**9), 2**63 - 1, 951_782_400 * 10**9])
        return (rnd.choice(["auto", "mtime", "name", "exif"]), rnd.randrange(len(ZONES)), mtime, name(rnd), bytes(head))

    def run(self, case):
        mode, zone, mtime, where, head = case
        found = find_capture_time(where, mtime, head, mode, ZONES[zone])
        when = from_microseconds(found.at)
        assert path(7, found.at) and when.isoformat() and when.tzinfo
        if found.doubted:
            return "doubted: the time of the file counts"
        return None if found.at != mtime // 1000 else "no time in EXIF: the time of the file counts"


def exif(tags):
    """For Pillow's `exif=`."""
    return b"Exif\0\0" + tiff(tags)


def tiff(tags, order="<"):
    """A directory of text tags."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    at, entries, texts = 8 + 2 + 12 * len(tags) + 4, b"", b""
    for tag, text in tags.items():
        inline = len(text) <= 4
        value = text.ljust(4, b"\0") if inline else struct.pack(order + "I", at + len(texts))
        entries += struct.pack(order + "HHI", tag, 2, len(text)) + value
        texts += b"" if inline else text
    return head + struct.pack(order + "H", len(tags)) + entries + bytes(4) + texts


def said(rnd, tag):
    if tag in (0x9010, 0x9011, 0x9012):
        return rnd.choice(
            [
                b"+01:00\0",
                b"-14:00\0",
                b"+25:61\0",
                b"Z\0",
                b"+99:99\0",
                b"",
                b"\xff\xff",
                b"+00:00:01\0",
                rnd.randbytes(6),
            ]
        )
    if tag in (0x9290, 0x9291, 0x9292):
        return rnd.choice([b"5\0", b"123456789\0", b"-1\0", b"\0", b"999\0", b"1e9\0", rnd.randbytes(5)])
    if rnd.random() < 0.5:
        return f"2026:11:{rnd.choice([21, 22, 22, 23])} {rnd.randint(0, 23):02d}:{rnd.randint(0, 59):02d}:{rnd.randint(0, 59):02d}\0".encode()
    two = [f"{rnd.choice([0, 1, 2, 12, 13, 24, 29, 31, 59, 60, 61, 99]):02d}" for _ in range(5)]
    text = f"{rnd.choice(YEARS)}{rnd.choice(':::-/ ')}{two[0]}:{two[1]} {two[2]}:{two[3]}:{two[4]}"
    return rnd.choice(
        [
            text.encode() + b"\0",
            text.encode(),
            b"    :  :     :  :  \0",
            rnd.randbytes(20),
            b"0000:00:00 00:00:00\0",
            b"2026:11:22 08:15:30\0",
        ]
    )


def name(rnd):
    digits = "".join(rnd.choice("0123456789") for _ in range(rnd.choice([8, 10, 13, 14, 16, 17, 40, 400])))
    date = f"{rnd.choice(YEARS)}-{rnd.randint(0, 13):02d}-{rnd.randint(0, 32):02d}"
    return "cam/" + rnd.choice([
        f"{digits}.jpg", f"{date}T{digits[:6]}.jpg", f"{date}_{digits[:2]}h{digits[2:4]}m{digits[4:6]}+{digits[:4]}.jpg",
        f"{date}/001/jpg/{digits[:2]}/{digits[2:4]}/{digits[4:6]}[M].jpg", f"99999999999.{digits}.jpg", "-" * 4000 + ".jpg",
        f"{date} 235960.{digits[:6]}Z.png", "2026１１２２_081530.jpg", "20261122_081530_123.jpg", "20261122081530+9999.jpg",
    ])  # fmt: skip
