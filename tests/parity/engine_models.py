"""Tiny random models of several families, with sharp enough distributions that a wrong cache changes their tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
import transformers as hf
from transformers import PreTrainedModel

VOCABULARY = 97
CONFIGS: dict[str, Callable[[], hf.PretrainedConfig]] = {
    "llama": lambda: hf.LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    ),
    "gpt2": lambda: hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=128),
    "qwen3": lambda: hf.Qwen3Config(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        tie_word_embeddings=True,
    ),
    "gpt_neox": lambda: hf.GPTNeoXConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    ),
    "opt": lambda: hf.OPTConfig(
        hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32
    ),
    "bloom": lambda: hf.BloomConfig(hidden_size=32, n_layer=2, n_head=4),
    "gemma2": lambda: hf.Gemma2Config(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=16,
    ),
    "mistral": lambda: hf.MistralConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=24,
    ),
    "mamba": lambda: hf.MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=4),
}


def tiny_model(family: str) -> PreTrainedModel:
    """A random float32 model with a vocabulary of `VOCABULARY` ids."""
    torch.manual_seed(7)
    config = CONFIGS[family]()
    config.vocab_size = VOCABULARY
    config.initializer_range = 0.3
    config.bos_token_id = config.eos_token_id = config.pad_token_id = 0
    return hf.AutoModelForCausalLM.from_config(config).eval()
