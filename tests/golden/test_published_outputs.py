"""Published model outputs, scored by our extractors, give the published numbers to the digit."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from herdbook.evals.benchmark import Loaded, Selection, needed_files, select

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def published(name: str, folder: str) -> tuple[Selection, Loaded]:
    if not (DATA / folder).is_dir():
        pytest.skip(f"the public data folder {DATA / folder} is not on this machine")
    chosen = select(name)
    files = needed_files(chosen, [path for path in (DATA / folder).rglob("*") if path.is_file()])
    return chosen, chosen.benchmark.load(files, chosen.preset)


# The published direct prompts of two tasks have a slip in a shot that cot-prompts do not have ("01/03/1961" for 1963,
# "thehg sy dance" for "the dance").
OTHER_SHOTS = {("direct", "date_understanding"), ("direct", "tracking_shuffled_objects_three_objects")}


@pytest.mark.parametrize(
    ("name", "kind", "mean"), [("bbh@paper", "direct", 55.4857), ("bbh@paper-cot", "cot", 81.1143)]
)
def test_bbh_code_davinci_002(name: str, kind: str, mean: float) -> None:
    chosen, loaded = published(name, "bbh")
    accuracies = []
    for path in sorted((DATA / "bbh" / f"code-davinci-002-{kind}").glob("*.json.gz")):
        task = path.name.split(".")[0]
        items = [item for item in loaded.items if item.task == task]
        outputs = json.loads(gzip.decompress(path.read_bytes()))["outputs"]
        right = 0.0
        for item, output in zip(items, outputs, strict=True):
            assert item.target == output["target"]
            if (kind, task) not in OTHER_SHOTS:
                assert chosen.benchmark.prompt(item, loaded.shots[task], chosen.preset).plain == output["input"]
            answer = chosen.benchmark.extract(output["prediction"], item, chosen.preset)
            right += 0.0 if answer is None else chosen.benchmark.score(answer, item, chosen.preset)
        metrics = json.loads(path.with_name(f"{task}_eval_metrics.jsonl").read_text(encoding="utf-8"))
        assert 100 * right / len(items) == pytest.approx(metrics["accuracy"], abs=1e-9), task
        accuracies.append(100 * right / len(items))
    assert len(accuracies) == 14
    assert sum(accuracies) / 14 == pytest.approx(mean, abs=5e-5)


@pytest.mark.parametrize(("model", "correct"), [("6b_finetuning", 286), ("175b_finetuning", 458)])
def test_gsm8k_example_solutions(model: str, correct: int) -> None:
    chosen, loaded = published("gsm8k@paper", "gsm8k")
    with gzip.open(DATA / "gsm8k" / "example_model_solutions_finetuning.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    flags = []
    for item, row in zip(loaded.items, rows, strict=True):
        assert item.question == row["question"].strip()
        answer = chosen.benchmark.extract(row[model]["solution"], item, chosen.preset)
        flags.append(answer is not None and chosen.benchmark.score(answer, item, chosen.preset) == 1.0)
    assert flags == [row[model]["is_correct"] for row in rows]
    assert sum(flags) == correct
    assert len(flags) == 1319


def test_gsm8k_targets_are_canonical_numbers() -> None:
    chosen, loaded = published("gsm8k@zero-shot", "gsm8k")
    for item in loaded.items:
        for text in (f"... so it is ${item.target}.", f"The answer is {item.target}", f"#### {item.target}"):
            answer = chosen.benchmark.extract(text, item, chosen.preset)
            assert answer is not None
            assert chosen.benchmark.score(answer, replace(item), chosen.preset) == 1.0


def test_mmlu_has_the_published_number_of_questions() -> None:
    _, loaded = published("mmlu", "mmlu")
    assert loaded.available == 7164
    assert len(loaded.shots) == 34
    assert all(len(shots.examples) == 5 for shots in loaded.shots.values())
    assert "23 subjects have no test file" in loaded.notes[0]


def test_bbh_has_27_files_in_23_families() -> None:
    _, loaded = published("bbh", "bbh")
    assert loaded.available == 6511
    assert len({item.task for item in loaded.items}) == 27
    assert len({item.family for item in loaded.items}) == 23
