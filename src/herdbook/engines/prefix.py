"""Plan of shared-prefix scoring: which requests share which tokens, decided on token ids, before any model runs.

A *context* is one distinct prefix with all its continuations; it becomes one row of a forward pass, with the
continuations side by side behind it (each sees the context and itself). Contexts that start with the same tokens (the
shots of a few-shot prompt) form a *group*: the model reads their common beginning once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

# A group costs a forward pass of its own; sharing must save at least as much work as this many tokens.
GROUP_OVERHEAD = 256
MIN_SHARED = 16
# Continuations of one context go into several rows when they would make the row longer than this and than the context.
MAX_BRANCH_TOKENS = 512


@dataclass(slots=True)
class Context:
    """A distinct prefix and its continuations; `request` are the places of these in the caller's order."""

    ids: np.ndarray  # int64, at least one token
    continuations: list[tuple[int, ...]] = field(default_factory=list)
    request: list[list[int]] = field(default_factory=list)  # per continuation: the requests it answers


@dataclass(frozen=True, slots=True)
class Target:
    """A continuation in a row: hidden state `places[j]` predicts token `ids[j]`."""

    ids: tuple[int, ...]
    places: tuple[int, ...]
    request: list[int]


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the context behind the group's prefix, then each longer continuation without its last token.

    `positions` count from the row's first token; `branches` are the (start, stop) of continuations that must not see
    each other, empty when there are fewer than two, since plain causal attention is right then.
    """

    ids: np.ndarray
    positions: np.ndarray
    context: int  # tokens of `ids` that belong to the context
    branches: tuple[tuple[int, int], ...]
    targets: list[Target]


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that share `prefix` (int64, may be empty)."""

    prefix: np.ndarray
    rows: list[Row]


def plan_scoring(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Group]:
    """Group the pairs; every pair is a target of exactly one row. Prefix and continuation need at least one token."""
    contexts = collect_contexts(pairs)
    # Big-endian bytes sort like the token ids themselves, by memcmp instead of by Python integers.
    contexts.sort(key=lambda context: context.ids.astype(">u4").tobytes())
    groups = []
    for shared, members in group_contexts(shared_lengths(contexts)):
        chosen = [contexts[i] for i in members]
        rows = [row for context in chosen for row in context_rows(context, shared)]
        groups.append(Group(chosen[0].ids[:shared], rows))
    return groups


def collect_contexts(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Context]:
    """Merge equal prefixes, and equal continuations of one prefix."""
    contexts: dict[tuple[int, ...], Context] = {}
    places: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for request, (prefix, continuation) in enumerate(pairs):
        key, target = tuple(prefix), tuple(continuation)
        known = places.get((key, target))
        if known is not None:
            known.append(request)
            continue
        context = contexts.get(key)
        if context is None:
            context = contexts[key] = Context(np.array(key, dtype=np.int64))
        context.continuations.append(target)
        context.request.append([request])
        places[key, target] = context.request[-1]
    return list(contexts.values())


def shared_lengths(contexts: Sequence[Context]) -> list[int]:
    """Of sorted contexts: how many tokens each shares with the one before (0 for the first), never all.

    The last token of a context stays in its row, because its hidden state predicts the continuation.
    """
    shared = [0] * len(contexts)
    for i in range(1, len(contexts)):
        a, b = contexts[i - 1].ids, contexts[i].ids
        most = min(len(a), len(b)) - 1
        different = np.flatnonzero(a[:most] != b[:most])
        shared[i] = int(different[0]) if len(different) else most
    return shared


def group_contexts(shared: Sequence[int]) -> list[tuple[int, list[int]]]:
    """(prefix length, members) groups of sorted contexts, from what each shares with the one before.

    Walks the prefix tree bottom-up with a stack of open nodes. A node becomes a group of its own when reading its
    prefix once more, and a forward pass, cost less than its members would pay for the tokens beyond the parent node.
    """
    groups: list[tuple[int, list[int]]] = []
    stack: list[tuple[int, list[int]]] = [(0, [])]
    for i in range(len(shared) + 1):
        depth = shared[i] if i < len(shared) else 0
        while stack[-1][0] > depth:
            length, members = stack.pop()
            parent = max(stack[-1][0], depth)
            if length >= MIN_SHARED and (length - parent) * len(members) > length + GROUP_OVERHEAD:
                groups.append((length, members))
                members = []
            if stack[-1][0] < parent:
                stack.append((parent, members))
            else:
                stack[-1][1].extend(members)
        if i == len(shared):
            break
        following = shared[i + 1] if i + 1 < len(shared) else 0
        if following > stack[-1][0]:
            stack.append((following, [i]))
        else:
            stack[-1][1].append(i)
    if stack[0][1]:
        groups.append((0, stack[0][1]))
    return groups


def context_rows(context: Context, shared: int) -> list[Row]:
    """The row of a context, or several when its continuations are many and long."""
    start = context.ids[shared:]
    budget = max(MAX_BRANCH_TOKENS, len(start))
    rows: list[Row] = []
    pending: list[int] = []
    used = 0
    for i, continuation in enumerate(context.continuations):
        tokens = len(continuation) - 1
        if pending and tokens and used + tokens > budget:
            rows.append(build_row(context, start, pending))
            pending, used = [], 0
        pending.append(i)
        used += tokens
    rows.append(build_row(context, start, pending))
    return rows


def build_row(context: Context, start: np.ndarray, chosen: Sequence[int]) -> Row:
    pieces, positions = [start], [np.arange(len(start))]
    branches: list[tuple[int, int]] = []
    targets = []
    length = len(start)
    for i in chosen:
        continuation = context.continuations[i]
        fed = len(continuation) - 1
        targets.append(
            Target(continuation, (len(start) - 1, *range(length, length + fed)), context.request[i]),
        )
        if fed:
            pieces.append(np.array(continuation[:-1], dtype=np.int64))
            positions.append(np.arange(len(start), len(start) + fed))
            branches.append((length, length + fed))
            length += fed
    return Row(
        ids=np.concatenate(pieces),
        positions=np.concatenate(positions),
        context=len(start),
        branches=tuple(branches) if len(branches) > 1 else (),
        targets=targets,
    )
