"""The benchmarks of the detector run: every table, on the smallest model there is. What they measure here means nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCH = Path(__file__).resolve().parents[2] / "bench"
BENCHMARKS = [
    ["detector", "--quick", "--models=tiny", "--sizes=90", "--pictures=2", "--neighbours=1"],
    ["pipeline_gpu", "--model=tiny", "--size=90", "--pictures=6", "--rounds=1"],
    ["gpu_check", "make", "--cpu"],  # the last: it exits
]
RUN = f"""
import runpy, sys
for name, *arguments in {BENCHMARKS}:
    print("==", name, flush=True)
    sys.argv = [name, *arguments]
    runpy.run_path(f"{BENCH}/{{name}}.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """What each benchmark printed, rows of cells by their first. One process: importing torch takes most of its time."""
    place = {
        "TMPDIR": str(tmp_path_factory.mktemp("models")),
        "OUT": str(tmp_path_factory.mktemp("out")),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(BENCH),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN], env={**os.environ, **place}, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    names, parts = [one[0] for one in BENCHMARKS], done.stdout.split("== ")[1:]
    return dict(zip(names, map(rows, parts), strict=True))


def rows(text):
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    return {first: rest for first, *rest in lines}


def test_the_detector_is_measured_against_transformers_and_switch_by_switch(tables):
    table = tables["detector"]
    assert len(table["90p"]) == len(table["tiny, ms"])
    assert table["tiny, ms"][-1] == "pipeline() ÷ p50" and float(table["90p"][-1].strip("*")) > 0
    *_, folding, scores = table["folded = False"]
    assert folding.endswith(" ×") and float(scores) < 0.001


def test_the_dataflow_is_measured_against_its_detector(tables):
    table = tables["pipeline_gpu"]
    assert {"detector alone", "whole dataflow", "share [≥ 70 %]", "detector busy"} < table.keys()
    assert float(table["whole dataflow"][0]) > 0


def test_runtimes_are_compared_with_transformers(tables):
    for runtime in ("torch", "openvino"):
        *_, moved = tables["detector"][runtime]
        assert 0 < float(moved) < 0.5


def test_the_check_of_cuda_code_starts_on_a_cpu(tables):
    assert tables["gpu_check"]["versions"][0].startswith("torch ")
