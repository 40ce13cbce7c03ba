"""MMLU: four-choice questions from 57 subjects (Hendrycks et al. 2021, arXiv:2009.03300)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from herdbook.core.errors import DataError
from herdbook.evals.benchmark import Example, Hub, Item, Loaded, Preset, Prompt, Shot, Shots
from herdbook.evals.extract import choice_letter
from herdbook.evals.rows import read_csv, read_rows, stem

DESCRIPTION = "14,042 four-choice questions from 57 subjects, from school to professional level."
VERSION = 1
LICENCE = "MIT"
HOMEPAGE = "https://github.com/hendrycks/test"
FILES = ("*_dev.csv", "*_test.csv", "dev-*.parquet", "test-*.parquet")
NEEDS = f"dev/<subject>_dev.csv and test/<subject>_test.csv of {HOMEPAGE} (licence {LICENCE})"
HUB: Hub | None = Hub("cais/mmlu", "main", ("*/dev-*.parquet", "*/test-*.parquet"))
DEFAULT_PRESET = "paper"
PRESETS = {
    "paper": Preset(
        "The authors' own: five shots from the dev files, the most likely of ' A'..' D' as the next token, mean over "
        "all questions. Their prompt has two spaces before the subject; kept.",
        kind="choice",
        shots=5,
        chat=False,
        extractor="most likely choice",
    ),
    "zero-shot": Preset(
        "As @paper without solved examples: header and question alone.",
        kind="choice",
        chat=False,
        extractor="most likely choice",
    ),
    "tulu": Preset(
        "Five shots, through the chat template if the model has one, the answer forced to begin with 'The answer is:'; "
        "most likely of A..D. Prompts above 2,048 tokens lose their last shots.",
        kind="choice",
        shots=5,
        max_prompt_tokens=2048,
        extractor="most likely choice",
    ),
    "tulu-zero-shot": Preset(
        "As @tulu without solved examples: the header and the question alone.",
        kind="choice",
        max_prompt_tokens=2048,
        extractor="most likely choice",
    ),
    "instructeval": Preset(
        "Five shots as plain text, two tokens generated, right if they begin with the letter; mean over all questions. "
        "Prompts above 2,048 tokens lose their last shots.",
        shots=5,
        chat=False,
        max_new_tokens=2,
        max_prompt_tokens=2048,
        stops=("\n",),
        extractor="begins with the letter",
    ),
    "flan": Preset(
        "Five shots in the form 'Q: ... (A) ... A: (B)', the letter in the generated answer, mean over subjects.",
        metric="task_mean",
        shots=5,
        chat=False,
        max_new_tokens=10,
        max_prompt_tokens=2048,
        stops=("\n",),
        extractor="first letter",
    ),
}
EXAMPLES = (
    Example("instructeval", " B", "B"),
    Example("instructeval", "The", None),
    Example("flan", "(C) Paris.", "C"),
    Example("flan", "Paris", None),
)
LETTERS = "ABCD"


def _split(path: Path) -> tuple[str, str]:
    """Return (subject, dev | test) of `anatomy_test.csv`, or of the hub's `anatomy/test-00000-of-00001.parquet`."""
    if path.suffix == ".parquet":
        return path.parent.name, path.name.partition("-")[0]
    subject, _, split = stem(path).rpartition("_")
    return subject, split


def load(files: Sequence[Path], preset: Preset) -> Loaded:
    """Read every subject that has a test file; a subject without one is noted, one without its dev file is an error."""
    by_split: dict[str, dict[str, Path]] = {"dev": {}, "test": {}}
    for path in files:
        subject, split = _split(path)
        if subject not in ("all", "auxiliary_train"):
            by_split[split][subject] = path
    if not by_split["test"]:
        raise DataError(f"{files[0].parent}: there are dev files but no test files; the benchmark needs {NEEDS}.")
    items: list[Item] = []
    shots: dict[str, Shots] = {}
    for subject, path in sorted(by_split["test"].items()):
        for number, shot in enumerate(_questions(path)):
            items.append(Item(f"mmlu:{subject}:{number}", subject, shot.question, shot.answer, shot.choices, 0.25))
        if preset.shots and subject not in by_split["dev"]:
            raise DataError(f"{path}: {subject} has no dev file to take the {preset.shots} solved examples from.")
        examples = _questions(by_split["dev"][subject])[: preset.shots] if preset.shots else []
        header = f"The following are multiple choice questions (with answers) about  {subject.replace('_', ' ')}."
        shots[subject] = Shots(header, tuple(examples))
    absent = sorted(set(by_split["dev"]) - set(by_split["test"]))
    notes = (f"{len(absent)} subjects have no test file and are left out: {', '.join(absent)}.",) if absent else ()
    return Loaded(tuple(items), shots, len(items), notes)


def _questions(path: Path) -> list[Shot]:
    if path.suffix == ".parquet":
        rows = [
            (line, [row["question"], *row["choices"], row["answer"]])
            for line, row in read_rows(path, ("question", "choices", "answer"))
        ]
    else:
        rows = read_csv(path, columns=6)
        if rows and rows[0][1][0] == "question" and rows[0][1][5] == "answer":
            rows = rows[1:]
    if not rows:
        raise DataError(f"{path}: the file holds no question.")
    return [
        Shot(str(cells[0]), _letter(path, line, str(cells[5])), choices=tuple(str(cell) for cell in cells[1:5]))
        for line, cells in rows
    ]


def _letter(path: Path, line: int, answer: str) -> str:
    """Return the answer as a letter; the original files give letters, re-exported ones 0..3."""
    answer = answer.strip()
    if answer in LETTERS and len(answer) == 1:
        return answer
    if answer in ("0", "1", "2", "3"):
        return LETTERS[int(answer)]
    raise DataError(f"{path}:{line}: the answer is {answer!r}; expected A..D or 0..3.")


def prompt(item: Item, shots: Shots, preset: Preset) -> Prompt:
    """Header, solved examples, question."""
    if preset.extractor == "first letter":
        blocks = [shots.header.replace("  ", " ")]
        blocks += [f"{_flan_question(shot.question, shot.choices)}\nA: ({shot.answer})" for shot in shots.examples]
        text = "\n\n".join([*blocks, _flan_question(item.question, item.choices)])
        return Prompt(f"{text}\nA:", text, "A:")
    blocks = [shots.header]
    blocks += [f"{_question(shot.question, shot.choices)}\nAnswer: {shot.answer}" for shot in shots.examples]
    text = "\n\n".join([*blocks, f"{_question(item.question, item.choices)}\nAnswer:"])
    return Prompt(text, text, "The answer is:" if preset.kind == "choice" else "")


def _question(question: str, choices: Sequence[str]) -> str:
    return "\n".join([question, *(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=True))])


def _flan_question(question: str, choices: Sequence[str]) -> str:
    options = " ".join(f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=True))
    return f"Q: {question}\n{options}"


def extract(completion: str, item: Item, preset: Preset) -> str | None:
    """Read the letter: the first one standing alone (flan), or the one the completion begins with."""
    if preset.extractor == "first letter":
        return choice_letter(completion)
    start = completion.strip()[:1]
    return start if start and start in LETTERS else None


def score(answer: str, item: Item, preset: Preset) -> float:
    """Return 1 for the right letter, else 0."""
    return float(answer == item.target)
