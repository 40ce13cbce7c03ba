"""Encoding by a memo of pre-tokens: each distinct word goes through the tokenizer once.

Byte-level BPE never merges across the borders that its split patterns draw, so the ids of a text are the ids of its
words in a row. Splitting with Python's own regex engines and gathering ids with numpy beats the tokenizer itself,
because real text repeats its words. Only for tokenizers where this is exact; `build_memo` returns None for all others.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, pre_tokenizers

from herdbook.chat.segments import RunEncoder
from herdbook.chat.tokenizer import ChatTokenizer

GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SEPARATOR = "\U0010fffe"  # a Unicode noncharacter; `Memo.split` refuses texts that hold it
_WORDS_A_TEXT = 500
LIMIT = 2_000_000  # distinct words after which the memo starts afresh, to bound memory
ASCII_CLASSES = {"L": "A-Za-z", "Lu": "A-Z", "Ll": "a-z", "N": "0-9", "Nd": "0-9"}
ASCII_EMPTY = {"M", "Mn", "Mc", "Me", "Lt", "Lm", "Lo", "Nl", "No", "Han"}
SAMPLE = (
    "Hello, world!  It's  1234567 o'clock\n\n\n  x = y+1;\t\tTHEY'LL don't\r\n \r\n end  ",
    "\n\n  leading and trailing \n",
    "Füße 北京 42% naïve — “quoted” ½ ² ٣ 🙂👩‍👩‍👧 e\u0301 \u00a0\u2003nbsp\u3000\n\u0085x\u200bz",
    "a_b-c/d\\e{f}[g](h)<i>&amp;#1 $3.50 ...!!!??? \x1c\x1f\x00 '' 'S 'LL 'ſ",
    " ",
    "\n",
    "   \n   \n",
)

Split = Callable[[str], list[str]]
Key = str | tuple[int]  # a word, or a token id that stands for itself


class Memo:
    """Maps words to runs of token ids. A word is a `str`; a special token is the tuple `(id,)`."""

    def __init__(self, tokenizer: ChatTokenizer, encoder: RunEncoder, ascii_split: Split, unicode_split: Split) -> None:
        self.ascii_split = ascii_split
        self.unicode_split = unicode_split
        self._composed = tokenizer.description.get("normalizer") is not None  # to NFC
        self._backend = _word_backend(encoder)
        self._separator = self._backend.token_to_id(SEPARATOR)
        self._special = sorted(i for i, token in tokenizer.added_tokens.items() if token.special)
        self._clear()

    def _clear(self) -> None:
        self._numbers = _Numbers({(token,): number for number, token in enumerate(self._special)})
        self._pool = np.asarray(self._special, np.int32)
        self._begin = np.arange(len(self._special) + 1)
        self._chars = np.ones(len(self._special), np.int64)

    def split(self, text: str) -> list[str] | None:
        """Cut text into words, or return None for text that only the tokenizer itself can cut exactly."""
        if text.isascii():
            return self.ascii_split(text)
        if self._composed and not unicodedata.is_normalized("NFC", text):
            return None
        return None if _recent_characters().search(text) else self.unicode_split(text)

    def lookup(self, words: list[Key]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Return per word its length in characters and its number of ids, and all ids in a row.

        A special token counts as one character. Shapes [W], [W], [T] for W words.
        """
        if len(self._numbers) > LIMIT:
            self._clear()
        numbers = np.fromiter(map(self._numbers.__getitem__, words), np.int64, len(words))
        if self._numbers.fresh:
            self._learn()
        begin = self._begin[numbers]
        counts = self._begin[numbers + 1] - begin
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        ids = self._pool[np.arange(total) + np.repeat(begin - (ends - counts), counts)]
        return self._chars[numbers], counts, ids

    def _learn(self) -> None:
        """Encode the new words, many in one text between separators: that is faster than one text for each."""
        fresh = self._numbers.fresh
        texts = [SEPARATOR.join([*fresh[at : at + _WORDS_A_TEXT], ""]) for at in range(0, len(fresh), _WORDS_A_TEXT)]
        encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        ids = np.concatenate([np.asarray(encoding.ids, np.int32) for encoding in encodings])
        ends = np.flatnonzero(ids == self._separator)
        counts = np.diff(ends, prepend=-1) - 1
        self._begin = np.concatenate([self._begin, self._begin[-1] + np.cumsum(counts)])
        self._pool = np.concatenate([self._pool, ids[ids != self._separator]])
        self._chars = np.concatenate([self._chars, np.fromiter(map(len, fresh), np.int64, len(fresh))])
        fresh.clear()


class _Numbers(dict[Key, int]):
    """Hands out the next number to every word it has not seen, and keeps a list of the new ones."""

    def __init__(self, known: dict[Key, int]) -> None:
        super().__init__(known)
        self.fresh: list[str] = []

    def __missing__(self, key: str) -> int:
        number = self[key] = len(self)
        self.fresh.append(key)
        return number


def _word_backend(encoder: RunEncoder) -> Tokenizer:
    """A tokenizer for texts that are cut into words already: bytes and merges only, and a separator token."""
    backend = Tokenizer(encoder.inner.model)  # shares the vocabulary
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.add_tokens([AddedToken(SEPARATOR, special=False, normalized=False)])
    return backend


def build_memo(tokenizer: ChatTokenizer, encoder: RunEncoder) -> Memo | None:
    """Return a memo for tokenizers where it is exact, proven on a sample; None for the others.

    Exact means: byte-level BPE, no normaliser but NFC, split patterns that Python understands, and no added token that
    swallows the whitespace around it.
    """
    patterns = _split_patterns(tokenizer.description)
    vocabulary = tokenizer.description["model"]["vocab"]
    if patterns is None or max(vocabulary.values(), default=0) >= len(vocabulary):  # ids with gaps: no room to mark
        return None
    if any(t.lstrip or t.rstrip or t.single_word for t in tokenizer.added_tokens.values()):
        return None
    try:
        unicode_split = _chained([regex.compile(_explicit_whitespace(p)).findall for p in patterns])
        ascii_patterns = [_ascii_pattern(p) for p in patterns]
        plain = [re.compile(p).findall for p in ascii_patterns if p is not None]
    except (regex.error, re.error):
        return None  # a construct of the tokenizer's regex engine that Python's engines lack
    ascii_split = _chained(plain) if len(plain) == len(patterns) else unicode_split
    memo = Memo(tokenizer, encoder, ascii_split, unicode_split)
    return memo if all(_agrees(memo, encoder.inner, text) for text in SAMPLE) else None


def _agrees(memo: Memo, backend: Tokenizer, text: str) -> bool:
    words = memo.split(text)
    if words is None:
        return True
    ascii_words = memo.unicode_split(text)
    expected = backend.encode(text, add_special_tokens=False).ids
    return memo.lookup([*words])[2].tolist() == expected == memo.lookup([*ascii_words])[2].tolist()


def _split_patterns(description: dict[str, Any]) -> list[str] | None:
    """The chain of split patterns before byte-level BPE; each covers the whole text. None if it is of another kind."""
    normalizer = description.get("normalizer")
    if description["model"].get("type") != "BPE" or (normalizer is not None and normalizer != {"type": "NFC"}):
        return None
    top = description.get("pre_tokenizer") or {}
    parts = top.get("pretokenizers", [top])
    patterns: list[str] = []
    for number, part in enumerate(parts):
        kind = part.get("type")
        if kind == "ByteLevel" and number == len(parts) - 1 and not part["add_prefix_space"]:
            return [*patterns, GPT2_SPLIT] if part.get("use_regex", True) else patterns or None
        if kind == "Split" and part["behavior"] == "Isolated" and not part["invert"] and "Regex" in part["pattern"]:
            patterns.append(part["pattern"]["Regex"])
        elif kind == "Digits":
            patterns.append(r"\p{N}|\P{N}+" if part["individual_digits"] else r"\p{N}+|\P{N}+")
        else:
            return None
    return None


def _chained(steps: Sequence[Split]) -> Split:
    """One function that applies splits one after the other, each to the pieces of the one before."""
    if len(steps) == 1:
        return steps[0]

    def split(text: str) -> list[str]:
        pieces = [text]
        for step in steps:
            pieces = list(chain.from_iterable(map(step, pieces)))
        return pieces

    return split


_ESCAPE = re.compile(r"\\[pP]\{\^?\w+\}|\\.|\[|\]|.", re.DOTALL)


def _explicit_whitespace(pattern: str) -> str:
    r"""Spell out \s: the tokenizer means White_Space by it, Python's engines do not quite."""
    named = {r"\s": r"\p{White_Space}", r"\S": r"\P{White_Space}"}
    tokens: list[str] = _ESCAPE.findall(pattern)
    return "".join([named.get(token, token) for token in tokens])


def _ascii_pattern(pattern: str) -> str | None:
    r"""The same pattern for ASCII text and the standard engine, about twice as fast; None if not expressible."""
    out: list[str] = []
    depth = 0
    for token in _ESCAPE.findall(pattern):
        if token == "[":
            depth += 1
        elif token == "]":
            depth -= 1
        elif token in (r"\s", r"\S") or token[:2] in (r"\p", r"\P"):
            negated = token[1] in "SP"
            name = token[3:-1]
            inside = r"\t-\r " if token[1] in "sS" else ASCII_CLASSES.get(name, "" if name in ASCII_EMPTY else None)
            if inside is None or (depth and negated):
                return None
            if not depth:
                inside = f"[{'^' if negated else ''}{inside}]" if inside else ("." if negated else "(?!)")
            token = inside
        elif token in (r"\d", r"\w", r"\b"):
            return None
        out.append(token)
    return "".join(out) if depth == 0 else None


@cache
def _recent_characters() -> re.Pattern[str]:
    """Characters that this Python does not know: newer Unicode tables of other engines may class them as letters."""
    ranges, start = [], None
    for code in range(0x80, 0x110001):
        unknown = code < 0x110000 and unicodedata.category(chr(code)) == "Cn"
        if unknown and start is None:
            start = code
        elif not unknown and start is not None:
            ranges.append(f"{chr(start)}-{chr(code - 1)}")
            start = None
    return re.compile(f"[{''.join(ranges)}]")
