"""Chat templates as Jinja text: the built-in ones, fitted to a tokenizer, and how any of them is rendered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, ClassVar

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from herdbook.chat.tokenizer import ChatTokenizer
from herdbook.core.errors import TemplateError

OWN = "tokenizer"  # the name under which a recipe asks for the template that the tokenizer brings
END_TOKENS = {"chatml": "<|im_end|>", "llama3": "<|eot_id|>"}  # all others end a turn with the tokenizer's EOS

# Templates that print today's date would give other ids tomorrow. The macro hides the function of that name.
FROZEN_DATE = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}\n"


class _Generation(jinja2.ext.Extension):
    """Lets `{% generation %}` blocks through: transformers reads masks from them, we know the spans already."""

    tags: ClassVar[set[str]] = {"generation"}  # pyright: ignore[reportIncompatibleVariableOverride]

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    """The settings under which transformers renders chat templates."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


class Template:
    """One compiled chat template together with the special tokens it may print."""

    def __init__(self, name: str, jinja: str, special: dict[str, str], verbatim: bool) -> None:
        self.name = name
        self.jinja = jinja
        self.verbatim = verbatim  # built-in: looks at roles alone and prints contents as they are
        self._special = special
        try:
            self._compiled = _environment().from_string(jinja)
        except jinja2.TemplateError as error:
            raise TemplateError(f"The chat template {name!r} is not valid Jinja: {error}.") from error

    def render(self, messages: Sequence[dict[str, str]], prompt: bool = False) -> str:
        """Return the text of a conversation; with `prompt`, followed by the header of the assistant's next turn.

        Raises TemplateError with the template's own reason when it refuses the conversation.
        """
        try:
            return self._compiled.render(messages=messages, tools=None, add_generation_prompt=prompt, **self._special)
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
            raise TemplateError(f"The chat template {self.name!r} refuses the conversation: {error}.") from error


@cache
def builtin_names() -> tuple[str, ...]:
    """Names of the templates that ship with Herdbook, in alphabetical order."""
    files = resources.files("herdbook.chat.templates").iterdir()
    return tuple(sorted(file.name.removesuffix(".jinja") for file in files if file.name.endswith(".jinja")))


def load_template(tokenizer: ChatTokenizer, name: str) -> Template:
    """Return the template `name` fitted to `tokenizer`; `tokenizer` means the one stored with it.

    Raises TemplateError when there is no such template, or the tokenizer cannot express its end of turn.
    """
    tokens = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token, "pad_token": tokenizer.pad_token}
    special = {key: text for key, text in tokens.items() if text is not None}
    if name != OWN:
        return Template(name, _fitted(tokenizer, name), special, verbatim=True)
    if tokenizer.chat_template is None:
        usable = ", ".join(n for n in builtin_names() if _unfit(tokenizer, n) is None) or "none of the built-in ones"
        raise TemplateError(
            "template: tokenizer was asked for, but the base model's tokenizer has no chat template. "
            f"Name a built-in one instead; this tokenizer can express: {usable}."
        )
    jinja = tokenizer.chat_template
    if "strftime_now" in jinja and not jinja.startswith(FROZEN_DATE):
        jinja = FROZEN_DATE + jinja
    ours = any(_unfit(tokenizer, n) is None and _fitted(tokenizer, n) == jinja for n in builtin_names())
    return Template(name, jinja, special, verbatim=ours)


def _fitted(tokenizer: ChatTokenizer, name: str) -> str:
    """The Jinja text of a built-in template, headed by the tokens that begin a text and end a turn."""
    if name not in builtin_names():
        raise TemplateError(f"There is no template {name!r}. Built-in: {', '.join(builtin_names())}; or {OWN!r}.")
    problem = _unfit(tokenizer, name)
    if problem is not None:
        usable = [other for other in builtin_names() if _unfit(tokenizer, other) is None]
        advice = f"Templates that it can: {', '.join(usable)}." if usable else "It can express no built-in template."
        raise TemplateError(f"The tokenizer cannot represent the template {name!r}: {problem}. {advice}")
    begin = tokenizer.bos_token if tokenizer.adds_bos else ""
    end = END_TOKENS.get(name, tokenizer.eos_token)
    head = f"{{%- set begin = {_quoted(begin)} -%}}\n{{%- set end = {_quoted(end)} -%}}\n"
    body = resources.files("herdbook.chat.templates").joinpath(f"{name}.jinja").read_text(encoding="utf-8")
    return head + body


def _unfit(tokenizer: ChatTokenizer, name: str) -> str | None:
    """Say why this tokenizer cannot end a turn as the template does, or None when it can."""
    end = END_TOKENS.get(name, tokenizer.eos_token)
    if end is None:
        return "it names no end-of-text token (eos_token), so a turn could never end"
    token = tokenizer.token_id(end)
    if token is None or token not in tokenizer.added_tokens:
        return f"its turns end with {end!r}, which is not a special token of this tokenizer"
    return None


def _quoted(text: str | None) -> str:
    return json.dumps(text or "", ensure_ascii=False)
