"""What `use` means: names are listed without importing anything, and one import harms nobody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.registry import RegistryError, entries, load, names
from schemas import Stage

PLUGINS = Path(__file__).parent / "plugin_package"


@pytest.fixture
def porch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The throw-away package, installed."""
    monkeypatch.syspath_prepend(PLUGINS)


def test_listing_names_imports_nothing() -> None:
    script = (
        "import sys; from flows.registry import names; known = names(); "
        "print(known['night'].target, [m for m in sys.modules if m.split('.')[0] in ('porch', 'sources', 'stages', 'torch', 'bytewax')])"
    )
    root = Path(__file__).parents[1]
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
    monkeypatch.setattr("flows.registry.BUILT_IN", {"stages": {"night": "stages.batch:Batch"}})
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
        ("porch:NotebookSink", "`porch:NotebookSink` is not a component: derive it from Source, Stage, Sink or Consumer of `schemas`"),
        ("proch:Night", "cannot import `proch`: ModuleNotFoundError: No module named 'proch'"),
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
