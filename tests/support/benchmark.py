"""What a benchmark of the detector says of its machine, and the pictures that it looks at."""

import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hearthwatch.demo.scenes import CAMERAS, story

NOISE = 5.0  # of a sensor, in levels: files become as large as a camera's, 0.2 bytes a pixel
MATMUL = {"cpu": 2048, "cuda": 8192}  # rows and columns: so large that only arithmetic counts
MATMULS = 9


def described():
    """One line: what the figures were made on."""
    import transformers

    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    gpu = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}; " if torch.cuda.is_available() else ""
    return (
        f"{gpu}{cpu.partition(':')[2].strip() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, transformers {transformers.__version__}, "
        f"Python {platform.python_version()}"
    )


def wait_for(device):
    """Return when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def matmul_rate(device, dtype):
    """FLOP/s of a large matrix product: what this device reaches where nothing else is in the way."""
    n = MATMUL[device.type]
    a, b = (torch.rand(n, n, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(MATMULS):
        began = time.perf_counter()
        a @ b
        wait_for(device)
        seconds.append(time.perf_counter() - began)
    return 2 * n**3 / statistics.median(seconds[1:])


def memory(device):
    """MB that this process holds: of the graphics card as far as torch knows, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e6
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def draw(folder, height, count):
    """So many JPEGs of this height, 16:9, as a camera would upload them. Their paths."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for number in range(count):
        clip = story(list(CAMERAS)[number % len(CAMERAS)], number)
        drawn = clip.frame(clip.seconds // 2).image.resize((height * 16 // 9, height))
        grain = noise.normal(0, NOISE, (height, height * 16 // 9, 1))
        pixels = np.clip(np.asarray(drawn) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.jpg", quality=85)
    return sorted(folder.iterdir())
