"""A small TarFlow: causal transformers over the patches of an image, as a bijection.

Zhai et al., "Normalizing Flows are Capable Generative Models" (2024, arXiv 2412.06329), section 2.
An image is a sequence of T tokens, its patches. A block maps every token by a scale and a shift,
which a causal transformer computes from the tokens before it; every second block reads the
sequence in reverse. The density takes one pass through each transformer. Samples are made token by
token, and each layer keeps the keys and values of the tokens so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkernels import arguments, ops
from flowkernels.bijections import Bijection
from flowkernels.bijections import context as contexts
from flowkernels.bijections.base import total_log_det
from flowkernels.ops.affine_coupling import CHOICES, ScaleFn


@dataclass
class KeyValueCache:
    """The keys and values (B, heads, t, width / heads) of the t tokens that a layer has seen."""

    keys: Tensor | None = None
    values: Tensor | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds those of the next tokens; returns all."""
        if self.keys is not None and self.values is not None:
            keys, values = torch.cat([self.keys, keys], 2), torch.cat([self.values, values], 2)
        self.keys, self.values = keys, values
        return keys, values


class TransformerLayer(nn.Module):
    """Attention and a network of one hidden layer, each of normalised inputs and added to them.

    Shapes: (B, T, width) to the same.

    Args:
        width: features of a token; a multiple of `heads`.
        heads: of the attention.
        expansion: hidden features of the network as a multiple of `width`.
    """

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.network_norm = nn.LayerNorm(width)
        self.widened = nn.Linear(width, expansion * width)
        self.narrowed = nn.Linear(expansion * width, width)

    def forward(self, h: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """All tokens at once; with a cache, the token (B, 1, width) after those in it."""
        h = h + self._attend(self.attention_norm(h), cache)
        return h + self.narrowed(F.gelu(self.widened(self.network_norm(h))))

    def _attend(self, h: Tensor, cache: KeyValueCache | None) -> Tensor:
        parts = self.queries_keys_values(h).unflatten(2, (3, self.heads, -1))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        if cache is not None:
            keys, values = cache.extend(keys, values)
        attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=cache is None)
        return self.attended(attended.transpose(1, 2).flatten(2))


class CausalTransformer(nn.Module):
    """The parameters of each token from the tokens before it; zeros for the first token.

    The last layer starts at zero, so that all parameters of a new transformer are zeros.

    Shapes:
        x (B, T, D) to (B, T, 2 D).

    Args:
        tokens: T, at least 2.
        features: D.
        width, heads, expansion: see :class:`TransformerLayer`.
        layers: how many of them.
        context: features of a context (B, c), which is added to every token's; 0 for none.
    """

    def __init__(
        self,
        tokens: int,
        features: int,
        *,
        width: int,
        layers: int,
        heads: int,
        expansion: int = 4,
        context: int = 0,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        arguments.integer(owner, "tokens", tokens, 2)
        for name, value in (("features", features), ("layers", layers), ("heads", heads)):
            arguments.integer(owner, name, value)
        arguments.integer(owner, "context", context, 0)
        if arguments.integer(owner, "width", width) % heads:
            raise ValueError(f"{owner}: width must be a multiple of {heads} heads, got {width}")
        self.embedding = nn.Linear(features, width)
        self.context = nn.Linear(context, width, bias=False) if context else None
        self.positions = nn.Parameter(0.02 * torch.randn(tokens - 1, width))
        self.layers = nn.ModuleList(
            TransformerLayer(width, heads, expansion) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.parameters_of = nn.Linear(width, 2 * features)
        nn.init.zeros_(self.parameters_of.weight)
        nn.init.zeros_(self.parameters_of.bias)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, T, 2 D): the outputs at tokens 1, ..., T - 1 are the parameters of 2, ..., T."""
        h = self._embedded(x[:, :-1], self.positions, context)
        for layer in self.layers:
            h = layer(h)
        return F.pad(self.parameters_of(self.norm(h)), (0, 0, 1, 0))

    def caches(self) -> list[KeyValueCache]:
        """Empty ones, for :meth:`after`."""
        return [KeyValueCache() for _ in self.layers]

    def after(
        self,
        token: Tensor,
        position: int,
        caches: Sequence[KeyValueCache],
        context: Tensor | None = None,
    ) -> Tensor:
        """The parameters (B, 2 D) of the token after `token` (B, D), which is at `position`.

        Args:
            token: the one after those in the caches, to which it is added.
            position: 0 for the first.
            caches: one for each layer.
            context: (B, c).
        """
        h = self._embedded(token[:, None], self.positions[position], context)
        for layer, cache in zip(self.layers, caches, strict=True):
            h = layer(h, cache)
        return self.parameters_of(self.norm(h))[:, 0]

    def _embedded(self, x: Tensor, positions: Tensor, context: Tensor | None) -> Tensor:
        h = self.embedding(x) + positions
        if self.context is None or context is None:
            return h
        return h + self.context(context)[:, None]


class CausalBlock(Bijection):
    """Maps every token by a scale and a shift that depend on the tokens before it.

    z_t = (x_t + m(x_<t)) s(x_<t) on (B, T, D), with m and s from a causal transformer
    (eq. 6 of the paper, whose shift is -m and whose log-scale is -log s); log_det = sum log s.
    ``forward`` maps all tokens at once, ``inverse`` one after the other.

    Args:
        network: gives shift and raw scale of each token.
        backward: the tokens before one are those behind it in the sequence.
        scale_fn: see :func:`flowkernels.ops.affine_coupling`; s must be 1 for zeros, else a new
            block is not the identity.
        context_features: those that the network reads.
    """

    def __init__(
        self,
        network: CausalTransformer,
        *,
        backward: bool = False,
        scale_fn: ScaleFn = "exp",
        context_features: int = 0,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        self.scale_fn: ScaleFn = scale_fn
        arguments.choice(owner, "scale_fn", scale_fn, CHOICES["scale_fn"])
        self.backward = arguments.flag(owner, "backward", backward)
        self.network = network
        self.context_features = context_features

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self._in_order(x)
        z, log_det = self._coupled(x, self.network(x, context))
        return self._in_order(z), log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = self._in_order(z)
        caches = self.network.caches()
        params = z.new_zeros(z.shape[0], 2 * z.shape[2])
        tokens: list[Tensor] = []
        log_dets: list[Tensor] = []
        for position, each in enumerate(z.unbind(1)):
            if tokens:
                params = self.network.after(tokens[-1], position - 1, caches, context)
            token, log_det = self._coupled(each[:, None], params[:, None], inverse=True)
            tokens.append(token[:, 0])
            log_dets.append(log_det)
        return self._in_order(torch.stack(tokens, 1)), total_log_det(z, log_dets)

    def _in_order(self, x: Tensor) -> Tensor:
        return x.flip(1) if self.backward else x

    def _coupled(self, x: Tensor, params: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """Of tokens (B, T, D) and parameters (B, T, 2 D); the log_det is (B,)."""
        return ops.affine_coupling(
            x, params, dim=-1, layout="scale_shift", scale_fn=self.scale_fn,
            order="shift_then_scale", inverse=inverse,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"backward={self.backward}, scale_fn={self.scale_fn!r}"


class TarFlow(Bijection):
    """Images as patches through :class:`CausalBlock`, every second one in reverse.

    (B, C, H, W) to (B, C H W); log_det is the sum of the blocks'. A new flow only rearranges.

    Args:
        event_shape: (C, H, W), H and W multiples of `patch` and at least two patches.
        patch: the side of a patch: T = H W / patch^2 tokens of D = C patch^2 features.
        blocks: how many.
        width, layers, heads, expansion: of each block's :class:`CausalTransformer`.
        scale_fn: see :class:`CausalBlock`.
        context: features c of a context that every block reads, 0 for none.

    Raises:
        ValueError: the patches do not fill the image, or an argument is out of its range.

    Example:
        >>> flow = TarFlow((1, 8, 8), patch=4, width=16, blocks=2, layers=1, heads=2)
        >>> x = torch.randn(3, 1, 8, 8)
        >>> z, log_det = flow(x)
        >>> z.shape, log_det.shape, bool((flow.inverse(z)[0] == x).all())
        (torch.Size([3, 64]), torch.Size([3]), True)
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        patch: int = 4,
        width: int = 64,
        blocks: int = 4,
        layers: int = 2,
        heads: int = 4,
        expansion: int = 4,
        scale_fn: ScaleFn = "exp",
        context: int = 0,
    ) -> None:
        super().__init__()
        self.event_shape = arguments.shape("TarFlow", "event_shape", event_shape)
        arguments.integer("TarFlow", "patch", patch)
        arguments.integer("TarFlow", "blocks", blocks)
        if len(self.event_shape) != 3 or any(side % patch for side in self.event_shape[1:]):
            raise ValueError(
                f"TarFlow: event_shape must be (C, H, W), H and W multiples of patch = {patch}, "
                f"got {tuple(self.event_shape)}"
            )
        channels, height, width_of_image = self.event_shape
        self.patch, self.context_features = patch, context
        self.tokens = (height // patch) * (width_of_image // patch)
        self.features = channels * patch * patch
        self.blocks = nn.ModuleList()
        for i in range(blocks):
            network = CausalTransformer(
                self.tokens, self.features, width=width, layers=layers, heads=heads,
                expansion=expansion, context=context,
            )  # fmt: skip
            self.blocks.append(
                CausalBlock(
                    network,
                    backward=bool(i % 2),
                    scale_fn=scale_fn,
                    context_features=context,
                )
            )

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if not isinstance(x, Tensor) or x.shape[1:] != self.event_shape:
            self._refuse("x", x, self.event_shape)
        self._check_context(x, context)
        tokens = self._patches(x)
        log_dets = []
        for block in self.blocks:
            tokens, log_det = contexts.forward(block, tokens, context)
            log_dets.append(log_det)
        return tokens.flatten(1), total_log_det(x, log_dets)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        shape = torch.Size([self.tokens * self.features])
        if not isinstance(z, Tensor) or z.shape[1:] != shape:
            self._refuse("z", z, shape)
        self._check_context(z, context)
        tokens = z.unflatten(1, (self.tokens, self.features))
        log_dets = []
        for block in reversed(self.blocks):
            tokens, log_det = contexts.inverse(block, tokens, context)
            log_dets.append(log_det)
        return self._image(tokens), total_log_det(z, log_dets)

    def _patches(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, T, C patch^2), row by row."""
        return F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2)

    def _image(self, tokens: Tensor) -> Tensor:
        rows = self.event_shape[1] // self.patch
        columns = self.event_shape[2] // self.patch
        return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), self.patch)

    @staticmethod
    def _refuse(name: str, value: object, event: torch.Size) -> None:
        arguments.tensor("TarFlow", name, value)
        assert isinstance(value, Tensor)
        expected = ", ".join(map(str, ("B", *event)))
        raise ValueError(f"TarFlow: {name} must have shape ({expected}), got {tuple(value.shape)}")
