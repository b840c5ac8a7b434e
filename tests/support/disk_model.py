"""What a power cut leaves on a disk, made out of a journal of everything that was written (`tests/support/shim/journal.c`).

The model is meaner than any file system we know, so that what survives it survives theirs:

- A file that was synced has exactly those bytes. Of what was written since, each sector (512 or 4096 bytes) is there or is not,
  one by one; a file may be long enough for all of it and hold zeros where nothing came.
- A name that was made, moved or removed is durable once its folder was synced; syncing the file does not help. Before,
  each change of a name has happened or has not, in any choice, except that a name's own changes keep their order and a
  rename is whole. A folder that was lost takes with it what is in it.
- What was told to the outside, the file `outside/told`, is there to its last byte: others have read it.
"""

import json
import os
import shutil
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hearthwatch.schemas import Consumer

HEAD = struct.Struct("<IIIIQQ")
TOLD = "outside/told"


class Ear(Consumer):
    """Somebody outside: a line for each message, read as soon as it is written."""

    path: Path

    def deliver(self, messages):
        lines = "".join(json.dumps([m.seq, m.event.id, m.event.revision, m.type]) + "\n" for m in messages)
        with self.path.open("ab", buffering=0) as file:
            file.write(lines.encode())


class Call(NamedTuple):
    """One entry: create, write, truncate, sync, rename, unlink, mkdir, by their first letters."""

    what: str
    inode: int
    at: int
    path: str
    to: str
    data: bytes


def calls(journal, under):
    """The journal's entries; paths relative to `under`."""
    data, at, out = journal.read_bytes(), 0, []
    while at < len(data):
        what, path, to, size, inode, offset = HEAD.unpack_from(data, at)
        at += HEAD.size
        parts = [data[at : at + path], data[at + path : at + path + to], data[at + path + to : at + path + to + size]]
        at += path + to + size
        names = [_below(under, part.decode()) for part in parts[:2]]
        out.append(Call(chr(what), inode, offset, *names, parts[2]))
    return out


def _below(under, path):
    name = os.path.relpath(path, under) if path else ""
    return "" if name == "." else name


@dataclass(eq=False)
class File:
    """Its bytes as last synced, and what was done since."""

    synced: bytearray = field(default_factory=bytearray)
    since: list[Call] = field(default_factory=list)

    def sync(self):
        for call in self.since:
            apply(self.synced, call)
        self.since.clear()

    def survivors(self, choice):
        """The bytes after the cut."""
        out, whole = bytearray(self.synced), len(self.synced)
        for call in self.since:
            whole = call.at if call.what == "t" else max(whole, call.at + len(call.data))
            for part in sectors(call, choice.sector):
                if choice.survives():
                    apply(out, part)
        if choice.survives():
            apply(out, Call("t", 0, whole, "", "", b""))
        return out


def sectors(call, size):
    """A write as writes within one sector each; everything else as it is."""
    at, end = call.at, call.at + len(call.data)
    if call.what != "w":
        yield call
    while at < end and call.what == "w":
        next_at = min(end, at - at % size + size)
        yield call._replace(at=at, data=call.data[at - call.at : next_at - call.at])
        at = next_at


def apply(content, call):
    if call.what == "t":
        del content[call.at :]
    content.extend(bytes(max(0, call.at - len(content))))
    if call.what == "w":
        content[call.at : call.at + len(call.data)] = call.data


class Choice:
    """Which of the unsynced changes survive: none, all, or each with the same odds."""

    def __init__(self, random):
        self.random = random
        self.odds = random.choice([0, 1, random.random(), random.random()])
        self.sector = random.choice([512, 4096])

    def survives(self):
        return self.random.random() < self.odds


@dataclass
class Change:
    """What happened to names: create, mkdir, rename or unlink; `file` is what the name stands for (None: a folder)."""

    call: Call
    file: File | None
    durable: bool = False

    @property
    def names(self):
        return [self.call.path, self.call.to] if self.call.to else [self.call.path]


class Disk:
    """All that happened up to some call."""

    def __init__(self, before=()):
        """`before`: names -> bytes of what lay there, durably, when the journal began."""
        self.before = {name: data if data is None else File(bytearray(data)) for name, data in dict(before).items()}
        self.files = {}  # inode -> File
        self.names = dict(self.before)  # name -> File, None for a folder
        self.changes = []
        self.told = b""

    def happen(self, calls):
        for call in calls:
            self._happen(call)
        return self

    def _happen(self, call):
        if call.what in "wt":
            is_other = call.inode in self.files and self.names.get(call.path) is not self.files[call.inode]
            if call.path.endswith(("-shm", "-wal")) and (is_other or call.path not in self.names):
                self._change(call._replace(what="c"))  # made by a test's connection, which the journal does not see
            if call.inode not in self.files:
                self.files[call.inode] = self.names[call.path]  # it was there before
            self.files[call.inode].since.append(call)
            if self.files[call.inode] is self.names.get(TOLD):
                self.told += call.data
        elif call.what == "s":
            self._sync(call)
        else:
            self._change(call)

    def _sync(self, call):
        if call.inode in self.files:
            self.files[call.inode].sync()
        for change in self.changes:
            if all(os.path.dirname(name) == call.path for name in change.names):
                change.durable = True

    def _change(self, call):
        file = self.names.get(call.path)
        if call.what == "c":
            self.files[call.inode] = file = File()
        self.changes.append(Change(call, file))
        if call.what in "ru":
            self.names.pop(call.path, None)
        if call.what in "cmr":
            self.names[call.to or call.path] = file

    def survivors(self, choice):
        """name -> bytes, or None for a folder; what can be reached after the cut."""
        found, lost = dict(self.before), set()
        for change in self.changes:
            if not change.durable and (lost.intersection(change.names) or not choice.survives()):
                lost.update(change.names)
                continue
            if change.call.what in "ru":
                found.pop(change.call.path, None)
            if change.call.what in "cmr":
                found[change.call.to or change.call.path] = change.file
        return {
            name: file.survivors(choice) if isinstance(file, File) else file
            for name, file in found.items()
            if all(str(folder) in found for folder in Path(name).parents if str(folder) != ".")
        }

    def put(self, folder, choice):
        """The disk after the cut, at `folder`."""
        for name, content in sorted(self.survivors(choice).items()):
            if content is None:
                (folder / name).mkdir(parents=True, exist_ok=True)
            else:
                (folder / name).write_bytes(content)
        (folder / TOLD).parent.mkdir(exist_ok=True)
        (folder / TOLD).write_bytes(self.told)


def tree(folder):
    """name -> bytes, None for folders: a disk as it is."""
    return {str(p.relative_to(folder)): None if p.is_dir() else p.read_bytes() for p in folder.rglob("*")}


def emptied(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
