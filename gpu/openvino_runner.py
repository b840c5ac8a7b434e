"""Run a network by OpenVINO on a CPU: boxes of torch's float32 within 0.1 px, in about half its time.

The network that `optimize` chose is exported once and cached under a digest of everything that it was made from; a start
that finds it there imports neither torch nor transformers. Every start runs two of the packaged pictures and compares with
what torch found in them at the export. A file that is broken or half-written is made again, and a kill at any moment leaves
the old export or the new one. It computes in float32, whatever lower precision the CPU offers.

`openvino.convert_model` would report its use to OpenVINO's maker; the frontend below it, which is called here, does not.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hearthwatch.gpu.decode import Pixels
from hearthwatch.gpu.loading import MODEL_FILES, labels_of, usable_cpus
from hearthwatch.gpu.model_families import Preparation
from hearthwatch.gpu.options import ON_CPU, DetectorSwitches
from hearthwatch.gpu.parity import FLOAT32_PROBES, compare, probe_pictures

log = logging.getLogger(__name__)

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # else its import makes a client id in the home folder

EXPORTED = NETWORK, _, REFERENCE, FACTS = "network.xml", "network.bin", "reference.npy", "facts.json"
DIGEST = "digest"
EXPORTS_MAX = 4  # kept beside each other, of 3 MB (yard) to 170 MB (r50)
DIGEST_BYTES = 16


class ExportError(Exception):
    """OpenVINO cannot run this model here, and why."""


@dataclass(frozen=True)
class ExportedNetwork:
    """A network for OpenVINO, and what has to be known of its model."""

    model: Any
    reference: NDArray[np.float32]
    """(pictures, k, 6): what torch found in the packaged pictures"""
    labels: list[str]
    notes: dict[str, str]


Running = tuple[list[Any], list[NDArray[np.uint8]]]
"""Requests under way, and their input, which they read in place."""


class OpenVinoRunner:
    """`submit(pictures)` and `collect(running) -> (n, k, 6)`, like `ModelRunner`."""

    in_flight = 1

    def __init__(
        self,
        folder: Path,
        preparation: Preparation,
        switches: DetectorSwitches,
        cache: Path,
        make: Callable[[], ExportedNetwork],
    ) -> None:
        """Load the export of the model in `folder`, which `make` makes if the cache has none that is whole.

        Raises:
            ExportError: OpenVINO is not installed, or cannot run this model.
        """
        try:
            core = _core()
        except (ImportError, OSError) as error:
            raise ExportError(f"openvino cannot be loaded ({error})") from error
        made_from = version("hearthwatch"), version("openvino"), preparation, switches
        at = cache / _digest(folder, MODEL_FILES, repr(made_from))
        export = _read(at)
        if export is None:
            export = make()
            _write(export, at)
        options = {
            "INFERENCE_PRECISION_HINT": "f32",  # otherwise bfloat16 where the CPU has it, which moves boxes
            "INFERENCE_NUM_THREADS": str(usable_cpus()),
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": "NO",  # two processes would pin their threads to the same cores
        }
        try:
            self._compiled = core.compile_model(export.model, "CPU", options)
        except RuntimeError as error:
            raise ExportError(_first_line(error)) from error
        self._size, self._free = (preparation.width, preparation.height), list[Any]()
        found = [self.collect(self.submit([one])) for one in probe_pictures()[:FLOAT32_PROBES]]
        self.difference, self.labels = compare(export.reference, np.concatenate(found)), export.labels
        self.notes = {
            **export.notes,
            **ON_CPU,
            "channels_last": "off: torch only",
            "runtime": f"openvino {version('openvino')}",
            "parity": f"openvino {self.difference}",
        }

    def submit(self, pictures: Sequence[Pixels]) -> Running:
        images = [one if isinstance(one, Image.Image) else Image.fromarray(one) for one in pictures]
        rows = [np.asarray(one.resize(self._size, Image.Resampling.BILINEAR))[None] for one in images]
        requests = [self._free.pop() if self._free else self._compiled.create_infer_request() for _ in rows]
        for request, row in zip(requests, rows, strict=True):
            request.start_async(row, share_inputs=True)
        return requests, rows

    def collect(self, running: Running) -> NDArray[np.float32]:
        requests, _ = running
        for request in requests:
            request.wait()
        self._free += requests
        return np.concatenate([request.get_output_tensor(0).data for request in requests])


@cache
def _core() -> Any:
    """Return the only core of this process, which stays: each sets the thread's stack for signal handlers, and deletes it.

    After a second core the thread would have a deleted one, and the next signal, such as SIGTERM, would end the process.

    Raises:
        ImportError, OSError: OpenVINO is not installed, or cannot be loaded.
    """
    import openvino

    return openvino.Core()


def make_export(detr: Any, preparation: Preparation, switches: DetectorSwitches) -> ExportedNetwork:
    """Choose the network as for torch, and translate it.

    Raises:
        ExportError: OpenVINO cannot translate it.
    """
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    from hearthwatch.gpu.optimize import optimize, seen_in_probes

    notes: dict[str, str] = {}
    network = optimize(detr, preparation, switches, torch.device("cpu"), notes)
    example = torch.zeros((1, preparation.height, preparation.width, 3), dtype=torch.uint8)
    frontend = FrontEndManager().load_by_framework("pytorch")
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, about shapes, which are fixed here
            traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
            decoder = TorchScriptPythonDecoder(traced)
        model = frontend.convert(frontend.load(decoder))
        model.reshape(list(example.shape))
    except Exception as error:  # tracer and translator raise what they like: torch runs the model then
        raise ExportError(_first_line(error)) from error
    return ExportedNetwork(model, seen_in_probes(network, preparation), labels_of(detr), notes)


def _read(at: Path) -> ExportedNetwork | None:
    """Read an export; None if there is none, or it is broken."""
    try:
        if (at / DIGEST).read_text() != _digest(at):
            raise ValueError("its digest is another")
        facts = json.loads((at / FACTS).read_text())
        model = _core().read_model(at / NETWORK)
        return ExportedNetwork(model, np.load(at / REFERENCE), facts["labels"], facts["notes"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        log.warning("the exported detector in %s is made again: %s", at, _first_line(error))
    shutil.rmtree(at, ignore_errors=True)
    return None


def _write(export: ExportedNetwork, at: Path) -> None:
    """Write under another name and rename. What cannot be written is made again at the next start."""
    import openvino

    try:
        at.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=at.parent))
        openvino.save_model(export.model, new / NETWORK, compress_to_fp16=False)
        np.save(new / REFERENCE, export.reference)
        (new / FACTS).write_text(json.dumps({"labels": export.labels, "notes": export.notes}))
        (new / DIGEST).write_text(_digest(new))
        for path in (*new.iterdir(), new):
            _fsync(path)
        new.rename(at)
        _fsync(at.parent)
    except (OSError, RuntimeError) as error:  # another process may have been first; the disk may be full
        log.info("the exported detector was not kept in %s: %s", at, _first_line(error))
    kept = sorted((path for path in at.parent.glob("*") if path != at), key=lambda path: path.stat().st_mtime)
    for path in kept[: 1 - EXPORTS_MAX]:
        shutil.rmtree(path, ignore_errors=True)


def _digest(folder: Path, names: Sequence[str] = EXPORTED, text: str = "") -> str:
    digest = blake2b(text.encode(), digest_size=DIGEST_BYTES)
    for name in names:
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
