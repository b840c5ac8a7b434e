"""Measure what pictures for a vision model cost: bytes and CPU of an event, and the delay of alerts with and without the model.

    python bench/pictures.py [--stories 40] [--seconds 40]

Events are those of the drawn yard; their originals are JPEGs of 1920 x 1080, read and decoded again for each event. For the
delay two pipelines run side by side on the same uploads of eight cameras, one of them with a server that takes pictures and
answers after 2 s: file closed → first alert (`event.opened`) in the record.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

sys.path[:0] = [str(Path(__file__).parents[1])]

from hearthwatch.demo.evaluate import from_story, judge_stories  # noqa: E402
from hearthwatch.demo.stories import stories  # noqa: E402
from hearthwatch.stages.crops import draw  # noqa: E402
from hearthwatch.stages.prompt import messages  # noqa: E402
from tests.support.llm_server import Standin, images  # noqa: E402
from tests.support.pipeline import Pipeline, name, picture  # noqa: E402

ANSWER_SECONDS = 2.0
JUDGED = """
[analyze]
use = "nemotron"
from = "batch"

[sqlite]
use = "sqlite"
from = ["batch", "analyze"]
"""


def cost(count):
    """Print bytes, pictures and CPU of the events of so many stories."""
    rows = []
    for result in judge_stories([from_story(story) for story in stories("test")[:count]], asks=True):

        @cache
        def upload(frame, read=result.read):
            out = io.BytesIO()
            read(frame)[0].resize((1920, 1080)).save(out, "JPEG", quality=85)
            return out.getvalue()

        for asked in result.asked:
            for shot in asked.shots:
                upload(shot.frame_id)
            began = time.process_time()
            drawn = draw(asked.shots, asked.facts, lambda frame: (Image.open(io.BytesIO(upload(frame))).convert("RGB"), "upload"))  # fmt: skip
            took = (time.process_time() - began) * 1e3
            body = messages(asked._replace(drawn=tuple(drawn)))
            text = sum(len(part["text"]) for part in body[1]["content"] if part["type"] == "text")
            rows.append((len(drawn), sum(len(d.jpeg) for d in drawn), len(json.dumps(body)), text, took))
    print(f"{len(rows)} events; prompt text {len(body[0]['content'])} characters")
    print("| of an event | p50 | p99 |\n| --- | --- | --- |")
    heads = (
        "pictures",
        "bytes of JPEG",
        "bytes of the request",
        "characters of text besides the prompt",
        "CPU ms to read, decode and cut",
    )
    for head, values in zip(heads, zip(*rows, strict=True), strict=True):
        print(f"| {head} | {np.percentile(values, 50):.0f} | {np.percentile(values, 99):.0f} |")


def delay(seconds):
    """Print the delay of alerts of two pipelines on the same uploads."""
    times = "window_seconds = 8\nidle_timeout_seconds = 3\nlateness_seconds = 0.4"
    options = 'boxes = 1\nkind = "bear"'  # which is high at any hour
    with (
        tempfile.TemporaryDirectory() as folder,
        Standin(seconds=(ANSWER_SECONDS, ANSWER_SECONDS), pictures=True) as server,
    ):
        folders = Path(folder, "with"), Path(folder, "without")
        both = [Pipeline(folders[0], options=options, batch=times, more=JUDGED, NEMOTRON_URL=server.url),
                Pipeline(folders[1], options=options, batch=times)]  # fmt: skip
        for p in both:
            p.start().until(lambda p=p: p.rows("SELECT 1 FROM heartbeat WHERE chain = 'see'"))
        began, n = time.time(), 0
        while time.time() < began + seconds:
            for p in both if n % 2 else both[::-1]:
                p.upload(f"cam{n // 8 % 8}", name(time.time(), str(n)), picture(str(n)))
            n += 1
            time.sleep(0.1)
        for p in both:
            p.until(lambda p=p, n=n: p.rows("SELECT count(*) FROM frames WHERE state = 'settled'") == [(n,)])
        shown = sum(bool(images(question)) for question in server.questions)
        print(f"\n{n} pictures each; {shown} questions with pictures, answered after {ANSWER_SECONDS:g} s")
        print("| file closed → alert, ms | alerts | p50 | p99 |\n| --- | --- | --- | --- |")
        for p, what in zip(both, ("with a vision model", "without"), strict=True):
            sql = "SELECT (e.opened_at - f.mtime_ns / 1000) / 1000.0 FROM events e JOIN frames f ON f.id = e.id WHERE e.id > 8"
            found = [ms for (ms,) in p.stop().rows(sql)]
            print(f"| {what} | {len(found)} | {np.percentile(found, 50):.1f} | {np.percentile(found, 99):.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stories", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=40)
    a = parser.parse_args()
    cost(a.stories)
    delay(a.seconds)


if __name__ == "__main__":
    main()
