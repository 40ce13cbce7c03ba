"""The report without a browser: what it says, what it must never contain, and that it degrades gracefully."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from fake_run import HOSTILE, MIXES, SKILLS, make_run
from herdbook.core.progress import SilentProgress
from herdbook.evals.matrix import Cell
from herdbook.report import findings, tables
from herdbook.report.plots import Curve, Histogram, draw_curves, draw_histogram
from herdbook.report.run_record import RunRecord
from herdbook.report.samples import choose
from herdbook.report.stages import REPORT


def report(folder: Path, config: dict, artifacts: dict) -> str:
    """Run the step and return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    REPORT.run(REPORT.Config(**config), artifacts, SimpleNamespace(out=folder, progress=SilentProgress()))
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict, Path]:
    folder = tmp_path_factory.mktemp("run")
    config, artifacts = make_run(folder / "artifacts", items=80)
    report(folder / "out", config, artifacts)
    return config, artifacts, folder / "out"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict]:
    return make_run(tmp_path_factory.mktemp("small"), ["untuned", "lookup-only", "steps"], items=20)


@pytest.fixture(scope="module")
def page(made: tuple[dict, dict, Path]) -> str:
    return (made[2] / "report.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Collects tags, and checks that they nest."""

    VOID = ("meta", "link", "br", "col", "input", "img", "hr", "path", "rect")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def test_page_refers_to_nothing_outside_itself(page: str) -> None:
    for tag, attributes in parsed(page).seen:
        assert tag not in ("iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or (tag, value) == ("link", "data:,"), (tag, name, value)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "@import" not in style
    assert "url(" not in style


def test_hostile_answers_are_text(page: str) -> None:
    assert HOSTILE not in page
    assert "&lt;script&gt;window.hacked" in page
    tags = parsed(page).seen
    assert [tag for tag, _ in tags].count("script") == 1
    assert "img" not in [tag for tag, _ in tags]


def test_hostile_names_are_text(small: tuple[dict, dict], tmp_path: Path) -> None:
    config, artifacts = small
    evil = '"><script>hacked()</script> $x$'
    swap = json.loads(json.dumps(config).replace('"lookup-only"', json.dumps(evil)))
    places = {"lookup-only": evil, "source:json": f"source:{evil}", "prepare:steps": f"prepare:{evil}"}
    renamed = {}
    for name, found in artifacts.items():
        for old, new in places.items():
            name = name.replace(old, new)
        renamed[name] = found
    for row in swap["rows"]:
        row["input"] = row["input"].replace("lookup-only", evil)
    page = report(tmp_path / "out", swap | {"recipe": evil, "text": evil}, renamed)
    assert [tag for tag, _ in parsed(page).seen].count("script") == 1


def test_same_input_gives_same_bytes(made: tuple[dict, dict, Path], page: str, tmp_path: Path) -> None:
    assert report(tmp_path, made[0], made[1]) == page


def test_ids_are_unique_and_references_resolve(page: str) -> None:
    ids = [attributes["id"] for _, attributes in parsed(page).seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    for reference in re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', page):
        assert (reference[0] or reference[1]) in ids


def test_every_cell_has_a_tile_and_matrix_json_every_score(made: tuple[dict, dict, Path], page: str) -> None:
    tiles = [a for tag, a in parsed(page).seen if tag == "td" and "cell" in (a.get("class") or "").split()]
    assert len(tiles) == len(MIXES) * len(SKILLS)
    rows = json.loads((made[2] / "matrix.json").read_text(encoding="utf-8"))
    assert len(rows) == len(made[0]["rows"])
    assert set(rows[0]) == {"mix", "benchmark", "metric", "value", "low", "high", "n", "seed"}


def test_page_stays_small(page: str) -> None:
    assert len(page.encode()) < 1_500_000


def test_story_of_the_run_is_found(page: str) -> None:
    text = re.sub(r"<[^>]+>", "", page)
    claim = r"sums rises from \d+ % \(untuned\) to \d+ % with [\w-]+; all 2 mixes with steps gain, no other does\."
    assert re.search(claim, text)
    assert "trivia does not rise above chance with any mix" in text
    assert "trivia rises" not in text


@pytest.mark.parametrize(
    "roles",
    [("scores", "items", "base"), ("scores",), ("source", "prepare", "mix"), ("train", "base", "encode", "scores"), ()],
    ids=" ".join,
)
def test_missing_pieces_leave_a_page(small: tuple[dict, dict], tmp_path: Path, roles: tuple[str, ...]) -> None:
    config, artifacts = small
    kept = {name: artifact for name, artifact in artifacts.items() if name.split(":")[0] in roles}
    rows = [row for row in config["rows"] if row["input"] in kept]
    page = report(tmp_path, config | {"rows": rows}, kept)
    assert "<h1>camels</h1>" in page
    parsed(page)


def test_reused_steps_are_told(small: tuple[dict, dict], tmp_path: Path) -> None:
    config, artifacts = small
    page = report(tmp_path, config | {"reused": [name for name in artifacts if name.startswith("train:")]}, artifacts)
    assert "2 reused" in page
    assert "reused" not in REPORT.Config(**config, reused=[]).model_dump()


def cell(mix: str, value: float, diff: float | None, significant: bool, **more: object) -> Cell:
    fields = {"low": value - 0.05, "high": value + 0.05, "n": 100, "seeds": (0,), "chance": 0.25}
    fields |= {"above_chance": value > 0.4, "chance_p": 0.01, "chance_p_adjusted": 0.02, "invalid": 0}
    if diff is not None:
        fields |= {"diff": diff, "diff_low": diff - 0.1, "diff_high": diff + 0.1, "p": 0.001, "p_adjusted": 0.004}
    return Cell(mix, "skill", "accuracy", value, **fields, significant=significant, **more)  # type: ignore[arg-type]


def empty_record(mixes: tuple[str, ...]) -> RunRecord:
    return RunRecord("r", "", mixes, ("skill",), "a", {}, ())


def test_no_claim_without_significance() -> None:
    cells = [cell("a", 0.3, None, False), cell("b", 0.9, 0.6, False)]
    found = findings.build_findings(empty_record(("a", "b")), cells)
    assert [finding.kind for finding in found] == ["flat"]
    assert found[0].text == "No mix differs significantly from a on skill."


def test_loss_is_a_finding_and_chance_is_not() -> None:
    cells = [cell("a", 0.8, None, False), cell("b", 0.3, -0.5, True)]
    found = findings.build_findings(empty_record(("a", "b")), cells)
    assert [finding.kind for finding in found] == ["loss"]
    assert found[0].text == "skill falls from 80 % (a) to 30 % with b."


def test_colour_is_evidence() -> None:
    assert tables.value_level(cell("b", 0.3, 0.0, False)) == 0
    assert tables.value_level(cell("b", 1.0, 0.0, False)) == tables.VALUE_LEVELS
    assert tables.difference_level(cell("b", 0.9, 0.5, False)) == 0
    assert tables.difference_level(cell("b", 0.9, 0.05, True)) == 1
    assert tables.difference_level(cell("b", 0.2, -0.9, True)) == -tables.DIFFERENCE_LEVELS


def test_tile_without_significance_says_so() -> None:
    view = tables.cell_view(cell("b", 0.9, 0.1, False), "a")
    assert (view.kind, view.diff) == ("same", "+10.0")
    assert "not significant" in view.sentence
    assert "Difference to a: +10.0 points" in view.sentence
    assert tables.cell_view(None, "a").kind == "missing"


def test_numbers_are_formatted_for_people() -> None:
    assert tables.points(-0.0712) == "−7.1"
    assert tables.points(-0.0001) == "0.0"
    assert tables.percent(0.8944) == "89.4"
    assert tables.p_value(0.00001) == "p < 0.001"
    assert tables.number(15400) == "15\u202f400"


def test_items_that_split_the_mixes_come_first() -> None:
    scores = {"all": [1, 1, 1], "none": [0, 0, 0], "one": [1, 0, 0], "same": [1, 0, 0], "two": [1, 1, 0]}
    assert choose(scores, 2) == ["one", "two"]
    assert choose(scores, 9)[:4] == ["one", "two", "all", "none"]
    assert sorted(choose(scores, 9)) == sorted(scores)


def test_few_curves_share_a_panel_and_many_do_not() -> None:
    curves = [Curve(f"mix {n}", tuple(range(500)), tuple(5 / (1 + i) + n for i in range(500))) for n in range(9)]
    assert len(draw_curves(curves[:4])) == 1
    assert [caption for caption, _ in draw_curves(curves)] == [f"mix {n}" for n in range(9)]
    assert draw_curves([]) == []


def test_drawings_use_the_colours_of_the_page() -> None:
    svg = draw_histogram(Histogram((0, 10, 20, 30), (3, 9, 1)), 2, 30, "lengths-2")
    assert "var(--source-2)" in svg
    assert "var(--rule)" in svg
    assert not re.search(r"#[0-9a-f]{6}\b", svg)
    assert "<style" not in svg
    assert "DejaVu" not in svg


def test_kin_are_compared(page: str) -> None:
    text = re.sub(r"<[^>]+>", "", page)
    assert re.search(r"narrow[\w-]* continues from everything with .*: .*loses on \w+ \(\d+ → \d+ %\)", text)
    same = (
        "everything on builtin:cria and everything-on-blank on builtin:blank learn the same data: the first is better"
    )
    assert same in text
