"""The built-in tokenizer and base models: reproducible, small, and loadable by transformers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from herdbook.builtin import BASES, builtin_path, write_base
from herdbook.builtin.architecture import write_config
from herdbook.builtin.tokenizer import END, PAD, ROLES, VOCABULARY, packaged_tokenizer, write_tokenizer
from herdbook.core.errors import ModelError


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return packaged_tokenizer()


@settings(max_examples=100)
@given(text=st.text())
def test_any_text_survives_the_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_tokenizer_has_single_digits_and_special_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == VOCABULARY
    assert tokenizer.encode("1234").tokens == ["1", "2", "3", "4"]
    assert not [token for token in tokenizer.get_vocab() if len(token) > 1 and any(sign.isdigit() for sign in token)]
    assert len({tokenizer.token_to_id(token) for token in (END, PAD, *ROLES)}) == 5
    for role in ROLES:
        assert tokenizer.encode(role).tokens == [role]


def test_packaged_tokenizer_and_configuration_can_be_made_again(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    write_config(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json"):
        assert (tmp_path / name).read_bytes() == builtin_path(f"cria/{name}").read_bytes(), name


def test_packaged_model_is_small() -> None:
    assert builtin_path("cria/model.safetensors").stat().st_size < 6_000_000


@pytest.mark.parametrize("name", BASES)
def test_base_loads_and_has_one_architecture(name: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_base(name, tmp_path, seed=0)
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert sum(parameter.numel() for parameter in model.parameters()) <= 2_900_000
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (loaded.eos_token, loaded.pad_token) == (END, PAD)
    assert loaded.bos_token is None
    assert model.generation_config.eos_token_id == loaded.eos_token_id
    assert len(loaded) == model.config.vocab_size


def test_blank_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_base("blank", tmp_path / folder, seed)
    weights = [(tmp_path / folder / "model.safetensors").read_bytes() for folder in "abc"]
    assert weights[0] == weights[1] != weights[2]


def test_unknown_base_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="built-in bases are cria, blank"):
        write_base("llama", tmp_path, 0)


def test_import_is_light() -> None:
    heavy = {"torch", "transformers", "tokenizers", "numpy"}
    code = f"import sys, herdbook.builtin; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
