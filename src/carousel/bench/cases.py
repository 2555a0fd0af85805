"""The benchmarks, one entry each, and what they put side by side.

A family makes its contenders for a shape (T, B, I, H): carousel's own first, then its peers, all
with the same weights and inputs, so that results can be compared before anything is timed. Inputs
ask for no gradient, as those of a lowest layer do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from carousel.batch import Batch
from carousel.bench import processes
from carousel.cell import Cell, TreeCell
from carousel.cells import GRU, LSTM, LSTM1997, NTM, ChildSumTreeLSTM, Embedding, NaryTreeLSTM
from carousel.data.classification import Classification
from carousel.data.forecast import ForecastLoss
from carousel.errors import InputError
from carousel.forest import Forest, fold
from carousel.learn import (
    BPTT,
    GravesRMSprop,
    OnlineStep,
    Truncated1997,
    half_squared_error,
    objective,
    optimizer_by_name,
    side_by_side,
)
from carousel.loop import Stepper, scan
from carousel.models import build
from carousel.network import StepLoss

Shape = tuple[int, int, int, int]
"""T steps, B sequences, input length I, H units."""


@dataclass(frozen=True)
class Contender:
    """One side of a comparison.

    sample:   does the work once and gives what it took: seconds or bytes.
    results:  does it and gives tensors, which are compared among contenders; None where what it
              computes is another thing by design.
    work:     how much one sample does (steps, multiplications), where contenders differ in it or a
              time a piece is asked for.
    alone:    every sample is a process of its own, so that there is nothing to warm up.
    """

    name: str
    sample: Callable[[], float]
    results: Callable[[], tuple[Tensor, ...]] | None = None
    work: float = 1.0
    alone: bool = False


Kind = Literal["faster", "of its time", "of the peak", "seconds", "of its memory"]
"""What is told of ours and a peer: how many times faster, the share of its time, of its rate, of its
memory; "seconds": our own time a piece of work, no matter the peer."""

AT_LEAST = ("faster", "of the peak")
"""Kinds whose goal is a lower bound; that of the others is an upper one."""


@dataclass(frozen=True)
class Case:
    """One comparison with one or more peers, or none; the goal is for the first. A slow one runs where it is named."""

    family: str
    shape: Shape
    contenders: Callable[[Shape], list[Contender]]
    kind: Kind
    goal: float | None = None
    slow: bool = False

    @property
    def name(self) -> str:
        """The family and the shape, as they are asked for on the command line."""
        return f"{self.family}-{'x'.join(map(str, self.shape))}"


# --- How a contender computes ----------------------------------------------------------------------


def timed(name: str, call: Callable[[], tuple[Tensor, ...]], work: float = 1.0) -> Contender:
    """A contender whose calls are timed and whose results are compared."""
    return Contender(name, partial(processes.seconds, call), call, work)


def inference(name: str, forward: Callable[[], Tensor]) -> Contender:
    """The outputs, nothing kept for gradients."""

    def call() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return (forward(),)

    return timed(name, call)


def training(name: str, forward: Callable[[], Tensor], weights: Sequence[Tensor]) -> Contender:
    """The outputs and the gradients of all weights, the cotangent of the outputs being the same for every contender."""
    cotangents: dict[torch.Size, Tensor] = {}

    def call() -> tuple[Tensor, ...]:
        y = forward()
        if y.shape not in cotangents:
            cotangents[y.shape] = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        return y.detach(), *torch.autograd.grad(y, weights, cotangents[y.shape])

    return timed(name, call)


def scanned(cell: Cell, x: Tensor, backend: str = "native") -> Callable[[], Tensor]:
    """The outputs of a scan on a named backend: one that does not apply is refused, not replaced."""
    return lambda: scan(cell, x, backend=backend)[0]


def random_input(shape: Shape) -> Tensor:
    """x (T, B, I), the same for the same shape."""
    T, B, I, _ = shape
    return torch.randn(T, B, I, generator=torch.Generator().manual_seed(0))


# --- Peers with the weights of one of our cells, in its order: W, U, b ------------------------------


@torch.no_grad()
def torch_twin(cell: LSTM | GRU, kind: type[nn.Module]) -> nn.Module:
    """torch.nn's module of that kind with the cell's weights; its second bias is zero but for a GRU's candidate."""
    twin = kind(cell.input_size, cell.hidden_size)
    assert cell.b is not None
    second = torch.zeros_like(cell.b)
    if isinstance(cell, GRU):
        assert cell.b_hn is not None
        second[-cell.hidden_size :] = cell.b_hn
    for weight, ours in zip(twin.parameters(), (cell.W, cell.U, cell.b, second), strict=True):
        weight.copy_(ours)
    return twin


def cell_loop(lstm: nn.LSTMCell, x: Tensor) -> Tensor:
    """nn.LSTMCell in a Python loop."""
    h = c = x.new_zeros(x.shape[1], lstm.hidden_size)
    outputs = []
    for x_t in x:
        h, c = lstm(x_t, (h, c))
        outputs.append(h)
    return torch.stack(outputs)


def peephole_loop(cell: LSTM, x: Tensor) -> Tensor:
    """A peephole LSTM as one writes it in PyTorch."""
    assert cell.p is not None
    p_i, p_f, p_o = cell.p.chunk(3)
    h = c = x.new_zeros(x.shape[1], cell.hidden_size)
    outputs = []
    for x_t in x:
        a_i, a_f, a_g, a_o = (F.linear(x_t, cell.W, cell.b) + F.linear(h, cell.U)).chunk(4, 1)
        i, f = torch.sigmoid(a_i + p_i * c), torch.sigmoid(a_f + p_f * c)
        c = f * c + i * torch.tanh(a_g)
        h = torch.sigmoid(a_o + p_o * c) * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs)


# --- Families --------------------------------------------------------------------------------------


def lstm_training(shape: Shape) -> list[Contender]:
    x, cell = random_input(shape), LSTM(*shape[2:])
    layer, step = torch_twin(cell, nn.LSTM), torch_twin(cell, nn.LSTMCell)
    assert isinstance(step, nn.LSTMCell)
    return [
        training("carousel", scanned(cell, x), list(cell.parameters())),
        training("nn.LSTM", lambda: layer(x)[0], list(layer.parameters())),
        training("nn.LSTMCell in a loop", lambda: cell_loop(step, x), list(step.parameters())),
    ]


def lstm_inference(shape: Shape) -> list[Contender]:
    x, cell = random_input(shape), LSTM(*shape[2:])
    layer = torch_twin(cell, nn.LSTM)
    return [inference("carousel", scanned(cell, x)), inference("nn.LSTM", lambda: layer(x)[0])]


def gru_training(shape: Shape) -> list[Contender]:
    x, cell = random_input(shape), GRU(*shape[2:], reset_after=True)
    layer = torch_twin(cell, nn.GRU)
    return [
        training("carousel", scanned(cell, x), list(cell.parameters())),
        training("nn.GRU", lambda: layer(x)[0], list(layer.parameters())),
    ]


def variant_training(make: Callable[[int, int], Cell], shape: Shape) -> list[Contender]:
    x, cell, plain = random_input(shape), make(*shape[2:]), LSTM(*shape[2:])
    return [
        training("carousel", scanned(cell, x), list(cell.parameters())),
        replace(training("our plain LSTM", scanned(plain, x), list(plain.parameters())), results=None),
        training("eager", scanned(cell, x, "eager"), list(cell.parameters())),
    ]


def peephole_training(shape: Shape) -> list[Contender]:
    x, cell = random_input(shape), LSTM(*shape[2:], peepholes=True)
    weights = list(cell.parameters())
    return [
        training("carousel", scanned(cell, x), weights),
        training("a loop in PyTorch", lambda: peephole_loop(cell, x), weights),
        training("eager", scanned(cell, x, "eager"), weights),
    ]


def ntm_training(shape: Shape) -> list[Contender]:
    x, cell = random_input(shape), NTM(shape[2], 8, shape[3])
    weights = list(cell.parameters())
    return [training("carousel", scanned(cell, x), weights), training("eager", scanned(cell, x, "eager"), weights)]


def ntm_update(shape: Shape) -> list[Contender]:
    """Whole updates as `fit` makes them: loss, gradient, its clipping and the optimiser's step; the piece of work is a sequence.

    The peer does the same with the steps run by PyTorch, one after the other.
    """
    T, B, I, H = shape
    x, cell = random_input(shape), NTM(I, 8, H)
    targets = torch.rand(T, B, 8, generator=torch.Generator().manual_seed(2)).round()
    batch = Batch(x, targets, torch.ones(T, B, dtype=torch.bool), torch.full((B,), T))

    def loss(y: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(y, target, reduction="sum")

    def updated(cell: Cell, update: Callable[[Cell, GravesRMSprop], Tensor]) -> Callable[[], tuple[Tensor, ...]]:
        optimizer = GravesRMSprop(cell.parameters(), 1e-4)
        return lambda: (update(cell, optimizer), *(parameter.detach() for parameter in cell.parameters()))

    learner = BPTT(clip_value=10)

    def ours(cell: Cell, optimizer: GravesRMSprop) -> Tensor:
        return learner.train_on(cell, batch, loss, optimizer)[0]

    def theirs(cell: Cell, optimizer: GravesRMSprop) -> Tensor:
        optimizer.zero_grad()
        value = objective(scan(cell, x, backend="eager")[0], batch, loss)
        value.backward()
        nn.utils.clip_grad_value_(cell.parameters(), 10)
        optimizer.step()
        return value.detach()

    twin = deepcopy(cell)
    return [timed("carousel", updated(cell, ours), B), timed("eager", updated(twin, theirs), B)]


class PlainLSTM(nn.Module):
    """The networks of the jobs as one writes them with torch.nn: an embedding for symbols, nn.LSTM and a linear readout."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        parts = list(cell.modules())
        self.E: Tensor | None = next((nn.Parameter(part.E.detach().clone()) for part in parts if isinstance(part, Embedding)), None)
        self.lstm = next(torch_twin(part, nn.LSTM) for part in parts if isinstance(part, LSTM))
        self.readout = next(deepcopy(part) for part in parts if isinstance(part, nn.Linear))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.readout(self.lstm(x if self.E is None else F.embedding(x, self.E))[0])
        return y


def update(job: Job, shape: Shape) -> list[Contender]:
    """Whole updates of a job's network: loss, gradient and Adam's step. Beside it the same with the loss after the loop instead of
    in the step, and the model as written with torch.nn and torch.optim."""
    cell, batch, loss, plain_loss = job(shape)
    apart, plain = deepcopy(cell), PlainLSTM(cell)

    def ours(cell: Cell, loss: StepLoss) -> Callable[[], tuple[Tensor, ...]]:
        learner, optimizer = BPTT(), optimizer_by_name("adam", cell.parameters(), 1e-3)
        return lambda: (learner.train_on(cell, batch, loss, optimizer)[0],)

    optimizer = torch.optim.Adam(plain.parameters(), 1e-3)

    def theirs() -> tuple[Tensor, ...]:
        optimizer.zero_grad()
        value = plain_loss(plain(batch.inputs), batch.targets)
        value.backward()
        optimizer.step()
        return (value.detach(),)

    return [
        timed("carousel", ours(cell, loss)),
        timed("torch.nn", theirs),
        timed("loss after the loop", ours(apart, lambda y, target: loss(y, target))),  # a closure is not made part of the step
    ]


Job = Callable[[Shape], tuple[Cell, Batch, StepLoss, Callable[[Tensor, Tensor], Tensor]]]
"""(network, batch, loss of a step, the same loss of all outputs and targets at once) of a job."""


def _batch(inputs: Tensor, targets: Tensor, counts_from: int = 0) -> Batch:
    T, B = inputs.shape[:2]
    return Batch(inputs, targets, (torch.arange(T) >= counts_from)[:, None].expand(T, B), torch.full((B,), T))


def forecast_job(shape: Shape, horizon: int = 12) -> Any:
    """Forecasts of 12 steps, of which those in the second half of a window count, as `carousel train forecast` has them."""
    T, B, I, H = shape
    batch = _batch(random_input(shape), torch.randn(T, B, horizon), T // 2)
    half = T - T // 2
    return (
        build("lstm", I, horizon, hidden=H),
        batch,
        ForecastLoss((0.5,)),
        lambda y, target: half * F.mse_loss(y[-half:], target[-half:]),
    )


def classify_job(shape: Shape, labels: int = 10) -> Any:
    """The mean of the logits at all steps, as `carousel train classify` has them."""
    T, B, I, H = shape
    batch = _batch(random_input(shape), torch.randint(labels, (B,)).expand(T, B), T - 1)
    cell = build("lstm", I, labels, hidden=H, answer="mean")
    return cell, batch, Classification.loss, lambda y, target: F.cross_entropy(y.mean(0), target[-1])


def symbols_job(symbols: int, labels: int, shape: Shape) -> Any:
    """A label for each symbol, as `carousel train tag` and `carousel train language` have them."""
    T, B, I, H = shape
    batch = _batch(torch.randint(symbols, (T, B)), torch.randint(labels, (T, B)))
    cell = build("lstm", I, labels, hidden=H, symbols=symbols)
    return cell, batch, Classification.loss, lambda y, target: T * F.cross_entropy(y.flatten(0, 1), target.flatten())


def random_forest(leaves: int, trees: int) -> Forest:
    """Binary trees of so many leaves each: neighbors are merged in an order drawn at random."""
    drawn = torch.Generator().manual_seed(0)
    made = []
    for _ in range(trees):
        tree: list[list[int]] = [[] for _ in range(leaves)]
        roots = list(range(leaves))
        while len(roots) > 1:
            at = int(torch.randint(len(roots) - 1, (), generator=drawn))
            tree.append(roots[at : at + 2])
            roots[at : at + 2] = [len(tree) - 1]
        made.append(tree)
    return Forest.of(made)


class TreesByHand:
    """A binary Tree-LSTM over a forest as one writes it in PyTorch, with the weights of ours.

    It gives the states h of all nodes, in their order, of x at the leaves in their order: all nodes of a height at once, or node
    after node.
    """

    def __init__(self, cell: NaryTreeLSTM, forest: Forest) -> None:
        self.cell, self.forest = cell, forest
        heights, self.place = torch.from_numpy(forest.heights), forest.schedule.place
        self.leaves = heights == 0
        children = self.place[torch.from_numpy(forest.children)]
        self.below = [children[heights == height] for height in range(1, int(heights.max()) + 1)]

    def _of_leaves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        i, o, u = F.linear(x, self.cell.W, self.cell.b[: 3 * self.cell.hidden_size]).chunk(3, -1)
        c = torch.sigmoid(i) * torch.tanh(u)
        return torch.sigmoid(o) * torch.tanh(c), c

    def _merged(self, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Of h and c (..., 2, H)."""
        bias = torch.cat([self.cell.b, self.cell.b[3 * self.cell.hidden_size :]])
        i, o, u, left, right = F.linear(h.flatten(-2), self.cell.U, bias).chunk(5, -1)
        new = torch.sigmoid(i) * torch.tanh(u) + torch.sigmoid(left) * c[..., 0, :] + torch.sigmoid(right) * c[..., 1, :]
        return torch.sigmoid(o) * torch.tanh(new), new

    def by_height(self, x: Tensor) -> Tensor:
        h, c = self._of_leaves(x)
        for children in self.below:
            new_h, new_c = self._merged(h[children], c[children])
            h, c = torch.cat([h, new_h]), torch.cat([c, new_c])
        return h[self.place]

    def by_node(self, x: Tensor) -> Tensor:
        states: list[tuple[Tensor, Tensor]] = []
        words = iter(x)
        for own in self.forest.children.tolist():
            if own[0] < 0:
                states.append(self._of_leaves(next(words)))
            else:
                h, c = zip(*(states[child] for child in own), strict=True)
                states.append(self._merged(torch.stack(h), torch.stack(c)))
        return torch.stack([h for h, _ in states])


def folded(cell: TreeCell, forest: Forest, x: Tensor) -> Callable[[], Tensor]:
    """The outputs of a fold on native code."""
    return lambda: fold(cell, forest, x, backend="native")[0]


def tree_training(shape: Shape) -> list[Contender]:
    """The binary Tree-LSTM over B random trees of T leaves; beside it the same in PyTorch by hand, all nodes of a height at once,
    and node after node."""
    T, B, I, H = shape
    cell, forest = NaryTreeLSTM(I, H), random_forest(T, B)
    x = torch.randn(forest.nodes, I, generator=torch.Generator().manual_seed(0))
    by_hand, weights = TreesByHand(cell, forest), list(cell.parameters())
    of_leaves = x[by_hand.leaves]
    return [
        training("carousel", folded(cell, forest, x), weights),
        training("heights by hand", lambda: by_hand.by_height(of_leaves), weights),
        training("node after node", lambda: by_hand.by_node(of_leaves), weights),
    ]


def many_trees(shape: Shape, some: int = 2) -> list[Contender]:
    """The same with more trees than the peer could take one after the other: it has the first few of them. Measured per tree."""
    T, B, I, H = shape
    cell, forest = NaryTreeLSTM(I, H), random_forest(T, B)
    x = torch.randn(forest.nodes, I, generator=torch.Generator().manual_seed(0))
    first = forest.select(range(some))
    by_hand, weights = TreesByHand(cell, first), list(cell.parameters())
    of_leaves = x[: first.nodes][by_hand.leaves]
    ours, theirs = folded(cell, forest, x), partial(by_hand.by_node, of_leaves)
    return [
        replace(training("carousel", ours, weights), work=B, results=lambda: (ours()[: first.nodes].detach(),)),
        replace(training(f"node after node, {some} trees", theirs, weights), work=some, results=lambda: (theirs().detach(),)),
    ]


@dataclass(frozen=True)
class TreeUpdate:
    """What an update on trees as those of a treebank of sentiment needs: words at the leaves, one of five labels at each node."""

    cell: NaryTreeLSTM
    forest: Forest
    words: Tensor  # (n,), 0 at nodes with children
    labels: Tensor
    E: Tensor
    V: Tensor

    @staticmethod
    def of(shape: Shape, symbols: int = 18_000) -> TreeUpdate:
        T, B, I, H = shape
        forest, drawn = random_forest(T, B), torch.Generator().manual_seed(0)
        words = torch.randint(1, symbols, (forest.nodes,), generator=drawn).where(torch.from_numpy(forest.heights) == 0, 0)
        labels = torch.randint(5, (forest.nodes,), generator=drawn)
        E, V = (torch.randn(size, I_or_H, generator=drawn) / 10 for size, I_or_H in ((symbols, I), (5, H)))
        torch.manual_seed(0)
        return TreeUpdate(NaryTreeLSTM(I, H), forest, words, labels, nn.Parameter(E), nn.Parameter(V))


RATE = 1e-3
"""Learning rate of AdaGrad."""


def tree_update(shape: Shape) -> list[Contender]:
    """Whole updates on B trees of T leaves: word vectors, fold, labels of all nodes, gradient and AdaGrad's step. Beside it the
    same in PyTorch by hand, as in `tree_training`."""
    torch.sparse.check_sparse_tensor_invariants.disable()  # PyTorch warns where that is not said

    def updated(name: str, states: Callable[[TreeUpdate], Callable[[], Tensor]]) -> Contender:
        given = TreeUpdate.of(shape)
        h = states(given)
        optimizer = torch.optim.Adagrad([*given.cell.parameters(), given.E, given.V], RATE)

        def call() -> tuple[Tensor, ...]:
            optimizer.zero_grad()
            loss = F.cross_entropy(F.linear(h(), given.V), given.labels, reduction="sum") / len(given.forest)
            loss.backward()
            optimizer.step()
            return (loss.detach(),)

        return twice(timed(name, call))

    def ours(given: TreeUpdate) -> Callable[[], Tensor]:
        return lambda: fold(given.cell, given.forest, F.embedding(given.words, given.E, sparse=True), backend="native")[0]

    def by_hand(given: TreeUpdate, name: str) -> Callable[[], Tensor]:
        trees = TreesByHand(given.cell, given.forest)
        words = given.words[trees.leaves]
        return lambda: getattr(trees, name)(F.embedding(words, given.E, sparse=True))

    return [
        updated("carousel", ours),
        updated("heights by hand", partial(by_hand, name="by_height")),
        updated("node after node", partial(by_hand, name="by_node")),
    ]


def twice(contender: Contender) -> Contender:
    """The contender with the results of two calls, so that an update is seen in what follows from it."""
    call = contender.results
    assert call is not None
    return replace(contender, results=lambda: (*call(), *call()))


def dynet_update(shape: Shape) -> list[Contender]:
    """Whole updates as in `tree_update`, beside DyNet, which itself finds what can be computed at once; on one thread."""
    try:
        import dynet_config  # type: ignore[import-not-found]

        dynet_config.set(mem=1024, autobatch=1, random_seed=1)
        import dynet as dy  # type: ignore[import-not-found]
    except ImportError:
        raise InputError("DyNet is not installed (the package dynet38)") from None
    given, H = TreeUpdate.of(shape), shape[3]
    model = dy.ParameterCollection()
    W, U, b, V = (model.parameters_from_numpy(x.detach().numpy()) for x in (*given.cell.parameters(), given.V))
    E = model.lookup_parameters_from_numpy(given.E.detach().numpy())
    trainer = dy.AdagradTrainer(model, RATE)
    trainer.set_clip_threshold(0)
    held = model, trainer  # the trainer alone does not keep the model alive
    nodes = list(zip(given.forest.children.tolist(), given.words.tolist(), given.labels.tolist(), strict=True))

    def call() -> tuple[Tensor, ...]:
        dy.renew_cg()
        leaf_bias, bias = b[: 3 * H], dy.concatenate([b, b[3 * H :]])
        states: list[tuple[Any, Any]] = []
        losses = []
        for own, word, label in nodes:
            if own[0] < 0:
                a = dy.affine_transform([leaf_bias, W, E[word]])
                i, o, u = (a[k * H : (k + 1) * H] for k in range(3))
                c = dy.cmult(dy.logistic(i), dy.tanh(u))
            else:
                (h_left, c_left), (h_right, c_right) = (states[child] for child in own)
                a = dy.affine_transform([bias, U, dy.concatenate([h_left, h_right])])
                i, o, u, left, right = (a[k * H : (k + 1) * H] for k in range(5))
                kept = dy.cmult(dy.logistic(left), c_left) + dy.cmult(dy.logistic(right), c_right)
                c = dy.cmult(dy.logistic(i), dy.tanh(u)) + kept
            states.append((dy.cmult(dy.logistic(o), dy.tanh(c)), c))
            losses.append(dy.pickneglogsoftmax(V * states[-1][0], label))
        loss = dy.esum(losses) / len(given.forest)
        value = loss.value()
        loss.backward()
        held[1].update()
        return (torch.tensor(value),)

    return [tree_update(shape)[0], twice(timed("DyNet", call))]


class Chain(TreeCell):
    """A cell of chains as one of trees whose nodes have one child: the first node reads the initial state."""

    arity = 1

    def __init__(self, cell: LSTM) -> None:
        super().__init__()
        self.cell, self.input_size, self.output_size = cell, cell.input_size, cell.hidden_size

    def leaf(self, x: Tensor) -> Any:
        return self.cell.step(x, self.cell.initial_state())[1]

    def merge(self, x: Tensor, children: Any) -> Any:
        return self.cell.step(x, type(children)(*(leaf[0] for leaf in children)))[1]


def unary_trees(shape: Shape) -> list[Contender]:
    """Trees of T nodes, one above the other; beside it the scan of the same cell."""
    T, B, *sizes = shape
    x, cell = random_input(shape), LSTM(*sizes)
    forest = Forest.of([[[], *([node] for node in range(T - 1))]] * B)
    by_tree, weights = x.transpose(0, 1).flatten(0, 1), list(cell.parameters())
    run = folded(Chain(cell), forest, by_tree)
    return [
        training("carousel", lambda: run().reshape(B, T, -1).transpose(0, 1), weights),
        training("scan", scanned(cell, x), weights),
    ]


def trees_of_arity(
    arity: int, make: Callable[[int, int], TreeCell], products: Callable[[int, int], int], shape: Shape
) -> list[Contender]:
    """Full trees of T leaves; beside it the scan of an LSTM. Measured per multiplication.

    Args:
        products: (I, H) to the multiplications of a node with children forward, those with the children's states.
    """
    T, B, I, H = shape
    tree: list[list[int]] = [[] for _ in range(T)]
    roots = list(range(T))
    while len(roots) > 1:
        tree += [roots[n : n + arity] for n in range(0, len(roots), arity)]
        roots = list(range(len(tree) - len(roots) // arity, len(tree)))
    forest, cell, chain = Forest.of([tree] * B), make(I, H), LSTM(I, H)
    x = torch.randn(forest.nodes, I, generator=torch.Generator().manual_seed(0))
    own, steps = dict(cell.named_parameters()), random_input((100, 32, I, H))
    inner = forest.nodes - T * B
    reading = forest.nodes if isinstance(cell, ChildSumTreeLSTM) else T * B
    # Products with x are made forward and for the gradient of W; those with states for the gradient of the states too.
    work = 2 * reading * own["W"].numel() + 3 * inner * products(I, H)
    theirs = 100 * 32 * (2 * 4 * H * I + 3 * 4 * H * H)
    return [
        replace(training("carousel", folded(cell, forest, x), list(own.values())), work=work, results=None),
        replace(training("scan of an LSTM", scanned(chain, steps), list(chain.parameters())), work=theirs, results=None),
    ]


def stepping(shape: Shape) -> list[Contender]:
    """One step after the other, each call's result in the caller's hands; a call here makes T steps."""
    x, cell = random_input(shape), LSTM(*shape[2:])
    twin = torch_twin(cell, nn.LSTMCell)
    stepper, single, batches = Stepper(cell), list(x[:, 0]), list(x[:, :1])

    def ours() -> tuple[Tensor, ...]:
        stepper.state = None
        for x_t in single:
            y = stepper(x_t)
        return (y,)

    @torch.no_grad()
    def theirs() -> tuple[Tensor, ...]:
        h = c = x.new_zeros(1, shape[3])
        for x_t in batches:
            h, c = twin(x_t, (h, c))
        return (h[0],)

    return [timed("carousel", ours, shape[0]), timed("nn.LSTMCell", theirs, shape[0])]


def online(shape: Shape) -> list[Contender]:
    """Steps of a network of 1997 with the gradient and the update at each, B networks side by side, on one thread.

    The peer is one of these networks, the same step run by PyTorch with torch.func, in a loop in Python; a hundredth of
    the steps. A loop written by hand for this one network and rule would be quicker than that.
    """
    T, B, I, H = shape
    cell = Truncated1997().cell(LSTM1997(I, 1, blocks=H // 4, block_size=2), half_squared_error, 0.5)
    draw = torch.Generator().manual_seed(0)
    everywhere = torch.ones(T, B, dtype=torch.bool)
    first = (torch.arange(T) % 100 == 0)[:, None].expand(T, B)
    steps = OnlineStep(
        torch.randn(T, B, I, generator=draw), torch.rand(T, B, 1, generator=draw), everywhere, first, first.roll(-1, 0)
    )
    state, some = side_by_side([cell] * B), T // 100

    @torch.no_grad()
    def ours() -> tuple[Tensor, ...]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        y, _ = scan(cell, steps, state, backend="native")
        torch.set_num_threads(threads)
        return (y[:some, 0],)

    @torch.no_grad()
    def theirs() -> tuple[Tensor, ...]:
        now, ys = cell.initial_state(), []
        for t in range(some):
            y, now = cell.step(OnlineStep(*(leaf[t, 0] for leaf in steps)), now)
            ys.append(y)
        return (torch.stack(ys),)

    return [timed("carousel", ours, T * B), timed("its step by torch.func", theirs, some)]


def peak_share(shape: Shape, side: int = 2048) -> list[Contender]:
    """Multiplications and additions a second in the LSTM's matrix products, against those of one large product.

    Forward has W x and U h; backward the gradients of W and U, and U^T times the gates' gradient.
    """
    T, B, I, H = shape
    a, b = torch.randn(side, side), torch.randn(side, side)
    flops = 2 * T * B * 4 * H * (2 * (I + H) + H)
    product = Contender("torch.mm", partial(processes.seconds, partial(torch.mm, a, b)), work=2 * side**3)
    return [replace(lstm_training(shape)[0], work=flops), product]


def memory(shape: Shape) -> list[Contender]:
    names = ("carousel", "nn.LSTM")
    return [Contender(name, partial(processes.alone, peak_memory, n, shape), alone=True) for n, name in enumerate(names)]


def peak_memory(n: int, shape: Shape) -> float:
    """Bytes of one forward and backward of lstm_training's nth contender, above what the process had before."""
    short = (1, *shape[1:])
    lstm_training(short)[n].sample()  # loads and compiles what it needs
    return processes.peak_bytes(lstm_training(shape)[n].sample)


NEW_CELLS: dict[str, Callable[[Shape], Cell]] = {
    "lstm": lambda shape: LSTM(*shape[2:]),
    "ntm": lambda shape: NTM(shape[2], 8, shape[3]),
}
"""Cells whose first call is timed."""


def first_calls(which: str, shape: Shape) -> tuple[float, float]:
    """Seconds of a cell's first call in a warm process, and of the first with one sequence, whose code is another."""
    lstm_training((2, 4, 3, 5))[0].sample()  # PyTorch, LLVM and the engine itself are loaded
    cell, x = NEW_CELLS[which](shape), random_input(shape)
    many, one = [training(which, scanned(cell, part), list(cell.parameters())).sample() for part in (x, x[:, :1])]
    return many, one


def compiling(which: str, shape: Shape) -> list[Contender]:
    """The first call where nothing is cached: the step is traced, differentiated, compiled, run."""
    return [Contender("carousel", lambda: processes.with_new_cache(1, first_calls, which, shape)[0][0], alone=True)]


def loading(which: str, shape: Shape) -> list[Contender]:
    """Machine code read back from disk in another process; beside it the whole first call there, tracing included."""

    def again() -> tuple[float, float]:
        return processes.with_new_cache(2, first_calls, which, shape)[1]

    return [
        Contender("carousel", lambda: again()[1], alone=True),
        Contender("the whole first call", lambda: again()[0], alone=True),
    ]


# --- The table -------------------------------------------------------------------------------------

TINY, SINGLE, MIDDLE = (1000, 1, 2, 4), (100, 1, 16, 100), (100, 32, 64, 128)
LONG, LARGE = (784, 128, 1, 128), (128, 32, 256, 1024)


def calm_layer_norm(input_size: int, hidden_size: int) -> LSTM:
    """A layer-norm LSTM with small recurrent gains.

    With gains of 1 it is chaotic: in float32 rounding grows a thousandfold within 100 steps, in any
    implementation, so that no two could be compared.
    """
    cell = LSTM(input_size, hidden_size, layer_norm=True)
    nn.init.constant_(cell.norm_h.weight, 0.1)
    return cell


VARIANTS: dict[str, tuple[Callable[[int, int], Cell], float]] = {
    "peephole": (partial(LSTM, peepholes=True), 1.2),
    "layer-norm": (calm_layer_norm, 1.4),
    "coupled": (partial(LSTM, coupled=True), 1.2),
    "gru1": (partial(GRU, gates_see="hb"), 1.2),
    "gru2": (partial(GRU, gates_see="h"), 1.2),
    "gru3": (partial(GRU, gates_see="b"), 1.2),
}
"""Cells that cost no more than the plain LSTM: how to make them, and the share of its time that they may take."""

ARITIES: dict[str, Callable[[int], tuple[Callable[[int, int], TreeCell], Callable[[int, int], int]]]] = {
    "nary": lambda K: (partial(NaryTreeLSTM, arity=K), lambda I, H: (3 + K) * H * K * H),
    "child-sum": lambda K: (ChildSumTreeLSTM, lambda I, H: (3 + K) * H * H),
}
"""Tree cells of so many children a node, and the multiplications of a node with the states of its children."""

CASES: list[Case] = [
    Case("lstm", TINY, lstm_training, "faster", 6),
    Case("lstm", SINGLE, lstm_training, "faster", 1.8),
    Case("lstm", MIDDLE, lstm_training, "faster", 1.15),
    Case("lstm", LONG, lstm_training, "faster", 1.1),
    Case("lstm", LARGE, lstm_training, "of its time", 1.0),
    Case("lstm-inference", TINY, lstm_inference, "faster", 6),
    Case("lstm-inference", SINGLE, lstm_inference, "faster", 1.8),
    Case("lstm-inference", MIDDLE, lstm_inference, "faster", 1.15),
    Case("lstm-inference", LONG, lstm_inference, "faster", 1.1),
    Case("lstm-inference", LARGE, lstm_inference, "of its time", 1.0),
    Case("gru", TINY, gru_training, "faster", 150),
    Case("gru", MIDDLE, gru_training, "faster", 2),
    Case("gru", LARGE, gru_training, "faster", 1.5),
    *[
        Case(f"variant-{name}", shape, partial(variant_training, make), "of its time", goal)
        for shape in (SINGLE, MIDDLE)
        for name, (make, goal) in VARIANTS.items()
    ],
    Case("peephole-loop", TINY, peephole_training, "faster", 500),
    Case("peephole-loop", SINGLE, peephole_training, "faster", 30),
    Case("peephole-loop", MIDDLE, peephole_training, "faster", 6),
    Case("ntm", (22, 1, 9, 100), ntm_training, "faster", 60),
    Case("ntm", (22, 32, 9, 100), ntm_training, "faster", 16),
    Case("ntm-update", (22, 1, 9, 100), ntm_update, "seconds", 1 / 1200),
    Case("ntm-update", (22, 32, 9, 100), ntm_update, "seconds", 1 / 4000),
    Case("update-forecast", (132, 32, 1, 32), partial(update, forecast_job), "of its time", 1),
    Case("update-classify", (45, 32, 40, 64), partial(update, classify_job), "of its time", 1),
    Case("update-tag", (25, 32, 64, 64), partial(update, partial(symbols_job, 5000, 9)), "of its time", 1),
    Case("update-language", (128, 32, 64, 64), partial(update, partial(symbols_job, 65, 65)), "of its time", 1),
    Case("tree", (20, 25, 300, 150), tree_training, "faster", 3),
    Case("tree", (128, 32, 150, 150), tree_training, "faster", 3),
    Case("tree-update", (20, 25, 300, 150), tree_update, "faster", 3),
    Case("tree-dynet", (20, 25, 300, 150), dynet_update, "faster", 2),
    Case("tree-many", (128, 1024, 150, 150), many_trees, "faster", 20, slow=True),
    Case("tree-many", (128, 64, 1024, 1024), many_trees, "faster", slow=True),
    Case("tree-unary", (100, 32, 150, 150), unary_trees, "of its time", 1.3),
    Case("tree-unary", (200, 32, 64, 128), unary_trees, "of its time", 1.3),
    Case("tree-unary", (1000, 1, 16, 64), unary_trees, "of its time", 1.3),
    Case("tree-arity-2", (128, 8, 150, 150), partial(trees_of_arity, 2, *ARITIES["nary"](2)), "of its time", 1.3),
    Case("tree-arity-4", (256, 8, 150, 150), partial(trees_of_arity, 4, *ARITIES["nary"](4)), "of its time", 1.3),
    Case("tree-child-sum-4", (256, 8, 150, 150), partial(trees_of_arity, 4, *ARITIES["child-sum"](4)), "of its time", 1.3),
    Case("stepper", (1000, 1, 64, 64), stepping, "seconds", 8e-6),
    Case("online", (10_000, 1, 2, 8), online, "seconds", 0.5e-6),
    Case("online", (10_000, 16, 2, 8), online, "seconds", 0.1e-6),
    Case("peak", LARGE, peak_share, "of the peak", 0.8),
    Case("memory", MIDDLE, memory, "of its memory"),
    Case("memory", LARGE, memory, "of its memory"),
    Case("compile-lstm", (20, 32, 16, 100), partial(compiling, "lstm"), "seconds", 0.5),
    Case("compile-ntm", (20, 32, 9, 100), partial(compiling, "ntm"), "seconds", 1.5),
    Case("load-lstm", (20, 32, 16, 100), partial(loading, "lstm"), "seconds", 0.05),
    Case("load-ntm", (20, 32, 9, 100), partial(loading, "ntm"), "seconds", 0.05),
]
