"""Keeping the conversations of a batch apart, and the proof before the first step that they are.

Three layouts, all of them exact where their self-check passes:

- `rows`: one conversation a row, padded on the right, no mask. A causal model cannot look to the right.
- `documents`: all conversations in one row; attention runs once for each of them. No padding, no mask.
- `mask`: all conversations in one row under a block-diagonal mask.

OPT, Falcon, BLOOM and MPT accept position ids of packed rows and let the conversations see each other without a word;
therefore nobody trusts an architecture's name here: two short conversations are run both ways and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from herdbook.core.errors import ModelError
from herdbook.core.progress import Progress
from herdbook.train.batch import PackedBatch
from herdbook.train.head import embedding_rows, hidden_states

Layout = Literal["rows", "documents", "mask"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

ROWS_ATTENTION = "herdbook_rows"
DOCUMENTS_ATTENTION = "herdbook_documents"
SHORT_ROW = 512  # tokens up to which plain matrix products beat torch's bfloat16 CPU kernel (its backward: 3-20 times)
CHECK_LENGTHS = (7, 5)
TOLERANCE = 1e-4  # relative to the spread of the hidden states; exact layouts differ by 1e-6, mixed ones by over 1e-2


def rows_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention [R, heads, L, d] -> [R, L, heads, d] by torch's kernel; short bfloat16 CPU rows by products."""
    length = query.shape[2]
    low = query.device.type == "cpu" and length <= SHORT_ROW and _is_low(query)
    if torch.compiler.is_compiling() and _is_plain_causal(module, length):
        attention_mask = None  # transformers leaves a causal mask out by itself, except when it is compiled
    if not low or attention_mask is not None or dropout or key.shape[2] != length:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    groups = query.shape[1] // key.shape[1]
    query, key, value = (x.to(torch.bfloat16) for x in (query, key, value))  # rotary positions made them float32
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    rows, heads, _, width = query.shape
    future = torch.full((length, length), float("-inf"), dtype=query.dtype).triu(1)
    query = query * (width**-0.5 if scaling is None else scaling)
    scores = torch.baddbmm(future, query.reshape(-1, length, width), key.reshape(-1, length, width).transpose(1, 2))
    mixed = torch.softmax(scores, -1) @ value.reshape(-1, length, width)
    return mixed.view(rows, heads, length, width).transpose(1, 2).contiguous(), None


def _is_plain_causal(module: nn.Module, length: int) -> bool:
    """True if causality is all that a mask of these rows can say: no window or chunk shorter than the row."""
    config = getattr(module, "config", None)
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return getattr(module, "is_causal", False) and not any(window and window < length for window in windows)


def _is_low(query: Tensor) -> bool:
    """True if attention would be computed in bfloat16: the type of the query, or that of autocast."""
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return query.dtype == torch.bfloat16 or autocast


def documents_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    segment_lengths: Sequence[int] = (),
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each segment of a row, [1, heads, T, d] -> [1, T, heads, d]; no lengths: one segment."""
    segment_lengths = segment_lengths or [query.shape[2]]
    if sum(segment_lengths) != query.shape[2] or attention_mask is not None:
        raise ValueError(f"segment lengths {list(segment_lengths)} do not cover a row of {query.shape[2]} tokens")
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise ValueError("capped attention or attention with sinks needs the model's own implementation")
    parts = [
        functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
        )
        for q, k, v in zip(*(x.split(list(segment_lengths), dim=2) for x in (query, key, value)), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def register() -> None:
    """Make our attention functions known to transformers."""
    AttentionInterface.register(ROWS_ATTENTION, rows_attention)
    AttentionMaskInterface.register(ROWS_ATTENTION, sdpa_mask)
    AttentionInterface.register(DOCUMENTS_ATTENTION, documents_attention)


@dataclass(frozen=True, slots=True)
class Isolation:
    """The layout that a model is trained in, and the keyword arguments that its forward pass needs for a batch."""

    layout: Layout

    def arguments(self, batch: PackedBatch) -> dict[str, Any]:
        if self.layout == "rows":
            return {}
        arguments: dict[str, Any] = {"position_ids": batch.position_RL}
        if self.layout == "documents":
            return arguments | {"segment_lengths": torch.bincount(batch.segment_RL[0]).tolist()}
        segment = batch.segment_RL
        same = (segment[:, :, None] == segment[:, None, :]).tril()
        shut = torch.finfo(torch.float32).min
        return arguments | {
            "attention_mask": torch.zeros(same.shape, device=same.device).masked_fill(~same, shut)[:, None]
        }


def choose_isolation(model: PreTrainedModel, wanted: Layout, longest: int, progress: Progress) -> Isolation:
    """Set the model's attention up for `wanted`, or for what is exact instead, and say so.

    `longest` is the longest conversation in tokens. Raises ModelError if not even `rows` is exact: then the model is
    not causal and cannot be trained on next tokens.
    """
    register()
    stock = model.config._attn_implementation or "eager"
    fallbacks: dict[Layout, list[Layout]] = {
        "documents": ["documents", "mask", "rows"],
        "mask": ["mask", "rows"],
        "rows": ["rows"],
    }
    reasons: list[str] = []
    for layout in fallbacks[wanted]:
        reason = _set_up(model, layout, longest) or isolation_problem(model, Isolation(layout))
        if reason is None:
            if reasons:
                progress.note(f"Conversations are laid out as {layout!r}: " + "; ".join(reasons) + ".")
            return Isolation(layout)
        reasons.append(f"{layout!r} is not exact for {type(model).__name__} ({reason})")
        model.set_attn_implementation(stock)
    if isolation_problem(model, Isolation("rows")) is None:  # with the model's own attention
        return Isolation("rows")
    raise ModelError(
        f"{type(model).__name__} cannot be trained here: " + "; ".join(reasons) + ". It seems to look at tokens to the "
        "right of the one it predicts; use a decoder-only (causal) base model."
    )


def isolation_problem(model: PreTrainedModel, isolation: Isolation) -> str | None:
    """Run two short conversations together and alone; return what is wrong, or None if the results agree."""
    device = next(model.parameters()).device
    source = torch.Generator().manual_seed(0)
    ids = torch.randint(0, embedding_rows(model), (sum(CHECK_LENGTHS),), generator=source).to(device)
    conversations = ids.split(list(CHECK_LENGTHS))
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            batch = _check_batch(conversations, isolation.layout)
            together = hidden_states(model, batch.ids_RL, **isolation.arguments(batch))
            found = [together[batch.segment_RL == number] for number in range(len(conversations))]
            alone = [hidden_states(model, conversation[None])[0] for conversation in conversations]
    except (TypeError, ValueError, RuntimeError) as error:  # the ways in which architectures refuse an argument
        return f"it refuses: {str(error).splitlines()[0]}"
    finally:
        model.train(training)
    error = max(float((a - b).abs().max() / (b.std() + 1e-6)) for a, b in zip(found, alone, strict=True))
    return None if error <= TOLERANCE else f"conversations see each other, off by {error:.1e}"


def _check_batch(conversations: Sequence[Tensor], layout: Layout) -> PackedBatch:
    if layout == "rows":
        ids = nn.utils.rnn.pad_sequence(list(conversations), batch_first=True)
        lengths = torch.tensor([len(x) for x in conversations], device=ids.device)[:, None]
        position = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        number = torch.arange(len(conversations), device=ids.device)[:, None]
        segment = torch.where(position < lengths, number, -1)
    else:
        ids = torch.cat(list(conversations))[None]
        position = torch.cat([torch.arange(len(x), device=ids.device) for x in conversations])[None]
        segment = torch.cat([torch.full_like(x, number) for number, x in enumerate(conversations)])[None]
    return PackedBatch(ids, torch.ones_like(ids, dtype=torch.float32), position, segment)


def _set_up(model: PreTrainedModel, layout: Layout, longest: int) -> str | None:
    """Choose the attention function of `layout`; return why it cannot be used, or None."""
    config = model.config.get_text_config()
    if layout == "mask" or config._attn_implementation not in ("sdpa", ROWS_ATTENTION, DOCUMENTS_ATTENTION):
        return None  # the model's own attention
    if layout == "documents":
        windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
        if any(window and window < longest for window in windows):
            return "its attention window is shorter than the longest conversation"
    try:
        model.set_attn_implementation(ROWS_ATTENTION if layout == "rows" else DOCUMENTS_ATTENTION)
    except ValueError as error:
        return f"it takes no other attention function: {str(error).splitlines()[0]}"
    return None
