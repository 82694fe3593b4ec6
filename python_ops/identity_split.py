"""What a coupling does with its input before the fused op."""

from __future__ import annotations

import torch
from torch import Tensor

from ._declaration import Inputs, declare, public
from .composite import identity_split as formulas
from .composite.affine_coupling import Transform


def _formula(x: Tensor, coupled: int, transform: str) -> tuple[Tensor, Tensor]:
    return formulas.identity_split(x, coupled, transform=transform)


_identity_split = declare("identity_split", formula=_formula)


@public(
    "identity_split",
    usage="identity_split(x, k)",
    same="`x[:, :-k], x`, and one gradient instead of a sum of two",
    inputs=Inputs(
        tensors=lambda size: (torch.randn(size, dtype=torch.float64),),
        options=lambda size: {"coupled": size[1] // 2},
        sizes="images",
    ),
    on_gpu="views of torch's",
)
def identity_split(
    x: Tensor, coupled: int, *, transform: Transform = "second"
) -> tuple[Tensor, Tensor]:
    r"""The channels that a coupling keeps, for its conditioner, and `x` for the coupling.

    .. math:: (x_{:,\,:C-k},\; x) \quad\text{or}\quad (x_{:,\,k:},\; x)

    Both are views. A plain slice of `x` has the same values, but autograd makes of its gradient
    a tensor as large as `x`, zero outside the slice, and adds that to the gradient from the
    coupling. Here the gradient of the kept channels is added in place to the latter, by one node of
    the graph.

    Args:
        x: (B, C, \*S), of any dtype.
        coupled: k, how many channels the coupling changes, 0 to C.
        transform: which channels they are, as in `affine_coupling_split`.

    Returns:
        The other C - k channels (B, C - k, \*S), and `x`: views that cannot be changed in place.

    Raises:
        ValueError: for shapes or options that do not fit; it names the argument.
        TypeError: where `x` is no tensor.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> x = torch.randn(5, 6, requires_grad=True)
        >>> kept, x_again = ops.identity_split(x, 4)
        >>> y, log_det = ops.affine_coupling_split(x_again, kept.repeat(1, 4))
        >>> kept.shape, torch.equal(x, x_again)
        (torch.Size([5, 2]), True)
    """
    out: tuple[Tensor, Tensor] = _identity_split(x, coupled, transform)
    return out
