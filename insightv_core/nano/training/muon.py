"""The optimizer of the hidden matrices, in the few launches that a small model needs to be fast."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Muon:
    """Momentum, orthogonalized: all matrices of one shape are updated as one stacked tensor, for few launches.

    The update is scaled to the size of AdamW's, so both share one learning rate and weight decay.
    """

    def __init__(self, matrices: "Sequence[torch.nn.Parameter]", weight_decay: float, momentum: float = 0.95):
        import torch

        shapes = sorted({tuple(matrix.shape) for matrix in matrices})
        self.groups = [[matrix for matrix in matrices if tuple(matrix.shape) == shape] for shape in shapes]
        self.buffers = [torch.zeros_like(torch.stack([m.detach() for m in group])) for group in self.groups]
        self.weight_decay, self.momentum = weight_decay, momentum

    def step(self, learning_rate: float) -> None:
        import torch

        with torch.no_grad():
            for group, buffer in zip(self.groups, self.buffers, strict=True):
                gradient = torch.stack([matrix.grad for matrix in group])
                buffer.lerp_(gradient, 1 - self.momentum)
                update = orthogonalize(gradient.lerp(buffer, self.momentum))
                scale = 0.2 * max(gradient.shape[1:]) ** 0.5
                torch._foreach_mul_(group, 1 - learning_rate * self.weight_decay)
                torch._foreach_add_(group, list(update.to(buffer.dtype).unbind()), alpha=-learning_rate * scale)


def orthogonalize(matrices: "torch.Tensor", iterations: int = 5) -> "torch.Tensor":
    """Bring the singular values of stacked matrices (n, rows, columns) near 1 by Newton-Schulz iteration."""
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalize(matrices.mT, iterations).mT
    x = matrices.bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x
