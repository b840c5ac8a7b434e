"""Run the model as one function of tensors: bytes of resized pictures in, all candidates out, without a CUDA sync.

`Network` runs transformers' modules; `trimmed`, it connects encoder and decoder itself and skips what no box depends
on. Low precision covers backbone, encoder and matrix products; anchors, boxes and what flows from layer to layer of the
decoder stay float32, without which boxes of the yard model move by up to 4.9 px instead of 0.5 (bfloat16).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hearthwatch.gpu.model_families import Preparation

LOW_PARTS = ("backbone", "encoder_input_proj", "encoder", "decoder_input_proj")


class Network(nn.Module):
    """(n, height, width, 3) uint8 -> (n, k, 6) float32: score, class, x0 y0 x1 y1, all 0 to 1, by descending score."""

    anchors: Tensor
    valid: Tensor
    sizes: Tensor
    mean: Tensor | None
    std: Tensor | None

    def __init__(self, detr: Any, preparation: Preparation, trimmed: bool, precision: torch.dtype) -> None:
        """`detr`: a model of transformers for object detection, folded or not; it is changed in place."""
        super().__init__()
        self.detr: Any = detr
        self.trimmed, self.precision = trimmed, precision
        if trimmed:
            shapes = [
                (preparation.height // stride, preparation.width // stride) for stride in detr.config.feat_strides
            ]
            anchors, valid = detr.model.generate_anchors(tuple(shapes), dtype=torch.float32)
            self.shapes = shapes
            self.register_buffer("anchors", anchors, persistent=False)
            self.register_buffer("valid", valid.float(), persistent=False)
            self.register_buffer("sizes", torch.tensor(shapes), persistent=False)
        if precision != torch.float32:
            lower_precision(detr, precision, LOW_PARTS if trimmed else ())
        self.factor = preparation.factor
        for name in ("mean", "std"):
            value = getattr(preparation, name)
            self.register_buffer(name, None if value is None else torch.tensor(value)[:, None, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.permute(0, 3, 1, 2).float() * self.factor
        if self.mean is not None and self.std is not None:
            x = (x - self.mean) / self.std
        logits, boxes = self._trimmed(x) if self.trimmed else self._full(x)
        return candidates(logits, boxes)

    def _full(self, x: Tensor) -> tuple[Tensor, Tensor]:
        output = self.detr(pixel_values=x)
        return output.logits, output.pred_boxes

    def _trimmed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Do what transformers' `forward` does, but propose boxes for the chosen queries only, not for all places."""
        detr = self.detr.model
        seen = detr.backbone(x, x.new_ones((len(x), *x.shape[2:])))
        maps = [project(map_) for project, (map_, _) in zip(detr.encoder_input_proj, seen, strict=True)]
        maps = list(detr.encoder(maps).last_hidden_state)
        sources = [project(map_) for project, map_ in zip(detr.decoder_input_proj, maps, strict=True)]
        flat = torch.cat([source.flatten(2).transpose(1, 2) for source in sources], 1).float()
        memory = detr.enc_output(self.valid * flat)
        best = detr.enc_score_head(memory).max(-1).values.topk(detr.config.num_queries, dim=1).indices
        queries = _rows(memory, best)
        proposed = detr.enc_bbox_head(queries) + _rows(self.anchors.expand(len(x), -1, -1), best)
        if detr.config.learn_initial_query:
            queries = detr.weight_embedding.weight.expand(len(x), -1, -1)
        output = detr.decoder(
            inputs_embeds=queries,
            encoder_hidden_states=flat,
            encoder_attention_mask=None,
            reference_points=proposed,
            spatial_shapes=self.sizes,
            spatial_shapes_list=self.shapes,
            level_start_index=None,
        )
        return output.intermediate_logits[:, -1], output.intermediate_reference_points[:, -1]


def lower_precision(detr: Any, precision: torch.dtype, parts: tuple[str, ...]) -> None:
    """Convert these parts, and all convolutions and matrix products, in place; they still take and return float32.

    The first convolution stays float32: scores are most sensitive to it (0.035 against 0.011 of yard's, float16).
    """
    _, _, first = next(_children(detr.model, nn.Conv2d))
    exact = copy.deepcopy(first)
    for name in parts:
        getattr(detr.model, name).to(precision)
    for parent, name, child in list(_children(detr.model, nn.Conv2d | nn.Linear)):
        if child is first:
            setattr(parent, name, _Cast(exact, torch.float32, precision) if parts else first)
        elif child.weight.dtype != precision:
            setattr(parent, name, _Cast(child.to(precision), precision, torch.float32))


def _children(root: nn.Module, kind: Any) -> Iterator[tuple[nn.Module, str, Any]]:
    for parent in root.modules():
        for name, child in parent.named_children():
            if isinstance(child, kind):
                yield parent, name, child


class _Cast(nn.Module):
    """Run a module in one precision among neighbours of another."""

    def __init__(self, module: nn.Module, inside: torch.dtype, outside: torch.dtype) -> None:
        super().__init__()
        self.module, self.inside, self.outside = module, inside, outside

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.module(x.to(self.inside))
        return y.to(self.outside)


def candidates(logits: Tensor, boxes: Tensor) -> Tensor:
    """Convert (n, queries, classes) and (n, queries, 4) centre and size to (n, k, 6) as `Network` returns it.

    Top k over query x class, as transformers' `post_process_object_detection` does for a focal-loss model.
    """
    queries, classes = logits.shape[1:]
    scores, index = logits.float().sigmoid().flatten(1).topk(queries)
    centre, size = boxes.float().chunk(2, dim=-1)
    corners = torch.cat((centre - size / 2, centre + size / 2), dim=-1)
    chosen = _rows(corners, index // classes)
    return torch.cat((scores[..., None], (index % classes)[..., None].float(), chosen), dim=-1)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Take rows: (n, m, d) at (n, k) -> (n, k, d)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))
