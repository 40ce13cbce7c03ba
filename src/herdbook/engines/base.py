"""How Herdbook talks to a model: token ids in, token ids and log-probabilities out; or messages in, text out.

What needs log-likelihoods takes an `Engine`; what only talks takes a `ChatModel`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from herdbook.core.progress import Progress
from herdbook.core.types import Message

Termination = Literal["stop", "length"]
TokenIds = Sequence[int]
Decode = Callable[[TokenIds], str]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn. The default is greedy decoding of one answer.

    `temperature` 0 means greedy (`n`, `top_p`, `top_k` and `seed` then change nothing but the number of equal answers).
    `top_k` 0 and `top_p` 1 switch these filters off; temperature comes first, then top-k, then top-p (Holtzman et al.,
    2020). An answer ends with the first id of `stop_ids`, with the first token that completes one of `stop_strings`, or
    after `max_new_tokens`. Answer j of prompt i depends on (seed, i, j) only, never on the batch it was computed in.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    n: int = 1
    seed: int = 0
    stop_ids: tuple[int, ...] = ()
    stop_strings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, value, right, bound in (
            ("max_new_tokens", self.max_new_tokens, self.max_new_tokens >= 1, "at least 1"),
            ("temperature", self.temperature, self.temperature >= 0, "at least 0"),
            ("top_p", self.top_p, 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("top_k", self.top_k, self.top_k >= 0, "at least 0"),
            ("n", self.n, self.n >= 1, "at least 1"),
        ):
            if not right:
                raise ValueError(f"Sampling.{name} is {value}; it must be {bound}.")
        if "" in self.stop_strings:
            raise ValueError("Sampling.stop_strings holds an empty string, which would end every answer at once.")


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer as the model gave it.

    `ids` are all generated ids, with the stop id or the tokens of the stop string that ended it. `text` is their
    decoding without that stop id, cut before the stop string. `logprob` is the natural-log probability of `ids` under
    the model itself (before temperature, top-k and top-p).
    """

    ids: tuple[int, ...]
    text: str
    termination: Termination
    logprob: float


@dataclass(frozen=True, slots=True)
class Scored:
    """Natural-log probability of a continuation: the sum, each token's share, and whether greedy decoding gives it."""

    logprob: float
    token_logprobs: tuple[float, ...]
    greedy: bool


class Engine(Protocol):
    """A language model over token ids."""

    @property
    def identity(self) -> dict[str, str]:
        """What decides this engine's numbers (engine, version, dtype, device, model): part of a score's identity."""
        ...

    def generate(
        self, prompts: Sequence[TokenIds], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Completion]]:
        """Answer every prompt `sampling.n` times; the result is in the order of the prompts."""
        ...

    def score(self, pairs: Sequence[tuple[TokenIds, TokenIds]]) -> list[Scored]:
        """Log-likelihood of each continuation given its prefix, for (prefix ids, continuation ids) pairs, in order."""
        ...


class ChatModel(Protocol):
    """Something that answers a conversation."""

    def reply(self, conversations: Sequence[Sequence[Message]], sampling: Sampling) -> list[list[Completion]]:
        """The next assistant turn of every conversation, `sampling.n` times each, in order."""
        ...
