"""Flows, bijections and bases say which argument they cannot take, and none is taken by chance."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from flowkernels import bases, bijections, flows, interpolation
from flowkernels.bases import base_names, make_base
from flowkernels.bijections import AffineCoupling, Flip, conv_conditioner, mlp_conditioner

COUPLING = {"scale_fn": "tanh", "bound": 2.0, "layout": "shift_scale", "order": "scale_then_shift"}


def _step() -> bijections.GlowStep:
    return bijections.GlowStep(4, AffineCoupling(conv_conditioner(2, 4, 8)))


def _law() -> Independent:
    return Independent(Normal(torch.zeros(3), 1.0), 1)


# A call of everything that has arguments.
CALLS: dict[Callable[..., Any], dict[str, Callable[[], Any]]] = {
    flows.realnvp: {"dim": lambda: 4},
    flows.glow: {"event_shape": lambda: (1, 8, 8), "steps": lambda: 1, "hidden": lambda: 8},
    flows.maf: {"dim": lambda: 4},
    flows.nsf: {"dim": lambda: 4},
    flows.Flow: {"bijection": Flip, "base": lambda: bases.StandardNormal(3)},
    bijections.ActNorm: {"channels": lambda: 3},
    bijections.ContextConv2d: {
        "in_channels": lambda: 2,
        "out_channels": lambda: 4,
        "kernel_size": lambda: 3,
        "context_features": lambda: 2,
    },
    bijections.ActNormConv1x1: {"channels": lambda: 3},
    bijections.AdditiveLogRatio: {"dim": lambda: 3},
    bijections.AffineAutoregressive: {"network": lambda: bijections.MaskedNetwork(3)},
    bijections.AffineCoupling: {"conditioner": lambda: mlp_conditioner(2, 4)},
    bijections.Coupling: {"conditioner": lambda: mlp_conditioner(2, 4)},
    bijections.Compose: {"bijections": lambda: [Flip()]},
    bijections.Dequantize: {},
    bijections.GlowStep: {"channels": lambda: 4, "coupling": lambda: _step().coupling},
    bijections.GlowSteps: {"steps": lambda: [_step()]},
    bijections.Inverse: {"bijection": Flip},
    bijections.InvertibleConv1x1: {"channels": lambda: 3},
    bijections.Logit: {},
    bijections.LULinear: {"channels": lambda: 3},
    bijections.MaskedLinear: {"mask": lambda: torch.ones(2, 3)},
    bijections.MaskedNetwork: {"features": lambda: 3},
    bijections.SplineAutoregressive: {
        "network": lambda: bijections.MaskedNetwork(3, 23, grouped=True),
    },
    bijections.SplineCoupling: {"conditioner": lambda: mlp_conditioner(2, 46)},
    bijections.Multiscale: {"levels": lambda: [Flip()], "event_shape": lambda: (1, 4, 4)},
    bijections.Permutation: {"permutation": lambda: [1, 0]},
    bijections.ScaledStereographic: {"dim": lambda: 3},
    bijections.Standardize: {"loc": lambda: torch.zeros(3), "scale": lambda: torch.ones(3)},
    bijections.StickBreaking: {"dim": lambda: 3},
    bijections.VariationalDequantize: {"channels": lambda: 3},
    conv_conditioner: {"in_channels": lambda: 2, "out_channels": lambda: 4},
    mlp_conditioner: {"in_features": lambda: 2, "out_features": lambda: 4},
    bases.ConditionalNormal: {"dim": lambda: 3, "context": lambda: 2},
    bases.FromDistribution: {"distribution": _law},
    bases.LogRatioDirichlet: {"dim": lambda: 3},
    bases.ResampledBase: {"dim": lambda: 4},
    bases.SphericalPowerSpherical: {"dim": lambda: 3},
    bases.SphericalVonMisesFisher: {"dim": lambda: 3},
    bases.SphericalVonMisesFisherMixture: {"dim": lambda: 3, "components": lambda: 2},
    bases.StandardCauchy: {"dim": lambda: 3},
    bases.StandardIsotropicCauchy: {"dim": lambda: 3},
    bases.StandardNormal: {"dim": lambda: 3},
    bases.StickBreakingDirichlet: {"dim": lambda: 3},
    make_base: {"base": lambda: "normal", "dim": lambda: 3},
    interpolation.CauchyLength: {"dim": lambda: 3},
    interpolation.Chi: {"dim": lambda: 3},
}
# Without arguments, without a constructor of their own, or interfaces.
OTHERS = {
    "Base", "BaseDistribution", "ProjectedBase", "SphericalBase", "base_names", "Bijection", "Flip",
    "Squeeze", "SimplexBijection", "ConvNetwork", "ReluNetwork", "FarTails", "Marginal", "Path",
    "StandardCauchy", "StandardNormal", "path_names", "register_path", "get_path",
    "start_as_identity",
}  # fmt: skip
INTEGER: list[Any] = ["text", 2.5, True, None, -1, torch.tensor(2.0)]
MODULE: list[Any] = ["text", 3, None]
KINDS = (
    "Transform", "ScaleFn", "Layout", "Order", "AutoregressiveTransform", "InputOrder", "Mixing",
    "Boundary", "Convention",
)  # fmt: skip
WRONG: dict[str, list[Any]] = {
    "int": INTEGER,
    "int | None": ["text", 2.5, True, -1, torch.tensor(2.0), 7],
    "float": ["text", None, True, math.nan, -1.0],
    "float | None": ["text", True, math.nan, -1.0],
    "bool": ["no", 1, None],
    "Sequence[int]": ["ab", 1.5, (1.5, 2), None, (True,), (-1,), 3],
    "Sequence[int] | None": ["ab", 1.5, (1.5, 2), (True,), (-1,), 3],
    "int | Sequence[int]": ["ab", 1.5, (1.5, 2), None, (True,), (0,), True],
    "Sequence[int] | Tensor": ["ab", 1.5, [1.5], None, [0, 2], [[0, 1]], torch.ones(2)],
    "str": ["other", 3, None],
    "Tensor": ["text", None, [1.0], torch.ones(2, 3, dtype=torch.complex64)],
    "Tensor | None": ["text", [1.0], torch.ones(9)],
    "Bijection": [*MODULE, nn.Linear(2, 2)],
    "Base": [*MODULE, nn.Linear(2, 2)],
    "MaskedNetwork": [*MODULE, nn.Linear(2, 2), bijections.MaskedNetwork(3, 1)],
    "AffineCoupling": [*MODULE, nn.Linear(2, 2)],
    "Dequantize | None": ["text", 3, nn.Linear(2, 2)],
    "bool | str | Dequantize": ["text", 1, None, nn.Linear(2, 2)],
    "nn.Module": MODULE,
    "nn.Module | None": ["text", 3, nn.Identity()],
    "Iterable[Bijection]": [3, None, ["text"], [Flip(), nn.ReLU()]],
    "Iterable[GlowStep]": [3, None, ["text"], []],
    "Distribution": ["text", None, Normal(0.0, 1.0)],
    "str | Base | Distribution": ["other", 3, None, nn.Linear(2, 2), bases.StandardNormal(7)],
    **{kind: ["other", 3, None] for kind in KINDS},
}
# By the name of the argument.
ALSO_WRONG: dict[str, list[Any]] = {
    "mask": [torch.ones(3)],
    "loc": [torch.full((3,), math.nan), torch.ones(3).long()],
    "scale": [torch.zeros(3), torch.full((3,), math.inf), torch.ones(3).long()],
}
# Of the layers that a flow makes; those of maf take no layout.
AFFINE: dict[str, list[Any]] = {"scale_fn": ["other"], "bound": [-1.0, "text"]}
SPLINE: dict[str, list[Any]] = {
    "boundary": ["open"], "convention": ["tfp"], "min_width": [0.125, -1e-3, "text"],
    "min_height": [0.2], "min_derivative": [0.0, 1.0, math.nan], "scale": [0.0, math.inf, None],
}  # fmt: skip
OPTIONS: dict[Callable[..., Any], dict[str, list[Any]]] = {
    flows.maf: AFFINE | {"order": ["other"]},
    flows.nsf: SPLINE,
}


def _trials() -> Iterator[Any]:
    for function, given in CALLS.items():
        wrong = {}
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                wrong |= OPTIONS.get(function, AFFINE | {"layout": ["other"]})
            else:
                kind = str(parameter.annotation).strip("'")
                wrong[name] = [*WRONG[kind], *ALSO_WRONG.get(name, [])]
        for name, values in wrong.items():
            for value in values:
                label = f"{function.__name__}-{name}-{str(value)[:20]}"
                yield pytest.param(function, given, name, value, id=label)


@pytest.mark.parametrize("function", CALLS, ids=lambda f: f.__name__)
def test_the_calls_are_right(function: Callable[..., Any]) -> None:
    function(**{name: make() for name, make in CALLS[function].items()})


@pytest.mark.parametrize(("function", "given", "name", "value"), list(_trials()))
def test_a_wrong_argument_is_named(
    function: Callable[..., Any], given: dict[str, Callable[[], Any]], name: str, value: Any
) -> None:
    right = {n: make() for n, make in given.items() if n != name}
    with pytest.raises((TypeError, ValueError), match=rf"^\w+: {name}\b.* must .*got "):
        function(**right, **{name: value})


def test_nothing_public_is_left_out() -> None:
    tried = {function.__name__ for function in CALLS} | OTHERS
    listed = {*bases.__all__, *bijections.__all__, *flows.__all__}
    listed |= {n for n in interpolation.__all__ if inspect.isclass(getattr(interpolation, n))}
    assert listed <= tried


LATENTS: dict[str, Callable[[torch.Tensor], Any]] = {
    "list": lambda z: z.tolist(),
    "None": lambda z: None,
    "shorter": lambda z: z[:, :5],
    "one": lambda z: z[:, :1],
    "0-d": lambda z: z[0, 0],
    "sparse": lambda z: z.to_sparse(),
    "complex": lambda z: z.to(torch.complex64),
}


@pytest.mark.parametrize("change", LATENTS)
@pytest.mark.parametrize("name", base_names())
def test_wrong_latents_have_no_density(name: str, change: str) -> None:
    base = make_base(name, 6)
    wrong = LATENTS[change](base.sample(4))
    with pytest.raises((TypeError, ValueError), match=rf"^{type(base).__name__}: z must "):
        base.log_prob(wrong)


METHODS = ("forward", "log_prob", "inverse", "interpolate")
# An inverse begins with a layer, which compares devices itself.
OF_DEVICE = [(method, "device") for method in METHODS if method != "inverse"]


@pytest.mark.parametrize(
    ("method", "change"), [*[(m, c) for m in METHODS for c in LATENTS], *OF_DEVICE]
)
def test_wrong_data_of_a_flow_are_named(method: str, change: str) -> None:
    flow = flows.realnvp(6, layers=2, hidden=8).eval()
    x = torch.randn(4, 6)
    wrong = x.to("meta") if change == "device" else LATENTS[change](x)
    name = {"inverse": "z", "interpolate": "a"}.get(method, "x")
    arguments = (wrong, wrong, 0.5) if method == "interpolate" else (wrong,)
    with pytest.raises((TypeError, ValueError), match=rf"^Flow: ({name}|x) must "):
        getattr(flow, method)(*arguments)


IMAGES = torch.rand(2, 4, 6, 6)
ROWS = torch.rand(2, 4)
MAPS: dict[str, tuple[Callable[[], bijections.Bijection], torch.Tensor]] = {
    "ActNorm": (lambda: bijections.ActNorm(4), ROWS),
    "ActNormConv1x1": (lambda: bijections.ActNormConv1x1(4), IMAGES),
    "AdditiveLogRatio": (lambda: bijections.AdditiveLogRatio(4), ROWS),
    "AffineAutoregressive": (
        lambda: bijections.AffineAutoregressive(bijections.MaskedNetwork(4)),
        ROWS,
    ),
    "AffineCoupling": (lambda: AffineCoupling(mlp_conditioner(2, 4)), ROWS),
    "Dequantize": (bijections.Dequantize, (IMAGES * 255).floor()),
    "Flip": (Flip, ROWS),
    "GlowSteps": (lambda: bijections.GlowSteps([_step()]), IMAGES),
    "InvertibleConv1x1": (lambda: bijections.InvertibleConv1x1(4), IMAGES),
    "LULinear": (lambda: bijections.LULinear(4), ROWS),
    "Logit": (bijections.Logit, ROWS),
    "Multiscale": (lambda: bijections.Multiscale([Flip()], (4, 6, 6)), IMAGES),
    "Permutation": (lambda: bijections.Permutation([3, 1, 0, 2]), ROWS),
    "ScaledStereographic": (lambda: bijections.ScaledStereographic(4), ROWS),
    "Squeeze": (bijections.Squeeze, IMAGES),
    "Standardize": (lambda: bijections.Standardize(torch.zeros(4), torch.ones(4)), ROWS),
    "StickBreaking": (lambda: bijections.StickBreaking(4), ROWS),
    "VariationalDequantize": (
        lambda: bijections.VariationalDequantize(4, hidden=8),
        (IMAGES * 255).floor(),
    ),
}


@pytest.mark.parametrize("change", ["list", "None", "0-d", "complex"])
@pytest.mark.parametrize("name", MAPS)
def test_bijections_say_what_they_map(name: str, change: str) -> None:
    make, x = MAPS[name]
    bijection = make()
    z, _ = bijection(x)
    for function, given in ((bijection, x), (bijection.inverse, z)):
        wrong = given.reshape(-1)[0] if change == "0-d" else LATENTS[change](given)
        with pytest.raises((TypeError, ValueError), match=rf"^{name}: .*got "):
            function(wrong)


def test_permutations_of_other_integers() -> None:
    for order in ((1, 0), torch.tensor([1, 0], dtype=torch.int32), np.array([1, 0], np.int16)):
        assert bijections.Permutation(order)(torch.tensor([[3.0, 4.0]]))[0].tolist() == [[4.0, 3.0]]


def test_a_permutation_of_other_channels() -> None:
    permutation = bijections.Permutation([2, 0, 1])
    for x in (torch.rand(2, 2), torch.rand(2, 4)):
        with pytest.raises(ValueError, match=r"Permutation: expected shape \(B, 3, \*S\)"):
            permutation(x)
