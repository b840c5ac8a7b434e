"""Make changes of files durable: what is on the disk survives a power cut, names of files and folders included."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

Content = Callable[[BinaryIO], None]
"""Writes a file's content."""


def replace_file(path: Path, content: bytes | Content, *, last: bool = True) -> None:
    """Replace a file: temporary name → fsync → rename → fsync of the folder, unless it is not the `last` one there."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True)
        sync_folder(path.parent.parent)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            content(file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    if last:
        sync_folder(path.parent)


def sync_folder(folder: Path, *, missing_ok: bool = False) -> None:
    """Sync the names in a folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        if missing_ok:
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
