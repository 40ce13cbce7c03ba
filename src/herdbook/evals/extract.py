"""Read answers from free text. Each rule is small, named and tested with the failures that were published about it.

Known failures elsewhere: "$29.00" scored against "29" as a string, integers that lose their minus sign, commas that end
a number, a regex that eats the last letter when the final full stop is missing. None of them happens here: numbers are
compared as numbers and phrases are cut by position.
"""

from __future__ import annotations

import re
import string
from decimal import Decimal, InvalidOperation

# Thousands separators need groups of three, so "1, 2" stays two numbers. A dot without digits behind it is a full stop.
NUMBER = re.compile(r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+")


def numbers(text: str) -> list[str]:
    """Return the numbers in the text in canonical form: no separators, no currency sign, no trailing zeros.

    >>> numbers("it costs $1,029.50, down from -$3 - 2")
    ['1029.5', '-3', '2']
    """
    found = []
    for match in NUMBER.finditer(text):
        value = canonical_number((_sign_before(text, match.start()) + match.group()).replace(",", ""))
        if value is not None:
            found.append(value)
    return found


def _sign_before(text: str, start: int) -> str:
    """Return '-' if a minus touches the number at `start` (or its currency sign) and follows no operand, else ''."""
    before = text[max(0, start - 8) : start]
    stripped = before.rstrip("$€£¥")
    for candidate in {before, stripped}:
        if candidate[-1:] in ("-", "\u2212"):
            left = candidate[:-1]
            if not left[-1:] or not (left[-1].isalnum() or left[-1] in ")]}%."):
                return "-"
    return ""


def canonical_number(text: str) -> str | None:
    """Return a number's canonical form ("29.00" -> "29", "+3" -> "3", "-0" -> "0"), None if the text is none."""
    try:
        value = Decimal(text.replace(",", "").replace("\u2212", "-").strip().lstrip("+"))
    except InvalidOperation:
        return None
    if not value.is_finite():
        return None
    if value == 0:
        return "0"
    plain = format(value, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def last_number(text: str) -> str | None:
    """Return the last number in the text in canonical form, None if there is none."""
    found = numbers(text)
    return found[-1] if found else None


def number_after(text: str, marker: str) -> str | None:
    """Return the first number behind the last match of the regular expression `marker`, None if either is missing."""
    matches = list(re.finditer(marker, text, flags=re.MULTILINE))
    found = numbers(text[matches[-1].end() :]) if matches else []
    return found[0] if found else None


def after_phrase(text: str, phrase: str) -> str | None:
    """Return what follows the last occurrence of `phrase` (any case), up to the end of its line, stripped.

    One final full stop is dropped; a missing one costs nothing. None if the phrase is absent or nothing follows.
    """
    position = text.lower().rfind(phrase.lower())
    if position < 0:
        return None
    rest = text[position + len(phrase) :].lstrip(" \t:")
    return drop_full_stop(rest.split("\n", 1)[0].strip()) or None


def drop_full_stop(text: str) -> str:
    """Return the text without one final full stop, stripped."""
    text = text.strip()
    return text[:-1].rstrip() if text.endswith(".") else text


def choice_letter(text: str, letters: str = "ABCD") -> str | None:
    """Return the first stand-alone option letter in the text ("(B)", "B.", "B"), None if there is none."""
    match = re.search(rf"(?<![\w'])\(?([{letters}])\)?(?![\w'])", text)
    return match.group(1) if match else None


def squeeze(text: str) -> str:
    """Return the text with every run of white space as one space, stripped."""
    return " ".join(text.split())


def loosely_equal(answer: str, target: str) -> bool:
    """Compare without case, punctuation and extra white space; punctuation counts where the target is nothing else.

    (A rule that always drops punctuation calls every string of brackets equal to every other.)
    """
    drop = str.maketrans("", "", string.punctuation)
    if not squeeze(target.translate(drop)):
        return squeeze(answer) == squeeze(target)
    return squeeze(answer.translate(drop)).casefold() == squeeze(target.translate(drop)).casefold()
