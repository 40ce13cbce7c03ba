"""Real public files read as their README says. Skipped where the shared data folder is not beside the repository."""

from pathlib import Path

import pytest

from herdbook.data.check import check_source
from herdbook.data.source import Source, read_source

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the shared data files are not at {DATA}")

# file, format, records, rejected, conversations
FILES = [
    ("flan_v2/cot_data/aqua_train.tsv.gz", "flan_cot", 2728, 0, 2728),
    ("flan_v2/cot_data/creak_train.tsv.gz", "flan_cot", 6915, 0, 6915),
    ("flan_v2/cot_data/gsm8k_train.tsv.gz", "flan_cot", 7473, 0, 7473),
    ("flan_v2/cot_data/strategyqa_train.tsv.gz", "flan_cot", 2061, 0, 2061),
    ("code_alpaca/code_alpaca_2k.json.gz", "alpaca", 2017, 2, 2015),
    ("code_alpaca/new_codealpaca_first_half.json.gz", "alpaca", 2267, 0, 2267),
    ("llama_factory_demo/alpaca_en_demo.json.gz", "alpaca", 999, 0, 999),
    ("llama_factory_demo/alpaca_zh_demo.json.gz", "alpaca", 1000, 0, 1000),
    ("llama_factory_demo/identity.json", "alpaca", 91, 0, 91),
    ("llama_factory_demo/glaive_toolcall_en_demo.json.gz", "sharegpt", 300, 0, 300),
    ("llama_factory_demo/v1_sft_demo.jsonl.gz", "messages", 500, 0, 500),
    ("llama_factory_demo/wiki_demo.txt.gz", "text", 30, 0, 30),
    ("open_assistant/en_100_tree.jsonl.gz", "oasst", 100, 0, 546),
    ("sharegpt/dummy_conversation.json", "sharegpt", 500, 0, 500),
    ("t0_p3/app_reviews_categorize_rating_using_review.jsonl", "prompt_completion", 200, 0, 200),
    (
        "t0_p3/trec_trec1.jsonl",
        "prompt_completion",
        200,
        200,
        0,
    ),  # its completions hold the end marker and nothing else
    ("dolly/dolly_prompt_answer_151.jsonl", "prompt_completion", 151, 0, 151),
]


@pytest.mark.parametrize(
    ("name", "format", "records", "rejected", "conversations"), FILES, ids=lambda value: str(value)
)
def test_detected_format_and_counts(name: str, format: str, records: int, rejected: int, conversations: int):
    path = DATA / name
    check = check_source(Source("s", "auto", ((path, path.name),)))
    assert (check.format, check.records, check.rejected) == (format, records, rejected)
    assert check.summary.rows == conversations
    assert not check.dropped


def test_a_flan_row_as_printed():
    path = DATA / "flan_v2/cot_data/aqua_train.tsv.gz"
    first = next(iter(read_source(Source("s", "flan_cot", ((path, path.name),)))))
    assert isinstance(first, list)
    question, answer = (message.content for message in first[0].messages)
    assert question.endswith("Options:\n(A) 300\n(B) 992\n(C) 1120\n(D) 552\n(E) 312")
    assert answer.startswith("1/7:1/7:1/14 = 2:2:1\n")
    assert answer.endswith("\nThe answer is (C).")


def test_every_oasst_answer_is_on_a_path_and_no_path_repeats():
    path = DATA / "open_assistant/en_100_tree.jsonl.gz"
    made = [c for result in read_source(Source("s", "oasst", ((path, path.name),))) for c in result]  # type: ignore[union-attr]
    assert len({c.id for c in made}) == 546
    assert all(c.messages[-1].role == "assistant" and c.messages[0].role == "user" for c in made)


@pytest.mark.parametrize(
    "name",
    [
        "llama_factory_demo/dpo_en_demo.json.gz",
        "llama_factory_demo/kto_en_demo.json.gz",
        "llama_factory_demo/dataset_info.json",
    ],
)
def test_what_is_no_training_example_is_not_taken_for_one(name: str):
    path = DATA / name
    check = check_source(Source("s", "auto", ((path, path.name),)))
    assert "no known format fits" in check.problems[0].message
