"""Self-attention over the pixels of feature maps (Zhang et al. 2019), as BigGAN has it."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

PRODUCTS = 1 << 18  # of a block of queries with all keys; 1 MB in single precision


class SelfAttention2d(nn.Module):
    """x + gamma * output(softmax(query . key) value), every pixel a query.

    1x1 convolutions without bias make query and key (C // 8 channels) and value (C // 2); key and
    value are max-pooled 2x2, so there are H * W / 4 of them. The products are not divided by
    their dimension's root. gamma is one number and begins at 0.

    conv: makes a 1x1 convolution from its channels; with spectral norm where the network has it.
    num_channels: at least 8. H, W: at least 2.
    """

    def __init__(self, num_channels: int, conv: Callable[[int, int], nn.Module]):
        super().__init__()
        self.query = conv(num_channels, num_channels // 8)
        self.key = conv(num_channels, num_channels // 8)
        self.value = conv(num_channels, num_channels // 2)
        self.output = conv(num_channels // 2, num_channels)
        self.gamma = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        query = as_rows(self.query(x))
        key = as_rows(F.max_pool2d(self.key(x), 2))
        value = as_rows(F.max_pool2d(self.value(x), 2))
        mixed: Tensor = _Attention.apply(query, key, value)  # pyright: ignore[reportAssignmentType]
        mixed = mixed.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        return torch.addcmul(x, self.gamma.to(x.dtype), self.output(mixed))


def as_rows(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h*w c"]:
    """One row a pixel; no copy if x is in channels_last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def plain_attention(
    query: Float[Tensor, "n q c"], key: Float[Tensor, "n k c"], value: Float[Tensor, "n k d"]
) -> Float[Tensor, "n q d"]:
    """softmax(query key^T) value, differentiable any number of times."""
    return torch.softmax(query @ key.transpose(1, 2), dim=2) @ value


def fused_attention(
    query: Float[Tensor, "n q c"], key: Float[Tensor, "n k c"], value: Float[Tensor, "n k d"]
) -> Float[Tensor, "n q d"]:
    """The same in torch's fused kernel, which holds no q x k matrix but has no second derivative.

    The kernel wants one width: zeros added to query and key (c < d) change no product.
    """
    missing = value.shape[2] - query.shape[2]
    query, key = F.pad(query, (0, missing)), F.pad(key, (0, missing))
    # One head of all channels.
    mixed = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None], scale=1.0)
    return mixed[:, 0]


def blockwise_attention(
    query: Float[Tensor, "n q c"], key: Float[Tensor, "n k c"], value: Float[Tensor, "n k d"]
) -> Float[Tensor, "n q d"]:
    """The same on a CPU, in blocks of queries whose products stay in its cache: faster there than
    the fused kernel, for which query and key are padded (measured on Zen 4: 1.4 times in float32,
    2.5 in bfloat16)."""
    rows = max(1, PRODUCTS // key.shape[1])
    images = [
        torch.cat([torch.softmax(block @ k.t(), dim=1) @ v for block in q.split(rows)])
        for q, k, v in zip(query, key, value, strict=True)
    ]
    return torch.stack(images)


class _Attention(torch.autograd.Function):
    """The fused kernel and its gradient; the plain formula's where that one is differentiated.

    A gradient penalty on an attentive discriminator needs the second derivative, and only then
    does autograd run a backward with gradients enabled.
    """

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        ctx.save_for_backward(*parts)
        if parts[0].device.type == "cpu" and torch.is_inference_mode_enabled():
            return blockwise_attention(*parts)
        if not any(ctx.needs_input_grad):
            return fused_attention(*parts)
        with torch.enable_grad():
            ctx.inner = [part.detach().requires_grad_() for part in parts]
            ctx.out = fused_attention(*ctx.inner)
        return ctx.out.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        if not torch.is_grad_enabled():
            return torch.autograd.grad(ctx.out, ctx.inner, grads[0], retain_graph=True)
        parts = ctx.saved_tensors
        return torch.autograd.grad(plain_attention(*parts), parts, grads[0], create_graph=True)
