"""From a loaded model to the fastest network that sees the same on this device: measured here, at every start.

Each step that changes the arithmetic is compared with the model as transformers runs it, on `hearthwatch.gpu.probe`'s pictures; one
that does not see the same is left out, and `notes` says why.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hearthwatch.gpu.fuse import fuse
from hearthwatch.gpu.loading import Preparation
from hearthwatch.gpu.network import Network
from hearthwatch.gpu.options import DetectorSwitches
from hearthwatch.gpu.probe import EXACT, LOW, apart, pictures
from hearthwatch.gpu.upload import resized

SAME = 2  # pictures that show whether two float32 ways are one; low precision is looked at on all
LOWER: dict[str, tuple[str, ...]] = {
    "cuda": ("float16", "bfloat16"),
    "cpu": (),
}  # what `auto` tries; bfloat16 moves yard's scores by 0.02 and more


def network(
    detr: Any, preparation: Preparation, options: DetectorSwitches, device: torch.device, notes: dict[str, str]
) -> Network:
    """The network on the device. `notes` gets a line for each switch."""
    lower = LOWER[device.type] if options.precision == "auto" else (options.precision,)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    detr = detr.requires_grad_(False).to(device, memory_format=layout)
    probes = _probes(preparation, device)[: None if set(lower) - {"float32"} else SAME]
    reference = _seen(Network(detr, preparation, False, torch.float32).to(device), probes)
    notes["folded"] = f"on, {fuse(detr)} modules less" if options.folded else "off"
    notes["channels_last"] = "on" if options.channels_last else "off"
    best = Network(detr, preparation, False, torch.float32).to(device)
    notes["trimmed"] = "off"
    if options.trimmed:
        best = _trimmed(best, preparation, probes, reference, notes)
    return _lowered(best, preparation, lower, probes, reference, notes)


def _trimmed(
    best: Network, preparation: Preparation, probes: Tensor, reference: NDArray[np.float32], notes: dict[str, str]
) -> Network:
    try:
        network = Network(best.detr, preparation, True, torch.float32).to(probes.device)
        difference = apart(reference, _seen(network, probes))
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:  # another transformers' inside
        notes["trimmed"] = f"off: {type(error).__name__}: {str(error).splitlines()[0]}"
        return best
    good = difference.within(EXACT)
    notes["trimmed"] = "on" if good else f"off: {difference} apart"
    return network if good else best


def _lowered(
    best: Network,
    preparation: Preparation,
    wanted: tuple[str, ...],
    probes: Tensor,
    reference: NDArray[np.float32],
    notes: dict[str, str],
) -> Network:
    chosen = len(wanted) == 1  # by whoever set the option: taken as it is, and its distance told
    if not best.trimmed and set(wanted) - {"float32"}:
        wanted, notes["parity"] = (), "low precision needs `trimmed`"
    said = []
    for name in (name for name in wanted if name != "float32"):
        network = Network(copy.deepcopy(best.detr), preparation, True, getattr(torch, name)).to(probes.device)
        difference = apart(reference, _seen(network, probes))
        said.append(f"{name} {difference}")
        if difference.within(LOW) or chosen:
            best, notes["precision"] = network, name
            if not difference.within(LOW):
                notes["warning"] = (
                    f"{name} moves boxes or scores: {difference} on four pictures; `auto` would refuse it"
                )
            break
    notes.setdefault("precision", "float32")
    notes.setdefault("parity", ", ".join(said) or "exact")
    return best


def _probes(preparation: Preparation, device: torch.device) -> Tensor:
    rows = [resized(one, preparation.height, preparation.width) for one in pictures()]
    return torch.from_numpy(np.stack(rows)).to(device)


@torch.inference_mode()
def _seen(network: Network, probes: Tensor) -> NDArray[np.float32]:
    """One by one, as a batch of four may not fit the memory."""
    return torch.cat([network(one[None]) for one in probes]).cpu().numpy()
