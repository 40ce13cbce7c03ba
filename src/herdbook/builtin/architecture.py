"""The shape of the built-in models.

    python -m herdbook.builtin.architecture

writes the packaged `config.json` and `generation_config.json` again, byte for byte.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from herdbook.builtin.tokenizer import END, MAX_LENGTH, PAD, VOCABULARY, packaged_tokenizer

HIDDEN = 160
LAYERS = 4
HEADS = 5
INNER = 400


def model_config() -> dict[str, Any]:
    """The Llama configuration with tied embeddings; a low rotary base, for contexts of a few hundred tokens."""
    tokenizer = packaged_tokenizer()
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "max_position_embeddings": MAX_LENGTH,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.token_to_id(END),
        "pad_token_id": tokenizer.token_to_id(PAD),
        "dtype": "bfloat16",
    }


def write_config(folder: Path) -> None:
    """Write both configuration files. Generation stops at the end token."""
    config = model_config()
    generation = {key: config[key] for key in ("eos_token_id", "pad_token_id")} | {"do_sample": False}
    for name, content in (("config.json", config), ("generation_config.json", generation)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_config(Path(__file__).parent / "cria")
