"""What `use` means: names are listed without importing anything, and one import harms nobody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hearthwatch.flows.registry import RegistryError, entries, load, names
from hearthwatch.schemas import Consumer, Stage

PLUGINS = Path(__file__).parent / "plugin_package"


@pytest.fixture
def porch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The throw-away package, installed."""
    monkeypatch.syspath_prepend(PLUGINS)


def test_listing_names_imports_nothing() -> None:
    script = (
        "import sys; from hearthwatch.flows.registry import names; known = names(); "
        "print(known['night'].target, [m for m in sys.modules if m.split('.')[0] in ('porch', 'sources', 'stages', 'torch', 'bytewax')])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(root)!r}, {str(PLUGINS)!r}]; {script}"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "porch:Night []\n"


@pytest.mark.usefixtures("porch")
def test_plug_ins_have_names_and_a_package() -> None:
    assert ("stages", "night", "porch:Night", "porch") in entries()
    assert issubclass(load("night"), Stage)
    assert load("porch:Night") is load("night")


@pytest.mark.usefixtures("porch")
def test_a_plug_in_cannot_replace_what_is_built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hearthwatch.flows.registry.BUILT_IN", {"stages": {"night": "hearthwatch.stages.batch:Batch"}})
    assert names()["night"].package == "hearthwatch"


@pytest.mark.usefixtures("porch")
@pytest.mark.parametrize(
    ("use", "says"),
    [
        ("nigth", "there is no component `nigth`. Did you mean `night`? `hearthwatch components` lists all"),
        ("zzz", "there is no component `zzz`. `hearthwatch components` lists all"),
        ("porch.Night", "there is no component `porch.Night`. Did you mean `porch:Night`? `hearthwatch components` lists all"),
        ("porch:Nihgt", "`porch` has no `Nihgt`. Did you mean `Night`?"),
        ("porch:Zzz", "`porch` has no `Zzz`"),
        ("porch:NotebookSink", "`porch:NotebookSink` is not a component: derive it from Source, Stage, Sink, Consumer or Job of `hearthwatch.schemas`"),
        ("proch:Night", "cannot import `proch`: ModuleNotFoundError: No module named 'proch': put `proch.py` into the folder where you start, or install its package"),
        ("./porch.py:Night", "cannot import `./porch.py`: TypeError: the 'package' argument is required to perform a relative import for './porch.py': name the module and not its file, `porch:Night`"),
        ("parts/porch.py:Night", "cannot import `parts/porch.py`: ModuleNotFoundError: No module named 'parts/porch': name the module and not its file, `porch:Night`"),
        ("broken", "cannot import `porch_that_needs_a_library`: ModuleNotFoundError: No module named 'a_library_that_is_not_there'"),
        (":Night", "cannot import ``: ValueError: Empty module name"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_told(use: str, says: str) -> None:
    with pytest.raises(RegistryError) as error:
        load(use)
    assert str(error.value) == says


def test_a_module_that_exits_when_imported_does_not_end_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quitter.py").write_text("raise SystemExit('bye')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RegistryError, match="cannot import `quitter`: SystemExit: bye"):
        load("quitter:Quitter")


def test_a_plug_in_of_0_1_finds_schemas_by_its_old_name(tmp_path, monkeypatch, caplog):
    (tmp_path / "old_times.py").write_text(
        "from schemas import Consumer\nfrom schemas.settings import from_settings\nfrom sinks.notify import Notifier\n"
        "class Chime(Consumer):\n    def deliver(self, messages): ...\n"
    )
    for name in [name for name in sys.modules if name.partition(".")[0] in ("schemas", "sinks")]:
        monkeypatch.delitem(sys.modules, name)  # another test may have loaded such a plug-in
    monkeypatch.syspath_prepend(tmp_path)
    assert issubclass(load("old_times:Chime"), Consumer)
    assert "old_times imports `schemas`: write `hearthwatch.schemas`" in caplog.text
    assert "`sinks.notify`: write `hearthwatch.sinks.notifier`" in caplog.text
    assert sys.modules["hearthwatch.schemas"].__spec__.name == "hearthwatch.schemas"


def test_a_plug_in_may_have_packages_called_like_our_rooms(tmp_path, monkeypatch, caplog):
    for room in ("schemas", "sinks", "api"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("WHOSE = 'theirs'\n")
    (tmp_path / "own_rooms.py").write_text(
        "import api, schemas, sinks\nfrom hearthwatch.schemas import Consumer\n"
        "class Chime(Consumer):\n    whose: str = api.WHOSE + schemas.WHOSE + sinks.WHOSE\n    def deliver(self, messages): ...\n"
    )
    for room in ("schemas", "schemas.settings", "sinks", "sinks.notify", "api"):
        monkeypatch.delitem(sys.modules, room, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert load("own_rooms:Chime")().whose == "theirs" * 3
    assert not caplog.text
    for room in ("schemas", "sinks", "api"):
        del sys.modules[room]
