"""Compare ONNX Runtime and OpenVINO with torch on a CPU: one network, folded, float32.

    pip install onnx onnxruntime openvino        # none of them is a dependency; what is missing is skipped
    scripts/bench runtimes [--model r18] [--threads 2] [--rounds 9]

Milliseconds of one forward pass of one picture, medians of alternating rounds, and how far the hundred boxes with the highest
scores are from torch's. bfloat16 is shown where a runtime offers it; its boxes are why it is not the default.
"""

import argparse
import copy
import importlib.util
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from hearthwatch.demo.scenes import CAMERAS, story  # noqa: E402
from hearthwatch.gpu.loading import load  # noqa: E402
from hearthwatch.gpu.optimize import fuse  # noqa: E402
from tests.support import checkpoints  # noqa: E402

OPSET = 16  # the first with grid_sample, which deformable attention needs
TOP = 100
PICTURES = 4
OURS = "torch, channels last, float32"


class Plain(nn.Module):
    """The network as a function of one tensor."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        out = self.network(pixel_values=x)
        return out.logits, out.pred_boxes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="r18", help="r18, r50, tiny, yard, a folder or a hub id")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # of the tracers, about shapes that are fixed here
    torch.set_num_threads(given.threads)
    network, preparation = load(checkpoints.folder(given.model) if given.model in checkpoints.SHAPES else given.model)
    fuse(network)
    plain = Plain(network.requires_grad_(False).eval())
    pictures = [picture(number, preparation) for number in range(PICTURES)]
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        runtimes = dict(made(plain, pictures[0], Path(folder), given.threads))
        report(given, runtimes, pictures)


def made(plain, example, folder, threads):
    """Yield (name, function of a float32 array) for each installed runtime."""
    here = {name: importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime", "openvino")}
    for name in [name for name, found in here.items() if not found]:
        print(f"{name} is not installed: what needs it is left out", file=sys.stderr)
    yield "torch, channels first", in_torch(plain)
    yield from in_channels_last(plain)
    if here["onnx"] and here["onnxruntime"]:
        yield from in_onnxruntime(plain, example, folder / "network.onnx", threads)
    if here["openvino"]:
        yield from in_openvino(plain, example, threads)


def in_torch(plain, dtype=torch.float32):
    def run(x):
        return [part.float().numpy() for part in plain(torch.from_numpy(x).to(dtype))]

    return run


def in_channels_last(plain):
    for dtype in (torch.float32, torch.bfloat16):
        other = copy.deepcopy(plain).to(dtype, memory_format=torch.channels_last)
        yield f"torch, channels last, {str(dtype).removeprefix('torch.')}", in_torch(other, dtype)


def in_onnxruntime(plain, example, path, threads):
    import onnxruntime

    torch.onnx.export(plain, (torch.from_numpy(example),), path, opset_version=OPSET, dynamo=False, input_names=["x"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    yield f"ONNX Runtime {onnxruntime.__version__}", lambda x: session.run(None, {"x": x})


def in_openvino(plain, example, threads):
    import openvino

    model = openvino.convert_model(plain, example_input=torch.from_numpy(example))
    model.reshape(list(example.shape))
    for precision in ("f32", "bf16"):
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = openvino.compile_model(model, "CPU", options)
        yield (
            f"OpenVINO {openvino.__version__.partition('-')[0]}, {precision}",
            lambda x, compiled=compiled: [np.array(part) for part in compiled(x).values()],
        )


def report(given, runtimes, pictures):
    first = next(iter(runtimes))
    reference = [best(*runtimes[first](x)) for x in pictures]
    seconds = {name: [] for name in runtimes}
    for number in range(given.rounds + 1):  # in turn, so that a noisy minute hits all; the first round warms up
        for name, run in runtimes.items():
            run(pictures[number % PICTURES])  # the threads of the one before may still be spinning
            began = time.perf_counter()
            run(pictures[number % PICTURES])
            seconds[name].append(time.perf_counter() - began)
    ms = {name: 1000 * statistics.median(all[1:]) for name, all in seconds.items()}
    print(f"{given.model}, {given.threads} threads, torch {torch.__version__}, medians of {given.rounds}\n")
    print(f"| {'one forward pass':<30} |  ms | torch ÷ it | boxes moved, px | scores | not found |")
    print("|---" * 6 + "|")
    for name, run in runtimes.items():
        pixels, scores, lost = difference(reference, [best(*run(x)) for x in pictures])
        print(f"| {name:<30} | {ms[name]:.0f} | {ms[OURS] / ms[name]:.2f} "
              f"| {pixels:.3f} | {scores:.5f} | {lost} of {PICTURES * TOP} |")  # fmt: skip


def best(logits, boxes):
    """Return (scores, classes, boxes) of the highest scores, boxes in units of the picture."""
    scores = 1 / (1 + np.exp(-logits[0].astype(np.float64)))
    at = np.argsort(-scores, axis=None)[:TOP]
    return scores.ravel()[at], at % scores.shape[1], boxes[0][at // scores.shape[1]]


NEAR, SURE = 0.01, 0.02  # of the picture, of a score: what is farther away is another box


def difference(reference, offered):
    """Return the largest shift in pixels of a 640-pixel picture, the largest change of a score, and how many have no match."""
    shift, change, lost = 0.0, 0.0, 0
    for (scores, classes, boxes), (scores2, classes2, boxes2) in zip(reference, offered, strict=True):
        for score, kind, box in zip(scores, classes, boxes, strict=True):
            moved = np.abs(boxes2 - box).max(axis=1)
            moved[(classes2 != kind) | (np.abs(scores2 - score) > SURE)] = np.inf
            nearest = moved.argmin()
            if not moved[nearest] <= NEAR:  # or no number at all
                lost += 1
                continue
            shift, change = max(shift, moved[nearest]), max(change, abs(scores2[nearest] - score))
    return 640 * shift, change, lost


def picture(number, preparation):
    clip = story(list(CAMERAS)[number % len(CAMERAS)], number)
    resized = clip.frame(clip.seconds // 2).image.resize((preparation.width, preparation.height))
    return np.ascontiguousarray(np.asarray(resized, np.float32).transpose(2, 0, 1)[None] / 255)


if __name__ == "__main__":
    main()
