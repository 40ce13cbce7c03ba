"""ENCODE: conversations become packed tokens, with the tokenizer and chat template that made them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from herdbook.core.artifact import Artifact
from herdbook.core.errors import DataError
from herdbook.core.step import Context, StepConfig

if TYPE_CHECKING:
    from herdbook.chat.renderer import Renderer
    from herdbook.data.encode import Encoded
    from herdbook.data.pack import PackedData

TOKENIZER_FOLDER = "tokenizer"
REJECTS_FILE = "rejects.jsonl"
SOURCES_FILE = "sources.json"
EXAMPLES = 6  # rendered examples kept for the report
EXAMPLE_TOKENS = 400


class EncodeConfig(StepConfig):
    """How conversations become tokens."""

    template: str
    max_length: int = Field(gt=0)
    packing: bool = True
    seed: int = 0


class Encode:
    """Render every conversation, cut it to `max_length` and pack rows into packs of that length."""

    kind = "packed"
    version = 1
    reproducible = True
    Config = EncodeConfig

    def run(self, config: EncodeConfig, inputs: Mapping[str, Artifact], ctx: Context) -> dict[str, Any]:
        """Write the packed data, tokenizer/ and rejects.jsonl.

        Raises ModelError without a tokenizer, TemplateError when the tokenizer cannot represent the template, and
        DataError when no row is left to train on.
        """
        from herdbook.chat.renderer import load_renderer
        from herdbook.chat.tokenizer import load_tokenizer, save_tokenizer
        from herdbook.data.encode import encode_batches
        from herdbook.data.pack import PackedData
        from herdbook.data.table import CONVERSATIONS_FILE, read_batches

        tokenizer = load_tokenizer(inputs["model"].path / "model")
        renderer = load_renderer(tokenizer, config.template)
        problems = renderer.problems()
        for problem in problems:
            ctx.progress.note(problem)
        total = inputs["conversations"].stats.get("rows")
        encoded = encode_batches(
            read_batches(inputs["conversations"].path / CONVERSATIONS_FILE),
            renderer,
            config.max_length,
            lambda rows: ctx.progress.update(rows, total, unit="rows"),
        )
        _write_rejects(ctx.out / REJECTS_FILE, encoded)
        if len(encoded.offsets) == 1:
            raise DataError(_nothing_left(encoded, config))
        packs, pack_offsets, fill = _pack(encoded, config)
        data = PackedData(encoded.ids, encoded.trained, encoded.offsets, encoded.sources, packs, pack_offsets)
        data.save(ctx.out)
        (ctx.out / SOURCES_FILE).write_text(json.dumps(encoded.source_names, ensure_ascii=False) + "\n", "utf-8")
        save_tokenizer(tokenizer, ctx.out / TOKENIZER_FOLDER, renderer.jinja)
        licences = inputs["conversations"].stats.get("licences", [])
        return _stats(encoded, data, fill, renderer, config) | {"problems": problems, "licences": licences}


ENCODE = Encode()


def _pack(encoded: Encoded, config: EncodeConfig) -> tuple[Any, Any, float]:
    """Row order, pack borders and the share of a pack's room that is filled (unpacked: of the longest row's)."""
    import numpy as np

    from herdbook.data.pack import pack_lengths

    lengths = np.diff(encoded.offsets)
    if not config.packing:
        room = len(lengths) * int(lengths.max())
        return np.arange(len(lengths)), np.arange(len(lengths) + 1), int(lengths.sum()) / room
    packs = pack_lengths(lengths, config.max_length, config.seed)
    pack_offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in packs])]).astype(np.int64)
    return np.concatenate(packs), pack_offsets, int(lengths.sum()) / (len(packs) * config.max_length)


def _stats(encoded: Encoded, data: PackedData, fill: float, renderer: Renderer, config: EncodeConfig) -> dict[str, Any]:
    import numpy as np

    lengths = data.lengths
    before = np.concatenate([[0], np.cumsum(data.trained, dtype=np.int64)])
    trained = before[data.offsets[1:]] - before[data.offsets[:-1]]
    edges = _edges(config.max_length)
    by_source = {}
    for number, name in enumerate(encoded.source_names):
        mine = data.sources == number
        counts = np.histogram(lengths[mine], edges)[0]
        by_source[name] = {
            "rows": int(mine.sum()),
            "tokens": int(lengths[mine].sum()),
            "trained_tokens": int(trained[mine].sum()),
            "lengths": {"edges": edges, "counts": counts.tolist()},
        }
    return {
        "rows": len(lengths),
        "tokens": len(data.ids),
        "trained_tokens": int(before[-1]),
        "truncated": encoded.truncated,
        "lost_end": encoded.lost_end,
        "rejected": len(encoded.rejected),
        "reasons": encoded.reasons,
        "fill": round(fill, 6),
        "packs": data.num_packs,
        "by_source": by_source,
        "special_text_neutralised": encoded.special_text,
        "fingerprint": renderer.fingerprint,
        "examples": _examples(data, renderer),
    }


def _edges(max_length: int) -> list[int]:
    """Borders of a length histogram: 1, 2, 3, 4, 6, 8, 12, 16, ... with the last above `max_length`."""
    edges = [1, 2]
    while edges[-1] <= max_length:
        power = 1 << (edges[-1].bit_length() - 1)
        edges.append(power + power // 2 if edges[-1] == power and power > 1 else 2 * power)
    return edges


def _examples(data: PackedData, renderer: Renderer) -> list[list[list[Any]]]:
    """The first row of every source as [text, 1 if trained else 0] spans."""
    import numpy as np

    from herdbook.chat.spans import trained_spans

    firsts = sorted(np.unique(np.asarray(data.sources), return_index=True)[1].tolist())[:EXAMPLES]
    examples = []
    for row in firsts:
        part = slice(int(data.offsets[row]), min(int(data.offsets[row + 1]), int(data.offsets[row]) + EXAMPLE_TOKENS))
        spans = trained_spans(np.asarray(data.ids[part]), np.asarray(data.trained[part]), renderer.tokenizer)
        examples.append([[text, int(on)] for text, on in spans])
    return examples


def _write_rejects(file: Path, encoded: Encoded) -> None:
    with file.open("w", encoding="utf-8") as stream:
        for row in encoded.rejected:
            meta = json.loads(row.meta)
            record = {
                "id": row.id,
                "source": row.source,
                "file": meta.get("file", row.source),
                "line": meta.get("line", 0),
                "field": "messages",
                "reason": row.reason,
                "detail": row.detail,
            }
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def _nothing_left(encoded: Encoded, config: EncodeConfig) -> str:
    if not encoded.rejected:
        return "There is no conversation to encode: the data is empty after preparation. Check sources and limits."
    first = encoded.rejected[0]
    detail = f" ({first.detail})" if first.detail else ""
    return (
        f"None of the {len(encoded.rejected)} conversations can be trained on with template {config.template!r} and "
        f"max_length {config.max_length}. Most frequent reason: {next(iter(encoded.reasons))}. For example "
        f"{first.id!r} of source {first.source!r}: {first.reason}{detail}. Raise max_length or check the source."
    )
