"""Test and time the detector's CUDA code, section by section; `scripts/gpu-check run` runs them all.

    python bench/gpu_check.py SECTION [MODEL] [--cpu]

Sections: make, correct, resize, time, host, nvjpeg, profile, oom, compile, two, pipeline. `--cpu` runs what a CPU can, on a
tiny model and few pictures, to test this file. Rows of a table on standard output, and in $OUT/results.jsonl; a failure is a
row.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from detector import rate_from_files  # noqa: E402
from PIL import Image, features  # noqa: E402

from hearthwatch.gpu import DetectorError, decode  # noqa: E402
from hearthwatch.gpu.batches import BatchRunner  # noqa: E402
from hearthwatch.gpu.decode import open_picture  # noqa: E402
from hearthwatch.gpu.detector import CandidateBoxes, Detector  # noqa: E402
from hearthwatch.gpu.loading import YARD  # noqa: E402
from hearthwatch.gpu.options import DetectorSwitches  # noqa: E402
from hearthwatch.gpu.parity import probe_pictures  # noqa: E402
from hearthwatch.gpu.resize import _order, _resample_both, can_resize, pixel_array, resize_on_cpu  # noqa: E402
from hearthwatch.gpu.resize import resize as resize_on_device  # noqa: E402
from tests.support import checkpoints  # noqa: E402
from tests.support.benchmark import draw, matmul_rate  # noqa: E402

CPU = "--cpu" in sys.argv
DEVICE = "cpu" if CPU else "cuda"
OUT = Path(os.environ.get("OUT", "out"))
WORK = Path(tempfile.gettempdir()) / f"hearthwatch-gpu-check-{os.getuid()}"
PICTURES = 16 if CPU else 1024  # behind a rate
SIZES = (360,) if CPU else (720, 1080)
SWITCHES = ("folded", "trimmed", "channels_last", "graphs", "pinned", "device_resize")
SURE = 5  # candidates of each picture that are compared
MODEL_SIDE = 640  # pixels

failures = []


def report(section, **facts):
    print(
        f"| {section} | {', '.join(f'{name} {value}' for name, value in facts.items())} |".replace("\n", " "),
        flush=True,
    )
    with (OUT / "results.jsonl").open("a") as file:
        file.write(json.dumps({"section": section, **facts}, default=str) + "\n")


def attempt(name, work):
    """Run `work`; a failure is reported and None returned."""
    try:
        return work()
    except Exception as error:
        failures.append(name)
        report(name, failed=f"{type(error).__name__}: {str(error)[:600]}", at=traceback.format_exc()[-900:])


def wait():
    if not CPU:
        torch.cuda.synchronize()


def milliseconds(work, rounds=20, warm=3):
    for _ in range(warm):
        work()
    wait()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        wait()
        times.append((time.perf_counter() - began) * 1e3)
    return round(statistics.median(times), 4)


def folder(model):
    return str(YARD) if model == "yard" else checkpoints.folder("tiny" if CPU else model, at=WORK / "checkpoints")


def files(size):
    return sorted((WORK / str(size)).iterdir())


def pictures(size, count):
    return list(islice(cycle([open_picture(one) for one in files(size)]), count))


def detector(model, batch=32, **switches):
    """Load it; random weights but for `yard`. `auto` refuses low precision for them, as their scores lie too close: timings name float16."""
    if not CPU:
        switches = {"precision": "float16", **switches}
    return Detector(folder(model), DEVICE, batch_max=batch, switches=replace(DetectorSwitches(), **switches))


def make(_):
    import transformers

    report(
        "versions", torch=torch.__version__, transformers=transformers.__version__, python=platform.python_version(),
        pillow=Image.__version__, jpeg=features.version("libjpeg_turbo"), cpus=os.cpu_count(),
        card=None if CPU else torch.cuda.get_device_name(), cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version(),
    )  # fmt: skip
    for size in (*SIZES, *(() if CPU else (1440, 2160))):
        if not (WORK / str(size)).exists():
            draw(WORK / str(size), size, 8)
    for model in ("tiny",) if CPU else ("r18", "r50"):
        folder(model)


# -- boxes


def largest_difference(one, other):
    """Largest difference of boxes (px) and scores of each picture's surest, by nearest box of the same class."""
    px = score = 0.0
    for a, b in zip(one, other, strict=True):
        for n in range(min(SURE, len(a.scores))):
            same = b.classes == a.classes[n]
            if not same.any():
                return float("inf"), float("inf")
            apart = np.abs(b.boxes[same] - a.boxes[n]).max(1)
            at = int(apart.argmin())
            px, score = max(px, float(apart[at])), max(score, float(abs(b.scores[same][at] - a.scores[n])))
    return round(px, 4), round(score, 5)


def transformers_candidates(model, pics):
    from transformers import AutoModelForObjectDetection
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    network = AutoModelForObjectDetection.from_pretrained(folder(model), dtype=torch.float32).eval().to(DEVICE)
    processor = RTDetrImageProcessorPil.from_pretrained(folder(model))

    @torch.inference_mode()
    def candidates(picture):
        output = network(**processor(picture, return_tensors="pt").to(DEVICE))
        (found,) = processor.post_process_object_detection(output, threshold=0.0, target_sizes=[picture.size[::-1]])
        return CandidateBoxes(*(found[name].cpu().numpy() for name in ("scores", "labels", "boxes")))

    return [candidates(one) for one in pics]


def correct(model):
    """Small batches: on a card a detector captures a graph for each size, seconds for the large ones."""
    small = partial(detector, model, 8)
    if auto := attempt("auto", lambda: small(precision="auto")):
        report("auto", model=model, **auto.details())
        auto.close()
    usual = attempt("detector", small)
    if usual is None:
        return
    report("details", model=model, **usual.details())
    pics = [one.picture() for size in SIZES for one in pictures(size, 8)] + probe_pictures()
    expected = attempt("transformers", lambda: transformers_candidates(model, pics))
    exact = attempt("float32", lambda: small(precision="float32"))
    if exact and expected:
        px, score = largest_difference(expected, exact.candidates(pics))
        report("float32 against transformers [0.5 px, 0.01]", model=model, px=px, score=score)
    usual_candidates = usual.candidates(pics)
    if expected:
        px, score = largest_difference(expected, usual_candidates)
        report(
            "as timed, against transformers", model=model, px=px, score=score, precision=usual.details()["precision"]
        )

    def turned_off(switch):
        other = small(**{switch: False})
        px, score = largest_difference(usual_candidates, other.candidates(pics))
        report(f"{switch} off", px=px, score=score, note=other.details().get(switch))
        other.close()

    def low(precision):
        other = small(precision=precision)
        px, score = largest_difference(exact.candidates(pics), other.candidates(pics)) if exact else (None, None)
        report(precision, px=px, score=score, warning=other.details().get("warning"))
        other.close()

    attempt("races", lambda: races(usual, pics))
    for switch in SWITCHES:
        attempt(f"{switch} off", lambda switch=switch: turned_off(switch))
    for precision in ("float16", "bfloat16"):
        attempt(precision, lambda precision=precision: low(precision))


def races(usual, pics):
    """Batches in flight must give, bit for bit, what each batch gives alone. Sizes mixed, so blocks are shared."""
    many = list(islice(cycle(pics), 64 if CPU else 640))
    in_flight = usual._batches.run(many)
    alone = BatchRunner(usual._submit, usual._collect, usual.batch_max, in_flight=1).run(many)
    wrong = sum(a != b for a, b in zip(in_flight, alone, strict=True))
    unstable = sum(a != b for a, b in zip(in_flight, usual._batches.run(many), strict=True))
    report("races [0]", in_flight=usual._runner.in_flight, of=len(many), wrong=wrong, unstable=unstable)
    assert np.isfinite(usual.candidates(many[:1])[0].scores).all()


# -- resize


def resize(_):
    device = torch.device(DEVICE if CPU else "cuda:0")
    sizes = [
        (360, 640),
        (720, 1280),
        (1080, 1920),
        (1440, 2560),
        (2160, 3840),
        (1920, 1080),
        (480, 704),
        (1, 999),
        (641, 639),
    ]
    side = MODEL_SIDE
    for h, w in [(360, 640), (90, 160)] if CPU else sizes:
        began = time.perf_counter()
        can = attempt(f"can_resize {h}x{w}", lambda h=h, w=w: can_resize(h, w, side, side, device))
        facts = {"can_resize_ms": round((time.perf_counter() - began) * 1e3, 1)}
        facts["order"] = _order(h, w, side, side, device) if can else None
        count = min(max(1, 32 * 1024 * 1024 // (w * h * 4)), 8)
        noise = np.random.default_rng(1).integers(0, 256, (count, h, w, 4), np.uint8)
        expected = np.stack([resize_on_cpu(Image.fromarray(one[..., :3]), side, side) for one in noise])
        pixels = torch.from_numpy(noise).to(device)
        if can:
            got = resize_on_device(pixels, side, side)[..., :3].cpu().numpy()
            ms = milliseconds(lambda p=pixels: resize_on_device(p, side, side), 10)
            facts |= {"same": bool(np.array_equal(got, expected)), "ms_a_picture": round(ms / count, 4)}
            ms = milliseconds(lambda p=pixels: _resample_both(p, side, side, (2, 1)), 10)
            facts["by_torch_ms_a_picture"] = round(ms / count, 4)
        report("resize", size=f"{h}x{w}", **facts)


# -- speed


def rate(work, pics, rounds=3):
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        work(pics)
        wait()
        rates.append(len(pics) / (time.perf_counter() - began))
    return round(max(rates), 1)


def time_(model):
    if not CPU:
        dtypes = (torch.float16, torch.float32)
        report("matmul TFLOP/s", **{str(d): round(matmul_rate(torch.device("cuda"), d) / 1e12) for d in dtypes})
    d = detector(model)
    report("details", **d.details())
    network, executor = d._runner.network, d._runner._executor
    rows = [resize_on_cpu(one.picture(), *d._runner._shape[:2]) for one in pictures(SIZES[0], 32)]
    small = torch.from_numpy(np.stack(rows)).to(DEVICE)
    with torch.inference_mode():
        for batch in (1, 4, 32):
            eager = milliseconds(lambda b=batch: network(small[:b]))
            with executor._streams.computing():
                used = milliseconds(lambda b=batch: executor._compute(small, b))
            report(
                "forward",
                model=model,
                batch=batch,
                eager_ms=eager,
                as_used_ms=used,
                pictures_s=round(1e3 * batch / used),
            )
    for batch in (8, 32):
        d = detector(model, batch)
        for size in SIZES:
            pics = pictures(size, 32 if CPU else 512)
            facts = {"infer_s": rate(d.infer, pics)}
            if batch == 32:
                pixels = torch.empty((32, *d._runner._shape), dtype=torch.uint8, device=DEVICE)
                decoded = [one.pixels() for one in pics[:32]]
                ms = milliseconds(partial(d._runner._upload, decoded, pixels), 10)
                facts["upload_resize_ms_a_picture"] = round(ms / 32, 4)
            facts["files_to_boxes_s"] = round(rate_from_files(d, list(islice(cycle(files(size)), PICTURES))), 1)
            report("rate", model=model, batch=batch, size=size, **facts)
        d.close()

    def turned_over(switches):
        other = detector(model, **switches)
        report("rate with", **switches, infer_s=rate(other.infer, pictures(SIZES[-1], 32 if CPU else 256), 2))
        other.close()

    off = ({name: False} for name in ("device_resize", "graphs", "pinned", "channels_last"))
    for switches in (*off, {"in_flight": 1}, {"precision": "float32"}):
        attempt(str(switches), lambda switches=switches: turned_over(switches))


def host(_):
    """Where CPU time goes: decoding by threads, Pillow against libjpeg-turbo through simplejpeg, copies, the end marker."""
    try:
        import simplejpeg
    except ImportError:
        simplejpeg = None
    for size in SIZES:
        names = list(islice(cycle(files(size)), 32 if CPU else 256))
        ways = {"open_picture": open_picture}
        if simplejpeg:
            ways["simplejpeg"] = lambda name: simplejpeg.decode_jpeg(name.read_bytes(), "RGB")
        for way, work in ways.items():
            facts = {}
            for threads in (1, 4, 8, 16):
                with ThreadPoolExecutor(threads) as pool:
                    began = time.perf_counter()
                    list(pool.map(work, names))
                    facts[f"threads_{threads}"] = round(len(names) / (time.perf_counter() - began))
            report("decode/s", size=size, way=way, **facts)
        data, one = names[0].read_bytes(), open_picture(names[0]).picture()
        if simplejpeg:
            same = np.array_equal(np.asarray(one), simplejpeg.decode_jpeg(data, "RGB"))
            report("simplejpeg has Pillow's pixels", size=size, same=bool(same))
        array = pixel_array(one)
        room = np.empty((1, *array.shape), np.uint8)
        report(
            "host ms", size=size, kB=len(data) // 1000, end_marker=milliseconds(partial(decode._has_end, data)),
            rfind=milliseconds(partial(data.rfind, b"\xff\xd9")), pixel_array=milliseconds(partial(pixel_array, one)),
            copy=milliseconds(partial(np.stack, [array], out=room)),
        )  # fmt: skip
    for pinned in () if CPU else (False, True):
        block = torch.empty(32 << 20, dtype=torch.uint8, pin_memory=pinned)
        ms = milliseconds(lambda b=block: b.to("cuda", non_blocking=True))
        report("bus GB/s", pinned=pinned, rate=round((32 << 20) / ms / 1e6, 1))


def nvjpeg(_):
    if CPU:
        return
    from torchvision.io import decode_jpeg

    d = detector("r18")
    for size in SIZES:
        data = [torch.from_numpy(np.frombuffer(one.read_bytes(), np.uint8).copy()) for one in files(size)]
        decoded = decode_jpeg(data, device="cuda")
        theirs = [Image.fromarray(one.permute(1, 2, 0).contiguous().cpu().numpy()) for one in decoded]
        ours = [one.picture() for one in pictures(size, 8)]
        levels = [np.abs(np.asarray(a).astype(int) - np.asarray(b)) for a, b in zip(ours, theirs, strict=True)]
        px, score = largest_difference(d.candidates(ours), d.candidates(theirs))
        many = list(islice(cycle(data), 64))
        report(
            "nvjpeg", size=size, px=px, score=score, worst_level=int(max(one.max() for one in levels)),
            pixels_differ=round(float(np.mean([(one > 0).mean() for one in levels])), 4),
            pictures_s=round(64e3 / milliseconds(lambda m=many: decode_jpeg(m, device="cuda"), 8)),
        )  # fmt: skip


def profile(model):
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    tables = []
    for graphs in (False,) if CPU else (False, True):
        d = detector(model, graphs=graphs)
        pics = pictures(SIZES[-1], 64)
        d.infer(pics)
        with record(activities=[ProfilerActivity.CPU] + ([] if CPU else [ProfilerActivity.CUDA])) as seen:
            d.infer(pics)
            wait()
        key = "self_cpu_time_total" if CPU else "self_cuda_time_total"
        tables.append(seen.key_averages().table(sort_by=key, row_limit=45, max_name_column_width=120))
        d.close()
    (OUT / "profile.txt").write_text("\n\n".join(tables))
    if not CPU:
        report("memory MB", reserved=torch.cuda.max_memory_reserved() // 1_000_000)


def oom(_):
    if CPU:
        return
    torch.cuda.set_per_process_memory_fraction(0.012)  # 1 to 1.7 GB
    try:
        d = detector("r50", 64)
        found = d.infer(pictures(SIZES[0], 64))
        errors = sum(bool(one.error) for one in found)
        report("little memory", details=d.details(), batch_max=d.batch_max, errors=errors)
    except DetectorError as error:
        report("little memory: refused [a sentence for the user]", message=str(error))


def compile_(model):
    """Time the network by inductor inside a graph of ours: what `compiled = true` might become."""
    d = detector(model, graphs=False)
    network = d._runner.network
    small = torch.zeros((2 if CPU else 32, *d._runner._shape), dtype=torch.uint8, device=DEVICE)

    @torch.inference_mode()
    def compiled(mode):
        torch._dynamo.reset()
        began = time.perf_counter()
        quick = torch.compile(network, dynamic=False, mode=mode)
        quick(small)
        wait()
        facts = {"seconds_to_compile": round(time.perf_counter() - began, 1)}
        facts |= {
            "eager_ms": milliseconds(lambda: network(small), 10),
            "compiled_ms": milliseconds(lambda: quick(small), 10),
        }
        if not CPU:
            with torch.cuda.stream(torch.cuda.Stream()):
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                    _kept = quick(small)
                facts["graphed_ms"] = milliseconds(graph.replay, 10)
        report("compiled", model=model, mode=mode, **facts)

    for mode in ("default",) if CPU else ("default", "max-autotune-no-cudagraphs"):
        attempt(f"compiled {mode}", lambda mode=mode: compiled(mode))


def child(model):
    """Print a rate, for `two`."""
    d = detector(model)
    names = list(islice(cycle(files(SIZES[0])), PICTURES))
    rate_from_files(d, names[:256])
    print("RATE", rate_from_files(d, names), flush=True)


def two(model):
    command = [sys.executable, __file__, "child", model, *(["--cpu"] if CPU else [])]
    for count in (1, 2):
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        lines = [line for one in running for line in one.communicate()[0].splitlines()]
        rates = [float(line.split()[1]) for line in lines if line.startswith("RATE")]
        report("processes on one card, files to boxes/s", processes=count, size=SIZES[0], each=rates)


def pipeline(_):
    command = [
        sys.executable,
        str(ROOT / "bench" / "pipeline_gpu.py"),
        "--rounds",
        "1",
        "--device",
        DEVICE,
        "--size",
        str(SIZES[0]),
    ]
    command += (
        ["--model", "yard", "--pictures", "16"]
        if CPU
        else ["--model", "r18", "--pictures", "1500", "--precision", "float16"]
    )
    done = subprocess.run(command, capture_output=True, text=True, timeout=None if CPU else 85)
    print(done.stdout[-1500:], flush=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])


SECTIONS = {
    "make": make, "correct": correct, "resize": resize, "time": time_, "host": host, "nvjpeg": nvjpeg, "profile": profile,
    "oom": oom, "compile": compile_, "child": child, "two": two, "pipeline": pipeline,
}  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("model", nargs="?", default="r18")
    parser.add_argument("--cpu", action="store_true", help="run what a CPU can")
    given = parser.parse_args()
    for each in (OUT, WORK):
        each.mkdir(parents=True, exist_ok=True)
    attempt(given.section, lambda: SECTIONS[given.section](given.model))
    sys.exit(bool(failures))
