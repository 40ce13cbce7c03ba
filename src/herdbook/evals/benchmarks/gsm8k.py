"""GSM8K: grade-school word problems with one number as the answer (Cobbe et al. 2021, arXiv:2110.14168)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from herdbook.core.errors import DataError
from herdbook.evals.benchmark import Example, Hub, Item, Loaded, Preset, Prompt, Shot, Shots, best_constant_answer
from herdbook.evals.extract import canonical_number, last_number, number_after
from herdbook.evals.rows import read_rows, stem

DESCRIPTION = "1,319 grade-school word problems; the answer is a number reached in two to eight steps."
VERSION = 1
LICENCE = "MIT"
HOMEPAGE = "https://github.com/openai/grade-school-math"
FILES = ("test.jsonl", "test.jsonl.gz", "test-*.parquet", "train.jsonl", "train.jsonl.gz", "train-*.parquet")
NEEDS = f"test.jsonl, and train.jsonl for the solved examples, of {HOMEPAGE} (licence {LICENCE})"
HUB: Hub | None = Hub("openai/gsm8k", "main", ("main/test-*.parquet", "main/train-*.parquet"))
DEFAULT_PRESET = "tulu"

_SHOTS = (
    "The solved examples are the first of the training set with their own solutions (calculator marks removed), not "
    "the eight hand-written ones of Wei et al. (2022)."
)
PRESETS = {
    "paper": Preset(
        "The authors' test of a fine-tuned model: the question alone, the answer is the number after the last '####' "
        "(or after 'A:' at the start of a line, as in the authors' published solutions); without it it is invalid.",
        max_new_tokens=400,
        extractor="marked number",
    ),
    "tulu": Preset(
        "Eight shots with reasoning, the last number of the completion, 200 items drawn with seed 42. "
        + _SHOTS
        + " The original's number pattern loses the sign of negative integers; ours keeps it.",
        shots=8,
        cot=True,
        stops=("\n\n", "\nQuestion:"),
        extractor="last number",
        per_task=200,
        sample_seed=42,
    ),
    "tulu-direct": Preset(
        "As @tulu without reasoning: the shots show the number alone. The original writes 'Quesion:' in these shots; "
        "we do not.",
        shots=8,
        stops=("\n\n", "\nQuestion:"),
        extractor="last number",
        per_task=200,
        sample_seed=42,
    ),
    "zero-shot": Preset(
        "The question alone, the number after the last '####' or 'the answer is', else the last number.",
        stops=("\n\nQuestion:", "\n\nQ:"),
        extractor="marked or last number",
    ),
}
EXAMPLES = (
    Example("paper", "16 - 3 = <<16-3=13>>13 eggs are left.\n#### 13", "13"),
    Example("paper", "So she makes 26.\nA: 26", "26"),
    Example("paper", "She makes 26 dollars.", None),
    Example("tulu", " 9 * 2 = 18. She makes $1,018.00.", "1018"),
    Example("tulu", "It fell to -7.", "-7"),
    Example("tulu", "I do not know.", None),
    Example("zero-shot", "The answer is 5. I checked it 2 times.", "5"),
    Example("zero-shot", "So $29.00", "29"),
)
_MARK = r"####|^A:"
_LOOSE_MARK = r"####|[Tt]he (?:final )?answer is"
_CALCULATOR = re.compile(r"<<[^<>]*>>")


def _is_test(path: Path) -> bool:
    return stem(path).startswith("test")


def load(files: Sequence[Path], preset: Preset) -> Loaded:
    """Read the problems; the shots are the first training problems with their own solutions."""
    items = []
    tests = [path for path in files if _is_test(path)]
    if not tests:
        raise DataError(f"{files[0].parent}: there is no test file; the benchmark needs {NEEDS}.")
    for path in tests:
        for line, row in read_rows(path, ("question", "answer")):
            _, target = _solution(path, line, str(row["answer"]))
            items.append(Item(f"gsm8k:{len(items)}", "gsm8k", str(row["question"]).strip(), target))
    chance = best_constant_answer([item.target for item in items])
    items = [Item(item.id, item.task, item.question, item.target, chance=chance) for item in items]
    return Loaded(tuple(items), {"gsm8k": _shots(files, preset.shots)}, len(items))


def _shots(files: Sequence[Path], count: int) -> Shots:
    if count == 0:
        return Shots()
    train = [path for path in files if not _is_test(path)]
    if not train:
        raise DataError(
            f"{files[0].parent}: {count} solved examples are asked for but there is no train.jsonl to take them from; "
            f"get it from {HOMEPAGE} or use the preset gsm8k@zero-shot."
        )
    examples = []
    for line, row in read_rows(train[0], ("question", "answer"))[:count]:
        rationale, answer = _solution(train[0], line, str(row["answer"]))
        examples.append(Shot(str(row["question"]).strip(), answer, rationale))
    return Shots("Answer the following questions.", tuple(examples))


def _solution(path: Path, line: int, text: str) -> tuple[str, str]:
    """Split the data's own solution into (reasoning without calculator marks, canonical number)."""
    reasoning, mark, number = text.rpartition("####")
    answer = canonical_number(number)
    if not mark or answer is None:
        raise DataError(f"{path}:{line}: the answer does not end in '#### number': {text[-60:]!r}.")
    return _CALCULATOR.sub("", reasoning).strip(), answer


def prompt(item: Item, shots: Shots, preset: Preset) -> Prompt:
    """Few-shot: 'Question: ... Answer: ...' blocks. Zero-shot: the question alone."""
    if preset.shots == 0:
        return Prompt(f"{item.question}\n", item.question)
    blocks = ["Answer the following question." if not shots.examples else shots.header]
    for shot in shots.examples:
        answer = f"{shot.rationale}\nThe answer is {shot.answer}." if preset.cot else shot.answer
        blocks.append(f"Question: {shot.question}\nAnswer: {answer}")
    text = "\n\n".join([*blocks, f"Question: {item.question}"])
    return Prompt(f"{text}\nAnswer:", text, "Answer:")


def extract(completion: str, item: Item, preset: Preset) -> str | None:
    """Read the number by the preset's rule."""
    if preset.extractor == "marked number":
        return number_after(completion, _MARK)
    if preset.extractor == "marked or last number":
        return number_after(completion, _LOOSE_MARK) or last_number(completion)
    return last_number(completion)


def score(answer: str, item: Item, preset: Preset) -> float:
    """Return 1 if the two are the same number, else 0."""
    return float(canonical_number(answer) == canonical_number(item.target))
