"""Find the cells of a data dir: each a record with its lock, its upload tree or share of one, and its number in every id.

Cell 0 is the data dir itself (`first_cell` has its name), cell `x` its folder `cells/x`, with its number in `cells/x/cell`. Ids of frames, events and
incidents are `number << 36 | n`. A camera stays in the cell whose record has it; only a new one is placed, by a hash. A folder that
was merged into a camera of another cell stays, too: that camera has a row in both records, and `home_cell` says which cell reads its own folder.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hearthwatch.record.connection import Record, RecordError
from hearthwatch.record.disk import replace_file
from hearthwatch.record.units import CELL_BITS
from hearthwatch.schemas.context import Cell
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import CELLS_MAX

NUMBERED = ("frames", "alerts", "feedback")  # an event has the id of its first frame, an incident that of an event
FIRST = "first_cell"  # a file of the data dir: the name of cell 0, once it was given one


def find_cells(wanted: str, record_path: Path, data_dir: Path, base_path: Path) -> tuple[Cell, ...]:
    """Return the cells that `wanted` (HEARTHWATCH_CELLS) and the data dir name, cell 0 first. Writes nothing.

    Raises:
        UserError: two have one number, or one has no upload tree.
    """
    trees = _trees(wanted, data_dir, base_path)
    numbers = {name: _number(data_dir / "cells" / name) for name in trees}
    known = [number for number in numbers.values() if number is not None]
    if len(set(known)) < len(known):
        twice = sorted(name for name, number in numbers.items() if number is not None and known.count(number) > 1)
        raise UserError(
            f"cells {' and '.join(twice)} have the same number in {data_dir}: keep them in separate data dirs"
        )
    first = _first(trees, numbers, record_path, data_dir)
    free = iter(number for number in range(1, CELLS_MAX + 1) if number not in known)
    cells = [] if first is None else [Cell(0, first, record_path, data_dir, trees[first])]
    for name, tree in trees.items():
        if name != first:
            folder, number = data_dir / "cells" / name, numbers[name]
            cells.append(Cell(next(free) if number is None else number, name, folder / record_path.name, folder, tree))
    return tuple(cells)


def _first(trees: dict[str, Path], numbers: dict[str, int | None], record_path: Path, data_dir: Path) -> str | None:
    """Return the name of cell 0, whose record is that of the data dir, wherever the list has it; None: it is elsewhere."""
    with suppress(FileNotFoundError):
        name = (data_dir / FIRST).read_text().strip()
        if name in trees and numbers[name] is None:
            return name
        if "0" not in trees:
            raise UserError(
                f"{record_path} is that of the cell {name}, but HEARTHWATCH_CELLS does not say where its pictures are: "
                f"add `{name}=FOLDER`, or delete {data_dir / FIRST} if it has another name now"
            )
    new = [name for name in trees if numbers[name] is None]
    return new[0] if new and (new[0] == next(iter(trees)) or record_path.exists()) else None


def _trees(wanted: str, data_dir: Path, base_path: Path) -> dict[str, Path]:
    """Return the upload tree of each cell by name; a cell that was there before stays, whatever `wanted` is now."""
    there = sorted(path.parent.name for path in (data_dir / "cells").glob("*/cell"))
    if "=" in wanted:
        pairs = (part.partition("=") for part in wanted.split(";") if part.strip())
        trees = {name.strip(): Path(tree.strip()).expanduser() for name, _, tree in pairs}
    else:
        trees = {str(number): base_path for number in range(int(wanted))}
        trees |= {name: base_path for name in there if name.isdecimal()}
    if lost := [name for name in there if name not in trees]:
        raise UserError(
            f"{data_dir / 'cells' / lost[0]} is a cell, but HEARTHWATCH_CELLS={wanted} does not say where its pictures are: "
            f"add `{lost[0]}=FOLDER`, or move it to another data dir"
        )
    return trees


def _number(folder: Path) -> int | None:
    try:
        text = (folder / "cell").read_text()
    except FileNotFoundError:
        return None
    if not (text.strip().isdecimal() and 0 < int(text) <= CELLS_MAX):
        raise UserError(f"{folder / 'cell'} holds no number of a cell, 1 to {CELLS_MAX}")
    return int(text)


def prepare_cell(cell: Cell) -> None:
    """Write down the number of a new cell and let its ids begin there.

    Raises:
        RecordError: its record has ids of another cell.
    """
    if cell.number == 0:
        if cell.name != "0" and not (cell.data_dir / FIRST).exists():
            cell.data_dir.mkdir(parents=True, exist_ok=True)
            replace_file(cell.data_dir / FIRST, f"{cell.name}\n".encode())
        return
    cell.data_dir.mkdir(parents=True, exist_ok=True)
    if _number(cell.data_dir) is None:
        replace_file(cell.data_dir / "cell", f"{cell.number}\n".encode())
    record, first = Record(cell.record_path), cell.number << CELL_BITS
    try:
        (last,) = record.one("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'frames'")
        if last and last >> CELL_BITS != cell.number:
            raise RecordError(
                f"{cell.record_path} has ids of cell {last >> CELL_BITS}, but it is cell {cell.number} "
                f"({cell.data_dir / 'cell'}): put back the folder as it was"
            )
        if not last:
            record.transact(lambda: _begin_above(record, first))
    finally:
        record.close()


def _begin_above(record: Record, id: int) -> None:
    record.many("DELETE FROM sqlite_sequence WHERE name = ?", [(table,) for table in NUMBERED])
    record.many("INSERT INTO sqlite_sequence VALUES (?, ?)", [(table, id) for table in NUMBERED])


class Placement:
    """Says which pictures are this cell's: of its cameras, and of the new ones whose hash is its own. For one thread."""

    def __init__(self, cell: Cell, cells: Sequence[Cell], wanted: str) -> None:
        self.cell = cell
        self.others = [other for other in cells if other != cell and other.base_path == cell.base_path]
        self.new = [c for c in cells if c.base_path == cell.base_path and ("=" in wanted or int(c.name) < int(wanted))]
        """Those that new cameras are placed in."""
        self._is_mine: dict[str, bool] = {}

    def is_mine(self, camera: str) -> bool:
        """Whether this cell takes in the pictures of a camera; what is of none goes to the first one."""
        if not self.others:
            return True
        if camera not in self._is_mine:
            self._is_mine[camera] = self._find(camera)
        return self._is_mine[camera]

    def _find(self, camera: str) -> bool:
        if camera and reads_camera(self.cell.record_path, camera):
            return True
        if camera and any(reads_camera(other.record_path, camera) for other in self.others):
            return False
        digest = hashlib.blake2b(camera.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return self.new[int.from_bytes(digest, "big") % len(self.new) if camera else 0] == self.cell


def reads_camera(path: Path, camera: str) -> bool:
    """Whether the cell of a record reads this camera's own folder: it has the camera, or a picture of it that it could not process."""
    return _ask(
        path,
        camera,
        "SELECT coalesce((SELECT home_cell IS NULL FROM cameras WHERE id = ?1), {quarantined}) OR {merged}",
    )


def has_camera(path: Path, camera: str) -> bool:
    """Whether a record has rows of this camera, if of another's folder that was merged into it."""
    return _ask(path, camera, "SELECT EXISTS (SELECT 1 FROM cameras WHERE id = ?1) OR {quarantined} OR {merged}")


def _ask(path: Path, camera: str, question: str) -> bool:
    if not path.exists():
        return False
    sql = question.format(
        quarantined="EXISTS (SELECT 1 FROM frames WHERE state = 'quarantined' AND camera_id = ?1)",
        merged="EXISTS (SELECT 1 FROM camera_aliases WHERE id = ?1)",
    )
    try:
        return bool(_read(path, sql, camera)[0][0])
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return False  # it is being made
        raise RecordError(f"{path}: {error}") from error


def last_seen_elsewhere(cell: Cell, cells: Iterable[Cell]) -> dict[tuple[str, int | None], int]:
    """Read when cameras were last seen by other cells than this one: by id, and `home_cell` as this one's record has it."""
    seen: dict[tuple[str, int | None], int] = {}
    for other in cells:
        if other == cell:
            continue
        with suppress(sqlite3.OperationalError):  # its record is not there yet, or locked: it is read again in a minute
            sql = "SELECT id, coalesce(home_cell, ?), last_seen_at FROM cameras WHERE last_seen_at IS NOT NULL"
            for camera, home, at in _read(other.record_path, sql, other.number):
                key = camera, None if home == cell.number else home
                seen[key] = max(at, seen.get(key, 0))
    return seen


def _read(path: Path, sql: str, *args: object) -> list[Any]:
    with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, timeout=10)) as db:
        return db.execute(sql, args).fetchall()
