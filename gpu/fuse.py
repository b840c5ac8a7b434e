"""Fold what training needs and looking does not: a BatchNorm into its convolution, a RepVGG pair into one convolution.

In place, exact up to float rounding. Reads: Ding et al., RepVGG, arXiv 2101.03697, section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


@torch.no_grad()
def fuse(model: nn.Module) -> int:
    """Fold all that can be folded; returns how many modules are gone."""
    pairs = list(_pairs(model))
    for conv, owner, name in pairs:
        _fold(conv, owner.get_submodule(name))
        setattr(owner, name, nn.Identity())
    blocks = [(parent, name, block) for parent in model.modules() for name, block in parent.named_children()]
    doubles = [(parent, name, block) for parent, name, block in blocks if _is_repvgg(block)]
    for parent, name, block in doubles:
        setattr(parent, name, _Single(block))
    return len(pairs) + len(doubles)


def _pairs(model: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.Module, str]]:
    """(convolution, module that owns the normalisation behind it, its name there)"""
    for module in model.modules():
        for first, second in (("convolution", "normalization"), ("conv", "norm"), ("0", "1")):
            conv, norm = (module._modules.get(name) for name in (first, second))
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


def _is_repvgg(block: nn.Module) -> bool:
    return type(block).__name__.endswith("RepVggBlock")


class _Single(nn.Module):
    """What a RepVGG block computes, `activation(conv3x3(x) + conv1x1(x))`, as one 3x3 convolution."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        large, small = (block.get_submodule(f"{name}.conv") for name in ("conv1", "conv2"))
        _tensor(large, "weight").add_(nn.functional.pad(_tensor(small, "weight"), [1, 1, 1, 1]))
        _tensor(large, "bias").add_(_tensor(small, "bias"))
        self.conv, self.activation = large, block.get_submodule("activation")

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.conv(x))
        return y
