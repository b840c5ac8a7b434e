"""Train the packaged demo detector: a tiny RT-DETRv2, from scratch, on the four drawn cameras (a CPU is enough).

python -m bench.yard.train --minutes 50         # in the checkout; keeps the best smoothed weights in build/yard/
python -m bench.yard.train --overfit 3          # sanity check: learn 48 fixed frames by heart

Needs scipy for the matching loss (pip install scipy). The packaged weights (gpu/models/yard) come from this script:
50 minutes on two cores after a short warm-up, 85,700 drawn frames; curve.jsonl beside it is that run.
"""

import argparse
import copy
import io
import json
import logging
import math
import multiprocessing as mp
import os
import random
import tempfile
import time

import numpy as np
import torch
import torch.distributed as distributed
from PIL import Image
from transformers import AutoModelForObjectDetection, RTDetrResNetConfig, RTDetrV2Config, RTDetrV2ForObjectDetection
from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

from hearthwatch.demo import scenes as cameras
from hearthwatch.demo.scenes import CAMERAS, LABELS, story

W, H = 320, 192
SMALL = 224, 128  # the first part of the training, at twice the speed
HELD_OUT = 1_000_000  # seeds from here on are never trained on


# ---------------------------------------------------------------- the model


def build(width=16, dim=64, layers=3, queries=40):
    backbone = RTDetrResNetConfig(
        embedding_size=width,
        hidden_sizes=[width, width * 2, width * 4, width * 8],
        depths=[1, 1, 2, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrV2Config(
        backbone_config=backbone,
        freeze_backbone_batch_norms=False,
        encoder_in_channels=backbone.hidden_sizes[1:],
        encoder_hidden_dim=dim,
        encoder_ffn_dim=dim * 4,
        encoder_attention_heads=4,
        hidden_expansion=0.5,
        d_model=dim,
        num_queries=queries,
        decoder_in_channels=[dim] * 3,
        decoder_ffn_dim=dim * 4,
        decoder_layers=layers,
        decoder_attention_heads=4,
        num_denoising=24,
        initializer_bias_prior_prob=0.02,
        id2label=dict(enumerate(LABELS)),
        label2id={name: i for i, name in enumerate(LABELS)},
    )
    model = RTDetrV2ForObjectDetection(config)
    for module in model.modules():  # the library starts convolutions near zero: right for fine-tuning, not from scratch
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return model.to(memory_format=torch.channels_last)


def save(model, folder):
    copy.deepcopy(model).to(memory_format=torch.contiguous_format).half().save_pretrained(folder)
    RTDetrImageProcessorPil(size={"height": H, "width": W}).save_pretrained(folder)


# ---------------------------------------------------------------- the data


def shrink(frame):
    """Encode a frame as JPEG and resize it as the image processor does, as the detector gets it."""
    image = Image.open(io.BytesIO(frame.jpeg())).convert("RGB").resize((W, H), Image.BILINEAR)
    labels = np.array([LABELS.index(b[0]) for b in frame.boxes], np.int64)
    corners = np.array([b[1:] for b in frame.boxes], np.float32).reshape(-1, 4) / np.float32(
        [cameras.WIDTH, cameras.HEIGHT] * 2
    )
    return np.asarray(image), labels, corners


def training_frames(seed):
    """Half from stories, half from scenes with many actors."""
    r = random.Random(seed)
    while True:
        clip = story(r.choice(list(CAMERAS)), r.randrange(HELD_OUT), "scatter" if r.random() < 0.5 else None)
        if clip.plot == "scatter":
            times = [r.uniform(0, 1.5), r.uniform(0, 1.5)]
        else:
            times = [r.uniform(0, clip.seconds) for _ in range(5)]
        for t in times:
            frame = clip.frame(t)
            if frame.boxes or r.random() < 0.3:  # few empty pictures are enough
                yield shrink(frame)


def held_out(n, offset=0):
    """Story frames only, from seeds that training never sees: three frames a clip."""
    out, seed = [], HELD_OUT + offset
    while len(out) < n:
        clip = story(list(CAMERAS)[seed % 4], seed)
        r = random.Random(seed)
        for t in sorted(r.sample(range(clip.seconds), 3)):
            out.append(shrink(clip.frame(t)))
        seed += 1
    return out[:n]


def renderer(queue, seed, chunk):
    os.nice(10)
    source = training_frames(seed)
    while True:
        rows = [next(source) for _ in range(chunk)]
        queue.put((np.stack([r[0] for r in rows]), [r[1:] for r in rows]))


class Pool:
    """Recent frames, topped up by a background process so that each is used about `reuse` times."""

    def __init__(self, size, reuse, chunk=64):
        self.size, self.reuse, self.chunk, self.frames, self.owed = size, reuse, chunk, [], 0.0
        context = mp.get_context("fork")
        self.queue = context.Queue(4)
        context.Process(target=renderer, args=(self.queue, random.randrange(1 << 30), chunk), daemon=True).start()
        while len(self.frames) < 512:
            self.take()

    def take(self):
        images, truth = self.queue.get()
        new = [(image, *t) for image, t in zip(images, truth, strict=True)]
        self.frames = (self.frames + new)[-self.size :]

    def batch(self, n):
        self.owed += n / self.reuse
        while self.owed >= self.chunk or (len(self.frames) < self.size and not self.queue.empty()):
            self.take()
            self.owed = max(0, self.owed - self.chunk)
        return random.sample(self.frames, n)


def tensors(rows, size=(W, H)):
    pixels = torch.from_numpy(np.stack([r[0] for r in rows])).permute(0, 3, 1, 2).float() / 255
    if size != (W, H):
        pixels = torch.nn.functional.interpolate(pixels, size[::-1], mode="bilinear", antialias=True)
    return pixels.contiguous(memory_format=torch.channels_last)


def targets(rows):
    out = []
    for _, labels, corners in rows:
        b = torch.from_numpy(corners)
        out.append(
            {
                "class_labels": torch.from_numpy(labels),
                "boxes": torch.cat([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]], 1),
            }
        )
    return out


# ---------------------------------------------------------------- scores


@torch.inference_mode()
def predict(model, rows, size, many=20):
    """-> [(scores, labels, corners)], the 40 best of each frame."""
    model.eval()
    out = []
    for i in range(0, len(rows), many):
        result = model(pixel_values=tensors(rows[i : i + many], size))
        scores, n = result.logits.float().sigmoid(), result.logits.shape[2]
        best, index = scores.flatten(1).topk(40)
        boxes = result.pred_boxes.float().gather(1, (index // n)[..., None].expand(-1, -1, 4))
        boxes = torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)
        out += [(s.numpy(), (k % n).numpy(), b.numpy()) for s, k, b in zip(best, index, boxes, strict=True)]
    return out


def overlap(box, boxes):
    side = np.clip(np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]), 0, None)
    inter = side[:, 0] * side[:, 1]
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) + (box[2] - box[0]) * (box[3] - box[1])
    return inter / (area - inter + 1e-9)


def score(predictions, rows, iou=0.5, threshold=0.5):
    """Average precision by class (101 points) and precision / recall at the threshold; greedy matching, best score first."""
    table = {}
    for c, name in enumerate(LABELS):
        truth = [r[2][r[1] == c] for r in rows]
        taken = [np.zeros(len(t), bool) for t in truth]
        total = sum(map(len, truth))
        found = sorted(
            ((s[j], i, b[j]) for i, (s, k, b) in enumerate(predictions) for j in np.nonzero(k == c)[0]),
            key=lambda f: -f[0],
        )
        hit = np.zeros(len(found), bool)
        for n, (_, i, box) in enumerate(found):
            if len(truth[i]):
                o = overlap(box, truth[i])
                o[taken[i]] = -1
                j = int(o.argmax())
                if o[j] >= iou:
                    hit[n] = taken[i][j] = True
        right = hit.cumsum()
        recall, precision = right / max(1, total), right / np.arange(1, len(hit) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        ap = float(
            np.mean([precision[recall >= p].max() if (recall >= p).any() else 0 for p in np.linspace(0, 1, 101)])
        )
        sure = int(sum(f[0] >= threshold for f in found))
        good = int(hit[:sure].sum())
        table[name] = {
            "ap": round(ap, 3),
            "precision": round(good / max(1, sure), 3),
            "recall": round(good / max(1, total), 3),
            "truth": total,
        }
    return table


def summary(model, rows, size=(W, H)):
    p = predict(model, rows, size)
    at50, at75 = score(p, rows), score(p, rows, 0.75)
    return {
        "map50": round(float(np.mean([v["ap"] for v in at50.values()])), 4),
        "map75": round(float(np.mean([v["ap"] for v in at75.values()])), 4),
        "classes": at50,
    }


# ---------------------------------------------------------------- training


class Team:
    """One or more processes, one thread each, that train the same weights on different frames: their gradients are averaged."""

    def __init__(self, rank, size, meeting):
        self.rank, self.size = rank, size
        torch.set_num_threads(1)
        if size > 1:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            distributed.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=size)

    def average(self, parameters, *numbers):
        """Average the gradients in place; -> the average of the numbers, the same in every process."""
        if self.size == 1:
            return numbers
        flat = torch.cat(
            [torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in parameters]
            + [torch.tensor(numbers)]
        )
        distributed.all_reduce(flat)
        flat /= self.size
        at = 0
        for p in parameters:
            p.grad = flat[at : at + p.numel()].view_as(p).clone()
            at += p.numel()
        return flat[at:].tolist()


class Smoothed:
    """Exponential moving average of the weights: what is kept and scored."""

    def __init__(self, model, decay=0.998):
        self.model, self.decay, self.steps = copy.deepcopy(model).eval(), decay, 0

    @torch.no_grad()
    def update(self, model):
        self.steps += 1
        d = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - d)
        for mine, new in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.lerp_(new, 1 - d) if mine.is_floating_point() else mine.copy_(new)


def train(rank, args, meeting):
    logging.disable(logging.WARNING)
    torch.manual_seed(0), random.seed(args.seed * 100 + rank)
    team = Team(rank, args.processes, meeting)
    model = build(args.width, args.dim)
    if args.start:
        model.load_state_dict(
            AutoModelForObjectDetection.from_pretrained(
                args.start, local_files_only=True, dtype=torch.float32
            ).state_dict()
        )
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 1e-4},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0},
        ],
        lr=args.lr,
    )
    if args.overfit:
        exam = held_out(48)
        draw, total = lambda: random.sample(exam, args.batch), args.overfit * 60
    else:
        exam = held_out(args.exam) if rank == 0 else []
        pool = Pool(args.pool, args.reuse)
        draw, total = lambda: pool.batch(args.batch), args.minutes * 60
    print(f"process {rank} ready, {sum(p.numel() for p in parameters) / 1e6:.2f} M parameters", flush=True)
    smoothed, step, used, best, next_exam, recent = (
        Smoothed(model, 0.99 if args.overfit else 0.998),
        0,
        0.0,
        -1.0,
        args.every,
        [],
    )
    os.makedirs(args.out, exist_ok=True)
    curve = open(os.devnull if args.overfit or rank else args.curve, "w")  # noqa: SIM115  (for the whole run)
    began = time.perf_counter()
    while used < total:
        rate = args.lr * min(1, (step + 1) / 200) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * used / total)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        size = SMALL if used < args.small * total else (W, H)
        rows = draw()
        model.train()
        loss = model(pixel_values=tensors(rows, size), labels=targets(rows)).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        value, used = team.average(parameters, float(loss.detach()), time.perf_counter() - began)
        norm = torch.nn.utils.clip_grad_norm_(parameters, args.clip)
        if torch.isfinite(norm):
            optimizer.step()
            if rank == 0:
                smoothed.update(model)
        step += 1
        seen = step * args.batch * args.processes
        recent.append((value, float(norm)))
        if rank:
            continue
        if step % 50 == 0 or step == 10:
            a, b = np.mean(recent, 0)
            recent.clear()
            print(
                f"step {step} {used / 60:.1f} min {seen} views loss {a:.2f} norm {b:.1f} rate {rate:.1e} {seen / used:.1f} img/s overall",
                flush=True,
            )
        if used > next_exam:
            next_exam = used + args.every
            result = {
                "minutes": round(used / 60, 2),
                "step": step,
                "views": seen,
                "size": size,
                **summary(smoothed.model, exam, size),
            }
            print("EXAM", json.dumps(result), flush=True)
            curve.write(json.dumps(result) + "\n"), curve.flush()
            if size == SMALL:
                save(smoothed.model, args.out)
            elif result["map50"] > best:
                best = result["map50"]
                save(smoothed.model, args.out)
    if rank:
        return
    result = {"minutes": round(total / 60, 2), "step": step, "views": seen, **summary(smoothed.model, exam)}
    print("END", json.dumps(result), flush=True)
    curve.write(json.dumps(result) + "\n")
    if result["map50"] >= best:
        save(smoothed.model, args.out)


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    defaults = {
        "minutes": 45.0,
        "out": "build/yard",
        "start": "",
        "curve": "build/yard-curve.jsonl",
        "overfit": 0.0,
        "small": 0.55,
        "processes": 2,
        "batch": 10,
        "lr": 1e-3,
        "clip": 20.0,
        "width": 16,
        "dim": 64,
        "pool": 3000,
        "reuse": 3.0,
        "exam": 360,
        "every": 300.0,
        "seed": 0,
    }
    for name, default in defaults.items():
        p.add_argument("--" + name, type=type(default), default=default)
    args = p.parse_args()
    if args.processes == 1:
        train(0, args, "")
    else:
        with tempfile.TemporaryDirectory() as folder:
            torch.multiprocessing.spawn(train, (args, os.path.join(folder, "meeting")), args.processes)
