"""Every benchmark file keeps the contract, and its data in the formats of the world."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from herdbook.core.errors import ConfigError, DataError
from herdbook.evals.benchmark import (
    EvaluationOptions,
    Item,
    Loaded,
    Shot,
    Shots,
    names,
    needed_files,
    preset_from,
    preset_identity,
    select,
)
from herdbook.evals.items import draw

CASES = [(name, preset) for name in names() for preset in sorted(select(name).benchmark.PRESETS)]


@pytest.mark.parametrize("name", names())
def test_every_benchmark_says_what_it_is_and_reads_its_own_examples(name: str) -> None:
    benchmark = select(name).benchmark
    assert benchmark.DESCRIPTION
    assert benchmark.LICENCE
    assert benchmark.NEEDS
    assert benchmark.FILES
    assert benchmark.VERSION >= 1
    assert benchmark.DEFAULT_PRESET in benchmark.PRESETS
    assert benchmark.EXAMPLES
    item = Item("i", "t", "Which?", "B", ("one", "two", "three", "four"))
    for example in benchmark.EXAMPLES:
        assert benchmark.extract(example.completion, item, benchmark.PRESETS[example.preset]) == example.answer


@pytest.mark.parametrize(("name", "preset_name"), CASES)
def test_every_preset_prompts_in_both_forms_and_round_trips(name: str, preset_name: str) -> None:
    chosen = select(name, preset_name)
    item = Item("i", "t", "Which is it?", "B", ("one", "two", "three", "four"))
    examples = (Shot("Shot question", "A", "Because. So the answer is A.", item.choices),)
    shots = Shots("Header.", examples[: chosen.preset.shots])
    prompt = chosen.benchmark.prompt(item, shots, chosen.preset)
    for text in (prompt.plain, prompt.user):
        assert "Which is it?" in text
        assert ("Shot question" in text) == bool(chosen.preset.shots)
    assert prompt.plain.endswith((prompt.answer_start, "\n", ":"))
    assert chosen.preset.description
    assert len(chosen.preset.description) > 40
    identity = preset_identity(chosen.preset)
    assert json.loads(json.dumps(identity)) == identity
    assert preset_identity(preset_from(identity)) == identity


def test_names_are_found_and_misspellings_answered() -> None:
    assert select("bbh@paper-cot").label == "bbh@paper-cot"
    assert select("bbh").label == "bbh"
    assert select("gsm8k", "paper").preset_name == "paper"
    with pytest.raises(ConfigError, match="'gsm8k'"):
        select("gsm8")
    with pytest.raises(ConfigError, match="'instructeval'"):
        select("mmlu@instruct-eval")


def test_options_change_the_preset() -> None:
    preset = select("gsm8k", options=EvaluationOptions(shots=2, chat=False, max_new_tokens=64)).preset
    assert (preset.shots, preset.chat, preset.max_new_tokens) == (2, False, 64)
    assert select("skill", options=EvaluationOptions(extract="So")).preset.phrase == "So"


def test_absent_data_says_what_is_needed_and_from_where(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match=r"grade-school-math .*MIT"):
        needed_files(select("gsm8k"), [tmp_path / "other.txt"])
    with pytest.raises(DataError, match="no data given"):
        needed_files(select("mmlu"), [])


def load(name: str, *paths: Path, **options: int) -> Loaded:
    chosen = select(name, options=EvaluationOptions(**options))  # type: ignore[arg-type]
    return chosen.benchmark.load(list(paths), chosen.preset)


def test_mmlu_reads_original_and_exported_files_alike(tmp_path: Path) -> None:
    rows = '"Two, or not?",1,2,3,4,{}\nNext?,a,b,c,d,{}\n'
    original, exported = tmp_path / "a" / "law_test.csv", tmp_path / "b" / "law_test.csv"
    for path, text in (
        (original, rows.format("C", "A")),
        (exported, "question,choice0,choice1,choice2,choice3,answer\n" + rows.format(2, 0)),
    ):
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8")
    assert load("mmlu", original, shots=0).items == load("mmlu", exported, shots=0).items
    item = load("mmlu", original, shots=0).items[0]
    assert item.target == "C"
    assert item.question == "Two, or not?"
    assert item.chance == 0.25
    with pytest.raises(DataError, match="no dev file"):
        load("mmlu", original)
    original.write_text("Q,1,2,3,4,E\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"law_test.csv:1: the answer is 'E'"):
        load("mmlu", original, shots=0)
    original.write_text("Q,1,2,3,A\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"law_test.csv:1: expected 6 columns, found 5"):
        load("mmlu", original, shots=0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no record"),
        ('{"id": 1, "question": "q", "answer": "a"}\n{"id": 2', r"jsonl:2:\d+: this is not JSON"),
        ('{"id": 1, "question": "q"}\n', r"jsonl:1: the record has no 'answer'"),
        ('{"id": 1, "question": "q", "answer": "a"}\n' * 2, r"jsonl:2: the id '1' stands on line 1 already"),
        ("[1]\n", "expected a JSON object"),
    ],
)
def test_a_broken_benchmark_file_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        load("skill", path)


def test_damaged_files_get_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00broken")
    with pytest.raises(DataError, match="gzip"):
        load("skill", path)
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"id": 1}\n\xff\xfe')
    with pytest.raises(DataError, match=r"x.jsonl:2: the file is not UTF-8"):
        load("skill", path)


def bbh_folder(folder: Path, tasks: dict[str, int]) -> list[Path]:
    """Write task files and prompts of our own in the published layout."""
    for task, count in tasks.items():
        examples = [{"input": f"{task} {i}?", "target": "Yes" if i % 4 else "No"} for i in range(count)]
        (folder / f"{task}.json").write_text(json.dumps({"canary": "", "examples": examples}), encoding="utf-8")
        blocks = [f"Q: old {i}?\nA: Let's think step by step.\nHm {i}. So the answer is Yes." for i in range(3)]
        text = "\n\n".join([f"canary\n-----\nAnswer {task}.\n\nReally.", *blocks])
        (folder / f"{task}.txt").write_text(text, encoding="utf-8")
    return sorted(folder.iterdir())


def test_bbh_shots_show_or_hide_their_reasoning(tmp_path: Path) -> None:
    files = bbh_folder(tmp_path, {"navigate": 8})
    for preset, shown in (
        ("paper-cot", "A: Let's think step by step.\nHm 0. So the answer is Yes.\n\n"),
        ("paper", "A: Yes\n\n"),
    ):
        chosen = select("bbh", preset)
        loaded = chosen.benchmark.load(files, chosen.preset)
        text = chosen.benchmark.prompt(loaded.items[0], loaded.shots["navigate"], chosen.preset).plain
        assert text.startswith("Answer navigate.\n\nReally.\n\nQ: old 0?\n" + shown)
        assert loaded.items[0].chance == 0.75
        assert "26 of 27 tasks are absent" in loaded.notes[0]


def test_instructeval_does_not_score_the_items_it_shows(tmp_path: Path) -> None:
    loaded = load("bbh@instructeval", *bbh_folder(tmp_path, {"navigate": 8}))
    assert [item.id for item in loaded.items] == [f"bbh:navigate:{i}" for i in range(3, 8)]
    assert [shot.question for shot in loaded.shots["navigate"].examples] == [f"navigate {i}?" for i in range(3)]


def test_bbh_without_published_prompts_says_where_they_are(tmp_path: Path) -> None:
    files = [path for path in bbh_folder(tmp_path, {"navigate": 4}) if path.suffix == ".json"]
    with pytest.raises(DataError, match=r"cot-prompts/navigate.txt of https"):
        load("bbh@paper", *files)
    assert len(load("bbh@instructeval", *files).items) == 1


def test_limits_are_spread_over_tasks(tmp_path: Path) -> None:
    chosen = select("bbh@instructeval")
    loaded = chosen.benchmark.load(bbh_folder(tmp_path, {"navigate": 40, "snarks": 5, "ruin_names": 20}), chosen.preset)
    tasks = [item.task for item in draw(loaded, chosen.preset, 12, 0)]
    assert {task: tasks.count(task) for task in tasks} == {"navigate": 5, "ruin_names": 5, "snarks": 2}
    assert draw(loaded, chosen.preset, 12, 0) != draw(loaded, chosen.preset, 12, 1)


def test_gsm8k_reads_shots_without_calculator_marks(tmp_path: Path) -> None:
    row = {"question": "q?", "answer": "2*2=<<2*2=4>>4\n#### 4,000"}
    for name in ("test.jsonl", "train.jsonl"):
        (tmp_path / name).write_text((json.dumps(row) + "\n") * 9, encoding="utf-8")
    loaded = load("gsm8k@tulu", *sorted(tmp_path.iterdir()))
    shot = loaded.shots["gsm8k"].examples[0]
    assert (shot.rationale, shot.answer, len(loaded.shots["gsm8k"].examples)) == ("2*2=4", "4000", 8)
    with pytest.raises(DataError, match="8 solved examples"):
        load("gsm8k@tulu", tmp_path / "test.jsonl")
    assert load("gsm8k@zero-shot", tmp_path / "test.jsonl").available == 9
