"""Settings: environment variable, else `.env` in the working folder, else default.

An empty value counts as unset: `REDIS_URL= hearthwatch run` uses the default although `.env` sets another value.
An attribute is its variable in lower case. One `SettingsError` reports all mistakes, a line for each; no line shows a
secret. Reading settings opens no file but `.env`, starts nothing and imports nothing heavy.
`python -m hearthwatch.schemas.settings` prints `.env.example`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import time
from functools import cache
from io import StringIO
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from hearthwatch.schemas.flow_file import SETTINGS, FlowFile, FlowFileError, read_flow_file
from hearthwatch.schemas.items import RiskLevel
from hearthwatch.schemas.path_rules import CameraPattern, PathRules, TimeFormat
from hearthwatch.schemas.text import did_you_mean

ENV_FILE = Path(".env")
SECONDS_MAX = 1e9  # 32 years; in microseconds it still fits SQLite's integers with room for sums
DAYS_MAX = 36_500
SIDE_MIN, SIDE_MAX = 64, 2048  # pixels of a detector's input: fewer show nothing, more need 40 GB in RT-DETR's encoder
BATCH_MAX = 512  # pictures of 640x640 in one forward pass: 2.5 GB of float32 input, more than any detector gains from
CONCURRENCY_MAX = 256  # vLLM's own default bound of sequences in one batch
ATTEMPTS_MAX = 100
NEAR = 0.85  # similarity: variables of other programs in `.env` are no misspelt settings
NOT_SETTINGS = re.compile(r"HEARTHWATCH_(TEST_.*|VENV|VLLM)")  # scripts, tests and `hearthwatch llm` read these


class SettingsError(Exception):
    """Invalid settings. `mistakes` has one line for each; the text is all of them."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = list(mistakes)
        super().__init__("\n".join(self.mistakes))


@dataclass(frozen=True)
class Allowed:
    """The allowed values in words, shown in messages and docs."""

    text: str


def _database(url: str | None) -> str | None:
    if url is not None:
        _sqlite_path(url)
    return url


def _sqlite_path(url: str) -> Path:
    scheme, _, rest = url.partition("://")
    if scheme not in ("sqlite", "sqlite+aiosqlite"):
        raise ValueError("the record is one SQLite file and no other database can hold it")
    name = rest.removeprefix("/")
    if not rest.startswith("/") or not name or name.startswith((":memory:", "file:")) or "?" in name:
        raise ValueError("the record has to be a file on disk, named without URL options")
    return _at_home(Path(name))


def _at_home(path: Path) -> Path:
    """Expand `~/x` and `~user/x`."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"there is no home folder `{path.parts[0]}`") from None


def _no_file(path: Path) -> Path:
    """Refuse a folder that cannot be made: a file stands in its place, or in that of one above it."""
    above = next((part for part in (path, *path.parents) if os.path.lexists(part)), path)
    if above.is_file():
        raise ValueError(f"{above} is a file")
    return path


def _url(*schemes: str, path: str = "") -> AfterValidator:
    """Check a URL; its path has to match the pattern `path`."""

    def check(url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            port_is_good = parts.port != 0  # raises ValueError outside 0-65535, with a piece of the URL in its text
        except ValueError:
            raise ValueError("not a URL") from None
        where = parts.path if parts.scheme == "unix" else parts.hostname and port_is_good
        if parts.scheme not in schemes or not where or not re.search(path, parts.path):
            raise ValueError
        return url.rstrip("/")

    return AfterValidator(check)


CELLS_MAX = 255  # an id has eight bits for the cell's number, and a browser's numbers 53 in all


def _cells(text: str) -> str:
    """Check a number of cells, or their names and upload trees."""
    pairs = [re.fullmatch(r"\s*([a-z0-9_-]+)\s*=\s*\S.*", part, re.S) for part in text.split(";") if part.strip()]
    names = [pair and pair[1] for pair in pairs]
    is_number = text.isdecimal() and 1 <= int(text) <= CELLS_MAX
    if not is_number and not (names and all(names) and len(set(names)) == len(names) <= CELLS_MAX):
        raise ValueError(_cells_mistake(text))
    trees = (
        [] if is_number else sorted({Path(part.partition("=")[2].strip()) for part in text.split(";") if part.strip()})
    )
    if inner := next(((one, two) for one in trees for two in trees if one in two.parents), None):
        raise ValueError(f"{inner[1]} lies in {inner[0]}, so its pictures would be processed twice")
    return text


def _cells_mistake(text: str) -> str:
    """Say which part of `name=folder;name=folder` is wrong; nothing where there is no such part."""
    parts = [part.partition("=") for part in text.split(";") if part.strip() and "=" in text]
    for n, (name, _, folder) in enumerate(parts):
        if not re.fullmatch(r"\s*[a-z0-9_-]+\s*", name):
            return f"`{name.strip()}` cannot be a cell's name: use a-z, 0-9, _ and -"
        if not folder.strip():
            return f"the cell `{name.strip()}` has no folder"
        if name.strip() in [before.strip() for before, _, _ in parts[:n]]:
            return f"two cells have the name `{name.strip()}`"
    return ""


REDIS_OPTIONS = (
    "db", "username", "password", "protocol", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname",
)  # fmt: skip


def _redis_options(url: str | None) -> str | None:
    """Check what comes after the `?` of a Redis URL, and that it is one server."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return url  # the next check says so
    if found := re.search("sentinel|cluster", parts.scheme):
        raise ValueError(f"Redis {found[0].title()} is not supported: give one server's address")
    if "," in parts.netloc.rpartition("@")[2]:
        raise ValueError("several servers are not supported: give one server's address")
    for name in parse_qs(parts.query, keep_blank_values=True):
        if name not in REDIS_OPTIONS:
            raise ValueError(f"no option {name}{did_you_mean(name, REDIS_OPTIONS)}")
    return url


def input_size(text: str, step: int = 1) -> tuple[int, int]:
    """Read `640` or `640x384` as width and height of a detector's input, multiples of `step`. Raises ValueError."""
    sides = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    if not sides:
        raise ValueError("a side, such as 640, or width x height, such as 640x384")
    width, height = int(sides[1]), int(sides[2] or sides[1])
    lowest, highest = -(-SIDE_MIN // step) * step, SIDE_MAX // step * step
    for side in (width, height):
        fitting = sorted({max(lowest, min(highest, (side + more) // step * step)) for more in (0, step - 1)})
        if side not in fitting:
            what = "" if step == 1 else f"a multiple of {step} "
            nearest = " and ".join(map(str, fitting))
            raise ValueError(f"{side} pixels are not {what}from {SIDE_MIN} to {SIDE_MAX}: {nearest} would fit")
    return width, height


def _input_size(text: str | None) -> str | None:
    if text is not None:
        input_size(text)
    return text


def _zone(name: str | None) -> str | None:
    if name is not None:
        try:
            ZoneInfo(name)
        except (ValueError, OSError, LookupError):
            raise ValueError(f"no such time zone{did_you_mean(name, available_timezones(), NEAR)}") from None
    return name


def _location(value: object) -> object:
    """Read `50.1,8.7` as latitude and longitude."""
    if not isinstance(value, str):
        return value
    try:
        latitude, longitude = map(float, value.split(","))
    except ValueError:
        raise ValueError(f"{value!r} is not two numbers with a comma between them") from None
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):
        raise ValueError("latitude lies between -90 and 90, longitude between -180 and 180")
    return latitude, longitude


def _items(value: object) -> object:
    """Split at semicolons, else at commas."""
    if isinstance(value, str):
        value = value.split(";" if ";" in value else ",")
    return tuple(filter(None, (str(item).strip() for item in value))) if isinstance(value, list | tuple) else value


def _labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(str.lower, labels)))


def _time_formats(formats: tuple[str, ...]) -> tuple[str, ...]:
    for text in formats:
        TimeFormat(text)
    return formats


def _globs(globs: tuple[str, ...]) -> tuple[str, ...]:
    try:
        PathRules(globs).ignored_by(b"")
    except re.error as error:
        raise ValueError(f"not a glob: {error.msg}") from None
    return globs


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if not re.fullmatch(r"https?://[^\s/?#@*]+", origin):
            raise ValueError(f"{masked('_URL', origin)} is not an origin")
    return origins


def _networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        ip_network(network)  # a ValueError names what is wrong with it
    return networks


def _host_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not re.fullmatch(r"[a-z0-9_.-]+", name):
            raise ValueError(f"{name} is not a host name")
    return names


def _ancestors(ancestors: tuple[str, ...]) -> tuple[str, ...]:
    _origins(tuple(ancestor for ancestor in ancestors if ancestor != "self"))
    return ancestors


Seconds = Annotated[
    float, Field(gt=0, le=SECONDS_MAX, allow_inf_nan=False), Allowed("seconds, a number greater than 0")
]
HttpUrl = Annotated[
    str | None, Field(repr=False), _url("http", "https"), Allowed("http://host:port or https://host:port, or nothing")
]

InputSize = Annotated[
    str | None,
    AfterValidator(_input_size),
    Allowed(f"{SIDE_MIN} to {SIDE_MAX} pixels, such as 480, or width x height, such as 640x384"),
]


def parse_hours(text: str) -> tuple[time, time]:
    """Read `22:00-06:30` as its two ends. Raises ValueError."""
    try:
        start, end = (time.fromisoformat(part) for part in re.split(r"\s*[-–]\s*", text.strip()))
    except ValueError:
        raise ValueError(f"{text!r} is not a span of hours: write 22:00-06:30") from None
    return start, end


QuietHours = Annotated[
    str | None,
    AfterValidator(lambda text: text if text is None or parse_hours(text) else None),
    Allowed("such as 22:00-06:30, or nothing"),
]
Folder = Annotated[Path, AfterValidator(_at_home), Allowed("a folder")]


class Settings(BaseModel):
    """Every setting with its default; the first ten are those of the system that this one replaces."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, hide_input_in_errors=True)
    _given: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _sources: Mapping[str, str] = PrivateAttr(default_factory=dict)

    foscam_base_path: Folder = Path("/export/foscam")
    """The upload tree: `<base>/<camera folder>/**/<picture>`."""
    database_url: Annotated[
        str | None,
        Field(repr=False),
        AfterValidator(_database),
        Allowed("sqlite:///relative/file.db or sqlite:////absolute/file.db"),
    ] = None
    """The record, an SQLite file; unset: `hearthwatch.db` in the data dir. `sqlite+aiosqlite:///...` is the same."""
    redis_url: Annotated[
        str | None,
        Field(repr=False),
        AfterValidator(_redis_options),
        _url("redis", "rediss", "unix"),
        Allowed("redis://host:port/number, rediss:// or unix://, or nothing"),
    ] = None
    """Where events are published, such as redis://localhost:6379/0; unset: no Redis, everything else works."""
    rtdetr_url: HttpUrl = None
    """An RT-DETR service that each picture is sent to, such as http://localhost:8001; unset: detect in this process."""
    nemotron_url: HttpUrl = None
    """An OpenAI-compatible vLLM server that judges events, such as http://localhost:8002; unset: rules alone judge."""
    detection_confidence_threshold: Annotated[float, Field(ge=0, le=1), Allowed("a number from 0 to 1")] = 0.5
    """Keep detections whose score is at least this."""
    batch_window_seconds: Seconds = 90
    """A batch ends this long after its first detection."""
    batch_idle_timeout_seconds: Seconds = 30
    """A batch ends when its camera has had no detection for this long."""
    retention_days: Annotated[int, Field(ge=1, le=DAYS_MAX), Allowed(f"whole days, 1 to {DAYS_MAX}")] = 30
    """Delete frames, detections, events and thumbnails this many days after discovery."""
    debug: Annotated[bool, Allowed("true or false")] = False
    """Log in detail."""

    hearthwatch_data_dir: Annotated[Folder, AfterValidator(_no_file)] = Path("data")
    """Where the record, thumbnails, lake and `analytics.duckdb` live."""
    hearthwatch_flow: Annotated[Path | None, Allowed("a TOML file")] = None
    """A flow file instead of the built-in one."""
    hearthwatch_nodes: Annotated[
        tuple[str, ...], BeforeValidator(_items), Allowed("names with commas between them")
    ] = ()
    """Run these nodes of the graph only, with commas between them; the others run in another process. Empty: all."""
    hearthwatch_cells: Annotated[
        str, AfterValidator(_cells), Allowed(f"a number of cells, 1 to {CELLS_MAX}, or name=folder;name=folder")
    ] = "1"
    """Divide cameras among so many cells, each with its own record, or give each an upload tree: `north=/srv/north;south=/srv/south`; Bytewax's workers share the cells."""
    hearthwatch_workers: Annotated[
        int | None, Field(ge=1, le=CELLS_MAX), Allowed("a number, 1 or more, or nothing")
    ] = None
    """Worker processes that `hearthwatch run` starts, no more than there are cells; unset: one for each CPU that it may use."""
    hearthwatch_detector_model: Annotated[str, Allowed("a hub id, a folder or yard")] = "PekingU/rtdetr_v2_r18vd"
    """RT-DETRv2 to detect with: a hub id, a folder with `config.json`, `model.safetensors` and
    `preprocessor_config.json`, or `yard`, the packaged model of the demo."""
    hearthwatch_device: Annotated[
        str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$"), Allowed("auto, cpu, cuda or cuda:N")
    ] = "auto"
    """Where the model runs: `auto`, `cpu`, `cuda` or `cuda:N`."""
    hearthwatch_detector_runtime: Annotated[
        Literal["auto", "torch", "openvino"], Allowed("auto, torch or openvino")
    ] = "auto"
    """What runs the model: `auto` is OpenVINO on a CPU where it finds the same boxes as torch, else torch."""
    hearthwatch_detector_size: InputSize = None
    """Resize pictures to this many pixels for the detector, such as 480 or 640x384 (width x height): smaller
    is faster and overlooks small objects. Multiples of 32, or of what the model needs. Unset: what it was trained with."""
    hearthwatch_detect_batch_max: Annotated[
        int | None, Field(ge=1, le=BATCH_MAX), Allowed(f"a whole number, 1 to {BATCH_MAX}")
    ] = None
    """Pictures per forward pass at most; unset: 32 on CUDA, 1 on a CPU."""
    hearthwatch_object_types: Annotated[
        tuple[str, ...],
        BeforeValidator(_items),
        AfterValidator(_labels),
        Field(min_length=1),
        Allowed("labels separated by commas, or * for all"),
    ] = (
        *("person", "bicycle", "car", "motorcycle", "bus", "truck", "bird", "cat", "dog", "horse", "bear"),
        *("backpack", "handbag", "suitcase", "package"),
    )
    """Labels that are kept, separated by commas; `*` keeps all."""
    hearthwatch_nemotron_model: Annotated[str, Allowed("the name of a model on that server")] = "nemotron"
    """The name under which the server at NEMOTRON_URL serves the model."""
    hearthwatch_nemotron_concurrency: Annotated[
        int, Field(ge=1, le=CONCURRENCY_MAX), Allowed(f"a whole number, 1 to {CONCURRENCY_MAX}")
    ] = 8
    """Requests to the language model at a time, at most."""
    hearthwatch_nemotron_timeout_seconds: Seconds = 60
    """Timeout of one request to the language model."""
    hearthwatch_nemotron_attempts: Annotated[
        int, Field(ge=1, le=ATTEMPTS_MAX), Allowed(f"a whole number, 1 to {ATTEMPTS_MAX}")
    ] = 5
    """Attempts per event before the analysis counts as failed and the rules' verdict stays; an unreachable server is not
    an attempt."""
    hearthwatch_nemotron_pictures: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=0, le=6)], Allowed("auto, or a whole number, 0 to 6")
    ] = "auto"
    """Pictures of an event that the model is shown at most; 0: none; `auto`: 6 if the served model can read pictures."""
    hearthwatch_hold_seconds: Annotated[float, Field(ge=0, le=8), Allowed("0 to 8")] = 0
    """How long a notification below critical may wait for a language model's verdict on its event; 0: an alert waits for nothing."""
    hearthwatch_redis_channel: Annotated[str, Field(pattern=r"^\S+$"), Allowed("a name without spaces")] = (
        "security_events"
    )
    """Pub/sub channel that events are published on; the stream `<channel>:stream` keeps them."""
    hearthwatch_notify_level: Annotated[RiskLevel, Allowed("low, medium, high or critical")] = "medium"
    """Incidents are notified about when they reach this level: `low`, `medium`, `high` or `critical`."""
    hearthwatch_quiet_hours: QuietHours = None
    """Hours, such as 22:00-06:30 in HEARTHWATCH_TIMEZONE, in which nothing below `high` is sent; it comes as one digest when they end."""
    hearthwatch_public_url: HttpUrl = None
    """Where phones reach the page, such as https://home.example: notifications link to it; unset: no link."""
    hearthwatch_ntfy_url: Annotated[
        str | None,
        Field(repr=False),
        _url("http", "https", path="/[-_A-Za-z0-9]{1,64}/?$"),
        Allowed("https://ntfy.sh/topic, the topic of up to 64 letters, digits, - and _, or nothing"),
    ] = None
    """Topic of an ntfy server that notifications are pushed to, such as https://ntfy.sh/topic, or https://:token@host/topic."""
    hearthwatch_webhook_url: HttpUrl = None
    """Where notifications are sent to as JSON, such as http://localhost:5678/webhook/hearthwatch."""
    hearthwatch_mqtt_url: Annotated[
        str | None,
        Field(repr=False),
        _url("mqtt", "mqtts"),
        Allowed("mqtt://user:password@host:port or mqtts://host, or nothing"),
    ] = None
    """The MQTT broker of Home Assistant or others, such as mqtt://user:password@host:1883."""
    hearthwatch_apprise_urls: Annotated[
        tuple[str, ...],
        BeforeValidator(_items),
        Field(repr=False),
        Allowed("URLs with commas or semicolons between them"),
    ] = ()
    """Services that notifications are sent to through Apprise, such as tgram://token/chat; needs `pip install hearthwatch[notify]`."""
    hearthwatch_capture_time: Annotated[
        Literal["auto", "mtime", "name", "exif"], Allowed("auto, mtime, name or exif")
    ] = "auto"
    """Where a picture's capture time is read from: `auto` (EXIF, else file name, each if it lies in the 24 hours before the
    file's modification time; else that time), `mtime`, `name` or `exif`."""
    hearthwatch_time_format: Annotated[
        tuple[str, ...],
        BeforeValidator(_items),
        AfterValidator(_time_formats),
        Allowed("strptime patterns of paths with commas or semicolons between them, or nothing"),
    ] = ()
    """Patterns that give the capture time in a picture's path below its camera's folder, before EXIF and what names are known to
    mean: as for `strptime`, with `*` for any text without `/` and `%s` for seconds since 1970, such as `%Y/%m/%d/cam_%H-%M-%S`;
    `camera=pattern` is for one camera; a comma or semicolon stands between several."""
    hearthwatch_camera: Annotated[
        str,
        AfterValidator(lambda pattern: CameraPattern(pattern).text),
        Allowed("a pattern such as {1}, {1}/{2} or {1}_{n1}"),
    ] = "{1}"
    """What says whose picture it is: `{1}`, `{2}` … are the folders below FOSCAM_BASE_PATH, `{n1}`, `{n2}` … the parts of the
    file's name between `_`, `-`, space and dot."""
    hearthwatch_ignore: Annotated[
        tuple[str, ...],
        BeforeValidator(_items),
        AfterValidator(_globs),
        Allowed("globs with commas or semicolons between them, or nothing"),
    ] = ()
    """Files and folders of the upload tree that are ignored, beside hidden ones and the copies that network storage keeps
    (`@eaDir`, `#recycle`, `#snapshot`, `@Recycle`, `@Recently-Snapshot`, `$RECYCLE.BIN`): globs of names, or of paths below
    FOSCAM_BASE_PATH if they have a `/`, such as `front_door/old/*`; `**` is any folders."""
    hearthwatch_timezone: Annotated[
        str | None, AfterValidator(_zone), Allowed("a name such as Europe/Berlin, or nothing for the system's zone")
    ] = None
    """The zone of the cameras' clocks (file names, EXIF), such as Europe/Berlin; unset: the system's."""
    hearthwatch_location: Annotated[
        tuple[float, float] | None,
        BeforeValidator(_location),
        Field(repr=False),
        Allowed("latitude,longitude in decimal degrees, such as 50.1,8.7, or nothing"),
    ] = None
    """Where the cameras are, `latitude,longitude` in decimal degrees (south and west negative), such as 50.1,8.7: it is dark when
    the sun is 4° below the horizon; unset: in grey infrared pictures, and from 22 to 5 h of the cameras' clocks."""
    hearthwatch_retention_gb: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False), Allowed("gigabytes, a number greater than 0, or nothing")
    ] = None
    """Delete the oldest events and frames when the data dir exceeds this many gigabytes; unset: only days count."""
    hearthwatch_retention_originals: Annotated[bool, Allowed("true or false")] = False
    """Delete the uploaded files of deleted frames, too; otherwise uploads are never touched."""
    hearthwatch_keep_pictures: Annotated[Literal["evidence", "all", "none"], Allowed("evidence, all or none")] = (
        "evidence"
    )
    """Originals that are kept in the data dir until retention deletes their event, whatever becomes of the uploads: `evidence`,
    those that the verdict rests on; `all` of an event; `none`."""
    hearthwatch_api_host: Annotated[
        str,
        Field(pattern=r"^[^\s/@]+$"),
        AfterValidator(lambda host: host.strip("[]")),
        Allowed("a host name or an address"),
    ] = "127.0.0.1"
    """Address that the API and the page listen on; any but a loopback address needs HEARTHWATCH_API_TOKEN."""
    hearthwatch_api_port: Annotated[int, Field(ge=1, le=65_535), Allowed("a port, 1 to 65535")] = 8000
    """Port of the API and the page."""
    hearthwatch_api_token: Annotated[
        str | None, Field(repr=False, pattern=r"^[\x21-\x7e]+$"), Allowed("printable ASCII without spaces, or nothing")
    ] = None
    """Token that clients send (`Authorization: Bearer …`; the page asks for it once); unset: no token is needed. At least 16 characters where HEARTHWATCH_API_HOST is not loopback."""
    hearthwatch_detector_token: Annotated[
        str | None, Field(repr=False, pattern=r"^[A-Za-z0-9._~-]+$"), Allowed("letters, digits and . _ ~ -, or nothing")
    ] = None
    """Token that clients of `hearthwatch detector` send (`RTDETR_URL=http://TOKEN@host:8001`); unset: no token is needed. At least 16 characters where it listens on another address than loopback."""
    hearthwatch_api_names: Annotated[
        tuple[str, ...],
        BeforeValidator(_items),
        AfterValidator(_labels),
        AfterValidator(_host_names),
        Allowed("host names with commas between them, or nothing"),
    ] = ()
    """Names by which browsers call this server, beside its own and its addresses, such as cameras.home.example; with
    HEARTHWATCH_API_TOKEN any name is accepted."""
    hearthwatch_api_forwarded: Annotated[
        tuple[str, ...],
        BeforeValidator(_items),
        AfterValidator(_networks),
        Allowed("addresses or networks such as 10.0.0.0/8 with commas between them, or nothing"),
    ] = ()
    """Addresses of proxies whose `X-Forwarded-For`, `-Proto` and `-Host` count, such as 127.0.0.1; unset: none."""
    hearthwatch_frame_ancestors: Annotated[
        tuple[str, ...],
        BeforeValidator(_items),
        AfterValidator(_labels),
        AfterValidator(_ancestors),
        Allowed("self or http://host:port, with commas between them, or nothing"),
    ] = ()
    """Origins of web pages that may show this one in a frame, such as http://homeassistant.local:8123, or self; unset: none."""
    hearthwatch_cors_origins: Annotated[
        tuple[str, ...],
        BeforeValidator(_items),
        AfterValidator(_labels),
        AfterValidator(_origins),
        Allowed("http://host:port, separated by commas"),
    ] = ()
    """Origins of other web pages that may read the API, separated by commas, such as https://home.example."""

    @property
    def database_path(self) -> Path:
        """Path of the record."""
        return _sqlite_path(self.database_url) if self.database_url else self.hearthwatch_data_dir / "hearthwatch.db"

    @property
    def path_rules(self) -> PathRules:
        """What is ignored in the upload tree, whose a picture is, what its path says about time."""
        formats = tuple(map(TimeFormat, self.hearthwatch_time_format))
        data_dir, tree = self.hearthwatch_data_dir.resolve(), self.foscam_base_path.resolve()
        own = os.fsencode(data_dir.relative_to(tree)) if tree in data_dir.parents else b""
        return PathRules(self.hearthwatch_ignore, CameraPattern(self.hearthwatch_camera), formats, own)

    @property
    def analysis(self) -> bool:
        """Whether a language model judges events."""
        return self.nemotron_url is not None


Flow = FlowFile | Path | str


def load(
    env_file: Path | None = ENV_FILE, environ: Mapping[str, str] | None = None, flow: Flow | None = None
) -> Settings:
    """Read the settings from these two places and the `[settings]` table of the flow file, which wins.

    None: no file; this process' environment; the flow file that HEARTHWATCH_FLOW names.

    Raises:
        SettingsError: all mistakes.
    """
    loaded, lines = load_valid(env_file, environ, flow)
    if lines:
        raise SettingsError(lines)
    return loaded


def load_valid(
    env_file: Path | None = ENV_FILE, environ: Mapping[str, str] | None = None, flow: Flow | None = None
) -> tuple[Settings, list[str]]:
    """Read the settings like `load`; return those that are valid, defaults for the others, and all mistakes.

    Raises:
        SettingsError: the `.env` file cannot be read.
    """
    given = _read(env_file, environ)
    where, lines = _apply_flow_file(flow or given.get("HEARTHWATCH_FLOW"), given)
    values = {name: given[name.upper()] for name in _FIELDS if name.upper() in given}
    odd = [name for name, value in values.items() if not _is_text(value) and Path not in _kinds(name)]
    lines += [_undecodable(name, values.pop(name)) for name in odd]
    try:
        loaded = Settings.model_validate(values)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
        wrong = [(str(item["loc"][0]), item) for item in mistakes]
        lines = [where.get(name, "") + _mistake(name, item, given) for name, item in wrong] + lines
        names = {name for name, _ in wrong}
        loaded = Settings.model_validate({name: value for name, value in values.items() if name not in names})
        given = {
            name: value for name, value in given.items() if name.lower() not in names
        }  # `${VAR}` in flow files, too
    loaded._given, environment = given, _read(None, environ)
    files = {name: where[name.lower()].rstrip(": ") for name in given if name.lower() in where}
    loaded._sources = {name: "environment" if name in environment else str(env_file) for name in given} | files
    return loaded, lines


def _apply_flow_file(flow: Flow | None, given: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Put the flow file's settings into `given`: field → where it stands in the file; and what is wrong with them."""
    if flow is None:
        return {}, []
    try:
        file = flow if isinstance(flow, FlowFile) else read_flow_file(Path(flow))
    except FlowFileError as error:
        return {}, [_without_password(str(error))]
    where: dict[str, str] = {}
    lines: list[str] = []
    for key, value in file.settings.items():
        at = file.where(SETTINGS, key)
        name = next((n for n in (key, f"hearthwatch_{key}") if n in _FIELDS and n != "hearthwatch_flow"), None)
        if name is None:
            known = [field.removeprefix("hearthwatch_") for field in _FIELDS]
            near = did_you_mean(key.lower().removeprefix("hearthwatch_"), known)
            lines.append(f"{at}`{key}` is not a setting{near}")
            continue
        text = ",".join(map(str, value)) if isinstance(value, list) else _as_text(value)
        if "${" not in text and masked(name.upper(), text) != text:
            lines.append(
                f"{at}{key} = {masked(name.upper(), text)}: a flow file is no place for a secret: write ${{VARIABLE}}"
            )
            continue
        unset = sorted({match for match in re.findall(r"\$\{([^}]*)\}", text) if match not in given})
        lines += [f"{at}${{{match}}} is not set: set {match} in the environment or in .env" for match in unset]
        text = re.sub(r"\$\{([^}]*)\}", lambda match: given.get(match[1], ""), text).strip()
        where[name] = at
        given.pop(name.upper(), None)
        if text:
            given[name.upper()] = text
    return where, lines


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_in_force: ContextVar[Settings | None] = ContextVar("settings in force", default=None)


@cache
def _of_this_process() -> Settings:
    return load()


def settings() -> Settings:
    """Return the settings in force: those of `in_force`, else this process' own, read once."""
    return _in_force.get() or _of_this_process()


def reload() -> None:
    """Read this process' settings again when they are next asked for."""
    _of_this_process.cache_clear()


@contextmanager
def in_force(chosen: Settings) -> Iterator[None]:
    """Within this, `chosen` are the settings, whatever `.env` and the environment say."""
    token = _in_force.set(chosen)
    try:
        yield
    finally:
        _in_force.reset(token)


def from_settings(name: str) -> Any:
    """Make a setting the default of a component's option: `seconds: Seconds = from_settings("batch_…")`."""
    if not hasattr(Settings, name) and name not in _FIELDS:
        raise AttributeError(f"`{name}` is not a setting{did_you_mean(name, _FIELDS, NEAR)}")
    return Field(default_factory=lambda: getattr(settings(), name), json_schema_extra={"setting": name.upper()})


def lookup(name: str) -> str | None:
    """Look up `${name}` of a flow file: any variable of the environment or `.env`, else a setting's default."""
    given = _given()
    if name in given:
        return given[name]
    if name == "DATABASE_URL":
        return f"sqlite:///{lookup('HEARTHWATCH_DATA_DIR')}/hearthwatch.db"
    return next((variable.default for variable in variables() if variable.name == name), None)


class Variable(NamedTuple):
    """One setting as users see it: `default` as they would write it, None if it is unset."""

    name: str
    default: str | None
    meaning: str
    allowed: str


def variables() -> list[Variable]:
    """List all settings, those of the replaced system first."""
    return [
        Variable(name.upper(), _text(field.default), " ".join((field.description or "").split()), _allowed(name))
        for name, field in _FIELDS.items()
    ]


class ChosenValue(NamedTuple):
    """One setting in force: `value` as written, no secret in it, None if it is unset; `source`: what sets it."""

    name: str
    value: str | None
    source: str
    meaning: str
    allowed: str


def values(chosen: Settings) -> list[ChosenValue]:
    """List these settings in the order of `variables`; `source` is `environment`, the `.env` file, a line of the flow file or `default`."""
    rows = []
    for name, default, meaning, allowed in variables():
        given = chosen._given.get(name)
        shown = default if given is None else masked(name, given)
        if given is not None and shown == given and not name.endswith("_URL") and not _FIELDS[name.lower()].repr:
            shown = "***"
        rows.append(ChosenValue(name, shown, chosen._sources.get(name, "default"), meaning, allowed))
    return rows


def warnings() -> list[str]:
    """List variables that are probably misspelt: unknown `HEARTHWATCH_` ones, near misses of the others in `.env`."""
    known = [name.upper() for name in _FIELDS]
    lines = []
    for name in sorted(_given()):
        if name in known or NOT_SETTINGS.fullmatch(name):
            continue
        near = did_you_mean(name, known, NEAR)
        if name.startswith("HEARTHWATCH_") or (near and name not in os.environ):
            lines.append(f"{name} is not a setting{near}")
    return lines


def example() -> str:
    """Return the text of `.env.example`: every setting with its meaning and its default; as `.env` it changes nothing."""
    head = (
        "# Settings of Hearthwatch. Copy this file to `.env` and change what you need; an empty value is the default.\n"
    )
    return head + "".join(f"\n# {item.meaning}\n{item.name}={item.default or ''}\n" for item in variables())


def masked(name: str, value: str) -> str:
    """Return a variable's value as a message may show it: no token, no `user:password@`, no `password=`."""
    if re.search(r"TOKEN|SECRET|PASSWORD|_KEY$|NTFY_URL|WEBHOOK_URL|APPRISE_URLS", name):
        return "***"
    if not name.endswith("_URL") and "://" not in value:
        return value
    value = re.sub(r"^([a-z0-9+.-]*:/*)?.*@", r"\1***@", value, flags=re.IGNORECASE | re.DOTALL)
    return re.sub(r"(password|token|secret|key)=[^&]*", r"\1=***", value, flags=re.IGNORECASE)


_FIELDS = Settings.model_fields


def _given() -> Mapping[str, str]:
    chosen = _in_force.get()
    return chosen._given if chosen else _read(ENV_FILE, None)


def _read(env_file: Path | None, environ: Mapping[str, str] | None) -> dict[str, str]:
    """Read all variables that are not empty. Names of settings may be in any case, as in the replaced system."""
    try:
        file = dotenv_values(env_file, encoding="utf-8-sig") if env_file and env_file.exists() else {}
    except (OSError, UnicodeError) as error:
        raise SettingsError([f"{env_file} cannot be read: {error}"]) from None
    if env_file and env_file.exists():
        for line in parse_stream(StringIO(env_file.read_text(encoding="utf-8-sig"))):
            name = re.match(r"\s*(?:export\s+)?(\w+)\s*(=?)", line.original.string)
            if line.error and name and name[1].lower() in _FIELDS:
                at = f"{env_file}:{line.original.line}: {name[1]}"
                fix = "close its quote, or leave out what is after it" if name[2] else f"write {name[1]}=VALUE"
                raise SettingsError([f"{at}: its value cannot be read: {fix}"])
    both = {**_spelled(file), **_spelled(os.environ if environ is None else environ)}
    return {name: value.strip() for name, value in both.items() if value and value.strip()}


def _spelled(source: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name.upper() if name.lower() in _FIELDS else name: value for name, value in source.items()}


def _is_text(value: str) -> bool:
    """Whether it is valid UTF-8: the name of a folder need not be, a value that is sent or shown must."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_password(text: str) -> str:
    """Return a message without `user:password@` of a URL that was written where none belongs."""
    return re.sub(r":/+[^\s/'`]*@", "://***@", text)


def _kinds(field: str) -> tuple[object, ...]:
    annotation = _FIELDS[field].annotation
    return get_args(annotation) or (annotation,)


def _undecodable(field: str, value: str) -> str:
    name = field.upper()
    return f"{name} = {masked(name, value)!a}: it is not valid UTF-8; allowed: {_allowed(field)}"


def _mistake(field: str, error: Mapping[str, Any], given: Mapping[str, str]) -> str:
    name = field.upper()
    reason = _without_password(str(error.get("ctx", {}).get("error", ""))) if error["type"] == "value_error" else ""
    shown = masked(name, given[name])
    return f"{name} = {shown}: {reason + '; ' if reason else ''}allowed: {_allowed(field)}"


def _allowed(field: str) -> str:
    return next(item.text for item in _FIELDS[field].metadata if isinstance(item, Allowed))


def _text(default: object) -> str | None:
    """Format a default as a user would write it."""
    match default:
        case None:
            return None
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case Path():
            return str(default) if default.is_absolute() else f"./{default}"
        case tuple():
            return ",".join(default)
    return str(default)


if __name__ == "__main__":
    print(example(), end="")
