"""Every way in which a picture file can be bad comes back as a value, from real bytes on a real disk."""

import os
import struct
import threading
import warnings
from hashlib import blake2b
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hearthwatch.gpu import decode
from hearthwatch.gpu.decode import MEGAPIXELS_MAX, open_picture
from hearthwatch.schemas.items import CUT_SHORT, SUPERSEDED, DeadLetter
from hearthwatch.schemas.picture_formats import read_orientation

NOISE = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)


def encoded(kind: str, image: Image.Image | None = None, **options) -> bytes:
    buffer = BytesIO()
    (image or Image.fromarray(NOISE)).save(buffer, kind, **options)
    return buffer.getvalue()


JPEG, PNG = encoded("JPEG"), encoded("PNG")


@pytest.fixture
def upload(tmp_path):
    """Writes a file as a camera would and opens it as the source does."""

    def write_and_open(data: bytes, name: str = "a.jpg"):
        path = tmp_path / name
        path.write_bytes(data)
        seen = path.stat()
        return open_picture(path, seen.st_size)

    return write_and_open


def test_a_good_picture_is_read_and_decoded_once(upload):
    opened = upload(JPEG)
    assert opened.error is None
    assert (opened.width, opened.height) == (64, 48) == opened.picture().size
    assert opened.picture() is opened.picture()
    assert opened.picture().mode == "RGB"
    assert np.array_equal(opened.picture(), Image.open(BytesIO(JPEG)))
    assert opened.data == JPEG
    assert opened.content_hash == blake2b(JPEG, digest_size=16).hexdigest()
    assert opened.nbytes == len(JPEG) + 64 * 48 * 4


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 100),
    st.sampled_from([0, 1, 2, "4:1:1"]),
    st.booleans(),
    st.booleans(),
)
def test_a_jpeg_has_pillows_pixels_whatever_its_encoder_chose(width, height, quality, subsampling, progressive, grey):
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    picture = Image.fromarray(pixels // 16 * 16).convert("L" if grey else "RGB")
    data = encoded("JPEG", picture, quality=quality, subsampling=subsampling, progressive=progressive)
    opened = open_picture("a.jpg", data=data)
    assert isinstance(opened.pixels(), Image.Image if grey else np.ndarray), "simplejpeg decodes colour"
    assert opened.nbytes == len(data) + width * height * (4 if grey else 3)
    expected = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    assert np.array_equal(opened.pixels(), expected) and np.array_equal(opened.picture(), expected)


def test_what_libjpeg_warns_of_is_decoded_by_pillow_as_before():
    data = encoded("JPEG", quality=90)
    at = len(data) // 2
    odd = data[:at] + b"\xff\xd3" + data[at + 2 :]  # a restart marker where none belongs
    opened = open_picture("a.jpg", data=odd)
    assert isinstance(opened.pixels(), Image.Image) and np.array_equal(opened.pixels(), Image.open(BytesIO(odd)))


def test_content_counts_and_the_ending_does_not(upload):
    assert upload(PNG, "a.jpg").error is None
    assert upload(JPEG, "a.PNG").error is None
    assert "neither JPEG nor PNG" in upload(encoded("GIF"), "a.jpg").error.reason


MARKS = Image.new("RGB", (64, 48))
for box, colour in {(0, 0, 32, 24): "red", (32, 0, 64, 24): "lime", (0, 24, 32, 48): "blue"}.items():
    MARKS.paste(colour, box)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright(upload, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # `Transpose` that brings it about
    camera = MARKS if stored is None else MARKS.transpose(Image.Transpose(stored))
    opened = upload(encoded(kind, camera, exif=exif))
    assert opened.error is None and (opened.width, opened.height) == opened.picture().size == (64, 48)
    assert opened.is_turned == (orientation > 1)
    for at in ((10, 10), (50, 10), (10, 40), (50, 40)):
        assert max(abs(a - b) for a, b in zip(opened.picture().getpixel(at), MARKS.getpixel(at), strict=True)) < 40


@given(st.binary(max_size=60).map(lambda rest: b"MM\0*\0\0\0\x08" + rest) | st.binary(max_size=20))
def test_exif_of_any_bytes_is_no_error(data):
    assert read_orientation(data) >= 0


def test_the_orientation_is_read_behind_a_tag_that_points_nowhere():
    def tag(number, kind, count, value):
        return struct.pack(">HHIHH", number, kind, count, value, 0)

    tags = [tag(0x010F, 2, 10**6, 0xFFFF), tag(0x0112, 3, 1, 6)]
    assert read_orientation(b"MM\0*\0\0\0\x08" + struct.pack(">H", 2) + b"".join(tags)) == 6


@pytest.mark.parametrize("tail", [b"", bytes(5000)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_that_lacks_its_last_rows_is_decoded_and_says_so(upload, mode, tail):
    whole = encoded("JPEG", Image.fromarray(NOISE).convert(mode))
    for share in (0.95, 0.99, 1 - 2 / len(whole)):
        opened = upload(whole[: round(share * len(whole))] + tail)
        assert opened.error == DeadLetter(CUT_SHORT, "cut short"), share
        assert opened.picture().getpixel((5, 5)) == upload(whole).picture().getpixel((5, 5))
    assert upload(whole[: len(whole) * 3 // 4] + tail).error.reason.startswith("truncated")


@pytest.mark.parametrize("mode", ["1", "L", "CMYK"])
def test_any_jpeg_becomes_rgb(upload, mode):
    opened = upload(encoded("JPEG", Image.fromarray(NOISE).convert(mode)))
    assert opened.error is None and opened.picture().mode == "RGB"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_any_png_becomes_rgb(upload, mode):
    image = Image.fromarray(NOISE).convert(mode)
    options = {"transparency": bytes(range(256))} if mode == "P" else {}
    opened = upload(encoded("PNG", image, **options))
    assert opened.error is None and opened.picture().mode == "RGB"


def test_a_picture_without_colour_is_grey_however_it_is_stored(upload):
    grey = Image.fromarray(NOISE).convert("L")
    stored = {kind: encoded(kind, grey.convert(mode)) for kind, mode in (("JPEG", "L"), ("PNG", "RGB"), ("PNG", "L"))}
    assert all(upload(data).is_grey for data in (*stored.values(), encoded("JPEG", grey.convert("RGB"), quality=40)))
    labelled = grey.convert("RGB").resize((640, 480))
    labelled.paste((255, 0, 0), (5, 5, 60, 25))  # a camera writes its name in red
    assert upload(encoded("JPEG", labelled)).is_grey
    assert upload(JPEG).is_grey is False and upload(PNG).is_grey is False
    pale = Image.blend(labelled, Image.new("RGB", labelled.size, (140, 125, 118)), 0.5)  # a wet street by day
    assert upload(encoded("JPEG", pale)).is_grey is False
    assert upload(b"no picture").is_grey is None


def test_a_16_bit_png_keeps_its_greys(upload):
    grey = np.random.default_rng(1).integers(0, 65535, (20, 30)).astype(np.uint16)
    opened = upload(encoded("PNG", Image.fromarray(grey)), "a.png")
    assert np.array_equal(np.asarray(opened.picture())[..., 0], grey >> 8)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello, I am no picture", "not a picture: neither JPEG nor PNG"),
        (b"\xff\xd8\xff", "not a picture, or truncated in its header"),
        (PNG[:20], "not a picture, or truncated in its header"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (PNG[: len(PNG) // 2], "truncated"),
        (PNG[:-12], "truncated"),
        (JPEG[: len(JPEG) // 2] + bytes(len(JPEG) // 2), "truncated"),  # what a disk or FTP server reserved
        (PNG[: len(PNG) // 2] + bytes(len(PNG) // 2), "truncated or broken"),
    ],
)
def test_a_bad_file_says_what_is_wrong(upload, data, reason):
    opened = upload(data)
    assert opened.error.stage == "decode" and opened.error.reason.startswith(reason)
    assert opened.content_hash == blake2b(data, digest_size=16).hexdigest()
    assert opened.data == b"" and opened.nbytes == 0
    with pytest.raises(ValueError, match=reason):
        opened.picture()


@pytest.mark.parametrize("whole", [JPEG, PNG, encoded("JPEG", progressive=True)])
def test_no_cut_passes_for_a_whole_picture(upload, whole):
    for cut in [*range(0, len(whole), 61), *range(len(whole) - 20, len(whole))]:
        assert upload(whole[:cut]).error is not None, cut


def test_a_preview_in_the_metadata_does_not_end_the_picture(upload):
    preview = b"\xff\xe2" + (len(JPEG) + 2).to_bytes(2, "big") + JPEG
    cut = JPEG[: len(JPEG) // 2] + bytes(len(JPEG) // 2)
    assert upload(JPEG[:2] + preview + JPEG[2:]).error is None
    assert upload(JPEG[:2] + preview + cut[2:]).error is not None


def test_what_a_camera_appends_behind_the_picture_is_nobodys_business(upload):
    assert upload(JPEG + b"\xff\xda made by a camera").error is None
    assert upload(PNG + b"made by a camera").error is None


def test_over_50_megapixels_is_refused_by_the_header_alone(upload):
    header = encoded("PNG", Image.new("1", (8000, 6375)))
    assert MEGAPIXELS_MAX * 1e6 < 8000 * 6375
    opened = upload(header[:60])  # nothing to decode is there, so nothing was decoded
    assert opened.error == DeadLetter("decode", "8000x6375 is over 50 megapixels")
    assert (opened.width, opened.height) == (8000, 6375)


def test_a_line_too_long_for_a_decoder_is_refused_by_the_header_alone(upload):
    line = bytearray(PNG)
    line[16:26] = (49_000_000).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes((16, 6))
    line[29:33] = __import__("zlib").crc32(line[12:29]).to_bytes(4, "big")
    assert upload(bytes(line)).error.reason == "49000000x1 has a side of more than 65535 pixels"


def test_a_decompression_bomb_does_not_even_warn(upload):
    bomb = bytearray(PNG)
    bomb[16:24] = (30_000).to_bytes(4, "big") * 2
    bomb[29:33] = __import__("zlib").crc32(bomb[12:29]).to_bytes(4, "big")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "30000x30000 is over 50 megapixels" in upload(bytes(bomb)).error.reason


def scans(times):
    """A progressive JPEG whose last scan comes so many times more."""
    whole = encoded("JPEG", Image.new("L", (64, 64)), progressive=True)
    return whole[:-2] + whole[whole.rfind(b"\xff\xda") : -2] * times + whole[-2:]


@pytest.mark.parametrize(
    ("bomb", "reason"),
    [
        (JPEG[:2] + b"\xff\xe5\0\2" * 300_000 + JPEG[2:], "made of more than 20000 parts"),
        (JPEG[:2] + b"\xff" * 300_000 + JPEG[2:], "made of more than 20000 parts"),
        (JPEG[:3] + bytes(300_000) + JPEG[3:], "made of more than 20000 parts"),
        (PNG[:33] + b"\0\0\0\0teXt\0\0\0\0" * 300_000 + PNG[33:], "made of more than 20000 parts"),
        (scans(100), "made of more than 100 scans"),
    ],
)
def test_what_a_decoder_would_be_busy_with_for_minutes_is_refused_at_once(upload, bomb, reason):
    assert upload(bomb).error == DeadLetter("decode", reason)


def test_a_video_behind_a_picture_and_many_small_pieces_are_no_bomb(upload):
    assert upload(JPEG + b"\xff\xda\xff\xc2" * 50_000).error is None
    assert upload(PNG + bytes(300_000)).error is None
    assert upload(scans(80)).error is None
    pieces = b"\0\0\0\0IDAT\x35\xaf\x06\x1e" * 15_000
    assert upload(PNG.replace(b"\0\0\0\0IEND", pieces + b"\0\0\0\0IEND")).error is None


def test_a_file_beyond_all_reason_is_not_read(tmp_path):
    path = tmp_path / "huge.jpg"
    path.touch()
    os.truncate(path, decode.BYTES_MAX + 1_000_000)
    assert open_picture(path).error.reason == "101 MB are more than the 100 MB a picture may have"


def test_vanished(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "never.jpg", tmp_path / "file" / "a.jpg"):
        assert open_picture(path).error == DeadLetter("decode", "vanished before it was read")


def test_replaced_before_it_was_read(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    seen = path.stat()
    opened = open_picture(path, seen.st_size + 1)
    assert opened.error == DeadLetter(SUPERSEDED, "superseded by a newer upload of this path")
    assert opened.content_hash is None
    os.utime(path, (1, 1))  # an FTP client that sets the time after the upload replaced nothing
    assert open_picture(path, seen.st_size).error is None


def test_unreadable_names_the_error(tmp_path):
    loop = tmp_path / "loop.jpg"
    loop.symlink_to(loop)
    assert open_picture(loop).error.reason == "unreadable: Too many levels of symbolic links (ELOOP)"
    assert open_picture("/proc/self/mem").error == DeadLetter("files", "unreadable: Input/output error (EIO)")


def test_no_permission(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        reason = open_picture(path).error.reason
    finally:
        if root:
            os.seteuid(0)
    assert reason == "unreadable: Permission denied (EACCES)"


def test_a_mount_that_hiccups_is_read_again(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.symlink_to(path)

    def comes_back(_seconds):
        path.unlink()
        path.write_bytes(JPEG)

    monkeypatch.setattr("hearthwatch.gpu.decode.time.sleep", comes_back)
    assert open_picture(path).error is None


def test_no_more_open_files_is_no_pictures_fault(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            open_picture(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.timeout(20)
def test_a_fifo_in_the_place_of_a_picture_hangs_nobody(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    answers = []
    reader = threading.Thread(target=lambda: answers.append(open_picture(tmp_path / "a.jpg")), daemon=True)
    reader.start()
    reader.join(10)
    assert [one.error.reason for one in answers] == ["not a regular file"]
    assert open_picture(tmp_path).error.reason == "unreadable: Is a directory (EISDIR)"


def test_a_name_that_is_no_utf_8_opens_like_any_other(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\n.jpg"
    with open(path, "wb") as file:
        file.write(JPEG)
    assert open_picture(path).error is None
