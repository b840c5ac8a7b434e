"""RT-DETRv2 sees what transformers' own processor and post-processing see; what counts is what the options say."""

import json
import logging
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hearthwatch.demo.scenes import CAMERAS, story
from hearthwatch.flows.graph import Graph
from hearthwatch.gpu import DetectorError, ModelUnavailableError
from hearthwatch.gpu.batches import BatchRunner
from hearthwatch.gpu.boxes import DetectionFilter, canonical_label, overlap, whole_pixels
from hearthwatch.gpu.decode import open_picture
from hearthwatch.gpu.detector import Detector
from hearthwatch.gpu.loading import YARD
from hearthwatch.gpu.optimize import fuse
from hearthwatch.gpu.options import DetectorSwitches
from hearthwatch.gpu.runner import _configure_cudnn
from hearthwatch.schemas.items import DeadLetter, Detected, Detection, Frame
from hearthwatch.stages.detect import RtDetr
from tests.support import checkpoints
from tests.support.context import context

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def detector():
    return Detector("yard", "cpu", batch_max=4)


@pytest.fixture(scope="module")
def yard_frames():
    """JPEGs of all four cameras, as uploaded."""
    names, frames, seed = list(CAMERAS), [], 4_000
    while len(frames) < 48:
        clip = story(names[seed % 4], seed)
        frames += [clip.frame(second).jpeg() for second in range(4, clip.seconds, 8)]
        seed += 1
    return frames[:48]


def decoded(jpeg):
    return Image.open(BytesIO(jpeg)).convert("RGB")


def test_folding_changes_nothing_but_the_time(detector, yard_frames):
    pictures = [decoded(jpeg) for jpeg in yard_frames[:4]]
    plain = Detector("yard", "cpu", switches=DetectorSwitches(folded=False))
    for one, other in zip(plain.candidates(pictures), detector.candidates(pictures), strict=True):
        assert np.abs(one.scores - other.scores).max() < 1e-4
    assert fuse(Detector("yard", "cpu", runtime="torch")._runner.network) == 0  # nothing was left to fold


def test_pictures_of_different_sizes_share_a_batch(detector, yard_frames):
    pictures = [decoded(yard_frames[3]), decoded(yard_frames[4]).resize((1280, 720)), Image.new("RGB", (9, 5))]
    together, alone = detector.candidates(pictures), [detector.candidates([picture])[0] for picture in pictures]
    for one, other in zip(together, alone, strict=True):
        assert np.allclose(one.boxes[:5], other.boxes[:5], atol=0.1)


def test_scores_at_the_threshold_count(yard_frames):
    picture = decoded(yard_frames[0])
    make = partial(Detector, "yard", "cpu", runtime="torch")  # the same bits at each start
    score = float(make().candidates([picture])[0].scores[0])
    exact, above_it = make(confidence=score), make(confidence=score + 1e-6)
    assert [one.confidence for one in exact.detect([picture])[0]] == [score]
    assert above_it.detect([picture])[0] == ()


@pytest.mark.slow
def test_object_types_filter_and_say_what_the_model_never_sees(yard_frames):
    pictures = [decoded(jpeg) for jpeg in yard_frames[:40]]
    everything = {one.object_type for found in Detector("yard", "cpu", 0.4).detect(pictures) for one in found}
    picky = Detector("yard", "cpu", 0.4, ("Person", "motorbike", "bus"))
    assert {"person"} == {one.object_type for found in picky.detect(pictures) for one in found} < everything
    assert picky.warnings == ("model `yard` has no label bus, motorcycle",)
    assert Detector("yard", "cpu").warnings == ()
    (line,) = Detector("yard", "cpu", 0.4, ("persn",)).warnings
    assert line.startswith("model `yard` has no label persn, so nothing will be detected: ") and "person" in line


# -- what counts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelling", "label"),
    [("motorbike", "motorcycle"), ("aeroplane", "airplane"), ("tvmonitor", "tv"), ("sofa", "couch"), ("person", "person"),
     ("pottedplant", "potted plant"), ("diningtable", "dining table"), ("Dining_Table", "dining table"), ("Yeti", "yeti")],
)  # fmt: skip
def test_one_spelling_for_each_label(spelling, label):
    assert canonical_label(spelling) == label


def test_doubled_boxes_of_one_type_count_once():
    found = [
        ("person", 0.7, (11.0, 10.0, 51.0, 90.0)),
        ("person", 0.9, (10.0, 10.0, 50.0, 90.0)),
        ("dog", 0.6, (10.0, 10.0, 50.0, 90.0)),
        ("person", 0.6, (40.0, 10.0, 80.0, 90.0)),
    ]
    assert len(DetectionFilter(0.5, unique_iou=None).select(found, 100, 100)) == 4
    once = DetectionFilter(0.5).select(found, 100, 100)
    assert [(one.object_type, one.confidence) for one in once] == [("person", 0.9), ("dog", 0.6), ("person", 0.6)]


def test_overlap():
    assert overlap((0, 0, 2, 2), (0, 0, 2, 2)) == 1
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 2, 2), (2, 0, 4, 2)) == 0
    assert overlap((1, 1, 1, 1), (1, 1, 1, 1)) == 0


coordinates = st.floats(-1e4, 1e4)


@given(st.tuples(*[coordinates] * 4), st.integers(1, 8000), st.integers(1, 8000))
def test_whole_pixels_lie_in_the_picture(corners, width, height):
    x, y, w, h = whole_pixels(corners, width, height)
    assert x >= 0 and y >= 0 and w >= 1 and h >= 1
    assert x + w <= width and y + h <= height


def test_whole_pixels_round_the_corners():
    assert whole_pixels((1.4, 1.6, 9.6, 9.4), 100, 100) == (1, 2, 9, 7)


def test_no_picture_has_more_detections_than_ids():
    found = [("person", n / 1000, (0.0, 0.0, 5.0, 5.0)) for n in range(1000)]
    kept = DetectionFilter(0.0, unique_iou=None).select(found, 10, 10)
    assert len(kept) == 512 and kept[0].confidence == 0.999


# -- batches that fail ------------------------------------------------------------------------------------------------


class Worker:
    """Doubles numbers; refuses `bad` ones, and batches that are larger than its memory."""

    def __init__(self, bad=(), room=99):
        self.bad, self.room, self.sizes = bad, room, []

    def __call__(self, items):
        self.sizes.append(len(items))
        if len(items) > self.room:
            raise MemoryError(f"{len(items)} do not fit")
        if culprits := [item for item in items if item in self.bad]:
            raise ValueError(f"{culprits[0]} is bad")
        return [item * 2 for item in items]


def batches_of(worker, *rules):
    return BatchRunner(lambda items: items, worker, *rules)


def is_memory(error):
    return isinstance(error, MemoryError)


@given(st.sets(st.integers(0, 40)), st.integers(1, 12), st.integers(1, 12))
def test_halving_finds_every_culprit_and_keeps_the_order(bad, size, room):
    batches = batches_of(Worker(bad, room), size, is_memory)
    results = batches.run(list(range(40)))
    assert [str(one) if isinstance(one, ValueError) else one for one in results] == [
        f"{n} is bad" if n in bad else n * 2 for n in range(40)
    ]
    assert batches.size <= max(size, 1)


def test_out_of_memory_makes_smaller_batches_from_then_on():
    worker = Worker(room=5)
    batches = batches_of(worker, 32, is_memory)
    assert batches.run(range(100)) == [n * 2 for n in range(100)]
    assert batches.size == 4
    worker.sizes.clear()
    assert batches.run(range(8)) == [n * 2 for n in range(8)]
    assert worker.sizes == [4, 4]


def test_one_item_that_does_not_fit_is_the_machines_trouble():
    with pytest.raises(MemoryError):
        batches_of(Worker(room=0), 4, is_memory).run([1, 2])


def test_a_lost_device_blames_no_item():
    worker = Worker(bad=(2,))
    with pytest.raises(ValueError, match="2 is bad"):
        batches_of(worker, 4, is_memory, lambda error: "bad" in str(error)).run([1, 2, 3])
    assert worker.sizes == [3]


# -- models and devices that are not to be had ------------------------------------------------------------------------


def test_a_folder_says_what_it_lacks(tmp_path):
    shutil.copy(YARD / "config.json", tmp_path)
    with pytest.raises(DetectorError, match=r"has no model\.safetensors, preprocessor_config\.json"):
        Detector(str(tmp_path))
    with pytest.raises(DetectorError, match=r"`\./nowhere` is not a folder"):
        Detector("./nowhere")


def yard_copy(folder, **changes):
    """The yard model with other settings of its preprocessor or, for `config`, of itself."""
    shutil.copytree(YARD, folder, dirs_exist_ok=True)
    for name in ("config", "preprocessor_config"):
        path = folder / f"{name}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes.get(name, {})}))
    return str(folder)


def test_another_kind_of_model_is_refused(tmp_path):
    with pytest.raises(DetectorError, match="is a `detr`: this detector runs rt_detr, rt_detr_v2, d_fine, "):
        Detector(yard_copy(tmp_path, config={"model_type": "detr"}))


def test_another_kind_of_preprocessing_is_refused(tmp_path):
    with pytest.raises(DetectorError, match="asks for resample = 3"):
        Detector(yard_copy(tmp_path, preprocessor_config={"resample": 3}))
    with pytest.raises(DetectorError, match=r"asks for size = \{'shortest_edge': 640\}"):
        Detector(yard_copy(tmp_path, preprocessor_config={"size": {"shortest_edge": 640}}))
    with pytest.raises(
        DetectorError, match="asks for 320x200 pixels, but both have to be multiples of 32 for RT-DETRv2"
    ):
        Detector(yard_copy(tmp_path, preprocessor_config={"size": {"width": 320, "height": 200}}))


LW = {"model_type": "lw_detr", "backbone_config": {"patch_size": 16}}  # 4 x 4 windows
RF = {"model_type": "rf_detr", "backbone_config": {"num_windows": 2, "patch_size": [14, 14]}}


@pytest.mark.parametrize(
    ("config", "trained", "size", "says"),
    [
        ({}, 640, "640x450", "450 pixels are not a multiple of 32 from 64 to 2048: 448 and 480 would fit"),
        (LW, 640, "672", "672 pixels are not a multiple of 64 from 64 to 2048: 640 and 704 would fit"),
        (RF, 560, "64x560", "64 pixels are not a multiple of 28 from 64 to 2048: 84 would fit"),
        (
            {**RF, "backbone_config": {}},
            560,
            "2048",
            "2048 pixels are not a multiple of 56 from 64 to 2048: 2016 would",
        ),
        (RF, 560, "32", "32 pixels are not "),
    ],
)
def test_a_size_that_the_model_cannot_run_is_refused_with_the_nearest_that_it_can(
    tmp_path, config, trained, size, says
):
    folder = yard_copy(tmp_path, config=config, preprocessor_config={"size": {"width": trained, "height": trained}})
    with pytest.raises(DetectorError, match=f"model `{folder}`, size `{size}`: {says}"):
        Detector(folder, "cpu", size=size)
    flow = tmp_path / "flow.toml"
    flow.write_text(f'extends = "default"\n[detect]\nmodel = "{folder}"\nsize = "{size}"\n')
    (mistake,) = Graph.from_toml(flow).check()
    assert says in mistake and mistake.startswith(f"{flow}:") and size in mistake


def test_a_service_has_a_model_of_its_own():
    assert RtDetr(model="yard", size="450", url="http://localhost:8001").size == "450"


@pytest.mark.parametrize(("family", "size"), [("lw_detr", "160x96"), ("rf_detr", "140x84")])
def test_multiples_of_patches_and_windows_run(tmp_path, family, size):
    folder = checkpoints.folder(family, tmp_path)
    (found,) = Detector(folder, "cpu", size=size, runtime="torch").candidates([Image.new("RGB", (320, 200))])
    assert len(found.boxes)


def test_missing_weights_are_not_made_up(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = yard_copy(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop(next(name for name in weights if "encoder" in name))
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(DetectorError, match="lacks 1 of its weights"):
        Detector(folder, "cpu")


def test_broken_weights_are_found_before_the_first_picture(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = yard_copy(tmp_path)
    weights = {
        name: value * float("nan") if value.is_floating_point() else value
        for name, value in load_file(tmp_path / "model.safetensors").items()
    }
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(DetectorError, match="fails on an empty picture: the model returned NaN or infinity"):
        Detector(folder, "cpu")
    (tmp_path / "model.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(DetectorError, match="cannot be loaded"):
        Detector(folder, "cpu")


def test_a_hub_that_is_out_of_reach(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ModelUnavailableError, match=r"model `unknown/nothing` cannot be fetched: .* set HEARTHWATCH_DETECTOR_MODEL to"
    ):
        Detector("unknown/nothing", "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda_says_so(tmp_path, monkeypatch, caplog):
    for device in ("cuda", "cuda:1"):
        with pytest.raises(DetectorError, match=f"device `{device}`: .*; set HEARTHWATCH_DEVICE to auto or cpu"):
            Detector("yard", device)
    monkeypatch.setattr("hearthwatch.gpu.loading.NVIDIA_DRIVER", tmp_path)
    with caplog.at_level(logging.WARNING):
        assert Detector("yard", "auto").device == "cpu"
    assert "has an NVIDIA card that torch cannot use" in caplog.text


@pytest.mark.slow
def test_importing_the_component_loads_no_torch():
    code = "import sys, hearthwatch.stages.detect; sys.exit(bool({'torch', 'transformers'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# -- the stage --------------------------------------------------------------------------------------------------------


def frame_of(path, number=1):
    now = datetime(2026, 11, 22, 8, 15, tzinfo=UTC)
    return Frame(number, f"uid-{number}", "front_door", path.name, now, now, opened=open_picture(path))


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    one = RtDetr(model="yard", device="cpu", confidence=0.5, object_types=("*",), batch_max=3, url=None)
    one = one.build(context(tmp_path_factory.mktemp("graph")))
    one.open()
    yield one
    one.close()


def test_frames_come_out_in_order_with_what_was_seen(stage, tmp_path, yard_frames):
    frames = []
    for number, jpeg in enumerate(yard_frames[:8], 1):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(jpeg)
        frames.append(frame_of(path, number))
    seen = stage.process(frames)
    assert [one.frame for one in seen] == frames
    assert all((one.width, one.height, one.model, one.error) == (640, 360, "yard", None) for one in seen)
    assert all(one.detect_ms > 0 for one in seen)
    alone = Detector("yard", "cpu")
    for one, jpeg in zip(seen, yard_frames, strict=False):
        (expected,) = alone.detect([decoded(jpeg)])
        assert [d.object_type for d in one.detections] == [d.object_type for d in expected]


def test_a_picture_that_breaks_the_detector_costs_itself_only(stage, tmp_path, yard_frames):
    frames = []
    for number in range(1, 6):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(yard_frames[0])
        frames.append(frame_of(path, number))
    frames[3].opened._array = None
    frames[3].opened._picture = Image.new("L", (640, 360))  # not RGB: no stage gets one, this one would
    seen = stage.process(frames)
    assert [one.frame.id for one in seen if one.error] == [4]
    assert seen[3].error.stage == "detect" and seen[3].error.reason == "ValueError: a picture of mode L, not RGB"
    assert seen[0].detections == seen[4].detections


def test_what_needs_no_look_gets_none(stage, tmp_path):
    path = tmp_path / "bad.jpg"
    path.write_bytes(b"no picture")
    bad = frame_of(path, 1)
    bare = Frame(2, "uid", "front_door", "a.jpg", bad.captured_at, bad.arrived_at)
    known = Detected(bare, 640, 360, (Detection("cat", 0.9, (1, 2, 3, 4)),))
    decided = Frame(3, "uid", "front_door", "a.jpg", bad.captured_at, bad.arrived_at, recorded=known)
    assert stage.process([bad, bare, decided]) == [
        Detected(bad, 0, 0, (), DeadLetter("decode", "not a picture: neither JPEG nor PNG")),
        Detected(bare, 0, 0, (), DeadLetter("detect", "the frame carries no picture")),
        known,
    ]


def test_the_graph_shows_model_and_device():
    options = {"model": "yard", "device": "cpu", "confidence": 0.5, "object_types": ("*",), "batch_max": None}
    assert RtDetr(**options, url=None).label() == "RT-DETRv2 yard on cpu"
    assert RtDetr(**options, url="http://me:secret@box:8001").label() == "RT-DETR at http://***@box:8001"


def test_torch_can_still_be_asked_for_its_flags_after_they_were_set(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)  # set back at the end
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    _configure_cudnn()
    assert not torch.backends.cudnn.allow_tf32, "torch.compile reads this flag, which raises if its parts differ"
