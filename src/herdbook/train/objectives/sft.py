"""Supervised fine-tuning: cross-entropy of the next token, where the data says that the token is trained.

The head of the model and the softmax run only at trained positions, a few hundred at a time, and the gradient is made
in the forward pass (as in Liger Kernel, Hsu et al. 2024, arXiv:2410.10989), so the full logits never exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from herdbook.train.batch import PackedBatch
    from herdbook.train.head import Outputs
    from herdbook.train.objectives import Loss


def objective(outputs: Outputs, batch: PackedBatch) -> Loss:
    """Return the weighted sum of -log p(token) in nats, and the sum of the weights."""
    from herdbook.train.head import token_losses
    from herdbook.train.objectives import Loss

    weight_T = batch.weight_RL.flatten()
    target_N = weight_T.nonzero()[:, 0]  # never the first token of a row: it has weight 0
    hidden_ND = outputs.hidden_RLD.flatten(0, 1).index_select(0, target_N - 1)
    weight_N = weight_T[target_N]
    total = token_losses(hidden_ND, batch.ids_RL.flatten()[target_N], weight_N, outputs.head)
    return Loss(sum=total, weight=weight_N.sum())
