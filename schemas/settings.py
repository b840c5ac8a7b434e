"""The settings: environment, else `.env` in the working folder, else default.

An empty value is none: `REDIS_URL= hearthwatch run` takes the default although `.env` says otherwise.
An attribute is its variable in lower case. All mistakes come at once, in one `SettingsError` with a line for each, and
no line shows a secret. Reading settings opens nothing, starts nothing and imports nothing heavy.
`python -m hearthwatch.schemas.settings` prints `.env.example`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

ENV_FILE = Path(".env")
SECONDS_MAX = 1e9  # 32 years; in microseconds it still fits SQLite's integers with room for sums
DAYS_MAX = 36_500
BATCH_MAX = 512  # pictures of 640x640 in one forward pass: 2.5 GB of float32 input, more than any detector gains from
CONCURRENCY_MAX = 256  # vLLM's own default bound of sequences in one batch
ATTEMPTS_MAX = 100
NOT_SETTINGS = re.compile(r"HEARTHWATCH_(TEST_.*|VENV|VLLM)")  # read by scripts, tests and `hearthwatch llm`


class SettingsError(Exception):
    """Settings that cannot be used. `mistakes` holds one line each; the text is all of them."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = list(mistakes)
        super().__init__("\n".join(self.mistakes))


@dataclass(frozen=True)
class Allowed:
    """What a mistake's message says next to the value."""

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
    """`~/x` and `~somebody/x` in full."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"nobody here has the home folder `{path.parts[0]}`") from None


def _url(*schemes: str) -> AfterValidator:
    def check(url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            port_is_good = parts.port != 0  # raises ValueError outside 0-65535, with a piece of the URL in its text
        except ValueError:
            raise ValueError("not a URL") from None
        where = parts.path if parts.scheme == "unix" else parts.hostname and port_is_good
        if parts.scheme not in schemes or not where:
            raise ValueError
        return url.rstrip("/")

    return AfterValidator(check)


def _zone(name: str | None) -> str | None:
    if name is not None:
        try:
            ZoneInfo(name)
        except (ValueError, OSError, LookupError):
            raise ValueError(f"no such time zone{did_you_mean(name, available_timezones())}") from None
    return name


def _labels(value: object) -> object:
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, list | tuple):
        value = tuple(dict.fromkeys(label for item in value if (label := str(item).strip().lower())))
    return value


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if not re.fullmatch(r"https?://[^\s/?#@*]+", origin):
            raise ValueError(f"{masked('_URL', origin)} is not an origin")
    return origins


Seconds = Annotated[
    float, Field(gt=0, le=SECONDS_MAX, allow_inf_nan=False), Allowed("seconds, a number greater than 0")
]
HttpUrl = Annotated[
    str | None, Field(repr=False), _url("http", "https"), Allowed("http://host:port or https://host:port, or nothing")
]
Folder = Annotated[Path, AfterValidator(_at_home), Allowed("a folder")]


class Settings(BaseModel):
    """Every setting with its default; the first ten are those of the system this one replaces."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, hide_input_in_errors=True)
    _given: Mapping[str, str] = PrivateAttr(default_factory=dict)

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
    """A batch ends when its camera sees nothing for this long."""
    retention_days: Annotated[int, Field(ge=1, le=DAYS_MAX), Allowed(f"whole days, 1 to {DAYS_MAX}")] = 30
    """Forget pictures, detections and events this many days after their discovery."""
    debug: Annotated[bool, Allowed("true or false")] = False
    """Log in detail."""

    hearthwatch_data_dir: Folder = Path("data")
    """Where the record, thumbnails, lake and `analytics.duckdb` live."""
    hearthwatch_flow: Annotated[Path | None, Allowed("a TOML file")] = None
    """A flow file instead of the built-in one."""
    hearthwatch_detector_model: Annotated[str, Allowed("a hub id, a folder or yard")] = "PekingU/rtdetr_v2_r18vd"
    """RT-DETRv2 to detect with: a hub id, a folder with `config.json`, `model.safetensors` and
    `preprocessor_config.json`, or `yard`, the packaged model of the demo."""
    hearthwatch_device: Annotated[
        str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$"), Allowed("auto, cpu, cuda or cuda:N")
    ] = "auto"
    """Where the model runs: `auto`, `cpu`, `cuda` or `cuda:N`."""
    hearthwatch_detect_batch_max: Annotated[
        int | None, Field(ge=1, le=BATCH_MAX), Allowed(f"a whole number, 1 to {BATCH_MAX}")
    ] = None
    """Pictures per forward pass at most; unset: 32 on CUDA, 1 on a CPU."""
    hearthwatch_object_types: Annotated[
        tuple[str, ...],
        BeforeValidator(_labels),
        Field(min_length=1),
        Allowed("labels with commas between them, or * for all"),
    ] = (
        *("person", "bicycle", "car", "motorcycle", "bus", "truck", "bird", "cat", "dog", "horse", "bear"),
        *("backpack", "handbag", "suitcase", "package"),
    )
    """Labels that count, with commas between them; `*` is all."""
    hearthwatch_nemotron_model: Annotated[str, Allowed("the name of a model on that server")] = "nemotron"
    """The name under which the server at NEMOTRON_URL serves the model."""
    hearthwatch_nemotron_concurrency: Annotated[
        int, Field(ge=1, le=CONCURRENCY_MAX), Allowed(f"a whole number, 1 to {CONCURRENCY_MAX}")
    ] = 8
    """Events that the language model is asked about at a time, at most."""
    hearthwatch_nemotron_timeout_seconds: Seconds = 60
    """How long one answer of the language model may take."""
    hearthwatch_nemotron_attempts: Annotated[
        int, Field(ge=1, le=ATTEMPTS_MAX), Allowed(f"a whole number, 1 to {ATTEMPTS_MAX}")
    ] = 5
    """How often the language model is asked about an event before the rules' verdict stays for good; a server that cannot
    be reached does not count."""
    hearthwatch_redis_channel: Annotated[str, Field(pattern=r"^\S+$"), Allowed("a name without spaces")] = (
        "security_events"
    )
    """Pub/sub channel on which events are published; they are kept in the stream `<channel>:stream`."""
    hearthwatch_capture_time: Annotated[
        Literal["auto", "mtime", "name", "exif"], Allowed("auto, mtime, name or exif")
    ] = "auto"
    """What says when a picture was taken: `auto` (EXIF, else file name, if it lies in the 24 hours before the file's
    modification, else that), `mtime`, `name` or `exif`."""
    hearthwatch_timezone: Annotated[
        str | None, AfterValidator(_zone), Allowed("a name such as Europe/Berlin, or nothing for the system's zone")
    ] = None
    """The zone of the cameras' clocks (file names, EXIF), such as Europe/Berlin; unset: the system's."""
    hearthwatch_retention_gb: Annotated[
        float | None, Field(gt=0, allow_inf_nan=False), Allowed("gigabytes, a number greater than 0, or nothing")
    ] = None
    """Keep the data dir below this many gigabytes by forgetting what is oldest; unset: days alone count."""
    hearthwatch_retention_originals: Annotated[bool, Allowed("true or false")] = False
    """Delete the uploads of what is forgotten, too; without it uploads are never touched."""
    hearthwatch_api_host: Annotated[str, Field(pattern=r"^[^\s/@]+$"), Allowed("a host name or an address")] = (
        "127.0.0.1"
    )
    """Where API and page are served; any host but this machine's own loopback wants HEARTHWATCH_API_TOKEN, too."""
    hearthwatch_api_port: Annotated[int, Field(ge=1, le=65_535), Allowed("a port, 1 to 65535")] = 8000
    """Their port."""
    hearthwatch_api_token: Annotated[
        str | None, Field(repr=False, pattern=r"^[\x21-\x7e]+$"), Allowed("printable ASCII without spaces, or nothing")
    ] = None
    """What a client has to present (`Authorization: Bearer …`; the page asks for it once); unset: nothing."""
    hearthwatch_cors_origins: Annotated[
        tuple[str, ...],
        BeforeValidator(_labels),
        AfterValidator(_origins),
        Allowed("http://host:port, commas between them"),
    ] = ()
    """Origins of other web pages that may read the API, with commas between them, such as https://home.example."""

    @property
    def database_path(self) -> Path:
        """The record's file."""
        return _sqlite_path(self.database_url) if self.database_url else self.hearthwatch_data_dir / "hearthwatch.db"

    @property
    def analysis(self) -> bool:
        """Whether a language model judges events."""
        return self.nemotron_url is not None


def load(env_file: Path | None = ENV_FILE, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from these two places (None: no file, this process' environment). Raises `SettingsError`."""
    given = _read(env_file, environ)
    values = {name: given[name.upper()] for name in _FIELDS if name.upper() in given}
    odd = [name for name, value in values.items() if not _is_text(value) and Path not in _kinds(name)]
    lines = [_undecodable(name, values.pop(name)) for name in odd]
    try:
        loaded = Settings.model_validate(values)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
        lines = [_mistake(str(item["loc"][0]), item, given) for item in mistakes] + lines
    if lines:
        raise SettingsError(lines)
    loaded._given = given
    return loaded


_forced: Settings | None = None


@cache
def settings() -> Settings:
    """This process' settings, read once; `settings.cache_clear()` reads them anew."""
    return _forced or load()


def use(chosen: Settings | None) -> None:
    """Make `chosen` this process' settings, whatever `.env` and the environment say; None takes it back."""
    global _forced
    _forced = chosen
    settings.cache_clear()


def from_settings(name: str) -> Any:
    """The default of a component's option that follows a setting: `seconds: Seconds = from_settings("batch_…")`."""
    if not hasattr(Settings, name) and name not in _FIELDS:
        raise AttributeError(f"`{name}` is not a setting{did_you_mean(name, _FIELDS)}")
    return Field(default_factory=lambda: getattr(settings(), name), json_schema_extra={"setting": name.upper()})


def lookup(name: str) -> str | None:
    """What `${name}` stands for in a flow file: any variable of the environment or `.env`, else a setting's default."""
    given = _given()
    if name in given:
        return given[name]
    if name == "DATABASE_URL":
        return f"sqlite:///{lookup('HEARTHWATCH_DATA_DIR')}/hearthwatch.db"
    return next((variable.default for variable in variables() if variable.name == name), None)


class Variable(NamedTuple):
    """One setting for people: `default` as they would write it, None if it is unset."""

    name: str
    default: str | None
    meaning: str
    allowed: str


def variables() -> list[Variable]:
    """All settings, those of the replaced system first."""
    return [
        Variable(name.upper(), _text(field.default), " ".join((field.description or "").split()), _allowed(name))
        for name, field in _FIELDS.items()
    ]


def warnings() -> list[str]:
    """What looks like a slip of the pen: `HEARTHWATCH_` variables that nobody reads, near misses of the others."""
    known = [name.upper() for name in _FIELDS]
    lines = []
    for name in sorted(_given()):
        if name in known or NOT_SETTINGS.fullmatch(name):
            continue
        near = did_you_mean(name, known)
        if name.startswith("HEARTHWATCH_") or (near and name not in os.environ):
            lines.append(f"{name} is not a setting{near}")
    return lines


def example() -> str:
    """`.env.example`: every setting with its meaning and its default; copied to `.env`, it changes nothing."""
    head = (
        "# Settings of Hearthwatch. Copy this file to `.env` and change what you need; an empty value is the default.\n"
    )
    return head + "".join(f"\n# {item.meaning}\n{item.name}={item.default or ''}\n" for item in variables())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean …?` behind a full stop, or nothing when nothing is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.85)
    return f". Did you mean {near[0]}?" if near else ""


def masked(name: str, value: str) -> str:
    """A variable's value as a message may show it: no token, no `user:password@`, no `password=`."""
    if re.search(r"TOKEN|SECRET|PASSWORD|_KEY$", name):
        return "***"
    if not name.endswith("_URL") and "://" not in value:
        return value
    value = re.sub(r"^([a-z0-9+.-]*:/*)?.*@", r"\1***@", value, flags=re.IGNORECASE | re.DOTALL)
    return re.sub(r"(password|token|secret|key)=[^&]*", r"\1=***", value, flags=re.IGNORECASE)


_FIELDS = Settings.model_fields


def _given() -> Mapping[str, str]:
    return _forced._given if _forced else _read(ENV_FILE, None)


def _read(env_file: Path | None, environ: Mapping[str, str] | None) -> dict[str, str]:
    """All variables that are not empty. Settings are found in any case, as the replaced system finds them."""
    try:
        file = dotenv_values(env_file, encoding="utf-8-sig") if env_file and env_file.exists() else {}
    except (OSError, UnicodeError) as error:
        raise SettingsError([f"{env_file} cannot be read: {error}"]) from None
    both = {**_spelled(file), **_spelled(os.environ if environ is None else environ)}
    return {name: value.strip() for name, value in both.items() if value and value.strip()}


def _spelled(source: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name.upper() if name.lower() in _FIELDS else name: value for name, value in source.items()}


def _is_text(value: str) -> bool:
    """Whether it has no bytes in it that are no UTF-8: a folder may, what goes into a request or a message may not."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kinds(field: str) -> tuple[object, ...]:
    annotation = _FIELDS[field].annotation
    return get_args(annotation) or (annotation,)


def _undecodable(field: str, value: str) -> str:
    name = field.upper()
    return f"{name} = {masked(name, value)!a}: it has bytes that are no UTF-8; allowed: {_allowed(field)}"


def _mistake(field: str, error: Mapping[str, Any], given: Mapping[str, str]) -> str:
    name = field.upper()
    reason = str(error.get("ctx", {}).get("error", "")) if error["type"] == "value_error" else ""
    shown = masked(name, given[name])
    return f"{name} = {shown}: {reason + '; ' if reason else ''}allowed: {_allowed(field)}"


def _allowed(field: str) -> str:
    return next(item.text for item in _FIELDS[field].metadata if isinstance(item, Allowed))


def _text(default: object) -> str | None:
    """A default as a user would write it."""
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
