"""Pictures that are damaged, forged or of another kind, through `hearthwatch.gpu.decode.open_picture`, the way every upload goes.

Accepted or refused with a reason; what is accepted is RGB, of the size it says, within the bound, and can be drawn.
"""

import struct
import zlib
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from hearthwatch.gpu.decode import MEGAPIXELS_MAX, open_picture
from hearthwatch.record.thumbnail_drawing import draw
from hearthwatch.schemas import Detection
from hearthwatch.schemas.items import has_failed
from hearthwatch.sources.capture_time import HEAD_BYTES, find_capture_time
from tests.fuzz.exif import exif

NAME = "pictures"
PEAK_BYTES_MAX = 1_000_000_000  # 100 MB of file, 50 megapixels as RGBA and as RGB, and what a decoder keeps beside
MTIME_NS = 1_795_335_330 * 10**9


class Pictures:
    def __init__(self, folder):
        self.path = folder / "picture.jpg"

    def make(self, rnd):
        data = rnd.choice(bases())
        if rnd.random() < 0.06:
            data = rnd.choice(BOMBS)(rnd)
        for _ in range(rnd.choice([0, 1, 1, 1, 2, 2, 3, 5])):
            data = rnd.choice(MUTATIONS)(data, rnd)
        return data

    def run(self, data):
        self.path.write_bytes(data)
        opened = open_picture(self.path, len(data))
        found = find_capture_time("cam/a.jpg", MTIME_NS, data[:HEAD_BYTES])
        assert 0 <= found.at < 1 << 62
        if has_failed(opened.error):
            assert opened.error.stage == "decode" and opened.data == b"" and len(opened.error.reason) < 500
            opened.error.reason.encode()  # it goes into the record
            return opened.error.reason
        picture = opened.picture()
        assert picture.mode == "RGB" and picture.size == (opened.width, opened.height)
        assert opened.width * opened.height <= MEGAPIXELS_MAX * 1e6
        draw(picture, [Detection("person", 0.9, (0, 0, opened.width, opened.height))])
        return None


# -- good ones


def encoded(kind, image, **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@cache
def bases():
    noise = np.random.default_rng(0)
    small = Image.fromarray(noise.integers(0, 255, (48, 64, 3)).astype(np.uint8))
    larger = Image.fromarray(noise.integers(0, 255, (90, 160, 3)).astype(np.uint8)).resize((640, 360))
    many = [small, small.rotate(90), small.rotate(180)]
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 900_000)
    info.add_itxt("Title", "straße", zip=True)
    grey16 = Image.fromarray(noise.integers(0, 65535, (30, 40)).astype(np.uint16))
    palette = small.convert("P")
    jpegs = [
        encoded("JPEG", small), encoded("JPEG", larger, quality=80), encoded("JPEG", larger, progressive=True),
        encoded("JPEG", small.convert("L")), encoded("JPEG", small.convert("CMYK")), encoded("JPEG", small, subsampling=0),
        encoded("JPEG", small, icc_profile=icc), encoded("JPEG", small, comment=b"a camera"), encoded("JPEG", small, restart_marker_blocks=2),
        encoded("JPEG", small, exif=exif({0x9003: b"2026:11:22 08:15:30\0"})), encoded("MPO", small, save_all=True, append_images=many),
        encoded("JPEG", small.convert("CMYK"), progressive=True), encoded("JPEG", small, optimize=True),
    ]  # fmt: skip
    pngs = [
        encoded("PNG", small), encoded("PNG", larger), encoded("PNG", small.convert("RGBA")), encoded("PNG", small.convert("LA")),
        encoded("PNG", small.convert("1")), encoded("PNG", grey16), encoded("PNG", palette, transparency=bytes(range(256))),
        encoded("PNG", palette, transparency=3), encoded("PNG", small, pnginfo=info), encoded("PNG", small, icc_profile=icc),
        encoded("PNG", small, save_all=True, append_images=many), interlaced(40, 24), deep(16, 12),
        encoded("PNG", small, exif=exif({0x9003: b"2026:11:22 08:15:30\0"})), encoded("PNG", small, transparency=(1, 2, 3)),
    ]  # fmt: skip
    others = [encoded(kind, small) for kind in ("GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "PCX", "TGA", "PDF")]
    return [*jpegs * 2, *pngs * 2, *others]


def chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png(width, height, depth, colour, pixels, interlace=0, more=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    chunks = chunk(b"IHDR", header) + more + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def interlaced(width, height):
    """Adam7, grey: seven little pictures."""
    rows = b""
    for x, y, dx, dy in [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]:
        columns, lines = -(-(width - x) // dx), -(-(height - y) // dy)
        rows += (b"\0" + bytes(range(columns))) * lines
    return png(width, height, 8, 0, zlib.compress(rows), interlace=1)


def deep(width, height):
    """16 bits for each of four channels."""
    return png(width, height, 16, 6, zlib.compress((b"\0" + bytes(range(8)) * width) * height))


# -- damage


def flip_bits(data, rnd):
    data = bytearray(data)
    for _ in range(rnd.choice([1, 1, 2, 8, 64])):
        if data:
            data[rnd.randrange(len(data))] ^= 1 << rnd.randrange(8)
    return bytes(data)


def truncate(data, rnd):
    return data[: rnd.randrange(len(data) + 1)]


def part(data, rnd):
    start = rnd.randrange(len(data) + 1)
    return start, min(len(data), start + rnd.choice([1, 2, 7, 64, 600]))


def zeros(data, rnd):
    start, end = part(data, rnd)
    return data[:start] + bytes(end - start) + data[end:]


def delete(data, rnd):
    start, end = part(data, rnd)
    return data[:start] + data[end:]


def repeat(data, rnd):
    start, end = part(data, rnd)
    return data[:end] + data[start:end] * rnd.choice([1, 3, 40]) + data[end:]


def splice(data, rnd):
    other = rnd.choice(bases())
    return data[: rnd.randrange(len(data) + 1)] + other[rnd.randrange(len(other)) :]


def marker(data, rnd):
    """Another marker where one was, or one where none was."""
    data = bytearray(data)
    places = [at for at in range(2, len(data) - 4) if data[at] == 0xFF and data[at + 1]] or [len(data) // 2]
    at = rnd.choice(places[:40])
    data[at : at + 2] = bytes(
        [0xFF, rnd.choice([0xD8, 0xD9, 0xDA, 0xC0, 0xC2, 0xC4, 0xDB, 0xDD, 0xE1, 0xFE, 0x01, 0xFF, rnd.randrange(256)])]
    )
    if rnd.random() < 0.4:
        data[at + 2 : at + 4] = rnd.randbytes(2)  # its length
    return bytes(data)


SIDES = (0, 1, 2, 3, 63, 65, 8192, 30_000, 65_535)


def dimensions(data, rnd):
    """Another size in the header than there are pixels; a PNG's checksum is right."""
    sides = [rnd.choice((*SIDES, rnd.randrange(65_536))) for _ in "wh"]
    if data.startswith(b"\x89PNG") and len(data) > 33:
        sides = [side * rnd.choice([1, 1, 1, 65_537]) for side in sides]
        header = data[12:16] + struct.pack(">II", *sides) + data[24:29]
        return data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]
    for start in (b"\xff\xc0", b"\xff\xc2"):
        if (at := data.find(start)) > 0:
            return data[: at + 5] + struct.pack(">HH", *sides) + data[at + 9 :]
    return data


def segment(kind, payload):
    return bytes([0xFF, kind]) + (len(payload) + 2).to_bytes(2, "big") + payload


def insert(data, rnd):
    """A segment or chunk that is well-formed and odd."""
    payload = rnd.choice([rnd.randbytes, bytes])(rnd.choice([0, 1, 4, 13, 30, 300, 5000, 60_000]))
    if data.startswith(b"\x89PNG"):
        kinds = b"tEXt zTXt iTXt iCCP eXIf acTL fcTL fdAT gAMA cHRM sRGB sBIT tRNS PLTE IDAT IHDR IEND pHYs tIME bKGD zzZz \0\0\0\0".split(
            b" "
        )
        at = 33 if rnd.random() < 0.8 else rnd.randrange(len(data))
        return data[:at] + chunk(rnd.choice(kinds), rnd.choice([b"", b"a\0\0", b"a\0\1\0\0\0"]) + payload) + data[at:]
    heads = [b"", b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0", b"ICC_PROFILE\0\1\2", b"ICC_PROFILE\0\0\0", b"MPF\0II*\0\x08\0\0\0", b"Photoshop 3.0\0008BIM", b"Adobe\0", b"JFIF\0\1\2", b"http://ns.adobe.com/xap/1.0/\0", b"CCCC"]  # fmt: skip
    return data[:2] + segment(rnd.choice([0xE0, 0xE1, 0xE1, 0xE2, 0xE2, 0xED, 0xEE, 0xFE, 0xDB, 0xC4, 0xDD, 0xC0, 0xDC, 0xCC]), rnd.choice(heads) + payload) + data[2:]  # fmt: skip


def polyglot(data, rnd):
    zipped = b"PK\x03\x04" + rnd.randbytes(60) + b"PK\x05\x06" + bytes(18)
    html = b"<html><script>alert(1)</script></html>"
    other = rnd.choice(bases())
    return rnd.choice([data + zipped, zipped + data, data + html, data[:2] + segment(0xFE, html) + data[2:], html + data, data + other, data[:2] + segment(0xE5, other[:60_000]) + data[2:], b"%PDF-1.7\n" + data])  # fmt: skip


def nonsense(data, rnd):
    return rnd.choice([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", rnd.randbytes(100), b"\xff\xd8\xff" + rnd.randbytes(2000), data[::-1], bytes(5000)])  # fmt: skip


MUTATIONS = (flip_bits, flip_bits, truncate, zeros, delete, repeat, splice, marker, marker, dimensions, insert, insert, polyglot, nonsense)  # fmt: skip


# -- small things that grow


def huge_png(rnd):
    """Some dozen megapixels out of some ten thousand bytes."""
    colour, depth, bits = rnd.choice([(0, 1, 1), (0, 8, 8), (2, 8, 24), (6, 8, 32), (6, 16, 64), (3, 8, 8)])
    width = rnd.choice([1, 5000, 6000, 7000, 49_000_000])
    height = max(1, rnd.randrange(20_000_000, 60_000_000) // width)
    packer = zlib.compressobj(1)
    row = bytes(1 + (width * bits + 7) // 8)
    pixels = (
        b"".join(packer.compress(row) for _ in range(height)) if width < 8000 and width > 1 else packer.compress(row)
    )
    more = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    return png(width, height, depth, colour, pixels + packer.flush(), rnd.choice([0, 0, 0, 1]), more)


def zlib_bomb(rnd):
    """A chunk, or pixels, that unpack to 300 MB."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(rnd.choice([2, 70, 300]))) + packer.flush()
    whole = rnd.choice([b for b in bases() if b.startswith(b"\x89PNG")])
    heads = {b"zTXt": b"a\0\0", b"iCCP": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"IDAT": b""}
    kind = rnd.choice([*heads])
    return whole[:33] + chunk(kind, heads[kind] + packed) * rnd.choice([1, 3]) + whole[33:]


def flood(rnd):
    """Millions of empty segments, chunks, fill bytes or scans: what a parser looks at one by one."""
    times = rnd.choice([10_000, 300_000, 3_000_000])
    jpeg, whole = (
        encoded("JPEG", Image.new("RGB", (64, 48))),
        rnd.choice([b for b in bases() if b.startswith(b"\x89PNG")]),
    )
    return rnd.choice([
        lambda: jpeg[:2] + segment(rnd.choice([0xE0, 0xE1, 0xE5, 0xFE]), b"") * times + jpeg[2:],
        lambda: jpeg[:2] + b"\xff\xfe\0\x02" + b"\0" * times + jpeg[2:],
        lambda: jpeg[:2] + b"\xff" * times + jpeg[2:],
        lambda: jpeg[:2] + b"\xff\x01" * times + jpeg[2:],
        lambda: b"\xff\xd8\xff" + bytes(times * 10),
        lambda: whole[:33] + chunk(rnd.choice([b"tEXt", b"zzZz", b"tIME", b"IDAT"]), b"") * (times // 3) + whole[33:],
        lambda: whole[:33] + chunk(b"tEXt", b"a\0" + b"b" * 900) * min(times, 100_000) + whole[33:],
        lambda: scans(rnd, min(times, 300_000)),
    ])()  # fmt: skip


def scans(rnd, times):
    """A progressive JPEG with so many scans, each of which the decoder goes through the whole picture for."""
    side = rnd.choice([64, 1000, 5000])
    whole = encoded("JPEG", Image.new("L", (side, side)), progressive=True, quality=30)
    last = whole.rfind(b"\xff\xda")
    start = max(whole.rfind(b"\xff\xc4", 0, last), 0) or last
    again = whole[start:-2]
    return whole[:-2] + again * min(times, 30_000_000 // len(again)) + b"\xff\xd9"


def exif_bomb(rnd):
    """Directories that lead to themselves, and counts beyond all bounds."""
    entries = b"".join(struct.pack("<HHII", rnd.choice([0x8769, 0x8825, 0xA005, 0x9003, 0x14A]), rnd.choice([1, 2, 3, 4, 5, 7, 13]), rnd.choice([1, 20, 1 << 16, 0xFFFFFFFF]), rnd.choice([8, 0, 20, 0xFFFFFFF0])) for _ in range(rnd.choice([1, 50, 5000])))  # fmt: skip
    tiff = (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", rnd.choice([len(entries) // 12, 65_535]))
        + entries
        + struct.pack("<I", 8)
    )
    whole = rnd.choice(bases())
    if whole.startswith(b"\x89PNG"):
        return whole[:33] + chunk(b"eXIf", tiff) + whole[33:]
    return whole[:2] + segment(0xE1, (b"Exif\0\0" + tiff)[:65_000]) * rnd.choice([1, 3]) + whole[2:]


BOMBS = (huge_png, zlib_bomb, flood, flood, exif_bomb, exif_bomb)
