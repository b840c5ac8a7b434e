"""Time the detector: JPEG files in, boxes out, on CUDA or a CPU; random weights of real shapes.

    scripts/bench detector [--models r18,r50,yard] [--sizes 720,1080,1440] [--rounds 7] [--quick] [--device auto]
    scripts/bench detector --models r18 --sizes 720 --only runtimes [--neighbours 8]

Per picture: the time of each step alone, a single picture's latency, the best rate over batch sizes with decoding on a pool;
alternating with `transformers.pipeline("object-detection")` and a plain float32 loop over the same weights and files. Then
the effect of each switch of torch: the defaults, alternating with one switch turned over. On a CPU then the runtimes, alternating with
`pipeline()`, on one and two threads, alone and with other processes that keep the cores busy. Every model runs in a separate process.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, replace
from itertools import cycle, islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from hearthwatch.gpu.decode import open_picture  # noqa: E402
from hearthwatch.gpu.detector import CandidateBoxes, Detector  # noqa: E402
from hearthwatch.gpu.loading import YARD, load  # noqa: E402
from hearthwatch.gpu.optimize import fuse  # noqa: E402
from hearthwatch.gpu.options import BUCKETS, DetectorSwitches  # noqa: E402
from tests.support import checkpoints  # noqa: E402
from tests.support.benchmark import described, draw, matmul_rate, memory, wait_for  # noqa: E402

FILES = 8  # different pictures; more would only fill the disk
LATENCIES = {"cpu": 3, "cuda": 100}  # pictures of ours for each of the others': p99 needs more than a median
CPU_BATCHES, CPU_PICTURES, CUDA_PICTURES = (1, 2, 4), 8, 4096  # what a rate is measured over
IN_A_CALL = 4  # batches, so that those in flight can overlap
TOP = 100  # candidates whose scores are compared
SLOW = {"compiled"}  # minutes
ON_CUDA = {"graphs", "in_flight", "pinned", "device_resize"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="r18,r50,yard", help="r18, r50, tiny, yard, folders or hub ids")
    parser.add_argument("--sizes", default="720,1080,1440", help="heights of 16:9 pictures")
    parser.add_argument("--rounds", type=int, default=7, help="medians are of so many")
    parser.add_argument("--pictures", type=int, help=f"behind a rate; {CPU_PICTURES} on a CPU, {CUDA_PICTURES} on CUDA")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="of torch; its own choice without")
    parser.add_argument("--quick", action="store_true", help="one size, one round, two batch sizes")
    parser.add_argument("--only", choices=("speed", "switches", "runtimes"), help="one of the tables")
    parser.add_argument("--neighbours", type=int, default=8, help="busy processes beside the second half of `runtimes`")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    models = given.models.split(",")
    if not given.one:
        print(described(), flush=True)
    if len(models) == 1:
        one(given)
    else:
        for model in models:
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--one", "--models", model], check=True)


def one(given):
    """Measure one model."""
    sizes, rounds = [int(size) for size in given.sizes.split(",")], given.rounds
    if given.quick:
        sizes, rounds = sizes[:1], 1
    model = checkpoints.folder(given.models) if given.models in checkpoints.SHAPES else given.models
    with tempfile.TemporaryDirectory(prefix="bench_") as folder:
        trees = {size: draw(Path(folder) / str(size), size, FILES) for size in sizes}
        middle = trees[sizes[len(sizes) // 2]]
        if given.only in (None, "speed"):
            speed(given, model, trees, rounds)
        if given.only in (None, "switches"):
            switches(given, model, middle, rounds)
        if given.only in (None, "runtimes") and not torch.cuda.is_available():
            runtimes(given, model, middle, rounds)


# -- speed


STEPS = ("read, decode", "resize, upload", "forward, top boxes", "answer")


def speed(given, model, trees, rounds):
    """Print a row for each size of picture, then the device's share of its peak."""
    detector, stepped = Detector(model, given.device), Detector(model, given.device, runtime="torch")
    device = torch.device(detector.device)
    names = ["pictures", *STEPS, "p50", "p99", "pictures/s", "plain loop", "pipeline()", "pipeline() ÷ p50"]
    print(f"\n| {given.models}, ms | {' | '.join(names[1:])} |\n{'|---' * len(names)}|", flush=True)
    rates, bare = rates_of(given, model, trees, device)
    held = memory(device)
    others = {"plain": PlainLoop(model, device), "theirs": pipeline(model, device)}
    for size, files in trees.items():
        rate, batch = rates[size]
        parts = steps(stepped, files, rounds)
        ours = LATENCIES[device.type]
        ms = in_turn({"ours": lambda file: detector.infer([open_picture(file)]), **others}, files, rounds, ours)
        p50, p99, plain, theirs = (*quantiles(ms["ours"]), *(statistics.median(ms[name]) for name in others))
        cells = [f"{size}p", *(f"{parts[name]:.1f}" for name in STEPS), f"{p50:.1f}", f"{p99:.1f}"]
        cells += [f"{rate:.3g}, {batch} at a time", f"{plain:.0f}", f"{theirs:.0f}", f"**{theirs / p50:.2f}**"]
        print(f"| {' | '.join(cells)} |", flush=True)
    details = detector.details()
    flops, peak = flops_of(model), matmul_rate(device, getattr(torch, details["precision"]))
    print(f"\n{', '.join(f'{name} {note}' for name, note in details.items())}; {held:.0f} MB held.")
    print(
        f"{flops / 1e9:.1f} GFLOP a picture; {bare:.3g} pictures/s at the first size, decoded, are {bare * flops / 1e12:.2f} TFLOP/s, "
        f"{100 * bare * flops / peak:.0f} % of a large matmul's {peak / 1e12:.2f}.",
        flush=True,
    )


def rates_of(given, model, trees, device):
    """Return the best pictures/s from files of each size, with its batch size; and the best of decoded pictures."""
    rates, bare = {size: [] for size in trees}, []
    for batch in batches(given, device):
        detector = Detector(model, given.device, batch_max=batch)
        count = given.pictures or (CUDA_PICTURES if device.type == "cuda" else CPU_PICTURES)
        for size, files in trees.items():
            rates[size].append((rate_from_files(detector, list(islice(cycle(files), count))), batch))
        opened = list(islice(cycle([open_picture(file) for file in next(iter(trees.values()))]), count))
        began = time.perf_counter()
        detector.infer(opened)
        bare.append(count / (time.perf_counter() - began))
        detector.close()
    return {size: max(found) for size, found in rates.items()}, max(bare)


def batches(given, device):
    if device.type == "cuda":
        return BUCKETS[::3] if given.quick else BUCKETS
    return CPU_BATCHES[:2] if given.quick else CPU_BATCHES


def rate_from_files(detector, files):
    """Return pictures/s from files to boxes, decoded ahead on a pool as the product does."""
    chunk, todo = detector.batch_max * IN_A_CALL, iter(files)
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode") as pool:
        began = time.perf_counter()
        ahead = deque(pool.submit(open_picture, file) for file in islice(todo, 2 * chunk))
        while ahead:
            opened = [ahead.popleft().result() for _ in range(min(chunk, len(ahead)))]
            ahead.extend(pool.submit(open_picture, file) for file in islice(todo, chunk))
            detector.infer(opened)
        return len(files) / (time.perf_counter() - began)


def steps(detector, files, rounds):
    """Time each step of one picture by torch, in ms, waiting for each; medians."""
    clock = {name: [] for name in STEPS}
    for number in range(rounds + 1):
        value = files[number % len(files)]
        for name, step in zip(STEPS, stepwise(detector), strict=True):
            began = time.perf_counter()
            value = step(value)
            wait_for(torch.device(detector.device))
            clock[name].append(1e3 * (time.perf_counter() - began))
    return {name: statistics.median(ms[1:]) for name, ms in clock.items()}


def stepwise(detector):
    """Return what `infer` does in steps that can be timed."""
    runner, sizes = detector._runner, []

    def decode(file):
        picture = open_picture(file).picture()
        sizes[:] = picture.size * 2
        return picture

    def pick(found):
        one = found[0].cpu().numpy()
        raw = CandidateBoxes(one[:, 0], one[:, 1].astype(np.int64), one[:, 2:] * np.array(sizes, np.float32))
        return detector._select(raw, tuple(sizes[:2]))

    return decode, lambda picture: runner.prepare([picture]), torch.inference_mode()(runner.network), pick


def flops_of(model):
    """Count those of one picture through the folded network: convolutions and matrix products, two for each multiply-add."""
    network, preparation = load(model)
    fuse(network)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(pixel_values=torch.zeros(1, 3, preparation.height, preparation.width))
    return counter.get_total_flops()


# -- transformers


def processor(model):
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    return RTDetrImageProcessorPil.from_pretrained(where(model))


def where(model):
    return str(YARD) if model == "yard" else model


class PlainLoop:
    """The loop of transformers' documentation: one picture after the other, float32."""

    def __init__(self, model, device):
        from transformers import AutoModelForObjectDetection

        self.network = AutoModelForObjectDetection.from_pretrained(where(model), dtype=torch.float32).eval().to(device)
        self.processor, self.device = processor(model), device

    @torch.inference_mode()
    def __call__(self, file):
        picture = Image.open(file).convert("RGB")
        output = self.network(**self.processor(picture, return_tensors="pt").to(self.device))
        sizes = [(picture.height, picture.width)]
        (found,) = self.processor.post_process_object_detection(output, threshold=0.5, target_sizes=sizes)
        return {name: part.tolist() for name, part in found.items()}


def pipeline(model, device):
    import transformers

    whole = transformers.pipeline(
        "object-detection", model=where(model), image_processor=processor(model), device=device, dtype=torch.float32
    )
    return lambda file: whole(str(file))


def in_turn(ways, files, rounds, ours=1):
    """Time each on the same files, in ms, alternating, so that a noisy minute affects all."""
    ms = {name: [] for name in ways}
    for number in range(rounds + 1):  # the first round warms up
        for name, way in ways.items():
            for again in range(ours if name == "ours" else 1):
                file = files[(number + again) % len(files)]
                began = time.perf_counter()
                way(file)
                if number:
                    ms[name].append(1e3 * (time.perf_counter() - began))
    return ms


def quantiles(ms):
    return statistics.median(ms), sorted(ms)[math.ceil(0.99 * len(ms)) - 1]


# -- switches


def switches(given, model, files, rounds):
    """Print a row for each switch: decoded pictures with it turned over, alternating with the defaults."""
    usual = Detector(model, given.device, runtime="torch")
    opened = list(islice(cycle([open_picture(file) for file in files]), usual.batch_max * IN_A_CALL))
    names = ["switch", "ms a picture", "all as it is", "worth", "scores differ by"]
    print(f"\n| {given.models}: {' | '.join(names)} |\n{'|---' * len(names)}|", flush=True)
    for name, value in turned_over(usual, given.quick):
        try:
            switched = replace(DetectorSwitches(), **{name: value})
            other = Detector(model, given.device, switches=switched, runtime="torch")
        except Exception as error:  # what the device cannot do is a row, too
            print(
                f"| {name} = {value} | – | – | {type(error).__name__}: {str(error).splitlines()[0]} | – |", flush=True
            )
            continue
        ms = in_turn({"ours": usual.infer, "other": other.infer}, [opened], rounds)
        theirs, ours = (statistics.median(ms[who]) / len(opened) for who in ("other", "ours"))
        cells = [
            f"{name} = {value}",
            f"{theirs:.2f}",
            f"{ours:.2f}",
            f"{theirs / ours:.2f} ×",
            f"{apart(usual, other, opened[0]):.5f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
        other.close()


def turned_over(detector, quick):
    """Yield (switch, its other value) for each that has an effect on this device."""
    low = "float32" if detector.details()["precision"] != "float32" else "bfloat16"
    for field in fields(DetectorSwitches):
        unfit = field.name in (SLOW if quick else ()) or (field.name in ON_CUDA and detector.device == "cpu")
        if not unfit:
            yield field.name, {"precision": low, "in_flight": 1}.get(field.name, not field.default)


def apart(one, other, opened):
    """Return the largest difference of a picture's highest scores."""
    scores = [detector.candidates([opened.picture()])[0].scores[:TOP] for detector in (one, other)]
    return abs(scores[0] - scores[1]).max()


# -- runtimes


def runtimes(given, model, files, rounds):
    """Print a row for each runtime, number of threads, and load: JPEG file to boxes."""
    names = ["threads", "neighbours", "median", "quartiles", "pipeline() ÷ it", "CPU ms", "boxes moved, px"]
    print(f"\n| {given.models}, ms a picture | {' | '.join(names)} |\n{'|---' * (len(names) + 1)}|", flush=True)
    plain = PlainLoop(model, "cpu")
    for threads in range(1, 1 + min(2, len(os.sched_getaffinity(0)))):
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read by each detector when it is made
        torch.set_num_threads(threads)
        ours = {name: Detector(model, "cpu", runtime=name) for name in ("torch", "openvino")}
        moved = {name: farthest(plain, detector, files) for name, detector in ours.items()}
        ways = {"pipeline()": pipeline(model, "cpu"), **{name: from_file(one) for name, one in ours.items()}}
        for neighbours in {0, given.neighbours}:
            with busy(neighbours):
                ms, cpu = in_turn(ways, files, rounds), {name: cpu_ms(way, files[0]) for name, way in ways.items()}
            for name, all_ms in ms.items():
                low, middle, high = np.percentile(all_ms, (25, 50, 75))
                ratio = statistics.median(ms["pipeline()"]) / middle
                cells = [name, threads, neighbours, f"{middle:.1f}", f"{low:.1f} to {high:.1f}", f"**{ratio:.2f}**"]
                print(f"| {' | '.join(map(str, cells))} | {cpu[name]:.0f} | {moved.get(name, 0):.4f} |", flush=True)


def from_file(detector):
    return lambda file: detector.infer([open_picture(file)])


@contextmanager
def busy(count):
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def cpu_ms(way, file):
    """CPU time of one picture, of all threads: some wait for each other by spinning."""
    began = time.process_time()
    way(file)
    return 1e3 * (time.process_time() - began)


def farthest(plain, detector, files):
    """Return how far the boxes of transformers' float32 that pass 0.5 are from ours of the same label, in pixels at most."""
    worst = 0.0
    for file in files:
        theirs, (ours,) = plain(file), detector.candidates([open_picture(file).picture()])
        for label, score, box in zip(theirs["labels"], theirs["scores"], theirs["boxes"], strict=True):
            near = (ours.classes == label) & (abs(ours.scores - score) < 0.01)
            worst = max(worst, np.abs(ours.boxes[near] - box).max(1).min(initial=np.inf))
    return worst


if __name__ == "__main__":
    main()
