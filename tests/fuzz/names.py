"""File and folder names of any bytes: a real file in a real tree, swept, taken into a real ledger, found again by its name.

Every picture gets one row, whose text leads back to the same bytes; whatever else, nothing is raised.
"""

import json
import os
import shutil

from hearthwatch.api.file_serving import FileRefused, open_file, parse_filename
from hearthwatch.record import Record
from hearthwatch.record.ledger import Ledger
from hearthwatch.record.paths import camera_id, escape, unescape
from hearthwatch.sources.intake import CaptureClock, Intake
from hearthwatch.sources.tree import Tree, is_picture_path

NAME = "names"
PEAK_BYTES_MAX = 50_000_000
ODD = [bytes([n]) for n in (*range(1, 32), 127, 128, 0x9F, 0xC0, 0xED, 0xFF, 92, 34, 39, 37, 38, 46, 32, 60)]
WORDS = [b"cam", b"Front-Door", "Küche".encode(), "ｶﾒﾗ".encode(), "\u202egpj.exe".encode(), "\u200b".encode(), "👁".encode(), b"..", b"...", b"a..b", b"CON", b"-rf", b"$(id)", b"%2e%2e", b"\\x41", b"\\\\", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", "e\u0301".encode(), "İ".encode(), b"\n\n", b"'; DROP TABLE frames; --", b"20261122_081530", b"{}", b"\xc2\x85", "\u2028".encode()]  # fmt: skip
ENDS = [
    b".jpg",
    b".jpg",
    b".png",
    b".jpg",
    b".jpeg",
    b".JPG",
    b".jpeg",
    b".png",
    b".jpg",
    b".jpg ",
    b".jpg.",
    b".jpg\n",
    b".gif",
    b"",
    b".j\xffpg",
]


class Names:
    def __init__(self, folder):
        self.base = os.fsencode(folder / "uploads")
        self.record = Record(folder / "names.db")
        self.ledger = Ledger(self.record)

    def make(self, rnd):
        folders = [part(rnd) for _ in range(rnd.choice([0, 1, 1, 1, 2, 4]))]
        return b"/".join([*folders, part(rnd, rnd.choice(ENDS))])

    def run(self, relative):
        shutil.rmtree(self.base, ignore_errors=True)
        whole = os.path.join(self.base, relative)
        os.makedirs(os.path.dirname(whole))
        with open(whole, "wb") as file:
            file.write(b"\xff\xd8")
        text = escape(relative)
        assert unescape(text) == relative
        text.encode()
        assert json.loads(json.dumps(text)) == text and text.isprintable() | any(
            c.isspace() or not c.isprintable() for c in text
        )
        assert not any(c in text for c in "\n\r\t\0\x7f\x85")
        assert camera_id(camera_id(text)) == camera_id(text)
        files = [file for _, files in Tree(self.base, lambda folder: None).sweep(0.0, True) for file in files]
        if not files:
            assert not is_picture_path(relative), "a picture that nobody finds"
            return "no picture by its name"
        assert [file.path for file in files] == [relative]
        Intake(self.base, self.ledger, CaptureClock()).take(files)
        rows = self.record.rows(
            "SELECT state, error, path FROM frames WHERE path = ? AND mtime_ns = ?", text, files[0].mtime_ns
        )
        assert len(rows) == 1, rows
        self.serve(text, whole)
        return rows[0][1] and rows[0][1].partition(":")[0].partition("`")[0]

    def serve(self, text, whole):
        """What the API says to this name: the file, or a refusal."""
        try:
            file = open_file(os.fsdecode(self.base), parse_filename(text), text)
        except FileRefused as refused:
            assert refused.status_code in (400, 403, 404, 414)
        else:
            assert os.path.samestat(os.fstat(file.descriptor), os.stat(whole))
            os.close(file.descriptor)


def part(rnd, end=b""):
    size = rnd.choice([1, 3, 12, 255])
    name = b""
    while len(name) < size:
        name += rnd.choice([rnd.choice(ODD), rnd.choice(WORDS), bytes([rnd.randrange(1, 256)])])
    name = (name[: max(1, (255 if size == 255 else 200) - len(end))] + end).replace(b"/", b"_").replace(b"\0", b"_")
    return b"._" if name in (b".", b"..") else name
