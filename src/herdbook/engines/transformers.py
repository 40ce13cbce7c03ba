"""The engine on Hugging Face transformers, on the CPU or a GPU."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel

from herdbook.core.errors import ModelError
from herdbook.core.progress import Progress
from herdbook.engines.base import Completion, Decode, Sampling, Scored, TokenIds
from herdbook.engines.finish import Finisher
from herdbook.engines.forward import Forward
from herdbook.engines.generation import Generation
from herdbook.engines.loading import load_decode, load_model, weight_files
from herdbook.engines.plain import generate_plain, score_plain
from herdbook.engines.probe import probe
from herdbook.engines.scoring import score_shared

logger = logging.getLogger(__name__)

MAX_ROWS = 256  # answers decoded together


class TransformersEngine:
    """Scores and generates with a decoder-only transformers model.

    Shared-prefix scoring and continuous batching are checked against plain forward passes before their first use; a
    model that they do not fit is run plainly instead, and `fallback` says why ('' otherwise).

    `truncated` counts the inputs so far that were longer than the model's context and lost their beginning.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        decode: Decode | None = None,
        model_digest: str = "",
        batch_tokens: int = 0,
        folder: Path | None = None,
    ) -> None:
        """`batch_tokens` bounds a forward pass (rows x padded length); 0: chosen for the device."""
        if model.config.is_encoder_decoder:
            raise ModelError(
                f"{folder or 'The model'} is an encoder-decoder model ({model.config.model_type}); this engine runs "
                "decoder-only models."
            )
        self.model = model.eval()
        self.forward = Forward(model)
        self.decode = decode
        self.folder = folder
        self.batch_tokens = batch_tokens or (4096 if model.device.type == "cpu" else 32768)
        self.truncated = 0
        self._digest = model_digest
        self._fallback: str | None = None

    @classmethod
    def open(
        cls,
        model_dir: str | Path,
        dtype: str = "float32",
        device: str = "auto",
        threads: int = 0,
        decode: Decode | None = None,
        model_digest: str = "",
    ) -> TransformersEngine:
        """Load a Hugging Face folder, or a PEFT adapter folder, which is merged into its base.

        `dtype`: float32, bfloat16, float16 or auto (float32 on the CPU, bfloat16 elsewhere). `device`: auto (cuda if
        there is one, else cpu) or a torch device. `threads` > 0 sets torch's threads for the whole process. `decode`
        turns ids into text; by default the folder's tokenizer. `model_digest` is what identifies the weights, by
        default the sha256 of the weight files. Raises ModelError.
        """
        folder = Path(model_dir)
        if threads > 0:
            torch.set_num_threads(threads)
        model = load_model(folder, dtype, device)
        return cls(model, decode or load_decode(folder), model_digest, folder=folder)

    @property
    def identity(self) -> dict[str, str]:
        if not self._digest:
            self._digest = digest_files(weight_files(self.folder)) if self.folder else "unknown"
        return {
            "engine": "transformers",
            "version": transformers.__version__,
            "torch": torch.__version__,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": self.model.device.type,
            "model_digest": self._digest,
        }

    @property
    def fallback(self) -> str:
        """Why this model is run plainly, or '' when the fast paths give the plain results."""
        if self._fallback is None:
            self._fallback = probe(self.forward)
            if self._fallback:
                logger.warning("%s runs without shared work: %s", self.folder or "The model", self._fallback)
        return self._fallback

    def score(self, pairs: Sequence[tuple[TokenIds, TokenIds]]) -> list[Scored]:
        """Log-likelihood of each continuation given its prefix; equal work is done once. See `Engine.score`.

        Prefixes too long for the model lose their first tokens (counted in `truncated`). Raises ValueError for an
        empty prefix or continuation, and for a continuation that does not fit the model.
        """
        for i, (prefix, continuation) in enumerate(pairs):
            if not len(prefix):
                raise ValueError(
                    f"Pair {i} has an empty prefix; a model gives its first probability after at least one token: "
                    "start the prefix with the tokenizer's bos (or eos) token."
                )
            if not len(continuation):
                raise ValueError(f"Pair {i} has an empty continuation; there is nothing to score.")
        fitted = [(self._fit(prefix, len(continuation) - 1), continuation) for prefix, continuation in pairs]
        longest = max((len(prefix) + len(continuation) for prefix, continuation in fitted), default=0)
        run = score_plain if self._must_run_plainly(longest) else score_shared
        return run(self.forward, fitted, self.batch_tokens)

    def generate(
        self, prompts: Sequence[TokenIds], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Completion]]:
        """Answer every prompt `sampling.n` times. See `Engine.generate`.

        Prompts that leave no room for `max_new_tokens` lose their first tokens (counted in `truncated`). Raises
        ValueError for an empty prompt and for a `max_new_tokens` beyond the model's context.
        """
        for i, prompt in enumerate(prompts):
            if not len(prompt):
                raise ValueError(f"Prompt {i} is empty; a model needs at least one token to continue from.")
        if not prompts:
            return []
        finisher = Finisher(sampling, self.decode)
        fitted = [self._fit(prompt, sampling.max_new_tokens) for prompt in prompts]
        longest = max(map(len, fitted)) + sampling.max_new_tokens
        if self._must_run_plainly(longest):
            return generate_plain(self.forward, fitted, sampling, finisher, self.batch_tokens, progress)
        rows = min(MAX_ROWS, max(1, self._cache_bytes() // (longest * self.forward.bytes_per_token)))
        return Generation(self.forward, fitted, sampling, finisher, rows, self.batch_tokens, progress).run()

    def _fit(self, prefix: TokenIds, following: int) -> list[int]:
        limit = self.forward.limit
        if limit is None or len(prefix) + following <= limit:
            return list(prefix)
        if following >= limit:
            raise ValueError(
                f"{following} tokens after the prompt do not fit a model of {limit} positions; "
                "shorten the continuation or lower max_new_tokens."
            )
        self.truncated += 1
        return list(prefix[-(limit - following) :])

    def _must_run_plainly(self, longest: int) -> bool:
        # Slots hold every token of a row and masks let it see all of them: right until a sliding window is full.
        window = self.forward.window
        return bool(self.fallback) or (window is not None and longest > window)

    def _cache_bytes(self) -> int:
        if self.model.device.type != "cuda":
            return 1 << 30
        free, _ = torch.cuda.mem_get_info(self.model.device)
        return free // 3


def digest_files(files: Sequence[Path]) -> str:
    """sha256 over the contents of the files, in order."""
    digest = sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
