"""`hearthwatch verify`: compare record, uploads, thumbnails and lake. Exit code 1 if they differ."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hearthwatch.cli.cells import others
from hearthwatch.schemas.settings import settings

if TYPE_CHECKING:
    from hearthwatch.record import Record
    from hearthwatch.record.read.verify import UploadedFile


LINES_MAX = 20  # of one part


def verify() -> None:
    """Compare the ledger's sums, rows, uploads, thumbnails and lake. Only reads; a pipeline may be running."""
    from hearthwatch.record import open_existing
    from hearthwatch.record.lake.export import Lake
    from hearthwatch.record.lake.views import problems
    from hearthwatch.record.read import verify as checks

    s = settings()
    record, data_dir = open_existing(s.database_path), s.hearthwatch_data_dir
    sharing = [o.record_path for o in others if o.base_path == s.foscam_base_path and o.record_path.exists()]
    parts: dict[str, Callable[[], list[str]]] = {
        "record": partial(checks.find_in_snapshot, record, checks.database),
        "counters": partial(checks.find_in_snapshot, record, checks.counters),
        "rows": partial(checks.find_in_snapshot, record, checks.rows),
        "uploads": lambda: checks.find_persistent(
            lambda: checks.uploads(record, uploads(s.foscam_base_path.expanduser()), [*map(open_existing, sharing)])
        ),
        "thumbnails": lambda: checks.find_persistent(lambda: checks.thumbnails(record, data_dir)),
        "pictures": lambda: checks.find_persistent(lambda: checks.pictures(record, data_dir)),
        "lake": lambda: checks.find_persistent(lambda: checks.lake(record, Lake(record, data_dir))),
        "views": lambda: checks.find_persistent(lambda: problems(data_dir)),
    }
    wrong = 0
    for name, check in parts.items():
        found = check()
        wrong += len(found)
        print(f"{name:<11} {f'{len(found)} wrong' if found else 'ok'}")
        for line in found[:LINES_MAX]:
            print(f"  {line}")
        if len(found) > LINES_MAX:
            print(f"  … and {len(found) - LINES_MAX} more")
    print(summary(record))
    print(kept_originals(data_dir))
    if wrong:
        raise typer.Exit(1)


def uploads(base: Path) -> Iterator[UploadedFile]:
    """List the pictures of the upload tree as discovery does."""
    from hearthwatch.record.paths import escape
    from hearthwatch.record.read.verify import UploadedFile
    from hearthwatch.sources.tree import Tree

    tree = Tree(os.fsencode(base), lambda folder: None)
    for _, files in tree.sweep(0.0, True):
        for file in files:
            try:
                changed = Path(os.fsdecode(tree.path(file.path))).stat().st_ctime
            except OSError:
                continue
            yield UploadedFile(escape(file.path), file.mtime_ns, file.size, changed)


def kept_originals(data_dir: Path) -> str:
    """Count the originals that are kept, and their size, in a line."""
    from hearthwatch.record.pictures import FOLDER
    from hearthwatch.record.retention.run import file_sizes
    from hearthwatch.schemas.text import plural

    sizes = list(file_sizes(data_dir / FOLDER))
    return f"{plural(len(sizes), 'kept original')}, {sum(sizes) / 1e6:,.1f} MB"


def summary(record: Record) -> str:
    """Add up the ledger in a line."""
    n = record.counters()
    (deleted,) = record.one("SELECT count(*) FROM frames WHERE pruned > 0")
    frames = n["settled"] + n["discovered"] + n["quarantined"]
    return (
        f"{frames} pictures = {n['settled']} settled + {n['discovered']} waiting + {n['quarantined']} quarantined"
        + (f" ({deleted} of them deleted by retention)" if deleted else "")
        + f"; {n['detections']} detections in {n['events']} events"
    )
