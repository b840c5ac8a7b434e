"""Time the whole dataflow, JPEG files in, record out, against the detector alone on the same files.

    scripts/bench pipeline_gpu [--model r18] [--size 1080] [--pictures 64] [--rounds 3] [--device auto]

The real flow starts on existing files, in a separate process, with a real model (random weights unless `yard`, a folder or a
hub id is given), alternating with the bare `Detector` over the same files, decoded ahead on as many threads. Pictures/s count
from the moment the model is loaded. Busy: on CUDA the driver's utilization, on a CPU the share of time in the detector.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from detector import FILES, rate_from_files  # noqa: E402

from hearthwatch.gpu.detector import Detector  # noqa: E402
from hearthwatch.gpu.options import DetectorSwitches  # noqa: E402
from hearthwatch.sources.gpu_stats import open_card  # noqa: E402
from tests.support import checkpoints  # noqa: E402
from tests.support.benchmark import described, draw  # noqa: E402
from tests.support.pipeline import Pipeline  # noqa: E402

T = 1_700_000_000
APART = 0.1  # seconds between pictures
CAMERAS = 8
STARTS_SECONDS, RUN_SECONDS = 300, 600  # a large model, its graphs and a cold disk; a slow CPU
LOADED = "detecting with"  # in the log
POLL_SECONDS = 0.05  # between two queries of the record; 0.1 % of one CPU


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="r18", help="r18, r50, tiny, yard, a folder or a hub id")
    parser.add_argument("--size", type=int, default=1080, help="height of the 16:9 pictures")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3, help="the table shows medians")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", help="of the weights, as in the flow file's `switches`")
    given = parser.parse_args()
    print(described(), flush=True)
    model = checkpoints.folder(given.model) if given.model in checkpoints.SHAPES else given.model
    with tempfile.TemporaryDirectory(prefix="pipeline_gpu_") as folder:
        base = Path(folder) / "uploads"
        files = make_tree(base, draw(Path(folder) / "drawn", given.size, FILES), given.pictures)
        detector = Detector(model, given.device, switches=DetectorSwitches(precision=given.precision))
        rounds = []
        for number in range(given.rounds):  # alternate, so that a noisy minute affects both
            bare = rate_from_files(detector, files)
            rounds.append((bare, *run_flow(Path(folder) / f"flow{number}", base, model, given)))
    report(given, rounds)


def make_tree(base, drawn, pictures):
    """Write so many files, all different by a comment, cameras alternating."""
    files = []
    for number in range(pictures):
        data, comment = drawn[number % len(drawn)].read_bytes(), f"{number:09}".encode()
        path = base / f"cam{number % CAMERAS}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:])
        at = round((T + number * APART) * 1e9)
        os.utime(path, ns=(at, at))
        files.append(path)
    return files


def run_flow(folder, base, model, given):
    """Run over all files; return pictures/s from the moment the model is loaded, and the share in which it was busy."""
    options = f'model = "{model}"\ndevice = "{given.device}"\nobject_types = ["*"]'
    options += f'\nswitches = {{ precision = "{given.precision}" }}'
    p = Pipeline(folder, detector="rtdetr", options=options, base=base, HEARTHWATCH_CAPTURE_TIME="mtime")
    card, busy = open_card(0), []
    try:
        p.start().until(lambda: LOADED in p.said(), STARTS_SECONDS)
        began = time.monotonic()

        def all_settled():
            time.sleep(POLL_SECONDS)
            busy.append(card())
            return p.states().get("settled", 0) == given.pictures

        p.until(all_settled, RUN_SECONDS)
        seconds = time.monotonic() - began
        ((looked_ms,),) = p.rows("SELECT sum(detect_ms) FROM frames")
        p.stop()
    finally:
        p.kill()
    shutil.rmtree(folder)
    shares = [reading.gpu_utilization / 100 for reading in busy if reading]
    return given.pictures / seconds, statistics.mean(shares) if shares else looked_ms / 1000 / seconds


def report(given, rounds):
    bare, flow, busy = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"\n| {given.model}, {given.pictures} pictures of {given.size}p | pictures/s |\n|---|---|")
    print(f"| detector alone | {bare:.2f} |\n| whole dataflow | {flow:.2f} |")
    print(f"| share [≥ 70 %] | **{100 * flow / bare:.0f} %** |\n| detector busy | {100 * busy:.0f} % |")


if __name__ == "__main__":
    main()
