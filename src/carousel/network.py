"""Network: what is trained. It turns a batch into outputs; a cell run over sequences is one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from carousel.batch import Batch
from carousel.cell import Cell, NoiseShapes, State, TreeCell
from carousel.errors import InputError
from carousel.forest import Forest, fold
from carousel.loop import native_refusal, scan
from carousel.torch_private import pytree

StepLoss = Callable[[Any, Any], Tensor]
"""(y, target) of one step of one sequence -> scalar tensor.

A plain function (a static method too) or an instance of a frozen dataclass gives the same for the same, so that it may become
part of the compiled step; it is then called only when the step is captured.
"""


def objective(outputs: Any, batch: Batch, loss: StepLoss) -> Tensor:
    """The sum of the loss over the steps that count, averaged over the B sequences.

    Args:
        outputs:  tree of (T, B, ...), as `scan` gives them, or of (n, ...), as `fold` does.
        batch:    targets (T, B, ...) or (n, ...), and mask (T, B) or (n,).
        loss:     (y, target) of one step of one sequence -> scalar tensor.
    """
    targets = _counted(batch.targets, batch.mask)
    flat_outputs, flat_targets = pytree.tree_map(lambda leaf: leaf.flatten(0, batch.mask.dim() - 1), (outputs, targets))
    each = torch.vmap(loss)(flat_outputs, flat_targets).reshape(batch.mask.shape)  # (T, B), or (n,) for the nodes of B trees
    counted = torch.where(batch.mask, each, 0.0)
    return counted.sum(0).mean() if counted.dim() == 2 else counted.sum() / batch.size


class Network(nn.Module):
    """Base class of what `fit` trains: a module whose forward reads a batch, whatever that holds."""

    def forward(self, batch: Batch, state: State = None, *, generator: torch.Generator | None = None) -> tuple[Any, State]:
        """(outputs, state after the last step): outputs as the task's loss and score read them, (T, B, ...) for sequences.

        Args:
            batch:      what the network reads; targets and mask are not looked at.
            state:      where to start from; None for the network's own start. A network without a state gives None.
            generator:  the source of noise in training mode.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward(batch, state)")

    def run_with_loss(
        self, batch: Batch, loss: StepLoss, state: State = None, *, generator: torch.Generator | None = None
    ) -> tuple[Any, State, Tensor]:
        """(outputs, state after the last step, objective); what a learning rule calls."""
        outputs, state = self(batch, state, generator=generator)
        return outputs, state, objective(outputs, batch, loss)

    def fusion_refusal(self, batch: Batch, loss: StepLoss) -> str | None:
        """Why `run_with_loss` runs the loss outside of the compiled step, for batches like this one; None where it does not."""
        return f"{type(self).__name__} runs its loss after its outputs"


class Sequence(Network):
    """A cell over sequences: `scan`, with the batch's lengths and context.

    Where it can, `run_with_loss` makes the loss part of the cell's step, so that the engine runs and differentiates both.

    Args:
        cell:  the step.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        self._fused: tuple[StepLoss, CellWithLoss | str] | None = None  # the latest loss, and what came of it

    def forward(self, batch: Batch, state: State = None, *, generator: torch.Generator | None = None) -> tuple[Any, State]:
        return scan(self.cell, batch.inputs, state, context=batch.context, lengths=batch.lengths, generator=generator)

    def run_with_loss(
        self, batch: Batch, loss: StepLoss, state: State = None, *, generator: torch.Generator | None = None
    ) -> tuple[Any, State, Tensor]:
        fused = self._with(loss, batch, state)
        if isinstance(fused, str):
            return super().run_with_loss(batch, loss, state, generator=generator)
        if fused.training is not self.cell.training:
            fused.training = self.cell.training
        inputs = batch.inputs, batch.targets, batch.mask
        (outputs, each), state = scan(fused, inputs, state, context=batch.context, lengths=batch.lengths, generator=generator)
        return outputs, state, each.sum() / batch.size

    def fusion_refusal(self, batch: Batch, loss: StepLoss) -> str | None:
        fused = self._with(loss, batch, None)
        return fused if isinstance(fused, str) else None

    def _with(self, loss: StepLoss, batch: Batch, state: State) -> CellWithLoss | str:
        """The cell and this loss as one cell; or why they run apart."""
        if self._fused is None or self._fused[0] != loss:
            self._fused = loss, why_unfused(loss) or self._fuse(loss, batch, state)
        return self._fused[1]

    def _fuse(self, loss: StepLoss, batch: Batch, state: State) -> CellWithLoss | str:
        fused = CellWithLoss(self.cell, loss)
        fused.training = self.cell.training
        inputs = batch.inputs, batch.targets, batch.mask
        try:
            return native_refusal(fused, inputs, state, context=batch.context, lengths=batch.lengths) or fused
        except InputError as error:  # whatever is wrong with cell or loss is said where they run apart
            return str(error)


class Recursive(Network):
    """A cell over trees: `fold` of the forest that is a batch's inputs, and a readout of every node.

    Args:
        cell:       one node.
        readout:    a module from the cell's outputs (n, ...) to y, such as ``nn.Linear(hidden, classes)``.
        embedding:  a module from the forest's inputs (n, ...) to what the cell reads, such as ``nn.Embedding(words, size)``.
        dropout:    share of the entries of what the cell reads, and of what the readout reads, that are dropped in training.

    Raises:
        InputError: dropout outside [0, 1).
    """

    def __init__(
        self, cell: TreeCell, *, readout: nn.Module | None = None, embedding: nn.Module | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise InputError(f"Recursive: expected dropout in [0, 1), got {dropout}")
        self.cell, self.readout, self.embedding, self.dropout = cell, readout, embedding, dropout

    def forward(self, batch: Batch, state: State = None, *, generator: torch.Generator | None = None) -> tuple[Any, State]:
        forest: Forest = batch.inputs
        x = forest.inputs if self.embedding is None else self.embedding(forest.inputs)
        outputs, _ = fold(self.cell, forest, self._dropped(x, generator))
        if self.readout is not None:
            outputs = self.readout(self._dropped(outputs, generator))
        return outputs, None

    def _dropped(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        if not self.dropout or not self.training:
            return x
        drawn = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=None if generator is None else generator.device)
        return torch.where(drawn.to(x.device) < self.dropout, 0.0, x / (1 - self.dropout))


class Autoencoder(Recursive):
    """A `RecursiveAutoencoder` over sentences, whose trees may grow out of the data. Outputs are (y, E): the readout of p; errors.

    Args:
        greedy:   whether the trees are those of `parse`, whatever those of the batch are.
        options:  those of `Recursive`.
    """

    def __init__(self, cell: TreeCell, *, greedy: bool = True, **options: Any) -> None:
        super().__init__(cell, **options)
        self.greedy = greedy

    def forward(self, batch: Batch, state: State = None, *, generator: torch.Generator | None = None) -> tuple[Any, State]:
        forest: Forest = batch.inputs
        if self.greedy:
            forest = self.parse(forest)
        x = forest.inputs if self.embedding is None else self.embedding(forest.inputs)
        (p, error), _ = fold(self.cell, forest, self._dropped(x, generator))
        return (p if self.readout is None else self.readout(self._dropped(p, generator)), error), None

    @torch.no_grad()
    def parse(self, forest: Forest) -> Forest:
        """The trees of greedy merging: of adjacent pairs, the one with the least error E becomes a node, up to the root.

        Args:
            forest:  sentences as `carousel.data.sentences.as_tree` numbers them: the words, then the nodes above, the root last.
        """
        starts = torch.from_numpy(forest.starts)
        B, rows = len(forest), torch.arange(len(forest))
        words = (starts[1:] - starts[:-1] + 1) // 2
        x = forest.inputs if self.embedding is None else self.embedding(forest.inputs)
        W = int(words.max()) if B else 0
        numbers = torch.minimum(starts[:-1, None] + torch.arange(W), starts[1:, None] - 1)  # (B, W) nodes without a parent
        states = pytree.tree_map(lambda leaf: leaf.cpu(), torch.vmap(self.cell.leaf)(x))
        states = pytree.tree_map(lambda leaf: leaf[numbers], states)  # (B, W, ...)
        children = torch.from_numpy(forest.children.copy())
        weights = {name: weight.detach().cpu() for name, weight in self.cell.named_parameters()}
        nothing = torch.zeros(B, x.shape[1])
        left = words.clone()

        def merged(pair: Any, own: Tensor) -> Any:
            return torch.func.functional_call(_Merge(self.cell), {f"cell.{n}": w for n, w in weights.items()}, (own, pair))

        for made in range(W - 1):
            width = int(left.max())
            pairs = pytree.tree_map(lambda leaf: torch.stack([leaf[:, : width - 1], leaf[:, 1:width]], 2), states)  # noqa: B023
            above = torch.vmap(torch.vmap(merged, in_dims=(0, None)))(pairs, nothing)  # (B, width - 1, ...)
            error = self.cell.output(above)[1].masked_fill(torch.arange(width - 1) >= left[:, None] - 1, float("inf"))
            at = error.argmin(1)
            going = left > 1
            node = starts[:-1] + words + made
            two = torch.stack([numbers[rows, at], numbers[rows, at + 1]], 1)
            children[node[going]] = two[going]
            place = torch.arange(width - 1)
            source = place + (place > at[:, None])  # what is right of the pair moves one to the left
            here = place == at[:, None]
            numbers = torch.where(here, node[:, None], numbers.gather(1, source))
            states = pytree.tree_map(
                lambda leaf, new: torch.where(_like(here, leaf), new, leaf[rows[:, None], source]),  # noqa: B023
                states,
                above,
            )
            left = left - going.long()
        return Forest(forest.inputs, children.numpy(), forest.starts)


class _Merge(nn.Module):
    """A tree cell's merge as the forward of a module, which is what `functional_call` calls."""

    def __init__(self, cell: TreeCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, children: State) -> State:
        return self.cell.merge(x, children)


class CellWithLoss(Cell):
    """A cell and the loss of its step as one cell.

    x is (x, target, whether the step counts), y is (y, loss), the loss zero where the step does not count.
    """

    def __init__(self, cell: Cell, loss: StepLoss) -> None:
        super().__init__()
        self.cell, self.loss = cell, loss

    def initial_state(self) -> State:
        return self.cell.initial_state()

    def noise_shapes(self) -> NoiseShapes:
        return self.cell.noise_shapes()

    def step(self, x: Any, state: State, *, context: Any = None, noise: dict[str, Tensor] | None = None) -> tuple[Any, State]:
        x, target, counts = x
        y, state = self.cell(x, state, context=context, noise=noise)
        each = self.loss(y, _counted(target, counts))
        return (y, torch.where(counts, each, torch.zeros_like(each))), state


def as_network(model: Network | Cell) -> Network:
    """The network that a model is: a cell as a `Sequence` of it, a cell over trees as a `Recursive`.

    Raises:
        InputError: neither a network nor a cell.
    """
    if isinstance(model, Network):
        return model
    if isinstance(model, TreeCell):
        return Recursive(model)
    if isinstance(model, Cell):
        return Sequence(model)
    raise InputError(f"expected a carousel.Network or carousel.Cell, got {type(model).__name__}")


def cell_of(model: Network | Cell, rule: str) -> Cell:
    """The cell that a learning rule for cells alone works on.

    Raises:
        InputError: another network; the message names the rule.
    """
    if isinstance(model, Sequence):
        return model.cell
    if isinstance(model, Cell) and not isinstance(model, TreeCell):
        return model
    raise InputError(f"{rule}: expected a carousel.Cell over sequences, got {type(model).__name__}; train other networks with BPTT")


def why_unfused(loss: StepLoss) -> str | None:
    """Why a loss may give another value from one call to the next; None where it cannot."""
    name = getattr(loss, "__qualname__", type(loss).__qualname__)
    remedy = "write the loss as a function of its arguments alone, or as a frozen dataclass with __call__"
    if isinstance(loss, MethodType):
        return f"{name} is a method, which may read what changes; {remedy}"
    if is_dataclass(loss) and not isinstance(loss, type) and type(loss).__dataclass_params__.frozen:
        loss = type(loss).__call__
    if not isinstance(loss, FunctionType):
        return f"{name} is a {type(loss).__name__}, which may change; {remedy}"
    if loss.__closure__ is not None:
        return f"{name} reads variables of the function around it; {remedy}"
    unchanging = (type(None), type, ModuleType, FunctionType, BuiltinFunctionType)
    for read in loss.__code__.co_names:
        if not isinstance(loss.__globals__.get(read), unchanging):
            return f"{name} reads the global {read}, which may change; {remedy}"
    return None


def _counted(targets: Any, mask: Tensor) -> Any:
    """The targets, zero where none counts: there they may be anything, NaN included, and none of it may reach a gradient."""
    return pytree.tree_map(lambda leaf: torch.where(_like(mask, leaf), leaf, leaf.new_zeros(())), targets)


def _like(mask: Tensor, leaf: Tensor) -> Tensor:
    return mask.reshape(mask.shape + (1,) * (leaf.dim() - mask.dim()))
