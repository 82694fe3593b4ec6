"""What an op is, declared once.

`declare` makes an op of its kernels: it completes the dispatcher's op, whose schema is in
csrc/bindings, by its formulas in plain torch, its shapes under torch.compile and its rule under
torch.vmap, and returns the function through which the public ops reach it.  `public` notes what a
public op is made of: exports, `flowkernels.backends()`, the table of docs/ops.md, the cases of the
shared checker, the checks of devices and the rows of the benchmarks follow from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from ._backends import FORCED
from ._errors import REPHRASED as _REPHRASED
from ._errors import check_types, clear_error
from ._extension import _C
from ._fake import check_devices, check_gradients, checked, named_tensors
from ._other_devices import elsewhere
from ._vmap import leading_vmap

LIBRARY = torch.library.Library("flowkernels", "IMPL")

Function = Callable[..., Any]
Public = TypeVar("Public", bound=Function)
Size = tuple[int, ...]


@dataclass(frozen=True)
class Op:
    """An op of the dispatcher.

    call      the op, from Python: straight into C++, into the graph when compiling
    formula   the op in plain torch, called as the dispatcher's schema says
    kernels   whether it has kernels of its own; else it consists of torch's and our other ops
    backward_formula  `<op>_backward` in plain torch, likewise; None if there is no such op
    family    the name of its file, in every folder
    whole     whether torch.compile keeps the op in one piece: its first call makes a table in the
              device's memory, which a graph must not make anew each time
    numbers   arguments that may be numbers
    cpu_only  whether it has kernels for the CPU alone; on a GPU its formulas run
    """

    name: str
    call: Function
    formula: Function
    backward_formula: Function | None
    kernels: bool
    family: str
    whole: bool
    numbers: tuple[str, ...]
    cpu_only: bool

    @property
    def backward(self) -> bool:
        """Whether there is an `<op>_backward`."""
        return self.backward_formula is not None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Arguments of a public op, for tests, benchmarks and device checks.

    tensors    those that gradients are taken in, in float64, for a size
    options    further arguments by name, for a size
    before     arguments in front of the tensors
    arguments  what the function takes of the tensors, where that is not one by one
    sizes      rows: (*batch, n); images: rows, or (B, C, *S); elements: any shape; matrices:
               (*batch, n, n) of a size (*batch, n); networks: (rows, hidden)
    dtypes     that benchmarks time, the main one first; none: the op is not timed
    """

    tensors: Callable[[Size], tuple[Tensor, ...]]
    options: Callable[[Size], dict[str, Any]] = lambda size: {}
    before: tuple[Any, ...] = ()
    arguments: Callable[[tuple[Tensor, ...]], tuple[Any, ...]] = lambda tensors: tensors
    sizes: Literal["rows", "images", "elements", "matrices", "networks"] = "rows"
    dtypes: tuple[str, ...] = ()

    def call(self, function: Function, size: Size, tensors: tuple[Any, ...]) -> Any:
        """`function` of the tensors of a size."""
        return function(*self.before, *self.arguments(tensors), **self.options(size))


@dataclass(frozen=True)
class PublicOp:
    """A public op.

    served_by  the dispatcher's ops that do its work, the main one first
    usage      a call, for the docs
    same       what it is in torch
    on_gpu     what serves it on a GPU, if not kernels of ours
    bijection  whether it maps its first tensor to the first output, whose log-det is the second
    random     whether its results are drawn
    """

    function: Function
    served_by: tuple[str, ...]
    usage: str
    same: str
    inputs: Inputs
    on_gpu: str = ""
    bijection: bool = False
    random: bool = False
    family: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", family_of(self.function))

    @property
    def name(self) -> str:
        """As users call it."""
        return self.function.__name__


OPS: dict[str, Op] = {}
PUBLIC: dict[str, PublicOp] = {}


def family_of(function: Function) -> str:
    """The name of the file that a function is from."""
    return function.__module__.rpartition(".")[2]


def public(
    *served_by: str,
    usage: str,
    same: str,
    inputs: Inputs,
    on_gpu: str = "",
    bijection: bool = False,
    random: bool = False,
) -> Callable[[Public], Public]:
    """Notes a public op; the arguments are `PublicOp`'s."""

    def note(function: Public) -> Public:
        op = PublicOp(function, served_by, usage, same, inputs, on_gpu, bijection, random)
        PUBLIC[op.name] = op
        return function

    return note


def dispatched(name: str) -> Any:
    """The dispatcher's op."""
    return getattr(torch.ops.flowkernels, name).default


def arguments_of(name: str) -> list[tuple[str, str]]:
    """Names and types in the dispatcher's schema."""
    return [(a.name, str(a.type)) for a in dispatched(name)._schema.arguments]


def as_keywords(name: str, options: tuple[Any, ...]) -> dict[str, Any]:
    """The last arguments in the dispatcher's schema by name."""
    names = [n for n, _ in arguments_of(name)]
    return dict(zip(names[-len(options) :], options, strict=True))


def gradients_of(name: str) -> list[str]:
    """The arguments of `<op>_backward` that stand in front of the op's own."""
    names = [n for n, _ in arguments_of(f"{name}_backward")]
    return names[: len(names) - len(arguments_of(name))]


def _check_kinds(name: str, args: tuple[Any, ...], numbers: tuple[str, ...]) -> None:
    """That arguments are what the op's schema says, and the tensors dense and on one device."""
    check_types(name, name, args, numbers, {})
    check_devices(name, named_tensors([n for n, _ in arguments_of(name)], args), numbers)


def _of_the_outputs(
    name: str, fake: Function, formula: Function, numbers: tuple[str, ...]
) -> Function:
    """`formula` of a backward, refusing gradients that are not like the outputs of the op.

    The kernels check this themselves; in plain torch a wrong shape would broadcast in silence.
    """
    names = gradients_of(name)

    def compared(*args: Any) -> Any:
        _check_kinds(f"{name}_backward", args, numbers)
        try:
            outputs = fake(*args[len(names) :])
        except Exception:
            _let_the_op_check(name, args[len(names) :])
            raise
        check_gradients(name, names, args, outputs)
        try:
            return formula(*args)
        except Exception:
            _let_the_op_check(name, args[len(names) :])
            raise

    return compared


def _checked_by(fake: Function, formula: Function) -> Function:
    """`formula`, refusing what the kernels would refuse; they check this themselves."""

    def compared(*args: Any) -> Any:
        fake(*args)
        return formula(*args)

    return compared


def _let_the_op_check(name: str, args: tuple[Any, ...]) -> None:
    """Raises what the op's own checks find wrong with arguments that plain torch fails on."""
    with torch.no_grad():
        dispatched(name)(*(a.detach() if isinstance(a, Tensor) else a for a in args))


def declare(
    name: str,
    *,
    formula: Function,
    backward_formula: Function | None = None,
    fake: Function | None = None,
    vmap: Callable[[Function], Function] = leading_vmap,
    numbers: tuple[str, ...] = (),
    whole: bool = False,
    cpu_only: bool = False,
) -> Function:
    """Completes op `name`, and returns it as a function of the arguments of its schema.

    formula           the op in plain torch, to be differentiated by torch
    backward_formula  its backward, f_backward(grads..., args...), likewise
    fake              empty results of the right shapes; left out by an op that consists of others
    vmap              makes a vmap rule of an op: leading_vmap, folding_vmap or its own
    numbers           arguments that may be numbers, or 0-d tensors on the CPU beside a GPU's: their
                      values travel with the launch
    whole, cpu_only   as in `Op`
    """
    family = family_of(fake or formula)
    if fake is not None:
        empty = checked(name, fake, [n for n, _ in arguments_of(name)], numbers)
        empties = {name: empty}
        LIBRARY.impl(f"{name}_composite", formula, "CompositeImplicitAutograd")
        if backward_formula is not None:
            empties[f"{name}_backward"] = _like_the_tensors(name, empty, numbers)
            compared = _of_the_outputs(name, empty, backward_formula, numbers)
            LIBRARY.impl(f"{name}_backward_composite", compared, "CompositeImplicitAutograd")
        for op, of_op in empties.items():
            torch.library.register_fake(f"flowkernels::{op}", of_op)
            torch.library.register_vmap(f"flowkernels::{op}", vmap(dispatched(op)))
            plain_torch = formula if op == name else backward_formula
            assert plain_torch is not None
            rest = elsewhere(op, of_op, plain_torch, numbers)
            LIBRARY.impl(op, rest, "CompositeExplicitAutograd")
        if cpu_only:
            LIBRARY.impl(name, _checked_by(empty, formula), "CUDA")
            if backward_formula is not None:
                LIBRARY.impl(f"{name}_backward", compared, "CUDA")
        plain = dispatched(f"{name}_composite")
    else:
        plain = formula
    call = _entry(name, plain, numbers)
    OPS[name] = Op(
        name, call, formula, backward_formula, fake is not None, family, whole, numbers, cpu_only,
    )  # fmt: skip
    return call


def _like_the_tensors(name: str, empty: Function, numbers: tuple[str, ...]) -> Function:
    """The fake of `<op>_backward`: one gradient for each tensor argument."""
    names = gradients_of(name)

    def fake(*args: Any) -> Any:
        given = args[len(names) :]
        _check_kinds(f"{name}_backward", args, numbers)
        check_gradients(name, names, args, empty(*given))
        grads = tuple(a.new_empty(a.shape) for a in given if isinstance(a, Tensor))
        return grads if len(grads) > 1 else grads[0]

    return fake


def _entry(
    name: str,
    plain: Function,
    numbers: tuple[str, ...],
    public: str = "",
    renamed: dict[str, str] | None = None,
) -> Function:
    """The op as a function: into the graph when compiling, else straight into C++.

    Errors name `public`, if it is given, and its arguments: a public op that another one's kernels
    serve.
    """
    graph, eager = dispatched(name), getattr(_C, name, None)
    converts = eager is None  # torch's dispatcher, whose bindings take None for False
    if FORCED == "reference" or eager is None:
        graph = eager = plain

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling():
            return graph(*args)
        if converts:
            check_types(name, public or name, args, numbers, renamed or {})
        try:
            return eager(*args)
        except _REPHRASED as error:
            clearer = clear_error(error, name, public or name, args, numbers, renamed or {})
            if clearer is None:
                raise
            raise clearer from None

    return call


def under(public: str, name: str, **renamed: str) -> Function:
    """Op `name` as a function whose errors name the public op that it serves.

    `name` may be a backward, which is then reached through the dispatcher. `renamed` has the
    public op's names of arguments by those of the op.
    """
    forward = name.removesuffix("_backward")
    plain = dispatched(name if name != forward else f"{name}_composite")
    return _entry(name, plain, OPS[forward].numbers, public, renamed)


def call(name: str, *args: Any) -> Any:
    """A declared op by its name: for formulas that consist of ops."""
    return OPS[name].call(*args)
