"""Promise: a folder of rows that does not follow ends when all is read, and not before."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from hearthwatch.sources.folder import Folder


@contextmanager
def without_rights():
    """As a user who may read what others may; root may read anything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_cannot_be_read_yet_is_waited_for():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        rows = folder / "rows.jsonl"
        rows.write_text('{"level": 3}\n')
        rows.chmod(0)
        partition = Folder(path=folder, follow=False).build(None).build_part("x", "one", None)
        with without_rights():
            assert partition.next_batch() == []
        rows.chmod(0o644)
        assert partition.next_batch() == [{"level": 3}]
        with pytest.raises(StopIteration):
            partition.next_batch()


def test_a_file_that_cannot_be_read_holds_back_those_behind_it_for_a_while(monkeypatch):
    """A disk that fails once changes no order; a file without rights is no end of the others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for n in (1, 2):
            (folder / f"{n}.jsonl").write_text(f'{{"level": {n}}}\n')
        (folder / "1.jsonl").chmod(0)
        partition = Folder(path=folder, follow=False).build(None).build_part("x", "one", None)
        with without_rights():
            assert partition.next_batch() == [] == partition.next_batch()
            monkeypatch.setattr("hearthwatch.sources.folder.HOLD_SECONDS", 0.0)
            assert partition.next_batch() == [{"level": 2}]
        (folder / "1.jsonl").chmod(0o644)
        assert partition.next_batch() == [{"level": 1}]
