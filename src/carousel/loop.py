"""scan, what explains it, and Stepper: the only time loop, and one step at a time with carried state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from carousel import engine
from carousel.cell import Cell, NoiseShapes, State, initial_state_of
from carousel.engine.checks import check_context, check_inputs, check_state, checked_call, look_at
from carousel.engine.lowering import WholeStep
from carousel.engine.made import refuse_made_weights
from carousel.engine.scan_call import Call
from carousel.errors import InputError
from carousel.torch_private import pytree


def scan(
    cell: Cell,
    inputs: Any,
    state: State = None,
    *,
    context: Any = None,
    generator: torch.Generator | None = None,
    lengths: Tensor | Sequence[int] | None = None,
    params: Mapping[str, Tensor] | None = None,
    return_states: bool = False,
    backend: str = "auto",
    bits: str = "fast",
) -> tuple[Any, ...]:
    """Run a cell over B sequences of T steps, or P networks of one kind over B sequences each.

    Args:
        cell:           the step; its parameters and the other arguments receive gradients.
        inputs:         tensor (T, B, ...) or tree of such; what `cell.step` gets is one step of one
                        sequence of it.
        state:          tree of (B, ...); None for `cell.initial_state()` in every sequence.
        context:        tree of (B, ...), constant over time, for cells that take one.
        generator:      the source of the cell's noise in training mode; None for torch's default.
        lengths:        (B,) integers in 0..T; a sequence's state stops at its own end and its
                        outputs past it are zero. None: all have T steps.
        params:         name -> (P, ...), the parameters of P networks in the place of the cell's own, every one by its
                        name in `named_parameters`; buffers are shared. Then P stands before B in all the other
                        arguments and results: inputs (T, P, B, ...), state and context (P, B, ...), lengths (P, B).
        return_states:  give the states after each step as a third result, tree of (T, B, ...),
                        differentiable.
        backend:        "native" (machine code), "eager" (PyTorch, one step after the other), or "auto":
                        native where that applies, else eager; `explain` says which and why.
        bits:           "fast", or "portable": results and gradients that are the same to the last bit on every machine and
                        for every number of threads, in float32, by native code on one thread. What has no such form is
                        an error.

    Returns:
        (outputs, final_state) or (outputs, final_state, states): outputs (T, B, ...) as the cell
        returns them, final_state (B, ...), the state after each sequence's last step.

    Raises:
        InputError: shapes, dtypes or devices that do not fit, with what was expected and what was
            given; a backend that was named and does not apply, with the reason.
    """
    engine.check_bits("scan", bits)
    if bits == "portable" and params is not None:
        raise InputError("scan: bits='portable' does not apply with params")
    if bits == "portable" and torch.compiler.is_dynamo_compiling():
        raise InputError("scan: bits='portable' does not apply: the call is being traced")
    if params is not None:
        return _population_scan(cell, inputs, state, context, generator, lengths, params, return_states, backend)
    if torch.compiler.is_dynamo_compiling():
        from carousel.engine import graph_break  # loads the compiler

        return graph_break.scan(cell, inputs, state, context, generator, lengths, return_states, backend)
    return engine.scan(cell, inputs, state, context, generator, lengths, return_states, backend, bits)


class _Population(Cell):
    """A cell whose parameters come with the context, so that every row has its own."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell, self.training = cell, cell.training
        self.input_size, self.output_size = cell.input_size, cell.output_size

    def initial_state(self) -> State:
        return self.cell.initial_state()

    def noise_shapes(self) -> NoiseShapes:
        return self.cell.noise_shapes()

    def step(  # type: ignore[override]  # scan gives it both
        self, x: Any, state: State, *, context: Any, noise: dict[str, Tensor] | None = None
    ) -> tuple[Any, State]:
        params, own = context
        return functional_call(self.cell, params, (x, state), {"context": own if pytree.tree_leaves(own) else None, "noise": noise})


def _population_scan(
    cell: Cell,
    inputs: Any,
    state: State,
    context: Any,
    generator: torch.Generator | None,
    lengths: Tensor | Sequence[int] | None,
    params: Mapping[str, Tensor],
    return_states: bool,
    backend: str,
) -> tuple[Any, ...]:
    """scan with params: the P networks times B sequences as P * B rows."""
    P = _check_params(cell, params)
    refuse_made_weights("scan with params", cell)
    shape = tuple(getattr(next(iter(pytree.tree_leaves(inputs)), None), "shape", ()))
    if len(shape) < 3 or (cell.input_size is not None and shape[3:] != (cell.input_size,)):
        raise InputError(
            f"scan: with params expected inputs (T, {P}, B, {cell.input_size or '...'}), got {shape or type(inputs).__name__}"
        )
    B = shape[2]

    def rows(what: str, tree: Any, axis: int = 0) -> Any:
        wanted = ", ".join(map(str, ["T", P, B][1 - axis :]))
        for leaf in pytree.tree_leaves(tree):
            if not isinstance(leaf, Tensor) or leaf.shape[axis : axis + 2] != (P, B):
                got = tuple(leaf.shape) if isinstance(leaf, Tensor) else type(leaf).__name__
                raise InputError(f"scan: with params of P = {P} networks expected {what} ({wanted}, ...), got {got}")
        return pytree.tree_map(lambda leaf: leaf.flatten(axis, axis + 1), tree)

    inputs = rows("inputs", inputs, 1)

    def networks(tree: Any, axis: int = 0) -> Any:
        return pytree.tree_map(lambda leaf: leaf.unflatten(axis, (P, B)), tree)

    def for_each_sequence(tree: Any) -> Any:
        return pytree.tree_map(lambda leaf: leaf.repeat_interleave(B, 0), tree)

    if state is None:
        state = for_each_sequence(_starts(cell, params, P))
    else:
        state = rows("state", state)
        check_state("scan", cell, state, (P * B,))
    own = () if context is None else rows("context", context)
    if context is not None:
        check_context(cell, own, P * B)
    outputs, final_state, *states = scan(
        _Population(cell),
        inputs,
        state,
        context=(for_each_sequence(dict(params)), own),
        generator=generator,
        lengths=None if lengths is None else rows("lengths", torch.as_tensor(lengths)),
        return_states=return_states,
        backend=backend,
    )
    return (networks(outputs, 1), networks(final_state), *(networks(tree, 1) for tree in states))


def _check_params(cell: Cell, params: Mapping[str, Tensor]) -> int:
    """The number of networks, after a look at whether every parameter is there, in the right shape."""
    own = dict(cell.named_parameters())
    if set(params) != set(own) or not own:
        raise InputError(
            f"scan: expected params of {type(cell).__name__}: {', '.join(own) or 'it has none'}; got {', '.join(params)}"
        )
    P = len(next(iter(params.values())))
    for name, parameter in own.items():
        given = params[name]
        if given.shape != (P, *parameter.shape) or given.dtype != parameter.dtype:
            raise InputError(
                f"scan: expected params[{name!r}] {(P, *parameter.shape)} {parameter.dtype}, got {tuple(given.shape)} {given.dtype}"
            )
    return P


def _starts(cell: Cell, params: Mapping[str, Tensor], P: int) -> State:
    """The networks' initial states, tree of (P, ...)."""
    states = vmap(lambda own: initial_state_of(cell, own), in_dims=(dict.fromkeys(params, 0),))(dict(params))
    return pytree.tree_map(lambda leaf: leaf.expand(P, *leaf.shape[1:]), states)


def explain(
    cell: Cell,
    inputs: Any,
    state: State = None,
    *,
    context: Any = None,
    lengths: Tensor | Sequence[int] | None = None,
    return_states: bool = False,
    code: bool = False,
) -> str:
    """How `scan` runs a cell with ``backend="auto"``, as text: the backend and why, and its plan.

    The plan says what is made once, what runs over all steps at once, what loops, with the line
    of the cell's source that each operation came from, and how many bytes are kept for gradients
    of everything (of nothing under `torch.no_grad`).

    Args:
        code: add the text of the generated machine code (LLVM).
        The other arguments are those of `scan`.
    """
    from carousel.engine.explain import explain

    return explain(*checked_call(cell, inputs, state, context, None, lengths, return_states), code)


def native_refusal(
    cell: Cell, inputs: Any, state: State = None, *, context: Any = None, lengths: Tensor | Sequence[int] | None = None
) -> str | None:
    """Why `scan` with these arguments would not run on the native backend; None where it would. Nothing is run.

    Raises:
        InputError: arguments or a step that no backend can run.
    """
    return engine.refusal_of_step(*checked_call(cell, inputs, state, context, torch.Generator(), lengths, False))


class Stepper:
    """One step at a time, with the state carried from call to call; for streams.

    Evaluation only: no gradients, no noise. `stepper.state` may be read, kept and set; set it to
    None to start again. Several threads may call `step` of one stepper at once.

    Where the native backend applies, a step is one call of machine code, with the weights kept as
    that reads them. Weights and context changed by PyTorch in place, or replaced, are seen at the next
    step. So is what is written past PyTorch's notice (through `.data` or NumPy); where that is a part only of a
    tensor of more than 64 KiB, it is seen once all the tensor has been looked at, 64 KiB a step.

    Args:
        cell:     the step to make.
        context:  tree of (...) without batch axis, for cells that take one.
        bits:     "fast" or "portable", as in `scan`; with "portable" a step has the bits of a scan of one step, and takes as long.
    """

    def __init__(self, cell: Cell, *, context: Any = None, bits: str = "fast") -> None:
        engine.check_bits("Stepper", bits)
        self.cell, self._bits = cell, bits
        self.state: State = None
        self._context = None if context is None else pytree.tree_map(lambda leaf: leaf[None], context)
        self._native: WholeStep | None = None

    def __call__(self, x: Any) -> Any:
        """y for the input x of one step of one sequence; carries the state on."""
        y, self.state = self.step(x, self.cell.initial_state() if self.state is None else self.state)
        return y

    def step(self, x: Any, state: State) -> tuple[Any, State]:
        """(y, next state) from x and state, all of one sequence; nothing is kept between calls."""
        native = self._native
        if native is not None and engine.interception() is None and native.holds(self.cell):
            result = native(x, state)
            if result is not None:
                return result
        return self._first_step(x, state)

    @torch.no_grad()
    def _first_step(self, x: Any, state: State) -> tuple[Any, State]:
        """A step with its arguments checked, which makes the native one ready for those to come."""
        cell, cell_now = look_at("Stepper", self.cell)
        if self._bits == "portable" and cell is not self.cell:
            raise InputError("Stepper: bits='portable' does not apply: PyTorch computes weights of the cell from others")
        check_inputs("Stepper", (), cell, cell_now, x)
        check_state("Stepper", cell, state, ())
        inputs = pytree.tree_map(lambda leaf: leaf[None, None], x)
        before = pytree.tree_map(lambda leaf: leaf[None], state)
        call = Call(cell_now, 1, 1, inputs, before, self._context, {}, {}, None, False)
        native = engine.whole_step(cell, call, self._bits)
        self._native = native if cell is self.cell else None  # weights that are made are made anew at each step
        result = None if native is None else native(x, state)
        if result is not None:
            return result
        outputs, final_state, _ = engine.run(cell, call, "auto", self._bits)
        return pytree.tree_map(lambda leaf: leaf[0, 0], outputs), pytree.tree_map(lambda leaf: leaf[0], final_state)
