"""Score a trained demo detector on held-out stories, time it, and draw a sheet of predictions beside the truth.

python -m bench.yard.check gpu/models/yard --frames 600     # in the checkout; scores.json beside this is such a run
"""

import argparse
import io
import json
import logging
import os
import random
import time

import numpy as np
import torch
from PIL import Image, ImageDraw
from transformers import AutoModelForObjectDetection
from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

from bench.yard.train import HELD_OUT, H, W, overlap, score
from hearthwatch.demo import scenes as cameras
from hearthwatch.demo.scenes import CAMERAS, LABELS, LIGHTS, story

COLOURS = {
    "person": (255, 60, 60),
    "car": (70, 160, 255),
    "dog": (255, 170, 30),
    "cat": (230, 90, 255),
    "package": (60, 230, 90),
}


def examination(n, offset=500_000):
    """[(camera, light, plot, JPEG, boxes)]: stories that neither training nor the choice of weights has seen."""
    out, seed = [], HELD_OUT + offset
    while len(out) < n:
        clip = story(list(CAMERAS)[seed % 4], seed)
        r = random.Random(seed)
        for t in sorted(r.sample(range(clip.seconds), 3)):
            frame = clip.frame(t)
            out.append((clip.camera, clip.light, clip.plot, frame.jpeg(), frame.boxes))
        seed += 1
    return out[:n]


@torch.inference_mode()
def look(model, processor, pictures, threshold):
    """Run transformers' processor, model and post-processing.  -> [(scores, labels, corners 0..1)]"""
    out = []
    for i in range(0, len(pictures), 8):
        images = [Image.open(io.BytesIO(p)).convert("RGB") for p in pictures[i : i + 8]]
        result = model(**processor(images, return_tensors="pt"))
        for found in processor.post_process_object_detection(
            result, threshold=threshold, target_sizes=[(1, 1)] * len(images)
        ):
            out.append((found["scores"].numpy(), found["labels"].numpy(), found["boxes"].numpy()))
    return out


def unique(found, iou=0.6):
    """Keep the surest of the boxes of one label that lie on each other: a short training leaves some doubles."""
    scores, labels, boxes = found
    keep = []
    for i in np.argsort(-scores):
        same = [j for j in keep if labels[j] == labels[i]]
        if not same or overlap(boxes[i], boxes[same]).max() < iou:
            keep.append(i)
    return scores[keep], labels[keep], boxes[keep]


def milliseconds(model, batch, times=15):
    x, clock = torch.rand(batch, 3, H, W), []
    with torch.inference_mode():
        for _ in range(times + 2):
            began = time.perf_counter()
            model(pixel_values=x)
            clock.append((time.perf_counter() - began) * 1e3 / batch)
    return round(float(np.median(clock[2:])), 1), round(min(clock), 1)


def draw(jpeg, boxes, title):
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    pen, font = ImageDraw.Draw(image), cameras.caption_font()
    for label, x0, y0, x1, y1, text in boxes:
        pen.rectangle([x0, y0, x1, y1], outline=COLOURS[label], width=2)
        pen.text((x0 + 1, max(0, y0 - 17)), text, fill=COLOURS[label], font=font, stroke_width=1, stroke_fill=(0, 0, 0))
    pen.text((cameras.WIDTH - 110, 8), title, fill=(255, 255, 0), font=font, stroke_width=1, stroke_fill=(0, 0, 0))
    return image.resize((480, 270), Image.LANCZOS)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("--frames", type=int, default=600)
    p.add_argument("--sheet", default="build/yard-sheet.png")
    p.add_argument("--out", default="build/yard-scores.json")
    args = p.parse_args()
    for path in (args.sheet, args.out):
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    model = AutoModelForObjectDetection.from_pretrained(args.model, local_files_only=True, dtype=torch.float32).eval()
    processor = RTDetrImageProcessorPil.from_pretrained(args.model, local_files_only=True)
    exam = examination(args.frames)
    found = look(model, processor, [e[3] for e in exam], 0.02)
    size = np.float32([cameras.WIDTH, cameras.HEIGHT] * 2)
    rows = [
        (
            None,
            np.array([LABELS.index(b[0]) for b in e[4]], np.int64),
            np.array([b[1:] for b in e[4]], np.float32).reshape(-1, 4) / size,
        )
        for e in exam
    ]

    def part(keep, found=found):
        at = [i for i, e in enumerate(exam) if keep(e)]
        table = score([found[i] for i in at], [rows[i] for i in at])
        known = [v for v in table.values() if v["truth"]]
        return table, round(float(np.mean([v["ap"] for v in known])), 3)

    report = {"frames": len(exam), "empty": sum(not e[4] for e in exam)}
    report["classes"], report["map50"] = part(lambda e: True)
    single = [unique(f) for f in found]
    report["classes without doubles"], report["map50 without doubles"] = part(lambda e: True, single)
    report["precision, recall by threshold"] = {
        t: {k: (v["precision"], v["recall"]) for k, v in score(single, rows, threshold=t).items()}
        for t in (0.3, 0.4, 0.5, 0.6)
    }
    at75 = score(found, rows, 0.75)
    report["map75"] = round(float(np.mean([v["ap"] for v in at75.values()])), 3)
    report["light"] = {k: part(lambda e, k=k: e[1] == k)[1] for k in LIGHTS}
    report["camera"] = {k: part(lambda e, k=k: e[0] == k)[1] for k in CAMERAS}
    quiet = [i for i, e in enumerate(exam) if not e[4]]
    report["false alarms in empty frames at 0.5"] = int(sum((found[i][0] >= 0.5).sum() for i in quiet))
    report["ms per image, one thread, (median, best)"] = {
        "batch 1": milliseconds(model, 1, 30),
        "batch 8": milliseconds(model, 8),
    }
    report["bytes"] = os.path.getsize(os.path.join(args.model, "model.safetensors"))
    report["parameters"] = sum(q.numel() for q in model.parameters())
    for kind in ("classes", "classes without doubles"):
        print(kind)
        for name, row in report[kind].items():
            print(f"  {name:8} {row}")
    print(json.dumps({k: v for k, v in report.items() if not k.startswith("classes")}, indent=1))
    with open(args.out, "w") as f:
        json.dump(report, f, indent=1)

    r, picks = random.Random(3), []  # three frames of each camera, each in another light
    for camera in CAMERAS:
        for light in r.sample(LIGHTS, 3):
            full = [i for i, e in enumerate(exam) if e[:2] == (camera, light) and e[4]]
            picks += r.sample(full, min(1, len(full)))
    sheet = Image.new("RGB", (480 * 4 + 12, 270 * 6 + 5 * 6), (20, 20, 20))
    for n, i in enumerate(picks):
        seen = [
            (LABELS[k], *(b * size), f"{LABELS[k]} {s:.2f}") for s, k, b in zip(*single[i], strict=True) if s >= 0.5
        ]
        x, y = (n % 2) * (480 * 2 + 12), (n // 2) * 276
        sheet.paste(draw(exam[i][3], seen, "predicted"), (x, y))
        sheet.paste(draw(exam[i][3], [(*b, b[0]) for b in exam[i][4]], "truth"), (x + 480, y))
    sheet.save(args.sheet)


if __name__ == "__main__":
    main()
