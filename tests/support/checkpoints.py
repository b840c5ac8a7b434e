"""RT-DETRv2 model folders with random weights, for machines that no hub reaches: time does not depend on weights.

`folder("r18")`, `folder("r50")` and `folder("v1-r18")` have the shape of the published r18vd and r50vd at 640 x 640 with COCO's 80 classes;
`tiny` and the names of TINY_FAMILIES are small enough for a test. As they leave transformers, random weights see nothing: scores and boxes are the same
for every picture. Here they are drawn so that both depend on every layer, and a few boxes of a picture pass 0.5.
"""

import os
import tempfile
from pathlib import Path

import numpy as np

from hearthwatch.demo.scenes import story

LABELS = 80
STAGES = ["stage2", "stage3", "stage4"]
SMALL = {"hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"}
TINY = {"hidden_sizes": [16, 16, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic", "embedding_size": 16}
NARROW = {"encoder_hidden_dim": 32, "d_model": 32, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_queries": 20}
R18 = {"encoder_in_channels": [128, 256, 512], "hidden_expansion": 0.5, "decoder_layers": 3}
SHAPES = {  # backbone, the rest, pixels
    "r18": (SMALL, R18, 640),
    "r50": ({}, {}, 640),
    "v1-r18": (SMALL, R18, 640),  # RT-DETR, the first version
    "tiny": (
        TINY,
        {**NARROW, "encoder_in_channels": [16] * 3, "decoder_in_channels": [32] * 3, "decoder_layers": 2},
        96,
    ),
}
TINY_FAMILIES = ("d_fine", "deimv2", "lw_detr", "rf_detr")
BOXES = 5  # of a picture pass 0.5, about


def folder(kind, at=None):
    """The folder of a model of this shape, made if it is not there. The same seed, the same weights."""
    at = Path(at or Path(tempfile.gettempdir()) / f"hearthwatch-checkpoints-{os.getuid()}")
    if not (at / kind).exists():
        at.mkdir(parents=True, exist_ok=True)
        incoming = Path(tempfile.mkdtemp(dir=at))
        _save(kind, incoming)
        incoming.rename(at / kind)
    return str(at / kind)


def _save(kind, path):
    import torch
    import transformers
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil
    from transformers.utils import logging

    logging.disable_progress_bar()
    if kind in TINY_FAMILIES:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            _save_tiny(kind, path)
        return
    backbone, rest, pixels = SHAPES[kind]
    backbone = transformers.RTDetrResNetConfig(out_features=STAGES, **backbone)
    name = "RTDetr" if kind.startswith("v1") else "RTDetrV2"
    config = getattr(transformers, f"{name}Config")(backbone_config=backbone, num_labels=LABELS, **rest)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}ForObjectDetection")(config).eval()
        drawn = story("front_door", 3).frame(10).image.resize((pixels, pixels))
        _enliven(model, torch.from_numpy(np.array(drawn)).permute(2, 0, 1)[None] / 255)
    model.save_pretrained(path)
    RTDetrImageProcessorPil(size={"height": pixels, "width": pixels}).save_pretrained(path)


def _save_tiny(kind, path):
    """A model of another family, of 0.1 to 0.2 M weights."""
    import torch
    import transformers as t
    from transformers.models.deformable_detr.image_processing_pil_deformable_detr import DeformableDetrImageProcessorPil
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    common = {"num_labels": 5, "d_model": 32, "decoder_ffn_dim": 32, "decoder_layers": 2, "num_queries": 20}
    vit = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "out_indices": [1, 2, 3]}
    heads = {"decoder_self_attention_heads": 4, "decoder_cross_attention_heads": 4, "group_detr": 2}
    if kind == "lw_detr":
        vit |= {"image_size": 128, "pretrain_image_size": 64, "window_block_indices": [0, 1], "num_windows": 4}
        config = t.LwDetrConfig(
            backbone_config=t.LwDetrViTConfig(**vit), projector_scale_factors=[1.0], **heads, **common
        )
        model, pixels = t.LwDetrForObjectDetection(config), 128
    elif kind == "rf_detr":
        config = t.RfDetrConfig(
            backbone_config=t.RfDetrDinov2Config(**vit, image_size=112, patch_size=14, num_windows=2), **heads, **common
        )
        model, pixels = t.RfDetrForObjectDetection(config), 112
    else:
        four, one = (16,) * 4, (1,) * 4
        backbone = t.HGNetV2Config(
            embedding_size=16, stem_channels=(3, 8, 16), stage_in_channels=four, stage_mid_channels=(8,) * 4,
            stage_out_channels=four, stage_num_blocks=one, stage_numb_of_layers=one, hidden_sizes=four, depths=one,
            out_indices=[2, 3, 4], use_learnable_affine_block=True,
        )  # fmt: skip
        narrow = {"encoder_hidden_dim": 32, "encoder_ffn_dim": 32, "encoder_in_channels": [16] * 3}
        narrow |= {"decoder_in_channels": [32] * 3, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
        config_of, model_of = {
            "d_fine": (t.DFineConfig, t.DFineForObjectDetection),
            "deimv2": (t.Deimv2Config, t.Deimv2ForObjectDetection),
        }[kind]
        model, pixels = model_of(config_of(backbone_config=backbone, **narrow, **common)), 96
    with torch.inference_mode():
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.normal_(module.weight, std=1.5 * module.in_features**-0.5)
    model.eval().save_pretrained(path)
    processor = DeformableDetrImageProcessorPil if kind in ("lw_detr", "rf_detr") else RTDetrImageProcessorPil
    processor(size={"height": pixels, "width": pixels}, do_normalize=kind != "d_fine").save_pretrained(path)


def _enliven(model, picture):
    """Weights that pass a picture on, and normalisations that fit what arrives at them."""
    import torch

    with torch.inference_mode():
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.xavier_uniform_(module.weight)
                if "class_embed" in name or "enc_score_head" in name:
                    torch.nn.init.normal_(module.weight, std=module.in_features**-0.5)
            elif hasattr(module, "running_var"):
                module.register_forward_pre_hook(_fit)
        surest = model(pixel_values=picture).logits.flatten().topk(BOXES).values
        for head in model.model.decoder.class_embed:
            head.bias -= surest[-1]


def _fit(norm, inputs):
    norm.running_mean.copy_(inputs[0].mean((0, 2, 3)))
    norm.running_var.copy_(inputs[0].var((0, 2, 3)))
