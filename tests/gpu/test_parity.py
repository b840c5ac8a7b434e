"""Promise: whatever makes the detector fast, boxes, labels and scores are those of transformers' own way in float32.

The other way is what its documentation shows: its processor, its model, its post-processing.
"""

import io
import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.models.deformable_detr.image_processing_pil_deformable_detr import DeformableDetrImageProcessorPil
from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

from bench.yard.train import score
from hearthwatch.demo.scenes import CAMERAS, HEIGHT, LABELS, WIDTH, story
from hearthwatch.gpu.detector import Detector
from hearthwatch.gpu.loading import YARD, load
from hearthwatch.gpu.model_families import FAMILIES
from hearthwatch.gpu.optimize import AUTO_PRECISIONS, optimize
from hearthwatch.gpu.options import DetectorSwitches
from hearthwatch.gpu.parity import EXACT, LOW, Difference, compare, compare_low
from hearthwatch.gpu.runner import _configure_cudnn
from tests.support import checkpoints

PIXELS_MAX, SCORE_MAX = 0.5, 0.01  # how far we may be from transformers
MAP_MAX = 0.005
FRAMES, AT_A_TIME = 200, 8
FLOOR = 0.05  # what mean average precision is computed from


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


class Reference:
    """transformers, float32, as its documentation shows it."""

    def __init__(self, folder, pixels=None):
        self.model = transformers.AutoModelForObjectDetection.from_pretrained(folder, dtype=torch.float32).eval()
        # LW-DETR and RF-DETR have Deformable DETR's; RF-DETR's own needs torchvision and resizes with rounding of its own.
        is_deformable = self.model.config.model_type in ("lw_detr", "rf_detr")
        kind = DeformableDetrImageProcessorPil if is_deformable else RTDetrImageProcessorPil
        size = {"size": {"height": pixels, "width": pixels}} if pixels else {}
        self.processor = kind.from_pretrained(folder, **size)

    @torch.inference_mode()
    def __call__(self, pictures):
        """Everything, without threshold: (scores, classes, boxes) of each."""
        output = self.model(**self.processor(pictures, return_tensors="pt"))
        sizes = [(picture.height, picture.width) for picture in pictures]
        found = self.processor.post_process_object_detection(output, threshold=-1.0, target_sizes=sizes)
        return [tuple(one[name].numpy() for name in ("scores", "labels", "boxes")) for one in found]


def unmatched(wanted, offered):
    """How many of the wanted (score, class, box) are not among the offered, within the tolerance."""
    scores, classes, boxes = offered
    near = [
        (classes == kind) & (abs(scores - score) <= SCORE_MAX) & (abs(boxes - box).max(axis=1) <= PIXELS_MAX)
        for score, kind, box in zip(*wanted, strict=True)
    ]
    return sum(not one.any() for one in near)


def above(found, threshold):
    return tuple(part[found[0] >= threshold] for part in found)


def batches(items, size=AT_A_TIME):
    return (items[at : at + size] for at in range(0, len(items), size))


# -- the trained model ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def yard():
    """Frames of all four cameras as uploaded, what is on them, and what transformers sees on them."""
    names, frames, seed = list(CAMERAS), [], 4_000
    while len(frames) < FRAMES:
        clip = story(names[seed % 4], seed)
        frames += [clip.frame(second) for second in range(4, clip.seconds, 8)]
        seed += 1
    frames = frames[:FRAMES]
    pictures = [Image.open(io.BytesIO(frame.jpeg())).convert("RGB") for frame in frames]
    reference = Reference(str(YARD))
    return frames, pictures, [found for part in batches(pictures) for found in reference(part)]


@pytest.mark.parametrize(
    "options", [DetectorSwitches(), DetectorSwitches(folded=False, trimmed=False, channels_last=False)]
)
def test_two_hundred_yard_frames_as_transformers_sees_them(yard, options):
    frames, pictures, theirs = yard
    ours = Detector("yard", "cpu", batch_max=AT_A_TIME, switches=options).candidates(pictures)
    for wanted, offered in zip(theirs, ours, strict=True):
        # Each one's sure boxes are the other's, but for those that stand on the threshold itself.
        assert unmatched(above(wanted, 0.5), above(offered, 0.5 - SCORE_MAX)) == 0
        assert unmatched(above(offered, 0.5), above(wanted, 0.5 - SCORE_MAX)) == 0
    assert sum(len(above(one, 0.5)[0]) for one in ours) > FRAMES  # or nothing was compared
    assert mean_average_precision(ours, frames) == pytest.approx(mean_average_precision(theirs, frames), abs=MAP_MAX)
    assert mean_average_precision(ours, frames) > 0.6


def mean_average_precision(found, frames):
    """At 50 % overlap, over the labels, against what was drawn."""
    truth = [
        (
            None,
            np.array([LABELS.index(box[0]) for box in frame.boxes], np.int64),
            np.array([box[1:] for box in frame.boxes], np.float32).reshape(-1, 4) / (WIDTH, HEIGHT, WIDTH, HEIGHT),
        )
        for frame in frames
    ]
    offered = [above(one, FLOOR) for one in found]
    offered = [(scores, classes, boxes / (WIDTH, HEIGHT, WIDTH, HEIGHT)) for scores, classes, boxes in offered]
    return np.mean([row["ap"] for row in score(offered, truth).values() if row["truth"]])


def test_normalisation_is_the_processors(tmp_path, yard):
    shutil.copytree(YARD, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_normalize": True}))
    (theirs,), (ours,) = Reference(tmp_path)(yard[1][2:3]), Detector(str(tmp_path), "cpu").candidates(yard[1][2:3])
    assert unmatched([part[:10] for part in theirs], ours) == 0


# -- models of full size ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "pixels"), [("r18", 640), ("v1-r18", 320), ("r50", 320)])  # 640: four times the time
def test_the_top_100_of_a_full_size_model_without_threshold(shape, pixels, yard, tmp_path):
    """A model of the published shape, with random weights on which scores and boxes depend."""
    folder = checkpoints.folder(shape, tmp_path)
    pictures = [yard[1][7].resize((1920, 1080))]
    detector = Detector(folder, "cpu", size=str(pixels))
    assert detector.details()["trimmed"] == "on" and f", {pixels}x{pixels}, " in detector.describe()
    for theirs, raw in zip(Reference(folder, pixels)(pictures), detector.candidates(pictures), strict=True):
        assert len(raw.scores) == 300
        assert unmatched([part[:100] for part in theirs], raw) == 0
        assert unmatched([part[:100] for part in raw], theirs) == 0


@pytest.mark.parametrize("family", checkpoints.TINY_FAMILIES)
def test_other_families_as_transformers_sees_them(family, yard, tmp_path):
    folder = checkpoints.folder(family, tmp_path)
    pictures = [*yard[1][:3], yard[1][7].resize((1000, 700))]
    theirs = Reference(folder)(pictures)
    shares = [one[2] / (picture.size * 2) for one, picture in zip(theirs, pictures, strict=True)]
    assert np.ptp(shares, axis=0).max() > 0.01  # boxes depend on the picture, or nothing was compared
    for runtime in ("torch", "auto"):
        detector = Detector(folder, "cpu", runtime=runtime)
        assert detector.describe().startswith(FAMILIES[family].name)
        for wanted, offered in zip(theirs, detector.candidates(pictures), strict=True):
            assert unmatched([part[:20] for part in wanted], offered) == 0


@pytest.mark.parametrize("family", ["rt_detr_v2", *checkpoints.TINY_FAMILIES])
def test_low_precision_needs_no_trimmed_network(family, yard, tmp_path):
    folder = str(YARD) if family == "rt_detr_v2" else checkpoints.folder(family, tmp_path)
    low = Detector(folder, "cpu", switches=DetectorSwitches(precision="bfloat16", trimmed=False), runtime="torch")
    assert low.details()["precision"] == "bfloat16" and low.details()["trimmed"] == "off"
    (found,), (exact,) = (one.candidates(yard[1][2:3]) for one in (low, Detector(folder, "cpu", runtime="torch")))
    assert not np.array_equal(found.scores, exact.scores)  # it is in force
    assert abs(found.scores - exact.scores).mean() < 0.05


# -- what is asked before a faster way is taken -----------------------------------------------------------------------


def candidates(*rows):
    return np.array([rows], np.float32)


def test_two_ways_are_as_far_apart_as_their_worst_box():
    one = candidates((0.9, 0, 0.1, 0.1, 0.2, 0.2), (0.8, 1, 0.5, 0.5, 0.6, 0.6))
    assert compare(one, one) == (0, 0)
    assert compare(one, one[:, ::-1]) == (0, 0)  # their order does not matter
    moved = one + np.float32([0, 0, 0, 0, 1 / 640, 0])
    assert compare(one, moved).pixels == pytest.approx(1, abs=1e-3)
    assert compare(one, one - np.float32([0.05, 0, 0, 0, 0, 0])).score == pytest.approx(0.05)
    assert compare(one, one * np.float32([1, 0, 1, 1, 1, 1])).pixels > 100  # the second has no box of its class
    assert compare(one, one[:, :0]) == (np.inf, np.inf)
    assert compare(one, one * np.nan) == (np.inf, np.inf)
    assert not compare(one, moved).within(EXACT) and Difference(0, 0).within(EXACT)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_is_taken_where_it_is_asked_for_and_says_how_far_it_is(yard, precision):
    detector = Detector("yard", "cpu", switches=DetectorSwitches(precision=precision))
    details = detector.details()
    assert details["precision"] == precision and details["parity"].startswith(precision)
    if precision == "bfloat16":  # beyond what `auto` would take: whoever asked is told
        assert [said.split()[0] for said in detector.warnings] == ["bfloat16"]
    reference = Detector("yard", "cpu")
    assert reference.details()["precision"] == "float32"
    for one, other in zip(detector.candidates(yard[1][:8]), reference.candidates(yard[1][:8]), strict=True):
        sure = above(other, 0.5)
        near = [abs(one.boxes - box).max(axis=1).min() for box in sure[2]]
        assert max(near, default=0) < 3 * PIXELS_MAX


def test_low_precision_is_judged_by_what_is_sure():
    one = candidates((0.9, 0, 0.1, 0.1, 0.2, 0.2), (0.2, 1, 0.5, 0.5, 0.6, 0.6))
    other = candidates((0.9, 0, 0.1, 0.1, 0.2, 0.2), (0.19, 2, 0.7, 0.7, 0.8, 0.8))
    assert compare_low(one, other) == (0, 0) and compare(one, other) == (np.inf, np.inf)
    assert compare_low(one, other * np.float32([0.9, 1, 1, 1, 1, 1])).score == pytest.approx(0.09)
    unsure = candidates((0.2, 1, 0.5, 0.5, 0.6, 0.6), (0.1, 1, 0, 0, 1, 1))
    assert compare_low(unsure, other[:, 1:].repeat(2, 1)).score == pytest.approx(
        0.187, abs=0.001
    )  # logits -2.20, -1.45
    assert compare_low(unsure, unsure) == (0, 0) and not compare_low(unsure, unsure * np.nan).within(LOW)


def test_a_detector_that_ends_in_float32_where_low_precision_was_to_be_used_says_so(monkeypatch):
    monkeypatch.setitem(AUTO_PRECISIONS, "cpu", ("bfloat16",) * 2)  # several, as on CUDA; it moves yard's scores
    detector = Detector("yard", "cpu", runtime="torch")
    (warning,) = detector.warnings
    assert detector.details()["precision"] == "float32"
    assert warning.startswith("it computes in float32, half as fast as in low precision, which was refused: bfloat16 ")


class Later(torch.nn.Module):
    """A decoder of a later release, which wants something that ours does not give."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, *, level_start_index, **others):
        assert level_start_index.shape
        return self.decoder(level_start_index=level_start_index, **others)


def test_another_inside_of_transformers_costs_time_only():
    detr, preparation = load("yard")
    detr.model.decoder = Later(detr.model.decoder)
    notes = {}
    chosen = optimize(detr, preparation, DetectorSwitches(), torch.device("cpu"), notes)
    assert not chosen.trimmed
    assert notes["trimmed"] == "off: AttributeError: 'NoneType' object has no attribute 'shape'"


def test_torchs_flags_remain_usable_after_a_detector_on_cuda():
    """They are set through torch's older names; mixed with the newer ones, torch refuses to read any of them."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    try:
        _configure_cudnn()
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark) == (False, True)
        assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.conv.fp32_precision != "tf32"
        with torch.backends.cudnn.flags(allow_tf32=True):
            assert torch.backends.cudnn.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
        assert torch.compile(torch.nn.Identity(), backend="eager")(torch.ones(1)) == 1
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = before
