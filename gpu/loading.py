"""Choose the device, and load an RT-DETRv2 through transformers: a hub id, a folder, or `yard`, the demo's packaged model.

Importing this file loads neither torch nor transformers.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from importlib.util import find_spec
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Generic, TypeVar

from hearthwatch.gpu import DetectorError, ModelUnavailableError
from hearthwatch.gpu.boxes import canonical_label
from hearthwatch.gpu.model_families import FAMILIES, Preparation, read_preparation, side_step
from hearthwatch.schemas.errors import UserError

log = logging.getLogger(__name__)
T = TypeVar("T")

LOAD_PAUSES_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0)  # between attempts to reach the hub, the last one from then on
LOG_SECONDS = 60.0  # an outage is logged so often

YARD = Path(__file__).parent / "models" / "yard"
MODEL_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
OUTAGES = {
    *("LocalEntryNotFoundError", "OfflineModeIsEnabled"),  # of huggingface_hub: nothing in the cache, and no hub
    *("TransportError", "ConnectionError", "TimeoutError", "gaierror"),  # of its HTTP client, of Python
}
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
OTHER_DRIVERS = Path("/dev/dxg"), Path("/dev/kfd"), Path("/dev/nvhost-gpu")  # of WSL, AMD, Jetson
CGROUPS, CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def load(model: str) -> tuple[Any, Preparation]:
    """Load a model, float32 on the CPU, and how its input is prepared.

    Raises:
        ModelUnavailableError: the hub or the network to it does not work now.
        DetectorError: it cannot be read, is of another type, or lacks weights.
    """
    folder = locate(model)
    require_torch()
    os.environ.setdefault("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")  # one `.item()` per decoder layer is a CUDA sync
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForObjectDetection
    from transformers.utils import logging as hub_logging

    hub_logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    try:
        network, report = AutoModelForObjectDetection.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:  # files, JSON, shapes, weights
        raise _cannot_be_loaded(model, error) from error
    if missing := sorted(report["missing_keys"]):  # transformers would fill them with random numbers
        raise DetectorError(
            f"model `{model}` lacks {len(missing)} of its weights, {missing[0]} for one: is it complete?"
        )
    return network.eval(), read_preparation(model, str(folder / MODEL_FILES[2]))


def labels_of(detr: Any) -> list[str]:
    """Return the labels of a loaded model, canonical, by class number."""
    names = detr.config.id2label
    return [canonical_label(names.get(number, f"label {number}")) for number in range(len(names))]


def user_cache() -> Path:
    """Return where this user's programs keep what they can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hearthwatch" / "detector"


def locate(model: str) -> Path:
    """Return the folder with a model's files. One from the hub is downloaded at its first use, and not asked for again.

    Raises:
        ModelUnavailableError: the hub or the network to it does not work now.
        DetectorError: it is not there, or of another type.
    """
    folder = YARD if model == "yard" else Path(model).expanduser()
    is_local = folder.is_dir()
    if not is_local and (folder.is_absolute() or model.startswith((".", "~"))):
        raise DetectorError(f"model `{model}` is not a folder: it should hold {', '.join(MODEL_FILES)}")
    if is_local and (missing := [name for name in MODEL_FILES if not (folder / name).is_file()]):
        raise DetectorError(f"model folder `{model}` has no {', '.join(missing)}")
    try:
        for name in MODEL_FILES:
            path = folder / name if is_local else _from_hub(model, name)
            if name == MODEL_FILES[0] and (kind := json.loads(path.read_text()).get("model_type")) not in FAMILIES:
                raise DetectorError(f"model `{model}` is a `{kind}`: this detector runs {', '.join(FAMILIES)}")
    except (OSError, ValueError, RuntimeError) as error:  # files, hub, JSON
        if reason := _outage(error):
            raise ModelUnavailableError(
                f"model `{model}` cannot be fetched: {reason} Is the network up? Without one, set HEARTHWATCH_DETECTOR_MODEL "
                "to a folder or to `yard`"
            ) from error
        raise _cannot_be_loaded(model, error) from error
    return path.parent


def known_step(model: str) -> int | None:
    """Return what the sides of its input are multiples of; None: it is not on this machine yet, or is none that runs."""
    path: Any = (YARD if model == "yard" else Path(model).expanduser()) / MODEL_FILES[0]
    try:
        if not path.is_file():
            from huggingface_hub import try_to_load_from_cache

            path = try_to_load_from_cache(model, MODEL_FILES[0])
        return side_step(json.loads(Path(path).read_text()))
    except (ImportError, OSError, TypeError, ValueError, KeyError):  # a hub's name, files, JSON
        return None


def _from_hub(model: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it logs each of its attempts
    cached = try_to_load_from_cache(model, name)
    return Path(cached if isinstance(cached, str) else hf_hub_download(model, name))


def _cannot_be_loaded(model: str, error: Exception) -> DetectorError:
    return DetectorError(
        f"model `{model}` cannot be loaded: {str(error).splitlines()[0]}. Set HEARTHWATCH_DETECTOR_MODEL to `yard`, "
        f"to a hub id that this machine can reach, or to a folder with {', '.join(MODEL_FILES)}"
    )


class BackgroundLoader(Generic[T]):
    """Load a model on a background thread; try again as long as the hub or the network does not work."""

    def __init__(self, load: Callable[[], T]) -> None:
        self.loaded: Future[T] = Future()
        """The model, or the error that another attempt would meet again; it ends a pipeline with exit code 2."""
        self.reason = ""
        """Why it could not be loaded at the last attempt."""
        self._load, self._stopped = load, threading.Event()
        self._thread = threading.Thread(target=self._run, name="model loader", daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        """Stop, and wait so long for an attempt that is under way."""
        self._stopped.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        logged = -LOG_SECONDS
        for pause in chain(LOAD_PAUSES_SECONDS, repeat(LOAD_PAUSES_SECONDS[-1])):
            try:
                return self.loaded.set_result(self._load())
            except ModelUnavailableError as error:
                self.reason = str(error)
            except BaseException as error:
                if isinstance(error, UserError):
                    error.exit_code = 2
                return self.loaded.set_exception(error)
            if time.monotonic() - logged >= LOG_SECONDS:
                logged = time.monotonic()
                log.warning("%s; pictures wait until it can be fetched", self.reason)
            if self._stopped.wait(pause):
                return None
        return None


def _outage(error: BaseException) -> str | None:
    """Return why the hub cannot be used now, if that is the cause; None: another attempt would fail, too."""
    cause: BaseException | None = error
    while cause is not None:
        names = {kind.__name__ for kind in type(cause).__mro__}
        status = getattr(getattr(cause, "response", None), "status_code", 0)
        if names & OUTAGES or status in (408, 429) or status >= 500 or "Consistency check failed" in str(cause):
            return str(error).splitlines()[0]
        cause = cause.__cause__ or cause.__context__
    return None


def require_torch() -> None:
    """Check that torch and transformers are installed.

    Raises:
        DetectorError: one of them is not.
    """
    if missing := [name for name in ("torch", "transformers") if find_spec(name) is None]:
        fix = "run `scripts/setup` (with pip: `hearthwatch[torch]`), or set RTDETR_URL to a service that detects"
        raise DetectorError(f"{' and '.join(missing)} must be installed to detect on this machine: {fix}")


def choose_device(device: str) -> str:
    """Choose a device by name: `auto`, `cpu`, `cuda` or `cuda:N`. Warn if `auto` leaves an NVIDIA card unused.

    Raises:
        DetectorError: the device is not available.
    """
    if device == "cpu" or (device == "auto" and not any(path.exists() for path in (NVIDIA_DRIVER, *OTHER_DRIVERS))):
        return "cpu"  # without loading torch
    require_torch()
    import torch

    problem = cuda_problem()
    if device == "auto":
        if problem and NVIDIA_DRIVER.exists():
            log.warning(
                "this machine has an NVIDIA card that torch cannot use (%s): detecting on the CPU, many times slower. "
                "Install a torch that fits the driver, or set HEARTHWATCH_DEVICE=cpu if this is meant",
                problem,
            )
        return "cpu" if problem else "cuda:0"
    if problem:
        raise DetectorError(f"device `{device}`: {problem}; set HEARTHWATCH_DEVICE to auto or cpu")
    number, count = int(device.partition(":")[2] or 0), torch.cuda.device_count()
    if number >= count:
        raise DetectorError(f"device `{device}`: this machine has {count}, counted from cuda:0")
    return f"cuda:{number}"


def usable_cpus() -> int:
    """Return how many CPUs this process may use: OMP_NUM_THREADS, its affinity, and the quota of its container."""
    limits = [len(os.sched_getaffinity(0))]
    if (wanted := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        limits.append(int(wanted))
    try:
        quota, period = (CGROUPS / CGROUP.read_text().strip()[len("0::/") :] / "cpu.max").read_text().split()
        limits.append(round(int(quota) / int(period)))
    except (OSError, ValueError):  # another system of groups, or `max`
        pass
    return max(1, min(limits))


def cuda_problem() -> str | None:
    """Return why torch cannot use CUDA here; None if it can."""
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    with warnings.catch_warnings(record=True) as caught:  # torch warns with the reason, such as an old driver
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    return str(caught[-1].message).splitlines()[0] if caught else "torch finds no CUDA device"
