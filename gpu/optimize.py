"""Turn a loaded model into the fastest network that gives the same boxes on this device, measured at every start.

Each step that changes the arithmetic is compared with the model as transformers runs it (`hearthwatch.gpu.parity`); a
step whose boxes differ is left out, and `notes` says why. `fuse` is exact up to float rounding; reads: Ding et al.,
RepVGG, arXiv 2101.03697, section 3.3.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from hearthwatch.gpu.model_families import Preparation
from hearthwatch.gpu.network import Network
from hearthwatch.gpu.options import DetectorSwitches
from hearthwatch.gpu.parity import EXACT, FLOAT32_PROBES, LOW, compare, compare_low, probe_pictures
from hearthwatch.gpu.resize import resize_on_cpu

# What is raised where a family, or another release of transformers, has other modules.
MODULES_DIFFER = (AttributeError, IndexError, RuntimeError, TypeError, ValueError)
# What `auto` tries; on a CPU nothing: bfloat16 moves yard's scores by 0.02 and more.
AUTO_PRECISIONS: dict[str, tuple[str, ...]] = {"cuda": ("float16", "bfloat16"), "cpu": ()}


def optimize(
    detr: Any, preparation: Preparation, switches: DetectorSwitches, device: torch.device, notes: dict[str, str]
) -> Network:
    """Return the network on the device. `notes` gets a line for each switch."""
    lower = AUTO_PRECISIONS[device.type] if switches.precision == "auto" else (switches.precision,)
    layout = torch.channels_last if switches.channels_last else torch.contiguous_format
    detr = detr.requires_grad_(False).to(device, memory_format=layout)
    probes = _probes(preparation, device)[: None if set(lower) - {"float32"} else FLOAT32_PROBES]
    reference = _candidates(Network(detr, preparation, False, torch.float32).to(device), probes)
    best = Network(detr, preparation, False, torch.float32).to(device)
    notes["channels_last"] = "on" if switches.channels_last else "off"
    notes["folded"] = notes["trimmed"] = "off"
    if switches.folded:
        best = _fold_all(best, preparation, probes, reference, notes)
    if switches.trimmed:
        best = _trim(best, preparation, probes, reference, notes)
    return _lower(best, preparation, lower, probes, reference, notes)


def _fold_all(
    best: Network, preparation: Preparation, probes: Tensor, reference: NDArray[np.float32], notes: dict[str, str]
) -> Network:
    detr = copy.deepcopy(best.detr)
    notes["folded"] = f"on, {fuse(detr)} modules less"
    network = Network(detr, preparation, False, torch.float32).to(probes.device)
    difference = compare(reference, _candidates(network, probes))
    if difference.within(EXACT):
        return network
    notes["folded"] = f"off: {difference} apart"
    return best


def _trim(
    best: Network, preparation: Preparation, probes: Tensor, reference: NDArray[np.float32], notes: dict[str, str]
) -> Network:
    try:
        network = Network(best.detr, preparation, True, torch.float32).to(probes.device)
        difference = compare(reference, _candidates(network, probes))
    except MODULES_DIFFER as error:
        notes["trimmed"] = f"off: {type(error).__name__}: {str(error).splitlines()[0]}"
        return best
    good = difference.within(EXACT)
    notes["trimmed"] = "on" if good else f"off: {difference} apart"
    return network if good else best


def _lower(
    best: Network,
    preparation: Preparation,
    precisions: tuple[str, ...],
    probes: Tensor,
    reference: NDArray[np.float32],
    notes: dict[str, str],
) -> Network:
    chosen = len(precisions) == 1  # set by the user: used whatever the difference, which is reported
    parity = []
    for name in (name for name in precisions if name != "float32"):
        lower = copy.deepcopy(best.detr)
        try:
            network = Network(lower, preparation, best.trimmed, getattr(torch, name)).to(probes.device)
            difference = compare_low(reference, _candidates(network, probes))
        except torch.OutOfMemoryError:
            raise
        except MODULES_DIFFER as error:
            parity.append(f"{name} {type(error).__name__}: {str(error).splitlines()[0]}")
            continue
        parity.append(f"{name} {difference}")
        if difference.within(LOW) or chosen:
            best, notes["precision"] = network, name
            if not difference.within(LOW):
                notes["warning"] = (
                    f"{name} moves boxes or scores: {difference} on four pictures; `auto` would refuse it"
                )
            break
    notes["parity"] = ", ".join(parity) or "exact"
    if notes.setdefault("precision", "float32") == "float32" and parity:
        notes["warning"] = (
            f"it computes in float32, half as fast as in low precision, which was refused: {notes['parity']}"
        )
    return best


def seen_in_probes(network: Network, preparation: Preparation) -> NDArray[np.float32]:
    """Return what a network on the CPU finds in the first packaged pictures, (pictures, k, 6)."""
    return _candidates(network, _probes(preparation, torch.device("cpu"))[:FLOAT32_PROBES])


def _probes(preparation: Preparation, device: torch.device) -> Tensor:
    rows = [resize_on_cpu(one, preparation.height, preparation.width) for one in probe_pictures()]
    return torch.from_numpy(np.stack(rows)).to(device)


@torch.inference_mode()
def _candidates(network: Network, probes: Tensor) -> NDArray[np.float32]:
    """Run one by one, as a batch of four may not fit the memory."""
    return torch.cat([network(one[None]) for one in probes]).cpu().numpy()


@torch.no_grad()
def fuse(model: nn.Module) -> int:
    """Fold BatchNorms into their convolutions and RepVGG pairs into one, in place; return how many modules are gone."""
    pairs = list(_conv_norm_pairs(model))
    for conv, owner, name in pairs:
        _fold(conv, owner.get_submodule(name))
        setattr(owner, name, nn.Identity())
    blocks = [(parent, name, block) for parent in model.modules() for name, block in parent.named_children()]
    repvgg = [(parent, name, block) for parent, name, block in blocks if _is_repvgg(block)]
    for parent, name, block in repvgg:
        setattr(parent, name, _FusedRepVgg(block))
    return len(pairs) + len(repvgg)


def _is_repvgg(block: Any) -> bool:
    """Whether this is a pair of convolutions, 3x3 beside 1x1; LW-DETR's class of that name has one behind the other."""
    return type(block).__name__.endswith("RepVggBlock") and block.conv2.conv.kernel_size == (1, 1)


def _conv_norm_pairs(model: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.Module, str]]:
    """(convolution, module that owns the normalisation behind it, its name there)"""
    for module in model.modules():
        for first, second in (("convolution", "normalization"), ("conv", "norm"), ("0", "1")):
            conv, norm = (getattr(module, name, None) for name in (first, second))
            if isinstance(conv, nn.Conv2d) and hasattr(norm, "running_var"):
                yield conv, module, second


def _fold(conv: nn.Conv2d, norm: nn.Module) -> None:
    # transformers' frozen BatchNorm adds 1e-5 and has no attribute for it.
    eps: float = getattr(norm, "eps", 1e-5)
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, _tensor(norm, "running_mean"), _tensor(norm, "running_var"), eps,
        _tensor(norm, "weight"), _tensor(norm, "bias"),
    )  # fmt: skip


def _tensor(module: nn.Module, name: str) -> Tensor:
    tensor: Tensor = getattr(module, name)
    return tensor


class _FusedRepVgg(nn.Module):
    """A RepVGG block, `activation(conv3x3(x) + conv1x1(x))`, as one 3x3 convolution."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        large, small = (block.get_submodule(f"{name}.conv") for name in ("conv1", "conv2"))
        _tensor(large, "weight").add_(nn.functional.pad(_tensor(small, "weight"), [1, 1, 1, 1]))
        _tensor(large, "bias").add_(_tensor(small, "bias"))
        self.conv, self.activation = large, block.get_submodule("activation")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.conv(x))
        return y
