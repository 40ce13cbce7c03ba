"""Recipes with mistakes: each gets file:line:column, the value and the nearest name."""

from pathlib import Path

import pytest

from herdbook.core.config import parse_scalar, parse_yaml, read_yaml, set_path
from herdbook.core.errors import ConfigError


def test_yaml_1_2_scalars_are_what_the_field_expects():
    data = parse_yaml("lr: 1e-4\nanswer: no\nversion: '1.10'\nn: 3\nempty:\n", "r.yaml").data
    assert data == {"lr": 1e-4, "answer": "no", "version": "1.10", "n": 3, "empty": None}
    assert isinstance(data["lr"], float)


def test_positions_of_keys_and_items_count_from_one():
    document = parse_yaml("a: 1\nb:\n  c: 2\n  d:\n    - x\n    - y\n", "r.yaml")
    assert document.positions["b", "c"] == (3, 3)
    assert document.positions["b", "d", 1] == (6, 7)
    assert str(document.problem(("b", "d", 1), "is odd")) == "r.yaml:6:7: b.d[1]: is odd"


def test_a_duplicate_key_is_an_error_with_its_line():
    with pytest.raises(ConfigError, match=r"r\.yaml:2:1: .*duplicate"):
        parse_yaml("a: 1\na: 2\n", "r.yaml")


def test_broken_yaml_says_where():
    with pytest.raises(ConfigError, match=r"r\.yaml:2:\d+: this is not valid YAML"):
        parse_yaml("a: [1, 2\nb: }\n", "r.yaml")


def test_a_character_that_yaml_does_not_allow_is_an_error_with_its_line():
    with pytest.raises(ConfigError, match=r"r\.yaml:2: this is not valid YAML: unacceptable character"):
        parse_yaml("a: 1\nb: \x01\n", "r.yaml")


def test_not_utf8_says_which_line(tmp_path: Path):
    path = tmp_path / "r.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigError, match=r"r\.yaml:2: is not UTF-8"):
        read_yaml(path)


def test_set_path_with_a_star_reaches_every_key():
    data = {"sources": {"a": {"limit": 1}, "b": {}}}
    assert set_path(data, "sources.*.limit", 5, "test") == [("sources", "a", "limit"), ("sources", "b", "limit")]
    assert data == {"sources": {"a": {"limit": 5}, "b": {"limit": 5}}}


def test_set_path_through_a_scalar_is_an_error():
    with pytest.raises(ConfigError, match="train is 3 and not a mapping"):
        set_path({"train": 3}, "train.epochs", 1, "--set")


@pytest.mark.parametrize(
    ("text", "value"), [("1e-4", 1e-4), ("true", True), ("[1, 2]", [1, 2]), ("no", "no"), ("tulu", "tulu")]
)
def test_set_values_are_yaml(text: str, value: object):
    assert parse_scalar(text) == value
