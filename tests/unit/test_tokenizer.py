"""Reading and writing the tokenizer of a model folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import small_tokenizers
from herdbook.chat.tokenizer import ChatTokenizer, load_tokenizer, save_tokenizer
from herdbook.core.errors import ModelError


def test_a_folder_without_tokenizer_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no tokenizer: none of tokenizer\.json, tokenizer\.model"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("damaged", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_file_is_named(tmp_path: Path, damaged: str) -> None:
    save_tokenizer(small_tokenizers.bytes_only(), tmp_path, "x")
    (tmp_path / damaged).write_text('{"model": ')
    with pytest.raises(ModelError, match=damaged):
        load_tokenizer(tmp_path)


def test_what_is_saved_loads_back(tmp_path: Path) -> None:
    original = small_tokenizers.llama3_like()
    save_tokenizer(original, tmp_path, "{{ messages }}")
    loaded = load_tokenizer(tmp_path)
    assert loaded.chat_template == "{{ messages }}"
    assert loaded.digest == original.digest
    assert (loaded.bos_id, loaded.eos_id, loaded.pad_id) == (original.bos_id, original.eos_id, original.pad_id)
    assert loaded.adds_bos


def test_saving_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_tokenizer(small_tokenizers.unigram_like(), tmp_path / name, "x")
    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert files == ["chat_template.jinja", "tokenizer.json", "tokenizer_config.json"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("stored", ["T", [{"name": "tool_use", "template": "U"}, {"name": "default", "template": "T"}]])
def test_the_template_may_stand_in_the_config(tmp_path: Path, stored: object) -> None:
    save_tokenizer(small_tokenizers.bytes_only(), tmp_path, "x")
    (tmp_path / "chat_template.jinja").unlink()
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": stored}))
    assert load_tokenizer(tmp_path).chat_template == "T"


def test_special_tokens_may_be_objects_or_stand_in_their_own_file(tmp_path: Path) -> None:
    save_tokenizer(small_tokenizers.bytes_only(), tmp_path, "x")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": {"content": "</s>", "lstrip": False}}))
    loaded = load_tokenizer(tmp_path)
    assert loaded.eos_token == "</s>"
    assert loaded.eos_id == loaded.backend.token_to_id("</s>")
    assert loaded.pad_id is None


@pytest.mark.parametrize(("declared", "expected"), [(True, True), (False, False), (None, True)])
def test_bos_is_what_the_config_declares_else_what_encoding_does(declared: bool | None, expected: bool) -> None:
    like = small_tokenizers.llama3_like()
    assert ChatTokenizer(like.backend, like.config | {"add_bos_token": declared}, None).adds_bos is expected
    assert not small_tokenizers.gpt2_like().adds_bos


def test_fingerprints_tell_template_and_tokenizer_apart() -> None:
    one, other = small_tokenizers.gpt2_like(), small_tokenizers.qwen_like()
    assert one.fingerprint("a") == one.fingerprint("a")
    assert len({one.fingerprint("a"), one.fingerprint("b"), other.fingerprint("a")}) == 3


def test_stored_truncation_and_padding_are_ignored(tmp_path: Path) -> None:
    tokenizer = small_tokenizers.bytes_only()
    backend = type(tokenizer.backend).from_str(tokenizer.backend.to_str())
    backend.enable_truncation(3)
    backend.enable_padding(length=10)
    save_tokenizer(tokenizer, tmp_path, "x")
    backend.save(str(tmp_path / "tokenizer.json"))
    assert len(load_tokenizer(tmp_path).backend.encode("abcdefgh", add_special_tokens=False).ids) == 8
