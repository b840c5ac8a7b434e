"""The house promises: rooms import only downwards, the wheel is whole, and setup works on whatever machine it meets."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from setuptools import find_packages

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
ROOMS = sorted(link.name for link in (ROOT / "hearthwatch").iterdir() if link.is_symlink())
SCRIPTS = sorted((ROOT / "scripts").iterdir())


@pytest.fixture
def copy(tmp_path):
    """The product alone, in a folder of its own."""
    there = tmp_path / "copy"
    there.mkdir()
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "flow.py"):
        shutil.copy(ROOT / name, there)
    for name in ("hearthwatch", *ROOMS, "scripts"):
        shutil.copytree(ROOT / name, there / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return there


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([tool, "--no-cache"], cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_the_import_rule_is_kept():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("room", "line", "contract"),
    [
        ("record", "import hearthwatch.stages", "A room knows only the rooms below it"),
        ("sources", "import hearthwatch.sinks", "A room knows only the rooms below it"),
        ("gpu", "from bytewax import operators", "gpu and record know no Bytewax"),
        ("api", "import hearthwatch.gpu", "api knows only record and schemas"),
        ("stages", "import flow", "nobody imports flow.py"),
        ("schemas", "import torch", "schemas knows only data"),
    ],
)
def test_a_forbidden_import_is_told(copy, room, line, contract):
    (copy / room / "planted.py").write_text(f'"""Planted."""\n{line}\n')
    done = lint_imports(copy)
    assert done.returncode == 1
    assert re.search(rf"{contract}.* BROKEN", done.stdout)
    assert f"{room}.planted" in done.stdout


def test_every_package_is_written_out():
    """A package that is missing from pyproject.toml works here and is not in the wheel."""
    inside = {f"hearthwatch.{room}.{package}" for room in ROOMS for package in find_packages(ROOT / room)}
    assert {"hearthwatch", *(f"hearthwatch.{room}" for room in ROOMS), *inside} == set(PACKAGES)


def test_the_code_that_mutants_break_is_still_there():
    from tests.long.mutants import MUTANTS

    assert [name for path, _, name, old, _ in MUTANTS if (ROOT / path).read_text().count(old) != 1] == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_imported_by_its_full_name_only(room):
    done = subprocess.run([sys.executable, "-c", f"import {room}"], cwd=ROOT, capture_output=True, text=True)
    assert f"ImportError: import hearthwatch.{room}: " in done.stderr


def test_the_installed_version_is_this_one():
    assert version("hearthwatch") == PROJECT["project"]["version"]


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout_with_model_and_flow_file(copy, tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", tmp_path, copy], check=True)
    (wheel,) = tmp_path.glob("hearthwatch-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {f"hearthwatch/{path.relative_to(copy)}" for room in ROOMS for path in (copy / room).rglob("*.py")}
    data = {"hearthwatch/flows/default.toml", "hearthwatch/py.typed", "hearthwatch/demo/stories.jsonl"}
    yard = ("config.json", "model.safetensors", "preprocessor_config.json")
    data |= {f"hearthwatch/gpu/models/yard/{name}" for name in yard}
    data |= {f"hearthwatch/{path.relative_to(copy)}" for path in copy.glob("record/migrations/*.sql")}
    assert sources | data | {"flow.py"} <= names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"hearthwatch", "flow.py"}

    there = tmp_path / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--no-compile", "--target", there, wheel], check=True)
    code = "import hearthwatch.cli, hearthwatch.schemas.settings as s; print(s.__file__); hearthwatch.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(there)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(str(there)) and "demo" in done.stdout, done.stderr


def test_constraints_pin_every_dependency_within_its_range():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    extras = PROJECT["project"]["optional-dependencies"]
    needed = PROJECT["project"]["dependencies"] + extras["notify"] + extras["dev"]
    assert set(extras["notify"]) <= set(extras["dev"]), "the tests drive the real library"
    for requirement in map(Requirement, needed):
        assert requirement.specifier.contains(pins[requirement.name]), requirement
    assert f"torch={pins['torch']}\n" in (ROOT / "scripts" / "setup").read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_plain_sh_and_stop_at_the_first_failure(script):
    text = script.read_text()
    assert text.startswith("#!/bin/sh\n") and "\nset -eu\n" in text
    assert script.stat().st_mode & stat.S_IXUSR
    subprocess.run(["sh", "-n", script], check=True)


TOOLS = "sh cat cksum dirname ls mkdir rm uname chmod cp"
PYTHON = f"""#!/bin/sh
case "$*" in
    "-m venv "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
    "-m pip "*) echo "$*" >>"$PIP_LOG" ;;
    *version*torch*) exit 1 ;;
    *) exec {sys.executable} "$@" ;;
esac
"""


class Machine:
    """A machine with a few tools and the Pythons that one gives it; its pip writes down what it is asked for."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self.bin, self.checkout, self.pip_log = folder / "bin", checkout, folder / "pip.log"
        self.bin.mkdir()
        for tool in TOOLS.split():
            (self.bin / tool).symlink_to(shutil.which(tool))

    def has(self, name: str, script: str) -> "Machine":
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)
        return self

    def setup(self) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.bin), "PIP_LOG": str(self.pip_log)}
        return subprocess.run(["sh", self.checkout / "scripts/setup"], env=env, cwd="/", capture_output=True, text=True)

    def pip(self) -> list[str]:
        calls = self.pip_log.read_text().splitlines() if self.pip_log.exists() else []
        return [call.partition("install ")[2] for call in calls if " install " in call]


@pytest.fixture
def machine(tmp_path, copy):
    return Machine(tmp_path, copy)


def test_setup_passes_over_a_python_that_does_not_run_and_is_quick_the_second_time(machine):
    machine.has("python3.12", "#!/bin/sh\nexit 127\n").has("python3", PYTHON)
    done = machine.setup()
    assert done.returncode == 0, done.stderr
    first = machine.pip()
    assert first[-1].endswith("-c constraints.txt --no-build-isolation -e .[dev]")
    assert machine.setup().stderr == "" and machine.pip() == first


def test_setup_does_it_again_when_a_version_changed(machine):
    machine.has("python3", PYTHON).setup()
    first = machine.pip()
    with (machine.checkout / "constraints.txt").open("a") as file:
        file.write("new==1\n")
    machine.setup()
    assert machine.pip() == first * 2


@pytest.mark.skipif(sys.platform != "linux" or Path("/proc/driver/nvidia").exists(), reason="has an NVIDIA driver")
def test_setup_takes_the_cpu_build_of_torch_unless_there_is_a_driver(machine):
    machine.has("python3", PYTHON).setup()
    assert [call for call in machine.pip() if "+cpu" in call] == ["-qq --no-deps torch==2.13.0+cpu"]
    machine.pip_log.unlink()
    machine.has("nvidia-smi", "#!/bin/sh\n").setup()
    assert machine.pip() and not [call for call in machine.pip() if "+cpu" in call]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\nexit 1\n", "no Python 3.11 or 3.12 found"),
        (f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac\nexec {sys.executable} "$@"\n', "python3-venv"),
    ],
)
def test_setup_says_what_is_missing(machine, script, words):
    done = machine.has("python3", script).setup()
    assert done.returncode == 1 and words in done.stderr


NEWER = """#!/bin/sh
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip "*"install -qq uv") cat >"${0%python}uv" <<'UV' && chmod +x "${0%python}uv" ;;
#!/bin/sh
{uv}
UV
    *) exit 1 ;;
esac
"""  # a Python 3.13, whose pip brings a `uv`
UV = f"""[ "$*" = "python install -q 3.12" ] || exit 2
there=$UV_PYTHON_INSTALL_DIR/cpython-3.12.11-linux-x86_64-gnu/bin
mkdir -p "$there"
cat >"$there/python3.12" <<'END'
{PYTHON}
END
chmod +x "$there/python3.12"
"""


def test_setup_gets_an_older_python_by_uv_where_only_newer_ones_are(machine):
    done = machine.has("python3", NEWER.replace("{uv}", UV)).setup()
    assert done.returncode == 0, done.stderr
    assert (machine.checkout / ".venv/bin/python").exists() and machine.pip()[-1].endswith("-e .[dev]")


def test_setup_takes_the_uv_that_is_there(machine):
    done = machine.has("python3", "#!/bin/sh\nexit 1\n").has("uv", f"#!/bin/sh\n{UV}").setup()
    assert done.returncode == 0 and not (machine.checkout / ".venv.python/bin").exists(), done.stderr


def test_where_uv_gets_none_setup_says_the_two_lines_that_do(machine):
    done = machine.has("python3", NEWER.replace("{uv}", "exit 1")).setup()
    assert done.returncode == 1 and "python3 -m venv .venv.python" in done.stderr
    assert "uv python install 3.12 && scripts/setup" in done.stderr


def test_continuous_integration_runs_lint_and_test():
    text = (ROOT / ".ci/run").read_text()
    assert "\nscripts/lint\n" in text and "\nscripts/test\n" in text and "HEARTHWATCH_TEST_REQUIRE=all" in text


def test_no_file_has_a_conflict_left_in_it():
    """Where a merge left its marks a page or a document breaks, and no other quick check loads it."""
    marks = ["-e", "^<<<<<<< ", "-e", "^>>>>>>> ", "-e", r"^||||||| "]
    found = subprocess.run(["git", "grep", "-lI", *marks], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 1, found.stdout + found.stderr
