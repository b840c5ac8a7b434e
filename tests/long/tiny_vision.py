"""A tiny vision model (Idefics3: SigLIP-like eyes, Llama) with random weights, made offline, that vLLM serves without torchvision.

    PYTHON tests/long/tiny_vision.py OUT          # a Python that has torch, transformers, tokenizers

0.35 M parameters, 67 prompt tokens a picture of any size. What it says depends on the pictures, and is noise.
"""

import json
import sys
from pathlib import Path

import torch
from tiny_nemotron import POSITIONS, SPECIAL, TEMPLATE, TOKENS, corpus
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

TEXT = "(m['content'] if m['content'] is string else m['content'][0]['text'])"
PARTS = (
    "'' -}}{%- if m['content'] is string -%}{{ m['content'] }}{%- else -%}{%- for c in m['content'] -%}"
    "{{ c['text'] if c['type'] == 'text' else '<image>' }}{%- endfor -%}{%- endif -%}{{ ''"
)
PICTURE = [
    "<image>",
    "<fake_token_around_image>",
    "<global-img>",
    "<end_of_utterance>",
]  # what Idefics3Processor writes
EDGE, PATCH, SHUFFLE = 224, 14, 2  # (224 / 14 / 2) ** 2 = 64 tokens a picture


def tokenizer():
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=[*SPECIAL, *PICTURE], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )  # fmt: skip
    raw.train_from_iterator(corpus(), trainer)
    assert TEXT in TEMPLATE
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="<|im_end|>", pad_token="<pad>", model_max_length=POSITIONS,
        chat_template=TEMPLATE.replace(TEXT, PARTS), additional_special_tokens=PICTURE,
    )  # fmt: skip


def model(words):
    text = {
        "model_type": "llama", "vocab_size": len(words), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": POSITIONS, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
    }  # fmt: skip
    eyes = {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": EDGE, "patch_size": PATCH,
    }  # fmt: skip
    image = words.convert_tokens_to_ids("<image>")
    config = AutoConfig.for_model(
        "idefics3", image_token_id=image, scale_factor=SHUFFLE, pad_token_id=0, tie_word_embeddings=False, text_config=text, vision_config=eyes
    )  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForImageTextToText.from_config(config).to(torch.bfloat16)


def processors():
    """Written by hand: transformers' own `save_pretrained` names the class with or without torchvision."""
    name = {"processor_class": "Idefics3Processor"}
    yield "processor_config.json", {**name, "image_seq_len": (EDGE // PATCH // SHUFFLE) ** 2}
    edge = {"longest_edge": EDGE}
    yield "preprocessor_config.json", {
        **name, "image_processor_type": "Idefics3ImageProcessor", "do_image_splitting": False, "size": edge, "max_image_size": edge,
        "do_resize": True, "do_rescale": True, "do_normalize": True, "do_pad": True, "do_convert_rgb": True, "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3, "resample": 1,
    }  # fmt: skip


if __name__ == "__main__":
    out = Path(sys.argv[1])
    words = tokenizer()
    words.save_pretrained(out)
    model(words).save_pretrained(out)
    for name, content in processors():
        (out / name).write_text(json.dumps(content, indent=1))
