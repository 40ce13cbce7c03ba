"""Where everything of a conversation stands in its rendered text, found once for each sequence of roles.

The Jinja template is rendered with one private-use character in place of each content. What stays around those
characters is the template's own text; special tokens in it cut it into runs of plain text. Contents can then be
filled in without running Jinja again, and of every character it is known whose it is: the template's or message i's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from herdbook.chat.template import Template
from herdbook.chat.tokenizer import ChatTokenizer
from herdbook.core.errors import TemplateError

FIRST_MARK = 0xF0000  # plane 15, private use: one code point stands for one content
MAX_MARKS = 0xFFFD
MARKS = re.compile(f"[{chr(FIRST_MARK)}-{chr(FIRST_MARK + MAX_MARKS)}]")
WHITESPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
WHITESPACE += "\u2028\u2029\u202f\u205f\u3000"  # the Unicode property White_Space, which the backend's \s means
Strips = tuple[Callable[[str], str] | None, ...]
STRIPS = {(True, True): None, (False, True): str.lstrip, (True, False): str.rstrip, (False, False): str.strip}


class Unprovable(TemplateError):
    """It cannot be shown which tokens belong to which message."""


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the rendered text: `chars` of the template's text and the contents of `slots` slots before it.

    A special token counts as one character, so no two places around it are the same.
    """

    chars: int
    slots: int


@dataclass(frozen=True, slots=True)
class Span:
    """The stretch of one message: its content, or for a trained message all that the model is to produce."""

    start: Place
    end: Place
    message: int
    trained: bool


@dataclass(frozen=True, slots=True)
class Run:
    """Plain text between special tokens: literals (str) and slots (index of the message) in order."""

    pieces: tuple[str | int, ...]
    strip_left: bool = False  # the special token before it swallows whitespace
    strip_right: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """The compiled form of one sequence of roles. `items` are special token ids and runs in order."""

    items: tuple[int | Run, ...]
    order: tuple[int, ...]  # message of each slot, in the order of the text
    strips: Strips  # by message: None or the str method that the template applies to the content
    spans: tuple[Span, ...]
    chars: int  # of template text, special tokens counted as one


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides a layout: the roles, which turns are trained, and whether an assistant header follows."""

    roles: tuple[str, ...]
    trained: tuple[bool, ...]
    prompt: bool = False


def build_layout(tokenizer: ChatTokenizer, template: Template, shape: Shape) -> Layout:
    """Compile the layout of a shape. Raises TemplateError (the template refuses) or Unprovable."""
    marks = [chr(FIRST_MARK + index) for index in range(len(shape.roles))]
    if len(marks) > MAX_MARKS // 2:
        raise TemplateError(f"A conversation of {len(marks)} messages is longer than can be rendered.")
    text = template.render(_messages(shape.roles, marks), shape.prompt)
    strips = _find_strips(template, shape, text, marks)
    prompts = _prompt_texts(template, shape, marks)
    return _compile(tokenizer, shape, text, marks, strips, prompts)


def build_exact(
    tokenizer: ChatTokenizer, template: Template, shape: Shape, contents: Sequence[str]
) -> tuple[Layout, list[str]]:
    """Compile a layout for one conversation whose contents the template rewrites, and the contents as it prints them.

    The real text is rendered with marks around every content; where the marks change what the template does,
    provenance cannot be proven and Unprovable is raised.
    """
    if any(MARKS.search(content) for content in contents):
        raise Unprovable("A message holds private-use characters (U+F0000 and up) that are needed to trace tokens.")
    marks = [chr(FIRST_MARK + index) for index in range(len(contents))]
    wrapped = [chr(FIRST_MARK + MAX_MARKS // 2 + i) + c + marks[i] for i, c in enumerate(contents)]

    def collapse(count: int, prompt: bool) -> tuple[str, list[str]]:
        marked = template.render(_messages(shape.roles[:count], wrapped), prompt)
        if MARKS.sub("", marked) != template.render(_messages(shape.roles[:count], contents), prompt):
            raise Unprovable(f"The chat template {template.name!r} rewrites the contents of this conversation.")
        found: list[str] = []
        for index in range(count):
            pair = re.compile(f"{wrapped[index][0]}([^{wrapped[index][0]}{marks[index]}]*){marks[index]}")
            found.extend(pair.findall(marked))
            marked = pair.sub(marks[index], marked)
        return marked, found

    text, printed = collapse(len(contents), shape.prompt)
    prompts: dict[int, str] = {}
    for index, role in enumerate(shape.roles):
        if role == "assistant" and shape.trained[index]:
            try:
                prompts[index] = collapse(index, prompt=True)[0]
            except TemplateError:
                continue
    strips: Strips = (None,) * len(contents)
    return _compile(tokenizer, shape, text, marks, strips, prompts), printed


def _messages(roles: Sequence[str], contents: Sequence[str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]


def _find_strips(template: Template, shape: Shape, text: str, marks: list[str]) -> Strips:
    """See which contents the template strips, by rendering them once more inside whitespace."""
    padded = template.render(_messages(shape.roles, [f" \n{mark}\n " for mark in marks]), shape.prompt)
    kept = []
    for mark in marks:
        left = f" \n{mark}" in padded
        right = f"{mark}\n " in padded
        kept.append((left, right))
        padded = padded.replace(" \n" * left + mark + "\n " * right, mark)
    if padded != text:
        raise Unprovable(f"The chat template {template.name!r} rewrites the contents of messages.")
    return tuple(STRIPS[pair] for pair in kept)


def _prompt_texts(template: Template, shape: Shape, marks: list[str]) -> dict[int, str]:
    """What stands before each trained turn when it is the next one to be generated; absent where it is refused."""
    texts: dict[int, str] = {}
    for index, role in enumerate(shape.roles):
        if role == "assistant" and shape.trained[index]:
            try:
                texts[index] = template.render(_messages(shape.roles[:index], marks), prompt=True)
            except TemplateError:
                continue  # e.g. an assistant turn that opens the conversation: training starts at its content
    return texts


def _compile(
    tokenizer: ChatTokenizer,
    shape: Shape,
    text: str,
    marks: list[str],
    strips: Strips,
    prompts: dict[int, str],
) -> Layout:
    for index, mark in enumerate(marks):
        if text.count(mark) != 1:
            verb = "leaves out" if mark not in text else "repeats"
            raise Unprovable(f"The chat template {verb} message {index + 1} ({shape.roles[index]}).")
    cuts = _special_cuts(tokenizer, text)
    spans = []
    for index, mark in enumerate(marks):
        at = text.index(mark)
        if not (shape.trained[index] and shape.roles[index] == "assistant"):
            spans.append((at, at + 1, index, False))
            continue
        start = len(prompts[index]) if index in prompts and text.startswith(prompts[index]) else at
        end = next((stop for _, begin, stop in cuts if begin > at), None)
        if start > at or end is None or MARKS.search(text, at + 1, end):
            raise Unprovable(
                "The chat template puts no end-of-turn token behind the assistant's message "
                f"{index + 1}: a model trained on it would never stop. Use a built-in template."
            )
        spans.append((start, end, index, True))
    items = _items(tokenizer, text, cuts)
    order = tuple(ord(mark) - FIRST_MARK for mark in MARKS.findall(text))
    places = _places(text, cuts)
    return Layout(
        items=items,
        order=order,
        strips=strips,
        spans=tuple(Span(places[a], places[b], message, trained) for a, b, message, trained in spans),
        chars=places[len(text)].chars,
    )


def _special_cuts(tokenizer: ChatTokenizer, text: str) -> list[tuple[int, int, int]]:
    """(id, start, end) of every special token that the backend finds in the template's own text."""
    encoding = tokenizer.backend.encode(text, add_special_tokens=False)
    cuts = []
    for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        added = tokenizer.added_tokens.get(token)
        if added is not None and added.special and text[start:end].strip(WHITESPACE) == added.content.strip(WHITESPACE):
            cuts.append((token, start, end))
    return cuts


def _items(tokenizer: ChatTokenizer, text: str, cuts: list[tuple[int, int, int]]) -> tuple[int | Run, ...]:
    items: list[int | Run] = []
    at = 0
    for token, start, end in [*cuts, (-1, len(text), len(text))]:
        before = tokenizer.added_tokens[items[-1]] if items and isinstance(items[-1], int) else None
        after = tokenizer.added_tokens.get(token)
        if start > at:
            pieces = re.split(f"({MARKS.pattern})", text[at:start])
            items.append(
                Run(
                    tuple(ord(p) - FIRST_MARK if MARKS.fullmatch(p) else p for p in pieces if p),
                    strip_left=before is not None and before.rstrip,
                    strip_right=after is not None and after.lstrip,
                )
            )
        if token >= 0:
            items.append(token)
        at = end
    return tuple(items)


def _places(text: str, cuts: list[tuple[int, int, int]]) -> list[Place]:
    """The place of every character position of the marked text, the end included."""
    special = {position: stop for _, start, stop in cuts for position in range(start, stop)}
    places, chars, slots = [], 0, 0
    for position, character in enumerate(text):
        places.append(Place(chars, slots))
        if position in special:
            chars += position + 1 == special[position]
        elif MARKS.fullmatch(character):
            slots += 1
        else:
            chars += 1
    places.append(Place(chars, slots))
    return places
