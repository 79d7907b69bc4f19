"""Vectors of classes, looked up by integers or mixed by rows."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.errors import LimnerError
from limner.core.protocols import Labels


def lookup(y: Labels, table: Float[Tensor, "classes d"]) -> Float[Tensor, "n d"]:
    """Rows of a table: a one-hot y gives the row of its class, a soft one the weighted sum.

    Raises:
        LimnerError: y has neither shape.
    """
    if y.is_floating_point():
        if y.ndim != 2 or y.shape[1] != len(table):
            raise LimnerError(
                f"labels as rows must be [N, {len(table)}], got {list(y.shape)}; "
                "give a row of class weights for each image, or integers [N]"
            )
        return y.to(table.dtype) @ table
    if y.ndim != 1:
        raise LimnerError(
            f"integer labels must be [N], got {list(y.shape)}; "
            f"convert one-hot rows of {len(table)} classes to a float type"
        )
    return F.embedding(y, table)


class ClassTable(nn.Embedding):
    """An embedding of classes that also takes one-hot or soft rows."""

    per_class = ("weight",)  # what fine-tuning with other classes makes anew

    def forward(self, input: Labels) -> Float[Tensor, "n d"]:
        """See `lookup`."""
        return lookup(input, self.weight)


def required(y: Labels | None, num_classes: int) -> Labels:
    """y, which a network built for classes cannot do without (LimnerError if it is None)."""
    if y is None:
        raise LimnerError(
            f"this network was built for {num_classes} classes: pass labels y, "
            f"integers [N] or rows [N, {num_classes}]"
        )
    return y
