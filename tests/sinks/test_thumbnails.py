"""Promises: a thumbnail shows its boxes in their colours and its labels whole; it is drawn beside the flow, replaced in
one piece, and one that is missing is drawn again from the upload."""

import io
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import hearthwatch.sinks.thumbnails
from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.thumbnail_drawing import COLOURS, OTHERS, cut_borders, draw
from hearthwatch.record.thumbnails import (
    ThumbnailError,
    add_checksum,
    find,
    is_whole,
    path,
    write,
)
from hearthwatch.schemas import DeadLetter, Detected, Detection, Verdict
from hearthwatch.schemas.items import to_microseconds
from hearthwatch.schemas.testing import Picture, check_sink, detected, frame
from hearthwatch.sinks.thumbnails import PIXELS_WAITING_MAX, Thumbnails
from tests.support.context import context
from tests.support.judges import whole

GREY = (128, 128, 128)
WIDE, HIGH = (1920, 1080), (600, 1200)
SECONDS_MAX = 20.0  # for what takes milliseconds, on a machine that may be very busy


def drawn(size, *found, thumbnail=(320, 240)):
    """The thumbnail of a grey picture of this size, as RGB; `found` are (label, x, y, width, height)."""
    boxes = [Detection(label, 0.97, box) for label, *box in found]
    return Image.open(io.BytesIO(draw(Image.new("RGB", size, GREY), boxes, thumbnail))).convert("RGB")


def near(pixel, colour, slack=48):
    """JPEG keeps colours only roughly."""
    wanted = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) if isinstance(colour, str) else colour
    return all(abs(a - b) <= slack for a, b in zip(pixel, wanted, strict=True))


def area(image, colour):
    """The rectangle that holds all pixels of about this colour: left, top, right, bottom; None if there are none."""
    mask = Image.new("L", image.size)
    mask.putdata([255 * near(p, colour) for p in image.get_flattened_data()])
    return mask.getbbox()


# -- what is on it


def test_a_picture_is_fitted_inside_and_padded_with_black():
    image = drawn(WIDE)
    assert image.size == (320, 240)
    assert [near(image.getpixel((160, y)), GREY) for y in (28, 31, 120, 208, 211)] == [False, True, True, True, False]
    assert all(near(image.getpixel((x, y)), (0, 0, 0)) for x in (0, 160, 319) for y in (0, 28, 212, 239))
    assert [near(drawn(HIGH).getpixel((x, 120)), GREY) for x in (98, 102, 217, 221)] == [False, True, True, False]


def test_borders_can_be_cut_off_again():
    """Where a picture stands for its original, as below zones, its corners have to be the original's."""
    for width, height in ((640, 360), (360, 640), (640, 480)):
        thumbnail = draw(Image.new("RGB", (width, height), "white"), [])
        image = Image.open(io.BytesIO(cut_borders(thumbnail, width, height)))
        assert image.width / image.height == pytest.approx(width / height, rel=0.02)
        assert all(near(image.getpixel(at), (255, 255, 255)) for at in ((0, 0), (image.width - 1, image.height - 1)))


@pytest.mark.parametrize("label", [*COLOURS, "horse", "umbrella"])
def test_each_kind_has_its_colour(label):
    image = drawn(WIDE, (label, 600, 450, 600, 480))  # 100, 75 + 30, 100 x 80 in the thumbnail
    for x, y in ((100, 150), (200, 150), (150, 105), (150, 185)):
        spot = [image.getpixel((x + dx, y + dy)) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
        assert any(near(pixel, COLOURS.get(label, OTHERS)) for pixel in spot), (x, y, spot)
    assert near(image.getpixel((150, 160)), GREY), "what is in the box is not painted over"


def test_the_colours_are_those_of_the_page():
    assert (COLOURS["person"], COLOURS["truck"], COLOURS["cat"], COLOURS["motorcycle"], COLOURS["bird"]) == (
        "#E74856", "#3B82F6", "#76B900", "#FFB800", "#A855F7",
    )  # fmt: skip
    assert (COLOURS["package"], OTHERS) == ("#14B8A6", "#94A3B8")


@pytest.mark.parametrize(
    "box",
    [(0, 0, 40, 40), (1880, 0, 40, 40), (0, 1040, 40, 40), (1880, 1040, 40, 40), (0, 0, 1920, 1080), (900, 500, 3, 3)],
)
def test_a_label_is_whole_wherever_its_box_lies(box):
    """A box in a corner, of the whole picture, of three pixels: the label has its full size, inside the thumbnail."""
    image = drawn(WIDE, ("package", *box))
    alone = drawn(WIDE, ("package", 900, 600, 3, 3))
    plate, whole = (_plate(i) for i in (image, alone))
    assert (plate[2] - plate[0], plate[3] - plate[1]) == (whole[2] - whole[0], whole[3] - whole[1])
    assert _ink(image, plate) > 0.8 * _ink(alone, whole) > 30, "the text is on its plate, in white"


def _ink(image, plate):
    return sum(near(pixel, (255, 255, 255), 60) for pixel in image.crop(plate).get_flattened_data())


def _plate(image):
    """Where the label's plate is: the rows that hold a long run of its colour."""
    columns, rows = set(), set()
    for y in range(image.height):
        run = [
            x
            for x in range(image.width)
            if not near(image.getpixel((x, y)), GREY, 40) and sum(image.getpixel((x, y))) > 150
        ]
        if 70 < len(run) < 200:
            columns |= set(run)
            rows.add(y)
    return min(columns), min(rows), max(columns) + 1, max(rows) + 1


def test_labels_do_not_cover_each_other():
    """Two boxes at one place: the surer one's label is above, the other's elsewhere; both can be read."""
    image = drawn(WIDE, ("person", 600, 450, 600, 480), ("bird", 600, 450, 600, 480))
    for colour in (COLOURS["person"], COLOURS["bird"]):
        left, top, right, bottom = area(image, colour)
        assert right - left > 50
        assert bottom - top >= 13


def test_a_long_label_is_shortened():
    image = drawn(
        WIDE, ("a fire-breathing dragon of the Carpathian mountains at noon", 600, 450, 60, 60), thumbnail=(160, 120)
    )
    left, _, right, _ = area(image, OTHERS)
    assert 0 <= left < right <= 160


boxes = st.tuples(
    st.sampled_from(["person", "car", "x" * 40]),
    *(st.integers(-50, 2000) for _ in "xy"),
    *(st.integers(0, 3000) for _ in "wh"),
)


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(1, 2000), st.integers(1, 2000)), st.lists(boxes, max_size=30))
def test_any_boxes_on_any_picture_make_a_thumbnail(size, found):
    assert drawn(size, *found).size == (320, 240)


def test_the_picture_itself_is_left_alone():
    picture = Image.new("RGB", (320, 240), GREY)
    draw(picture, [Detection("person", 0.9, (10, 10, 100, 100))])
    assert picture.getcolors() == [(320 * 240, GREY)]


# -- on disk


def test_a_thumbnail_is_replaced_in_one_piece_and_leaves_nothing_else(tmp_path):
    there = tmp_path / path(17, 1_795_335_330_000_000)
    assert there.relative_to(tmp_path).as_posix() == "thumbnails/2026-11-22/17_thumb.jpg"
    write(there, b"first")
    with pytest.raises(TypeError):
        write(there, "not bytes")
    assert there.read_bytes() == add_checksum(b"first")
    write(there, b"second")
    assert (there.read_bytes(), os.listdir(there.parent)) == (add_checksum(b"second"), ["17_thumb.jpg"])


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


class House:
    """A record, an upload tree and a data dir, with one picture that shows a person."""

    def __init__(self, home: Path):
        self.base, self.data = home / "uploads", home / "data"
        self.upload = self.base / "Front Door" / os.fsdecode(b"caf\xe9.png")
        self.upload.parent.mkdir(parents=True)
        self._paint("white")
        at, stat = 1_795_335_330_000_000, self.upload.stat()
        self.record = Record(self.data / "hearthwatch.db")
        ledger = Ledger(self.record)
        ledger.discover(
            [FoundFile("front_door", "Front Door", "Front Door/caf\\xe9.png", stat.st_mtime_ns, stat.st_size, at, at)],
            at,
        )
        (entry,) = ledger.todo(0, 10)
        person = Detection("person", 0.97, (600, 450, 600, 480))
        judge = lambda facts: Verdict(50, "1 person", "", (facts.sightings[0].id,))  # noqa: E731
        (self.event,) = Batching(self.record, whole(judge)).write([Detected(entry.frame, *WIDE, (person,))])

    def _paint(self, colour):
        image = Image.new("RGB", WIDE, GREY)
        ImageDraw.Draw(image).rectangle((0, 800, 400, 1080), fill=colour)
        image.save(self.upload)

    def find(self, frame_id=1):
        return find(self.record, self.data, self.base, frame_id)


def test_a_missing_thumbnail_is_drawn_again_from_the_upload(house):
    (there,) = house.record.one("SELECT thumbnail_path FROM frames")
    assert house.record.rows("SELECT thumbnail_path FROM detections") == [(there,)]
    assert house.find() == house.data / there
    image = Image.open(house.find()).convert("RGB")
    assert image.size == (320, 240)
    assert area(image, COLOURS["person"])
    assert near(image.getpixel((10, 200)), (255, 255, 255))


def test_it_is_drawn_upright_and_from_what_there_is_of_the_upload(house):
    """As it was when it was detected in, or the boxes would be elsewhere."""
    upright, exif = Image.open(house.upload).convert("RGB"), Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(house.upload, "JPEG", exif=exif)
    whole = house.upload.read_bytes()
    house.upload.write_bytes(whole[: len(whole) * 99 // 100])
    stat = house.upload.stat()
    house.record.execute("UPDATE frames SET mtime_ns = ?, size = ?", stat.st_mtime_ns, stat.st_size)
    image = Image.open(house.find()).convert("RGB")
    assert area(image, COLOURS["person"])
    assert near(image.getpixel((10, 200)), (255, 255, 255))


def test_what_stands_still_is_drawn_as_well(house):
    """The first drawing knows no difference, so neither does the second."""
    house.record.execute(
        "INSERT INTO suppressed VALUES (513, 1, 'c', 0, 'car', 0.8, 1300, 450, 300, 300, 'still', NULL)"
    )
    image = Image.open(house.find()).convert("RGB")
    assert area(image, COLOURS["person"])
    assert area(image, COLOURS["car"])


def test_the_event_names_it(house):
    (there,) = house.record.one("SELECT thumbnail_path FROM frames")
    assert house.event.thumbnail == f"/api/media/{there}"
    assert f'"thumbnail": "/api/media/{there}"' in house.record.one("SELECT payload FROM feed")[0]


def test_a_whole_one_is_served_as_it_is_and_a_torn_one_is_drawn_again(house):
    there = house.find()
    house.upload.unlink()
    before = there.read_bytes()
    assert house.find().read_bytes() == before
    house.upload.touch()
    for torn in (b"", before[:-7], before[:1024] + bytes(512) + before[1536:]):
        there.write_bytes(torn)
        assert not is_whole(there)
        with pytest.raises(ThumbnailError, match="newer upload"):
            house.find()


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (lambda house: house.upload.unlink(), "No such file"),
        (lambda house: house._paint("black"), "replaced by a newer upload"),
        (lambda house: house.record.execute("UPDATE frames SET thumbnail_path = NULL"), "frame 1 has no detections"),
        (lambda house: house.record.execute("DELETE FROM frames"), "frame 1 does not exist"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_words(house, happens, reason):
    happens(house)
    with pytest.raises(ThumbnailError, match=reason):
        house.find()


# -- in the flow


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """What waits at the end is drawn, however busy the machine is."""
    monkeypatch.setattr(hearthwatch.sinks.thumbnails, "THUMBNAILS_STOP_SECONDS_MAX", SECONDS_MAX)


def taken(folder, *items):
    """What one run of the sink leaves in this data dir for these."""
    part = Thumbnails().build(context(folder)).build("flow.thumbnails", 0, 1)
    part.write_batch(list(items))
    part.close()
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.jpg"))


def test_the_sink_keeps_the_contract(tmp_path):
    def seen():
        return {file.name: file.read_bytes() for file in tmp_path.rglob("*.jpg")}

    check_sink(Thumbnails(), seen=seen, context=context(tmp_path))
    assert len(list(tmp_path.rglob("*.jpg"))) == 5


def test_only_frames_with_detections_get_one(tmp_path):
    nothing = Detected(frame(1), 64, 48, ())
    bad = detected(2, error=DeadLetter("detect", "no"))
    resumed = Detected(frame(3, opened=None), 64, 48, detected(3).detections)
    good = detected(4)
    there = path(4, to_microseconds(good.frame.captured_at))
    assert taken(tmp_path, nothing, bad, resumed, good) == [there]


class Held(Picture):
    """A picture that can only be had when the test says so."""

    gate = threading.Event()

    def picture(self):
        assert self.gate.wait(SECONDS_MAX)
        return super().picture()


def test_a_pool_that_cannot_keep_up_leaves_pictures_out_and_holds_nobody_up(tmp_path, caplog):
    """Each picture takes a third of the room, and the one thread waits for the first."""
    Held.gate.clear()
    side = int((PIXELS_WAITING_MAX / 3) ** 0.5)
    items = [
        Detected(frame(n, opened=Held(width=side, height=side)), side, side, detected(n).detections)
        for n in range(1, 11)
    ]
    part = Thumbnails(threads=1).build(context(tmp_path)).build("flow.thumbnails", 0, 1)
    part.write_batch(items)
    part.write_batch(items)
    Held.gate.set()
    part.close()
    done = len(list(tmp_path.rglob("*.jpg")))
    assert done in (3, 4), "three wait, and a fourth finds room if the first is being drawn already"
    assert done + part.left_out == 20
    assert "cannot keep up" in caplog.text


def test_a_disk_that_refuses_is_told_once_and_nothing_else_happens(tmp_path, caplog):
    (tmp_path / "thumbnails").write_text("a file where the folder should be")
    assert taken(tmp_path, *(detected(n) for n in range(1, 6))) == []
    assert caplog.text.count("thumbnails are left out until this is fixed") == 1


def test_a_stop_ends_though_the_disk_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(hearthwatch.sinks.thumbnails, "THUMBNAILS_STOP_SECONDS_MAX", 0.1)
    Held.gate.clear()
    assert taken(tmp_path, Detected(frame(1, opened=Held()), 64, 48, detected(1).detections)) == []
    Held.gate.set()
