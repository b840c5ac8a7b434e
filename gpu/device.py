"""Which device to detect on. A card that lies idle while the CPU works is said loudly, not found out weeks later."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch

from hearthwatch.gpu import DetectorError

log = logging.getLogger(__name__)

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def choose(device: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` -> the device. Raises `DetectorError` where it is not to be had."""
    if device == "cpu":
        return torch.device("cpu")
    trouble = cuda_trouble()
    if device == "auto":
        if trouble and NVIDIA_DRIVER.exists():
            log.warning(
                "this machine has an NVIDIA card that torch cannot use (%s): detecting on the CPU, many times slower. "
                "Install a torch that fits the driver, or set HEARTHWATCH_DEVICE=cpu if this is meant",
                trouble,
            )
        return torch.device("cpu" if trouble else "cuda:0")
    if trouble:
        raise DetectorError(f"device `{device}`: {trouble}; set HEARTHWATCH_DEVICE to auto or cpu")
    number, count = int(device.partition(":")[2] or 0), torch.cuda.device_count()
    if number >= count:
        raise DetectorError(f"device `{device}`: this machine has {count}, counted from cuda:0")
    return torch.device("cuda", number)


def cuda_trouble() -> str | None:
    """Why torch cannot use CUDA here; None if it can."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    with warnings.catch_warnings(record=True) as said:  # torch tells the reason, such as an old driver, as a warning
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    return str(said[-1].message).splitlines()[0] if said else "torch finds no CUDA device"


def settle() -> None:
    """CUDA: float32 means float32, and each batch size gets the kernels that are fastest here. Never run on a GPU yet."""
    if hasattr(torch.backends.cudnn, "conv"):  # torch 2.9 and later
        torch.backends.cudnn.conv.fp32_precision = "ieee"
    else:
        torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True


def is_out_of_memory(error: Exception) -> bool:
    """Whether fewer pictures at a time might have fitted."""
    signs = ("can't allocate memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in str(error) for sign in signs)


def is_fatal(error: Exception) -> bool:
    """Whether the device is lost to this process: every later call would fail, so no picture is to blame."""
    return isinstance(error, getattr(torch, "AcceleratorError", ())) or "CUDA error" in str(error)
