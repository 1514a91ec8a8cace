"""Low-rank adaptation (LoRA) of a torchvision `VisionTransformer`, made to run under `torch.func`.

The published ViT keeps its pretrained weights and trains low-rank additions to the query and value
projections (2305.19765, utils.py:196-214: PEFT 0.2.0 with r = 16, alpha = 16, targets query and
value, bias none). PEFT itself is not used: it adapts an `nn.MultiheadAttention` as a whole, fused
attention included (huggingface/peft#1324), and would bring transformers and accelerate along.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dtda_lib.names import unknown

PROJECTIONS = ("query", "key", "value")  # the order in which torch packs them


class LowRank(nn.Module):
    """The addition `alpha / rank * B A x` to a projection of width d: A `(rank, d)`, B `(d, rank)`.

    Initialised as in PEFT: A Kaiming-uniform with a = sqrt(5), B zero, so it begins as nothing.
    PEFT's dropout of 0.1 on x is 0 here (our choice): the engine keeps no random stream for
    dropout, and batch order and initialisation stay the only sources of noise.
    """

    def __init__(self, width: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.rank, self.alpha = rank, alpha
        self.A = nn.Parameter(torch.empty(rank, width))
        self.B = nn.Parameter(torch.zeros(width, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.A), self.B * (self.alpha / self.rank))  # (..., d)

    def extra_repr(self) -> str:
        return f"width={self.A.shape[1]}, rank={self.rank}, alpha={self.alpha}"


class LoraAttention(nn.Module):
    """Self-attention with the weights of an `nn.MultiheadAttention` and LoRA on some projections.

    Written out, because `nn.MultiheadAttention` does not fit torch.func: on a CPU it calls
    `_scaled_dot_product_flash_attention`, in eval mode `_native_multi_head_attention`; neither has
    a rule for vmap (it loops) nor for jvp or second derivatives (both refuse; torch 2.13). Plain
    products and a softmax have them all, in train and eval mode alike.

    Args:
        attention: Whose weights are used, under the same names; batch first, no dropout.
        rank, alpha, targets: See `add_lora`.
    """

    def __init__(
        self, attention: nn.MultiheadAttention, rank: int, alpha: float, targets: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.heads = attention.num_heads
        self.in_proj_weight = attention.in_proj_weight  # (3 d, d)
        self.in_proj_bias = attention.in_proj_bias  # (3 d,)
        self.out_proj = attention.out_proj
        self.lora = nn.ModuleDict({t: LowRank(attention.embed_dim, rank, alpha) for t in targets})

    def forward(
        self, x: Tensor, key: Tensor, value: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, None]:
        """Attention of x `(B, S, d)` to itself, `(B, S, d)`; called as torchvision's encoder does,
        which gives x three times and drops the second result."""
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias)  # (B, S, 3 d)
        projected = dict(zip(PROJECTIONS, packed.chunk(3, dim=-1)))
        for target, low_rank in self.lora.items():
            projected[target] = projected[target] + low_rank(x)
        q, k, v = (
            p.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, S, d) -> (B, head, S, d / head)
            for p in projected.values()
        )
        weight = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)  # (B, head, S, S)
        return self.out_proj((weight @ v).transpose(1, 2).flatten(2)), None


def add_lora(
    vit: nn.Module, rank: int, alpha: float, targets: tuple[str, ...] = ("query", "value")
) -> None:
    """Freeze a torchvision `VisionTransformer` and give each of its layers LoRA, in place.

    Only the low-rank additions are left to train; unfreeze or replace the head afterwards.

    Args:
        vit: The transformer.
        rank: r, from 1 to the width of the model.
        alpha: The additions are scaled by alpha / rank.
        targets: Which of `PROJECTIONS` are adapted.

    Raises:
        ValueError: a rank or alpha that is impossible, an unknown or repeated target.
    """
    if not 1 <= rank <= vit.hidden_dim:
        raise ValueError(
            f"LoRA: rank is {rank}; take 1 to {vit.hidden_dim}, the width of the transformer."
        )
    if not (math.isfinite(alpha) and alpha > 0):
        raise ValueError(f"LoRA: alpha is {alpha}; give a positive number.")
    for target in targets:
        if target not in PROJECTIONS:
            raise ValueError(unknown("LoRA target", target, PROJECTIONS))
    if not targets or len(set(targets)) < len(targets):
        raise ValueError(f"LoRA: targets are {targets}; name each projection once, at least one.")
    vit.requires_grad_(False)
    for block in vit.encoder.layers:
        block.self_attention = LoraAttention(block.self_attention, rank, alpha, targets)
