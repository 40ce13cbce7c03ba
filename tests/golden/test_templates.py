"""The text and ids of every built-in template, as committed. A difference means that trained models would not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import small_tokenizers
from herdbook.chat.renderer import load_renderer
from herdbook.chat.template import builtin_names
from herdbook.core.types import Message

GOLDEN = json.loads((Path(__file__).parent / "templates.json").read_text(encoding="utf-8"))
CONVERSATIONS = {
    "with system": [
        Message("system", "Be kind."),
        Message("user", "Hi é 🐪"),
        Message("assistant", "Hello!"),
        Message("user", "Bye\n"),
        Message("assistant", "So long."),
    ],
    "without system": [Message("user", "1+1?"), Message("assistant", "2")],
}


def test_every_template_is_covered() -> None:
    assert sorted(GOLDEN) == list(builtin_names())


@pytest.mark.parametrize("template", builtin_names())
@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_rendering_is_as_committed(template: str, conversation: str) -> None:
    assert rendering(template, conversation) == GOLDEN[template][conversation]


def rendering(template: str, conversation: str) -> dict[str, object]:
    renderer = load_renderer(small_tokenizers.bytes_only(), template)
    rendered = renderer.render(CONVERSATIONS[conversation])
    ids = rendered.ids.tolist()
    return {
        "text": renderer.tokenizer.backend.decode(ids, skip_special_tokens=False),
        "ids": ids,
        "trained": "".join("01"[flag] for flag in rendered.trained.tolist()),
        "prompt": len(renderer.render_prompt(CONVERSATIONS[conversation][:-1])),
    }
