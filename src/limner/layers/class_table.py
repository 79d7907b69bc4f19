"""Vectors of classes, looked up by integers or mixed by rows."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.errors import LimnerError
from limner.core.protocols import Labels


def check_labels(y: Labels, num_classes: int) -> None:
    """Raises LimnerError unless y is integers [N] or float rows [N, num_classes]."""
    if y.is_floating_point():
        if y.ndim != 2 or y.shape[1] != num_classes:
            raise LimnerError(
                f"labels as rows must be [N, {num_classes}], got {list(y.shape)}; "
                "give a row of class weights for each image, or integers [N]"
            )
    elif y.ndim != 1:
        raise LimnerError(
            f"integer labels must be [N], got {list(y.shape)}; "
            f"convert one-hot rows of {num_classes} classes to a float type"
        )


def lookup(y: Labels, table: Float[Tensor, "classes d"]) -> Float[Tensor, "n d"]:
    """Rows of a table: a one-hot y gives the row of its class, a soft one the weighted sum."""
    check_labels(y, len(table))
    return y.to(table.dtype) @ table if y.is_floating_point() else F.embedding(y, table)


def rows_of(y: Labels, num_classes: int, dtype: torch.dtype) -> Float[Tensor, "n classes"]:
    """Labels as rows of class weights: integers become one-hot, rows stay as they are."""
    check_labels(y, num_classes)
    return y.to(dtype) if y.is_floating_point() else F.one_hot(y, num_classes).to(dtype)


class ClassTable(nn.Embedding):
    """An embedding of classes that also takes one-hot or soft rows."""

    per_class = ("weight",)  # what fine-tuning with other classes makes anew

    def forward(self, input: Labels) -> Float[Tensor, "n d"]:
        return lookup(input, self.weight)


def required(y: Labels | None, num_classes: int) -> Labels:
    """y, which a network built for classes cannot do without (LimnerError if it is None)."""
    if y is None:
        raise LimnerError(
            f"this network was built for {num_classes} classes: pass labels y, "
            f"integers [N] or rows [N, {num_classes}]"
        )
    return y


def with_class(
    z: Float[Tensor, "n z"], table: ClassTable | None, y: Labels | None
) -> Float[Tensor, "n z_and_d"]:
    """Latents with the vector of their class behind them; as they are without a table."""
    if table is None:
        return z
    return torch.cat([z, table(required(y, table.num_embeddings))], dim=1)


def projected(
    logits: Float[Tensor, " n"], h: Float[Tensor, "n d"], table: ClassTable | None, y: Labels | None
) -> Float[Tensor, " n"]:
    """logits + <v(y), h> (Miyato & Koyama 2018); as they are without a table."""
    if table is None:
        return logits
    return logits + (table(required(y, table.num_embeddings)) * h).sum(1)
