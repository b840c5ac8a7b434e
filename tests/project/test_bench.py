"""Promises of `scripts/bench all`: every script runs, a failed one is told and stops no other, plots are SVG."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def bench(name, *arguments):
    command = [sys.executable, ROOT / "bench" / f"{name}.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_one_command_runs_them_and_says_on_what(tmp_path):
    out = tmp_path / "report.md"
    done = bench("all", "--quick", "--only", "spine,suppression,latency,soak", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert out.read_text() == done.stdout
    for words in (
        "| CPU |",
        "| people in a picture |",
        "Load after",
        "| whole pipeline ",
        "file close → event row",
        "Left out of --quick",
    ):
        assert words in done.stdout


def test_a_script_that_fails_is_in_the_report_with_its_last_words(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "bench")
    every = import_module("all")
    assert not every.run(every.Report(None), "scale", ["--pictures", "many"])
    said = capsys.readouterr().out
    assert "**failed**, exit code 2" in said and "invalid int value: 'many'" in said


def test_an_unknown_name_is_told_with_those_that_there_are():
    done = bench("all", "--only", "spline")
    assert done.returncode == 2 and "spline: there is spine, suppression, latency" in done.stderr


def test_the_three_ways_lose_nothing_of_ours():
    done = bench("baseline", *"--pictures 60 --rounds 1 --live 2 --rate 10 --kills 1".split())
    assert done.returncode == 0, done.stderr
    lost = next(line for line in done.stdout.splitlines() if "kill -9" in line and line.startswith("| lost"))
    twice = next(line for line in done.stdout.splitlines() if line.startswith("| stored twice"))
    assert [line.split("|")[2].strip() for line in (lost, twice)] == ["0", "0"]


def test_growth_draws_its_plot(tmp_path):
    svg = tmp_path / "growth.svg"
    done = bench("growth", *"--rows 300 --pictures 20 --live 1 --svg".split(), svg)
    assert done.returncode == 0, done.stderr
    shapes = [element.tag.rpartition("}")[2] for element in ElementTree.parse(svg).iter()]
    assert shapes.count("polyline") == 6
    assert "300" in done.stdout


@pytest.mark.parametrize(("most", "top"), [(0.3, 0.5), (1, 1), (7, 10), (2100, 5000), (0, 1)])
def test_an_axis_ends_at_a_round_number(monkeypatch, most, top):
    monkeypatch.syspath_prepend(ROOT / "bench")
    from plot import nice

    assert nice(most) == pytest.approx(top)
