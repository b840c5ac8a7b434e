"""What `use = "…"` means: a built-in name, a plug-in's entry point, or `package.module:Class`.

Listing names imports nothing; loading one imports only that one.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

from hearthwatch.flows.legacy_imports import legacy_imports
from hearthwatch.schemas import Component, Consumer, Job, Sink, Source, Stage
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.text import did_you_mean

BUILT_IN = {
    "sources": {
        "files": "hearthwatch.sources.files:Files",
        "folder": "hearthwatch.sources.folder:Folder",
        "clock": "hearthwatch.sources.clock:Clock",
        "gpu_stats": "hearthwatch.sources.gpu_stats:GpuStats",
        "yard": "hearthwatch.demo.uploader:Yard",
    },
    "stages": {
        "rtdetr": "hearthwatch.stages.detect:RtDetr",
        "batch": "hearthwatch.stages.batch:Batch",
        "incident": "hearthwatch.stages.incident:IncidentGrouping",
        "nemotron": "hearthwatch.stages.analyze:Nemotron",
    },
    "sinks": {
        "journal": "hearthwatch.sinks.journal:Journal",
        "jsonl": "hearthwatch.sinks.jsonl:Jsonl",
        "sqlite": "hearthwatch.sinks.sqlite:Sqlite",
        "duckdb": "hearthwatch.sinks.duckdb:DuckDB",
        "retention": "hearthwatch.sinks.retention:Retention",
        "redis": "hearthwatch.sinks.redis:Redis",
        "webhook": "hearthwatch.sinks.webhook:Webhook",
        "mqtt": "hearthwatch.sinks.mqtt:Mqtt",
        "ntfy": "hearthwatch.sinks.ntfy:Ntfy",
        "apprise": "hearthwatch.sinks.apprise:Apprise",
        "thumbnails": "hearthwatch.sinks.thumbnails:Thumbnails",
    },
}
KINDS = {"sources": (Source,), "stages": (Stage,), "sinks": (Sink, Consumer, Job)}


class Entry(NamedTuple):
    """A name, and where its class is."""

    kind: str
    name: str
    target: str
    package: str


class RegistryError(UserError):
    """A component that does not exist or cannot be imported."""


def entries() -> list[Entry]:
    """Everything that has a name: ours, then that of installed packages."""
    ours = [
        Entry(kind, name, target, "hearthwatch") for kind, names in BUILT_IN.items() for name, target in names.items()
    ]
    theirs = [
        Entry(kind, point.name, point.value, point.dist.name if point.dist else "?")
        for kind in BUILT_IN
        for point in sorted(entry_points(group=f"hearthwatch.{kind}"))
    ]
    return ours + theirs


def names() -> dict[str, Entry]:
    """Entries by name; of two with one name the first: a plug-in cannot replace what is built in."""
    return {entry.name: entry for entry in reversed(entries())}


def load(use: str) -> type[Component]:
    """Import and return the class.

    Raises:
        RegistryError: there is none, or it cannot be imported; with what to do about it.
    """
    if ":" in use:
        return _import(use)
    if use not in (known := names()):
        module, _, name = use.rpartition(".")
        hint = f". Did you mean `{module}:{name}`?" if module else did_you_mean(use, known) or "."
        raise RegistryError(f"there is no component `{use}`{hint} `hearthwatch components` lists all")
    return _import(known[use].target)


def _import_fix(module_name: str, name: str, error: BaseException) -> str:
    """Say what to do where it is the module that is named wrong or missing, not what it imports."""
    if "/" in module_name or module_name.endswith(".py"):
        return f": name the module and not its file, `{Path(module_name).stem}:{name}`"
    if isinstance(error, ModuleNotFoundError) and error.name == module_name.partition(".")[0]:
        return f": put `{error.name}.py` into the folder where you start, or install its package"
    return ""


def _import(target: str) -> type[Component]:
    module_name, _, name = target.partition(" ")[0].partition(":")
    try:
        with legacy_imports(module_name):
            module = import_module(module_name)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever a plug-in's import does, it is reported
        raise RegistryError(
            f"cannot import `{module_name}`: {type(error).__name__}: {error}{_import_fix(module_name, name, error)}"
        ) from error
    kinds = {
        key: value for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, Component)
    }
    if name in kinds:
        return kinds[name]
    if hasattr(module, name):
        raise RegistryError(
            f"`{target}` is not a component: derive it from Source, Stage, Sink, Consumer or Job of `hearthwatch.schemas`"
        )
    raise RegistryError(f"`{module_name}` has no `{name}`{did_you_mean(name, kinds)}")
