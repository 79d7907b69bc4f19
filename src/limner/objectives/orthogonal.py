"""Orthogonal regularization, added to the gradients directly."""

from typing import Literal

import torch
from torch import Tensor, nn

from limner.core.config import Config
from limner.objectives.base import Direct, Memory


class Orthogonal(Config, Direct, frozen=True):
    """Adds the gradient of the orthogonality penalty of every weight with two or more dimensions.

    "modified": strength * 2 * (W W^T * (1 - I)) W, rows need not have unit length (Brock et al.
    2019, eq. 3); "plain": strength * 2 * (W W^T - I) W (Brock et al. 2017). W has one row an output
    (an embedding: one a class). Parameters without a gradient are left alone.

    exclude: names; a parameter is left out if one of its dotted components is among them.
    """

    strength: float = 1e-4
    exclude: tuple[str, ...] = ("shared",)
    variant: Literal["modified", "plain"] = "modified"

    def __call__(self, network: nn.Module, memory: Memory) -> None:
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if parameter.ndim < 2 or parameter.grad is None:
                    continue
                if not set(name.split(".")).isdisjoint(self.exclude):
                    continue
                parameter.grad.add_(self.gradient(parameter), alpha=self.strength)

    def gradient(self, weight: Tensor) -> Tensor:
        """2 * (...) W for one weight, in its shape, without the strength.

        A tall W (a first layer of 24,576 x 20, a table of classes) goes by W (W^T W), so that no
        matrix of all pairs of rows is made.
        """
        rows = weight.flatten(1)
        if len(rows) > rows.shape[1]:
            of_itself = rows.square().sum(1, keepdim=True) if self.variant == "modified" else 1.0
            gradient = rows @ (rows.T @ rows) - of_itself * rows
        else:
            gram = rows @ rows.T
            if self.variant == "modified":
                gram.fill_diagonal_(0.0)
            else:
                gram.diagonal().sub_(1.0)
            gradient = gram @ rows
        return (2.0 * gradient).view(weight.shape)
