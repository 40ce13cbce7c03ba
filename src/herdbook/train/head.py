"""The last layer of a causal language model and the loss behind it, without full logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from herdbook.core.errors import ModelError

CHUNK = 256  # positions whose logits exist at the same time; 256 is the fastest of 64..1024 at vocabularies of 2k-32k
TOLERANCE = 1e-3  # of the self-check, relative to the spread of the logits


@dataclass(frozen=True, slots=True)
class Head:
    """logits = cap(scale * (hidden @ weight.T + bias)) with cap(x) = softcap * tanh(x / softcap), if softcap > 0."""

    weight_VD: Tensor
    bias_V: Tensor | None
    scale: float = 1.0
    softcap: float = 0.0
    dtype: torch.dtype = torch.float32  # of the matrix products; the softmax is always float32


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model hands to an objective: the last hidden states and the head that would make logits of them."""

    hidden_RLD: Tensor
    head: Head


def find_head(model: PreTrainedModel, dtype: torch.dtype) -> Head:
    """Describe the model's head. Raises ModelError for a head that is not a linear layer."""
    layer = model.get_output_embeddings()
    if not isinstance(layer, nn.Linear):
        raise ModelError(
            f"{type(model).__name__} ends in {type(layer).__name__} and not in a linear layer, so its loss cannot be "
            "computed at trained positions only. Leave the head out of the adapter's targets, or use another base."
        )
    config = model.config.get_text_config()
    scale = getattr(config, "logit_scale", None) or 1.0
    if getattr(config, "logits_scaling", None):
        scale = 1.0 / config.logits_scaling
    softcap = getattr(config, "final_logit_softcapping", None) or 0.0
    return Head(layer.weight, layer.bias, float(scale), float(softcap), dtype)


def embedding_rows(model: PreTrainedModel) -> int:
    """Number of tokens that the model knows."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    return weight.shape[0]


def hidden_states(model: PreTrainedModel, ids_RL: Tensor, **kwargs: Any) -> Tensor:
    """Last hidden states [R, L, D], the input of the head."""
    return model.base_model(input_ids=ids_RL, use_cache=False, **kwargs).last_hidden_state


@torch.no_grad()
def check_head(model: PreTrainedModel) -> None:
    """Compare our head with the model's own logits on eight tokens. Raises ModelError if they differ.

    Some architectures scale or cap their logits in ways of their own; training through a wrong head would be silent.
    """
    head = find_head(model, torch.float32)
    device = head.weight_VD.device
    ids_RL = torch.arange(8, device=device)[None] % head.weight_VD.shape[0]
    training = model.training
    model.eval()
    expected = model(input_ids=ids_RL, use_cache=False).logits.float()
    found = _logits(hidden_states(model, ids_RL)[0].float(), head.weight_VD.float(), head)[None]
    model.train(training)
    error = float((found - expected).abs().max() / (expected.std() + 1e-6))
    if not error <= TOLERANCE:
        raise ModelError(
            f"{type(model).__name__} computes its logits in a way that Herdbook does not know (they differ by "
            f"{error:.1e} of their spread from the linear head's), so it cannot be trained exactly. Use another base."
        )


def token_losses(hidden_ND: Tensor, label_N: Tensor, weight_N: Tensor, head: Head) -> Tensor:
    """Sum over N of weight * (-log p(label)), as a differentiable float32 scalar.

    hidden_ND in any float type, label_N int64, weight_N float32. Memory: CHUNK rows of logits and the gradients.
    """
    return _HeadLoss.apply(hidden_ND, head.weight_VD, head.bias_V, label_N, weight_N, head)  # pyright: ignore


def _logits(hidden_ND: Tensor, weight_VD: Tensor, head: Head) -> Tensor:
    logits = (hidden_ND @ weight_VD.T).float()
    if head.bias_V is not None:
        logits = logits + head.bias_V.float()
    if head.scale != 1.0:
        logits = logits * head.scale
    return head.softcap * torch.tanh(logits / head.softcap) if head.softcap else logits


class _HeadLoss(torch.autograd.Function):
    """Three matrix products a chunk: logits, gradient of the hidden states, gradient of the head."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        label_N: Tensor,
        weight_N: Tensor,
        head: Head,
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        low_VD = weight_VD.to(head.dtype)
        grad_hidden = torch.empty_like(hidden_ND) if needs_hidden else None
        grad_weight = torch.zeros_like(weight_VD, dtype=torch.float32) if needs_weight else None
        grad_bias = torch.zeros_like(bias_V, dtype=torch.float32) if needs_bias and bias_V is not None else None
        total = torch.zeros((), device=hidden_ND.device)
        for first in range(0, len(label_N), CHUNK):
            part = slice(first, first + CHUNK)
            hidden, label, weight = hidden_ND[part].to(head.dtype), label_N[part, None], weight_N[part, None]
            logits = _logits(hidden, low_VD, head)
            normaliser = logits.logsumexp(1, keepdim=True)
            total += ((normaliser - logits.gather(1, label)) * weight).sum()
            if not any(ctx.needs_input_grad[:3]):
                continue
            grad = _logit_gradient(logits, normaliser, label, weight, head)
            low_grad = grad.to(head.dtype)
            if grad_hidden is not None:
                grad_hidden[part] = low_grad @ low_VD
            if grad_weight is not None:
                _add_product(grad_weight, low_grad.T, hidden)
            if grad_bias is not None:
                grad_bias += grad.sum(0)
        ctx.gradients = (grad_hidden, grad_weight, grad_bias)
        ctx.dtypes = (hidden_ND.dtype, weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        gradients, ctx.gradients = ctx.gradients, None
        scaled = [
            None if gradient is None else gradient.mul_(grad_total).to(dtype)
            for gradient, dtype in zip(gradients, ctx.dtypes, strict=True)
        ]
        return (*scaled, None, None, None)


def _logit_gradient(logits: Tensor, normaliser: Tensor, label: Tensor, weight: Tensor, head: Head) -> Tensor:
    """d loss / d (hidden @ weight.T + bias), float32 [n, V]; overwrites `logits` where it can."""
    slope = 1 - (logits / head.softcap) ** 2 if head.softcap else None  # of the cap, at capped logits
    grad = logits.sub_(normaliser).exp_()
    grad.scatter_add_(1, label, torch.full_like(weight, -1.0))
    grad *= weight * head.scale if head.scale != 1.0 else weight
    return grad if slope is None else grad.mul_(slope)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, in float32; without a temporary where the types agree."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
