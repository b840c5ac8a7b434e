"""The checks of `hearthwatch doctor`: folders, limits, disk, record, pipeline, clock, and what the graph's nodes need.

Each check yields findings. It changes nothing but for a probe file that it removes, and waits for a service 5 s at most, for each
question that it asks.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from hearthwatch.api.health import SERVICE_OF_KIND
from hearthwatch.cli.supervisor import is_pipeline_running
from hearthwatch.gpu import DetectorError
from hearthwatch.gpu.loading import MODEL_FILES, YARD
from hearthwatch.gpu.model_families import FAMILIES
from hearthwatch.record import Record, RecordError
from hearthwatch.record.conditions import read_conditions
from hearthwatch.record.connection import find_lock
from hearthwatch.record.copies import original, read_copy
from hearthwatch.record.paths import camera_id
from hearthwatch.record.problems import count_unusable
from hearthwatch.record.read import status as queries
from hearthwatch.record.read.snapshot import SnapshotReader
from hearthwatch.schemas import Component
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.probe import probe_http
from hearthwatch.schemas.settings import Settings
from hearthwatch.schemas.text import plural
from hearthwatch.sinks.notifier import Notifier
from hearthwatch.stages.analyze import Nemotron
from hearthwatch.stages.detect import RtDetr

FREE_BYTES_MIN = 1 << 30  # the record waits a minute on a full disk, then ends
FREE_SHARE = 0.05
FOLDERS_MAX = 200_000  # counted; a tree with more needs its watches raised anyway
NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs")
CLOCK_SECONDS_AHEAD = 60
EARLIEST = 1_767_225_600  # 2026: this program did not exist before
INOTIFY = Path("/proc/sys/fs/inotify")
MOUNTS = Path("/proc/self/mounts")

PROBED = ("uploads_missing", "disk_low", "redis_down", "detector_down", "llm_down")  # by the other checks, too
Health = Literal["ok", "note", "wrong"]


class Finding(NamedTuple):
    """The result of a check; `words` say what to do where something is to be done."""

    health: Health
    subject: str
    words: str


ok, note, wrong = (partial(Finding, health) for health in get_args(Health))


def check_uploads(s: Settings) -> Iterator[Finding]:
    """Check that the upload tree is there and can be read."""
    base = s.foscam_base_path
    try:
        entries = sorted(os.scandir(base), key=lambda entry: entry.name)
    except OSError as error:
        yield wrong("uploads", f"{base}: {error.strerror}: make the folder, or set FOSCAM_BASE_PATH to it")
        return
    folders = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    closed = [entry.name for entry in folders if not os.access(entry, os.R_OK | os.X_OK)]
    if closed:
        words = f"{base}: {', '.join(closed)} cannot be read by uid {os.geteuid()}"
        yield wrong("uploads", f"{words}: chmod or chown them, or add it to their group")
    ids = [camera_id(entry.name) for entry in folders if s.hearthwatch_camera == "{1}"]
    if twice := sorted({id for id in ids if ids.count(id) > 1}):
        yield wrong("uploads", f"{base}: two folders are one camera ({', '.join(twice)}): rename one of them")
    if folders and not closed:
        yield ok("uploads", f"{base}: {plural(len(folders), 'camera')}: {', '.join(entry.name for entry in folders)}")
    elif not folders:
        yield note("uploads", f"{base} is empty: cameras upload into {base}/<camera>/")


def check_inotify(s: Settings, limits: Path = INOTIFY) -> Iterator[Finding]:
    """Check that there are enough watches to notice new pictures in every folder at once."""
    if (kind := filesystem(s.foscam_base_path)) in NETWORK:
        words = f"{s.foscam_base_path} is a network mount ({kind}): set `notify = false` in `files`"
        yield note("inotify", f"{words}; pictures are found by a sweep every few seconds")
        return
    try:
        watches, instances = (int((limits / f"max_user_{name}").read_text()) for name in ("watches", "instances"))
    except (OSError, ValueError):
        yield note("inotify", f"{limits} cannot be read: pictures may be found by sweeps only")
        return
    folders = sum(1 for _, _ in zip(os.walk(s.foscam_base_path), range(FOLDERS_MAX), strict=False))
    for name, limit, needed in (("watches", watches, 2 * folders + 100), ("instances", instances, 2)):
        if limit < needed:
            words = f"max_user_{name} is {limit}, {folders} folders need {needed}"
            yield wrong("inotify", f"{words}: `sysctl fs.inotify.max_user_{name}={max(2 * needed, 1024)}`")
            return
    yield ok("inotify", f"{plural(folders, 'folder')}, {watches} watches allowed")


def check_data(s: Settings) -> Iterator[Finding]:
    """Check that the data dir can be written, is on a local disk and has room."""
    for folder in dict.fromkeys((s.hearthwatch_data_dir, s.database_path.parent)):
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            words = f"{existing} cannot be written by uid {os.geteuid()} ({error.strerror})"
            yield wrong("data", f"{words}: chown or chmod it, or set HEARTHWATCH_DATA_DIR to another folder")
            continue
        if (kind := filesystem(existing)) in NETWORK:
            words = f"{folder} is a network mount ({kind}), where SQLite may lose data"
            yield wrong("data", f"{words}: set HEARTHWATCH_DATA_DIR to a local disk")
        total, _, free = shutil.disk_usage(existing)
        room = f"{free / 1e9:.1f} of {total / 1e9:.0f} GB free at {folder}"
        if free < FREE_BYTES_MIN:
            yield wrong("data", f"{room}: make room, or set HEARTHWATCH_RETENTION_GB or a lower RETENTION_DAYS")
        else:
            yield note("data", f"{room}: that is little") if free < total * FREE_SHARE else ok("data", room)


def check_record(s: Settings) -> Iterator[Finding]:
    """Check that the record opens and is whole, and whether a pipeline works on it."""
    if not s.database_path.exists():
        yield ok("record", f"{s.database_path} will be made at the first start")
        return
    try:
        opened = Record(s.database_path)
        damage = opened.one("PRAGMA quick_check(1)")[0]
        counters, store = opened.counters(), opened.store_id
        newest = opened.one("SELECT arrived_at FROM frames ORDER BY id DESC LIMIT 1")
        opened.close()
        is_running = is_pipeline_running(s.database_path, s.hearthwatch_data_dir)
    except RecordError as error:
        yield wrong("record", str(error))
        return
    if damage != "ok":
        yield wrong("record", f"{s.database_path} is damaged ({damage}): restore a backup, or start a new one")
        return
    if newest and newest[0] / 1e6 > time.time() + CLOCK_SECONDS_AHEAD:
        yield wrong("clock", "the newest picture arrived in the future: this machine's clock was set back")
    frames = sum(counters[state] for state in ("discovered", "settled", "quarantined"))
    quarantined = f", {counters['quarantined']} of them quarantined" if counters["quarantined"] else ""
    counted = f"{plural(frames, 'picture')}{quarantined}, {plural(counters['events'], 'event')}"
    yield ok("record", f"{s.database_path}: {counted}, store {store}")
    yield ok("pipeline", "running" if is_running else "not running: start it with `hearthwatch run`")


def check_pipeline(s: Settings) -> Iterator[Finding]:
    """Say what the pipeline finds wrong, or found when it last ran; what it ignored, doubted and could not use."""
    if not s.database_path.exists():
        return
    try:
        with SnapshotReader(s.database_path).snapshot() as record:
            (at,) = record.one("SELECT discovered_at FROM frames ORDER BY id DESC LIMIT 1") or (0,)
            conditions, notes = read_conditions(record), record.meta("discovery") or {}
            counts, consumers = count_unusable(record, at), queries.consumers(record)
            newest = read_copy(record, record.one("SELECT coalesce(max(id), 0) FROM frames")[0])
            first = newest and original(record, newest)
        is_running = is_pipeline_running(s.database_path, s.hearthwatch_data_dir)
    except (RecordError, sqlite3.Error):  # `check_record` reports it
        return
    if is_running and (why := find_lock(s.database_path)):
        yield wrong("record", why)
    for condition in conditions:
        if condition.kind not in PROBED:
            health: Health = "note" if condition.severity == "info" or not is_running else "wrong"
            words = condition.message if is_running else f"when the pipeline last ran: {condition.message}"
            yield Finding(health, SERVICE_OF_KIND.get(condition.kind) or condition.subject or "pipeline", words)
    known_already = {condition.subject for condition in conditions}
    for name, consumer in consumers.items():
        if consumer["error"] and name not in known_already:
            words = f"{consumer['error']}; {plural(consumer['lag'], 'message')} to deliver"
            yield Finding("wrong" if is_running else "note", name, words)
    for camera, pictures, bad, _ in counts:
        if bad and (camera or "") not in known_already:
            which = f"{bad} of {plural(pictures, 'picture')} of {camera or 'no camera'}"
            yield note("cameras", f"{which} in the last hour could not be used: GET /api/system/quarantine says why")
    if newest and first and newest.id != first.id:
        same = f"the newest, {newest.path}, is {first.describe(None)} ({first.path})"
        yield note("uploads", f"{same}: the same bytes are not detected again")
    yield from (note("uploads", words) for words in queries.describe_notes(notes))


def check_clock(s: Settings) -> Iterator[Finding]:
    """Check the machine's clock, and show the zone of the cameras' clocks."""
    if time.time() < EARLIEST:
        yield wrong("clock", f"this machine thinks it is {datetime.now():%Y-%m-%d}: set its clock, or run NTP")
    zone = ZoneInfo(s.hearthwatch_timezone) if s.hearthwatch_timezone else None
    now = datetime.now(zone).astimezone(zone)
    words = f"cameras' clocks are read as {s.hearthwatch_timezone or f'the system zone {now:%Z}'}: there it is {now:%H:%M} now"
    if zone is None and now.utcoffset() is not None and not now.utcoffset():
        yield note("time zone", f"{words}; if your cameras show another time, set HEARTHWATCH_TIMEZONE")
    else:
        yield ok("time zone", words)


def check_torch(wanted: str) -> Iterator[Finding]:
    """Check that torch can use this device, and an NVIDIA card if there is one."""
    from hearthwatch.gpu.loading import NVIDIA_DRIVER, choose_device, cuda_problem, require_torch

    try:
        require_torch()
        device = choose_device(wanted)
    except DetectorError as error:
        yield wrong("torch", str(error))
        return
    import torch

    name = torch.cuda.get_device_name(device) if device != "cpu" else f"{torch.get_num_threads()} threads"
    if wanted == "auto" and device == "cpu" and NVIDIA_DRIVER.exists():
        fix = "install the CUDA build of torch (docs/install.md)"
        yield wrong("torch", f"there is an NVIDIA card, but {cuda_problem()}: {fix}")
    else:
        yield ok("torch", f"torch {torch.__version__} detects on {device} ({name})")


def check_model(name: str, *, ask_hub: bool = True) -> Iterator[Finding]:
    """Check that the detector's weights are here, or can be fetched: only asking the hub takes time."""
    folder = YARD if name == "yard" else Path(name).expanduser()
    if name == "yard" or folder.is_dir():
        missing = [file for file in MODEL_FILES if not (folder / file).is_file()]
        if missing:
            yield wrong("model", f"{folder} has no {', '.join(missing)}: copy them there")
        elif name == "yard":
            yield note(
                "model", "yard: the demo's, for drawn pictures only; set HEARTHWATCH_DETECTOR_MODEL for real ones"
            )
        else:
            yield ok("model", f"{name} is complete")
        return
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        missing = [file for file in MODEL_FILES if not isinstance(try_to_load_from_cache(name, file), str)]
    except HFValidationError:
        kinds = " or ".join(FAMILIES)
        yield wrong("model", f"{name} is no folder and no hub id: name one with an {kinds} in it, or `yard`")
        return
    if not missing:
        yield ok("model", f"{name} is in the hub's cache")
        return
    if not ask_hub:
        return
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            raise UserError("HF_HUB_OFFLINE is set")
        probe_http("HEAD", f"{hub}/{name}/resolve/main/config.json", follow_redirects=True)
        yield note("model", f"{name} will be fetched from {hub} at the first start")
    except UserError as error:
        fix = f"copy {', '.join(MODEL_FILES)} into a folder and name it in HEARTHWATCH_DETECTOR_MODEL"
        yield wrong("model", f"{name} is not here and cannot be fetched from {hub} ({error}): {fix}")


def check_node(name: str, component: Component) -> Iterator[Finding]:
    """Check the service that this node of the graph needs, or the model and device of a detector in this process."""
    if isinstance(component, RtDetr) and not component.url:
        yield from check_model(component.model)
        for device in component.devices():
            yield from check_torch(device)
    try:
        if answer := component.off() or (component.ask() if isinstance(component, Notifier) else component.probe()):
            reads = (
                isinstance(component, Nemotron)
                and component.url
                and not component.judge
                and component.pictures
                and component.reads_pictures()
            )
            yield ok(name, f"{answer}{reads or ''}")
    except UserError as error:
        yield wrong(name, str(error))


def filesystem(path: Path, mounts: Path = MOUNTS) -> str:
    """Return the kind of file system that `path` is on; empty if it cannot be found out."""
    try:
        lines = [line.split()[1:3] for line in mounts.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    mounted = [(where.replace("\\040", " "), kind) for where, kind in lines]
    above = [(len(where), n, kind) for n, (where, kind) in enumerate(mounted) if Path(os.path.abspath(path)).is_relative_to(where)]  # noqa: PTH100  # fmt: skip
    return max(above, default=(0, 0, ""))[2]
