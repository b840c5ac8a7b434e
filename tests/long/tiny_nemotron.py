"""A tiny Nemotron with random weights, made offline, that vLLM can serve: 0.2 M parameters, a tokenizer of 1024 tokens.

    PYTHON tests/long/tiny_nemotron.py OUT        # a Python that has torch, transformers, tokenizers

Its chat template is that of Nemotron 3: ChatML turns, `enable_thinking`, `<think></think>` when it is off. It knows nothing
and says anything; what it says still has to fit the schema.
"""

import random
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{%- for m in messages -%}"
    "{{ '<|im_start|>' + m['role'] + '\n' + (m['content'] if m['content'] is string else m['content'][0]['text']) + '<|im_end|>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{{ '<|im_start|>assistant\n' + ('<think>\n' if enable_thinking | default(true) else '<think></think>') }}"
    "{%- endif -%}"
)
SPECIAL = ["<pad>", "<s>", "<|im_end|>", "<|im_start|>", "<think>", "</think>"]
TOKENS = 1024
POSITIONS = 8192  # `hearthwatch llm` asks for a context of this length


def corpus(lines=400):
    rnd = random.Random(0)
    for _ in range(lines):
        who, where = (
            rnd.choice(["person", "car", "dog", "cat", "truck"]),
            rnd.choice(["front door", "driveway", "back yard"]),
        )
        yield (
            f'{{"reasoning": "A {who} at the {where} for {rnd.randrange(90)} s.", "evidence": [{rnd.randrange(99999)}], '
            f'"summary": "A {who} at the {where}, {rnd.randrange(24):02d}:{rnd.randrange(60):02d}", "risk_score": {rnd.randrange(101)}}}'
        )


def tokenizer():
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="<|im_end|>", pad_token="<pad>", model_max_length=POSITIONS,
        chat_template=TEMPLATE,
    )  # fmt: skip


def model(tokens):
    config = AutoConfig.for_model(
        "nemotron", vocab_size=tokens, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=POSITIONS, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).to(torch.bfloat16)


if __name__ == "__main__":
    words = tokenizer()
    words.save_pretrained(sys.argv[1])
    model(len(words)).save_pretrained(sys.argv[1])
