"""Promise: on a CPU OpenVINO finds torch's boxes, or torch runs; once exported, a model needs no torch; no kill leaves half an export."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hearthwatch.gpu import DetectorError, loading
from hearthwatch.gpu.detector import Detector
from hearthwatch.gpu.options import DetectorSwitches
from hearthwatch.gpu.parity import probe_pictures

openvino = pytest.importorskip("openvino")
from hearthwatch.gpu import openvino_runner  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder with an export of the packaged model."""
    cache = tmp_path_factory.mktemp("cache")
    assert Detector("yard", "cpu", cache=cache).details()["runtime"].startswith("openvino")
    return cache


@pytest.fixture
def cache(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "cache"))


def the_export(cache):
    (at,) = cache.iterdir()
    return at


def test_a_second_start_loads_no_torch_and_finds_what_torch_finds(exported):
    code = """
import sys
from pathlib import Path
from hearthwatch.gpu.detector import Detector
from hearthwatch.gpu.parity import probe_pictures
found = Detector("yard", "cpu", cache=Path(sys.argv[1])).detect(probe_pictures())
print(repr([[(one.object_type, one.bbox) for one in some] for some in found]))
sys.exit(bool({"torch", "transformers"} & sys.modules.keys()))
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, exported], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    expected = Detector("yard", "cpu", runtime="torch").detect(probe_pictures())
    assert any(expected)
    assert ran.stdout.strip() == repr([[(one.object_type, one.bbox) for one in some] for some in expected])


def test_a_signal_ends_no_process_that_has_closed_its_detectors(exported):
    """OpenVINO's plugin sets the thread's stack for signal handlers and deletes it with its core."""
    code = """
import gc, os, signal, sys
from pathlib import Path
from hearthwatch.gpu.detector import Detector
handled = []
signal.signal(signal.SIGTERM, lambda *_: handled.append(1))
first = Detector("yard", "cpu", cache=Path(sys.argv[1]), runtime="openvino")
second = Detector("yard", "cpu", cache=Path(sys.argv[1]), runtime="openvino")
del first
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGTERM)
sys.exit(not handled)
"""
    assert subprocess.run([sys.executable, "-c", code, exported], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("name", ["network.xml", "network.bin", "reference.npy", "facts.json", "digest"])
def test_a_broken_export_is_made_again(cache, name, caplog):
    at = the_export(cache)
    data = (at / name).read_bytes()
    (at / name).write_bytes(data[: len(data) // 2])
    assert openvino_runner._read(at) is None
    assert f"the exported detector in {at} is made again" in caplog.text
    assert not at.exists()


class KilledError(BaseException):
    """No code catches it, so that nothing is tidied up."""


def test_a_kill_at_any_step_leaves_the_export_whole_or_absent(cache, tmp_path, monkeypatch):
    export, steps = openvino_runner._read(the_export(cache)), 0
    done = False
    while not done:
        new, left = tmp_path / "kills" / "export", steps

        def kill(work):
            def run(*args, **options):
                nonlocal left
                left -= 1
                if left < 0:
                    raise KilledError
                return work(*args, **options)

            return run

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", kill(os.fsync))
            patch.setattr(os, "rename", kill(os.rename))
            patch.setattr(np, "save", kill(np.save))
            try:
                openvino_runner._write(export, new)
                done = True
            except KilledError:
                pass
        found = openvino_runner._read(new)
        assert found is not None or not new.exists()
        steps += 1
        if not done:
            shutil.rmtree(new, ignore_errors=True)
    assert steps > 7
    assert len(list(new.parent.iterdir())) <= openvino_runner.EXPORTS_MAX  # what the kills left is deleted


def test_a_network_that_finds_other_boxes_is_refused(cache):
    at = the_export(cache)
    moved = np.load(at / "reference.npy")
    moved[..., 2:] += 0.01
    np.save(at / "reference.npy", moved)
    (at / "digest").write_text(openvino_runner._digest(at))
    refused = Detector("yard", "cpu", cache=cache)
    assert refused.details()["runtime"].startswith("torch; not openvino: openvino moves boxes or scores: 6.")
    assert refused.warnings == () and ", torch, 320x192, " in refused.describe()
    (warning,) = Detector("yard", "cpu", cache=cache, runtime="openvino").warnings
    assert warning.endswith("on 2 pictures; `auto` would refuse it")


def test_where_it_cannot_run_torch_does_and_says_why(cache, monkeypatch):
    low = DetectorSwitches(precision="bfloat16")
    assert "float32 on CPUs only" in Detector("yard", "cpu", switches=low, cache=cache).details()["runtime"]
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(openvino_runner, "_core", openvino_runner._core.__wrapped__)
    assert "openvino cannot be loaded" in Detector("yard", "cpu", cache=cache).details()["runtime"]
    with pytest.raises(
        DetectorError, match=r"runtime `openvino`: openvino cannot .*; set HEARTHWATCH_DETECTOR_RUNTIME to"
    ):
        Detector("yard", "cpu", cache=cache, runtime="openvino")


def test_batches_come_out_in_order(cache):
    pictures = probe_pictures()
    together = Detector("yard", "cpu", cache=cache, batch_max=4).candidates(pictures)
    alone = Detector("yard", "cpu", cache=cache)
    for one, picture in zip(together, pictures, strict=True):
        assert np.array_equal(one.boxes, alone.candidates([picture])[0].boxes)


def test_another_size_of_input_and_an_export_that_cannot_be_kept(tmp_path):
    (tmp_path / "file").write_text("where the folder should be")
    detector = Detector("yard", "cpu", size="448x256", cache=tmp_path / "file")
    assert "openvino" in detector.describe() and ", 448x256, " in detector.describe()
    assert any(detector.detect(probe_pictures()))
    with pytest.raises(
        DetectorError, match="size `450`: 450 pixels are not a multiple of 32 from 64 to 2048: 448 and 480"
    ):
        Detector("yard", "cpu", size="450")


def test_threads_stay_within_a_containers_quota(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setattr(loading.os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr(loading, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(loading, "CGROUPS", tmp_path)
    assert loading.usable_cpus() == 16
    (tmp_path / "cgroup").write_text("0::/system.slice/x.service\n")
    (tmp_path / "system.slice/x.service").mkdir(parents=True)
    limits = tmp_path / "system.slice/x.service/cpu.max"
    for text, expected in (("max 100000", 16), ("250000 100000", 2), ("10000 100000", 1)):
        limits.write_text(text)
        assert loading.usable_cpus() == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert loading.usable_cpus() == 1


def test_openvino_makes_no_client_id_for_reports_to_its_maker(tmp_path):
    code = "from hearthwatch.gpu import openvino_runner; openvino_runner._core(); import openvino.frontend"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "HOME": str(tmp_path)}, check=True)
    assert not list(tmp_path.iterdir())
