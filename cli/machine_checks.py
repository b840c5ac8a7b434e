"""What a machine needs to run Hearthwatch, looked at piece by piece: what is well, what to know, what to mend.

Each check is a function of the settings and yields findings; it changes nothing but for a probe file that it removes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from hearthwatch.record import Record, RecordError, acquire_lock
from hearthwatch.record.paths import camera_id
from hearthwatch.schemas.settings import Settings

FREE_BYTES_MIN = 1 << 30  # the record waits a minute on a full disk, then ends
FREE_SHARE = 0.05
FOLDERS_MAX = 200_000  # counted; a tree with more needs its watches raised anyway
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs")
CLOCK_SECONDS_AHEAD = 60
EARLIEST = 1_767_225_600  # 2026: this program did not exist before
INOTIFY = Path("/proc/sys/fs/inotify")
MOUNTS = Path("/proc/self/mounts")

Health = Literal["ok", "note", "wrong"]


class Finding(NamedTuple):
    """One thing that was looked at; `words` say what to do where something is to be done."""

    health: Health
    subject: str
    words: str


def uploads(s: Settings) -> Iterator[Finding]:
    """The upload tree is there and can be read."""
    base = s.foscam_base_path
    try:
        entries = sorted(os.scandir(base), key=lambda entry: entry.name)
    except OSError as error:
        yield Finding("wrong", "uploads", f"{base}: {error.strerror}: make the folder, or set FOSCAM_BASE_PATH to it")
        return
    folders = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    closed = [entry.name for entry in folders if not os.access(entry, os.R_OK | os.X_OK)]
    if closed:
        user = f"uid {os.geteuid()}"
        yield Finding(
            "wrong", "uploads", f"{base}: {', '.join(closed)} cannot be read by {user}: chmod or chown them, or add it to their group"
        )  # fmt: skip
    ids = [camera_id(entry.name) for entry in folders]
    if twice := sorted({id for id in ids if ids.count(id) > 1}):
        yield Finding(
            "wrong", "uploads", f"{base}: two folders are one camera ({', '.join(twice)}): rename one of them"
        )
    if folders and not closed:
        yield Finding("ok", "uploads", f"{base}: {len(folders)} cameras: {', '.join(entry.name for entry in folders)}")
    elif not folders:
        yield Finding("note", "uploads", f"{base} is empty: cameras upload into {base}/<camera>/")


def inotify(s: Settings, limits: Path = INOTIFY) -> Iterator[Finding]:
    """New pictures can be noticed at once: there are watches enough for every folder."""
    if (kind := filesystem(s.foscam_base_path)) in NETWORK:
        yield Finding(
            "note", "inotify", f"{s.foscam_base_path} is a network mount ({kind}): set `notify = false` in `files`; pictures are found by looking every few seconds"
        )  # fmt: skip
        return
    try:
        watches, instances = (int((limits / f"max_user_{name}").read_text()) for name in ("watches", "instances"))
    except (OSError, ValueError):
        yield Finding("note", "inotify", f"{limits} cannot be read: pictures may be found by looking only")
        return
    folders = sum(1 for _, _ in zip(os.walk(s.foscam_base_path), range(FOLDERS_MAX), strict=False))
    for name, limit, needed in (("watches", watches, 2 * folders + 100), ("instances", instances, 2)):
        if limit < needed:
            yield Finding(
                "wrong", "inotify", f"max_user_{name} is {limit}, {folders} folders want {needed}: `sysctl fs.inotify.max_user_{name}={max(2 * needed, 1024)}`"
            )  # fmt: skip
            return
    yield Finding("ok", "inotify", f"{folders} folders, {watches} watches allowed")


def data(s: Settings) -> Iterator[Finding]:
    """The data dir can be written and keeps what was written."""
    for folder in dict.fromkeys((s.hearthwatch_data_dir, s.database_path.parent)):
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            yield Finding("wrong", "data", f"{existing} cannot be written by uid {os.geteuid()}: {error.strerror}")
            continue
        if (kind := filesystem(existing)) in NETWORK:
            yield Finding(
                "wrong", "data", f"{folder} is a network mount ({kind}), where SQLite may lose data: set HEARTHWATCH_DATA_DIR to a local disk"
            )  # fmt: skip
        total, _, free = shutil.disk_usage(existing)
        room = f"{free / 1e9:.1f} of {total / 1e9:.0f} GB free at {folder}"
        if free < FREE_BYTES_MIN:
            yield Finding(
                "wrong", "data", f"{room}: make room, or set HEARTHWATCH_RETENTION_GB or a lower RETENTION_DAYS"
            )
        else:
            low = free < total * FREE_SHARE
            yield Finding("note" if low else "ok", "data", room + (": that is little" if low else ""))


def record(s: Settings) -> Iterator[Finding]:
    """The record opens, is whole, and somebody works on it or nobody."""
    if not s.database_path.exists():
        yield Finding("ok", "record", f"{s.database_path} will be made at the first start")
        return
    try:
        opened = Record(s.database_path)
        said = opened.one("PRAGMA quick_check(1)")[0]
        counters, store = opened.counters(), opened.store_id
        newest = opened.one("SELECT arrived_at FROM frames ORDER BY id DESC LIMIT 1")
        opened.close()
    except RecordError as error:
        yield Finding("wrong", "record", str(error))
        return
    if said != "ok":
        yield Finding("wrong", "record", f"{s.database_path} is damaged ({said}): restore a backup, or start a new one")
        return
    if newest and newest[0] / 1e6 > time.time() + CLOCK_SECONDS_AHEAD:
        yield Finding("wrong", "clock", "the newest picture arrived in the future: this machine's clock was set back")
    frames = sum(counters[state] for state in ("discovered", "settled", "quarantined"))
    quarantined = f", {counters['quarantined']} of them quarantined" if counters["quarantined"] else ""
    yield Finding(
        "ok", "record", f"{s.database_path}: {frames} pictures{quarantined}, {counters['events']} events, store {store}"
    )
    yield Finding("ok", "pipeline", "running" if _runs(s) else "not running: start it with `hearthwatch run`")


def _runs(s: Settings) -> bool:
    try:
        acquire_lock(s.hearthwatch_data_dir, "see").release()
    except RecordError:
        return True
    return False


def clock(s: Settings) -> Iterator[Finding]:
    """The machine's clock and zone, and that of the cameras."""
    if time.time() < EARLIEST:
        yield Finding(
            "wrong",
            "clock",
            f"this machine thinks it is {datetime.now():%Y-%m-%d}: set its clock, or run an NTP client",
        )
    zone = ZoneInfo(s.hearthwatch_timezone) if s.hearthwatch_timezone else None
    now = datetime.now(zone).astimezone(zone)
    told = f"cameras' clocks are read as {s.hearthwatch_timezone or f'the system zone {now:%Z}'}: there it is {now:%H:%M} now"
    if zone is None and now.utcoffset() is not None and not now.utcoffset():
        yield Finding("note", "time zone", f"{told}; if your cameras show another time, set HEARTHWATCH_TIMEZONE")
    else:
        yield Finding("ok", "time zone", told)


def filesystem(path: Path, mounts: Path = MOUNTS) -> str:
    """The kind of file system that `path` is on; empty if nobody knows."""
    best, kind = "", ""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        where, what = line.split()[1:3]
        where = where.replace("\\040", " ")
        if len(where) >= len(best) and Path(os.path.abspath(path)).is_relative_to(where):  # noqa: PTH100
            best, kind = where, what
    return kind
