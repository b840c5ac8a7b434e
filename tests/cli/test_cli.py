"""The command line: a user's mistake is a sentence and exit code 2, never a traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hearthwatch.cli import COMMANDS, load

pytestmark = pytest.mark.slow

HOME = Path(__file__).parents[2]

FLOW = """
[files]
use = "files"

[detect]
use = "brightness"
from = "files"

[batch]
use = "batch"
from = "detect"

[quiet]
use = "my_quiet:Quiet"
from = "batch"
only = { risk_level = ["high", "critical"], object = "person" }

[bad]
use = "porch:Notebook"
from = "detect.errors"
path = "bad.jsonl"
"""

QUIET = '''
from hearthwatch.schemas import Consumer


class Quiet(Consumer):
    """Says nothing."""

    def deliver(self, messages):
        pass

    def off(self):
        return "QUIET_URL is not set: nothing is said"
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flow.toml").write_text(FLOW)
    (tmp_path / "my_quiet.py").write_text(QUIET)
    (tmp_path / "uploads").mkdir()
    return tmp_path


def hearthwatch(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(HOME), str(HOME / "tests" / "flows" / "plugin_package")])
    return subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.remove(''); from hearthwatch.cli import main; main()", *arguments],
        cwd=folder, text=True, capture_output=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "200", "FOSCAM_BASE_PATH": "uploads", **environ},
    )  # fmt: skip


def test_check_finds_nothing_wrong_and_says_what_is_off(folder: Path) -> None:
    done = hearthwatch(folder, "check", "flow.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "6 nodes, no mistakes: files, detect, batch, incident, quiet, bad\nquiet is off: QUIET_URL is not set: nothing is said\n"
    )


def test_check_looks_at_the_built_in_graph_and_at_the_one_that_is_set(folder: Path) -> None:
    assert " nodes, no mistakes: files, detect, batch, " in hearthwatch(folder, "check").stdout
    assert hearthwatch(folder, "check", HEARTHWATCH_FLOW="flow.toml").stdout.startswith("6 nodes")


def test_check_reports_every_mistake_and_what_looks_like_one(folder: Path) -> None:
    (folder / "flow.toml").write_text(FLOW.replace("brightness", "brigtness").replace("path =", "paht ="))
    done = hearthwatch(folder, "check", "flow.toml", RETENTION_DAYS="0", HEARTHWATCH_DEVISE="cpu")
    assert done.returncode == 2
    assert done.stdout == "warning: HEARTHWATCH_DEVISE is not a setting. Did you mean `HEARTHWATCH_DEVICE`?\n"
    assert done.stderr.splitlines() == [
        "RETENTION_DAYS = 0: allowed: whole days, 1 to 36500",
        "flow.toml:6: detect (brigtness): there is no component `brigtness`. Did you mean `brightness`? `hearthwatch components` lists all",
        "flow.toml:18: bad (porch:Notebook): `path` is missing",
        "flow.toml:21: bad (porch:Notebook): `paht` is not an option of `porch:Notebook`. Did you mean `path`?",
    ]


def test_a_flow_file_that_is_not_there_is_a_sentence(folder: Path) -> None:
    for command in ("check", "graph"):
        done = hearthwatch(folder, command, "other.toml")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "other.toml: the flow file cannot be read: No such file or directory\n"


def test_check_warns_about_a_setting_that_nobody_reads(folder: Path) -> None:
    assert (
        "warning: HEARTHWATCH_DEVISE is not a setting" in hearthwatch(folder, "check", HEARTHWATCH_DEVISE="cpu").stdout
    )


def test_check_finds_what_the_api_refuses(folder: Path) -> None:
    (folder / "flow.toml").write_text(FLOW.replace("brightness", "brigtness"))
    for flow in ([], ["flow.toml"]):
        done = hearthwatch(folder, "check", *flow, HEARTHWATCH_API_HOST="0.0.0.0")
        refused = hearthwatch(folder, "api", HEARTHWATCH_API_HOST="0.0.0.0")
        assert (done.returncode, refused.returncode) == (2, 2)
        assert done.stderr.endswith(refused.stderr) and done.stderr.count("\n") == len(flow) + 1
    assert hearthwatch(folder, "check", HEARTHWATCH_API_HOST="0.0.0.0", HEARTHWATCH_API_TOKEN="x" * 16).returncode == 0


def test_check_warns_of_an_upload_tree_that_is_missing(folder: Path) -> None:
    done = hearthwatch(folder, "check", FOSCAM_BASE_PATH="nowhere")
    assert done.returncode == 0
    assert "warning: nowhere cannot be read or is missing: make the folder, or set FOSCAM_BASE_PATH\n" in done.stdout


def test_check_warns_of_what_this_machine_has_not(folder: Path) -> None:
    done = hearthwatch(
        folder, "check", HEARTHWATCH_CELLS="north=up;south=nowhere", FOSCAM_BASE_PATH="", HEARTHWATCH_DEVICE="cuda:99",
        HEARTHWATCH_DETECTOR_MODEL="my/model/v2", HEARTHWATCH_DATA_DIR="/proc/data",
    )  # fmt: skip
    wanted = (
        "up cannot be read or is missing: make the folder, or set HEARTHWATCH_CELLS",
        "nowhere cannot be read or is missing: make the folder, or set HEARTHWATCH_CELLS",
        r"/proc cannot be written by uid \d+ \(.*\): chown or chmod it, or set HEARTHWATCH_DATA_DIR to another folder",
        "my/model/v2 is no folder and no hub id: name one with .*, or `yard`",
        "device `cuda:99`: .*HEARTHWATCH_DEVICE.*",
    )
    assert re.fullmatch("".join(f"warning: {line}\n" for line in wanted), done.stdout.partition("11 nodes")[0])
    assert done.returncode == 0


def test_check_warns_of_old_lines_beside_mistakes(folder: Path) -> None:
    (folder / "flow.toml").write_text('extends = "default"\n[redis]\nfrom = "feed"\nchanel = "x"\n')
    done = hearthwatch(folder, "check", "flow.toml")
    assert done.returncode == 2 and "`chanel` is not an option" in done.stderr
    assert 'warning: flow.toml:3: redis: `from = "feed"` is' in done.stdout


def test_components_shows_one(folder: Path) -> None:
    shown = hearthwatch(folder, "components", "night")
    assert (shown.returncode, shown.stdout.splitlines()[0]) == (0, "night  (Detected → Detected)  from porch")
    assert "window_seconds" not in shown.stdout
    assert hearthwatch(folder, "components", "my_quiet:Quiet").stdout.startswith("my_quiet:Quiet  (Message)")
    wrong = hearthwatch(folder, "components", "bacth")
    assert wrong.returncode == 2 and "Did you mean `batch`?" in wrong.stderr


def test_graph_is_drawn_as_people_think_of_it(folder: Path) -> None:
    drawn = hearthwatch(folder, "graph", "flow.toml").stdout
    assert drawn.startswith("flowchart LR\n")
    for line in (
        '    batch["batch<br/>90 s window, 30 s idle"]',
        '    quiet[("quiet<br/>Quiet, off")]',
        "    files --> detect",
        "    detect -->|errors| bad",
        "    batch -.->|risk_level high or critical, object person| quiet",
    ):
        assert line in drawn.splitlines()


def test_components_lists_everything_with_its_options_and_tells_what_is_broken(folder: Path) -> None:
    done = hearthwatch(folder, "components")
    assert done.returncode == 1
    assert "night  (Detected → Detected)  from porch" in done.stdout
    assert "window_seconds: float, > 0 = ${BATCH_WINDOW_SECONDS}" in done.stdout
    assert "broken  from porch cannot be used: cannot import `porch_that_needs_a_library`" in done.stdout
    assert "not documented" not in done.stdout
    assert hearthwatch(folder, "components", PYTHONPATH=str(HOME)).returncode == 0


def test_version_and_help(folder: Path) -> None:
    assert re.fullmatch(r"hearthwatch \d+\.\d+\.\d+\n", hearthwatch(folder, "--version").stdout)
    assert "components" in hearthwatch(folder, "--help").stdout
    assert hearthwatch(folder, "chekc").returncode == 2


def test_looking_at_a_graph_opens_nothing(folder: Path) -> None:
    before = sorted(folder.iterdir())
    hearthwatch(folder, "check", "flow.toml")
    assert [path for path in sorted(folder.iterdir()) if path.name != "__pycache__"] == before


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_version_and_help_load_no_engine_no_components_and_no_command(folder: Path, option: str) -> None:
    code = (
        "import sys; from hearthwatch.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, option], cwd=folder, text=True, capture_output=True, check=True,
        env=os.environ | {"PYTHONPATH": str(HOME)},
    )  # fmt: skip
    loaded = set(done.stderr.split())
    assert not loaded & {"bytewax", "torch", "numpy", "PIL", "httpx", "duckdb", "pyarrow"}
    assert {name for name in loaded if name.startswith("hearthwatch.")} == {"hearthwatch.cli"}


def test_help_lists_every_command_with_its_help(folder: Path) -> None:
    shown = " ".join(hearthwatch(folder, "--help").stdout.split())
    for name in COMMANDS:
        assert f"{name} {load(name).help.split('.')[0]}" in shown
