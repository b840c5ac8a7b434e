"""Let plug-ins written for 0.1 import `schemas` and `sinks.notify` by their old names, with a warning. Removed in 0.3.

A package of that name that lies on the path and is not ours wins: then the old name means what its author meant.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType

from hearthwatch import ROOT

log = logging.getLogger(__name__)

RENAMED = {"sinks.notify": "hearthwatch.sinks.notifier"}
ROOMS = ("schemas", "sinks")


@contextmanager
def legacy_imports(module: str) -> Iterator[None]:
    """Within this, `import schemas` finds `hearthwatch.schemas`; `module` is who the warning names."""
    finder = _Finder(module)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder, Loader):
    def __init__(self, module: str) -> None:
        self.module = module

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        room = name.partition(".")[0]
        return spec_from_loader(name, self) if room in ROOMS and not _is_foreign(room) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        name = RENAMED.get(spec.name, f"hearthwatch.{spec.name}")
        if spec.name not in ROOMS or spec.name == "schemas":
            log.warning("%s imports `%s`: write `%s`; 0.3 no longer knows the old name", self.module, spec.name, name)
        module = import_module(name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has just replaced it, and the module is in use already


def _is_foreign(room: str) -> bool:
    """Whether a package of this name on the path belongs to another project."""
    found = PathFinder.find_spec(room)
    return (
        found is not None
        and found.origin != ""
        and Path(found.origin or "/").resolve().parent != (ROOT / room).resolve()
    )
