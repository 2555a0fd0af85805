"""The networks that the command line offers, by name.

Those over sequences are stacks of cells with a readout, made by ``build(name, input_size, output_size, ...)``; those over trees
are made by ``build_tree``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import nn

from carousel.cell import Cell, Stack, TreeCell
from carousel.cells import (
    GRU,
    LSTM,
    MGU,
    RNTN,
    BagOfWords,
    ChildSumTreeLSTM,
    Dropout,
    Elman,
    Embedding,
    FullyRecurrent,
    Mean,
    NaryTreeLSTM,
    RecursiveAutoencoder,
    RecursiveNet,
    TreeGRU,
    Window,
)
from carousel.errors import InputError
from carousel.names import WINDOW, check_model, check_tree_model
from carousel.network import Autoencoder, Recursive


def _recurrent(
    cell: Callable[..., Cell], input_size: int, output_size: int, hidden: int, layers: int, dropout: float, **options: Any
) -> Stack:
    """`layers` cells of one kind and size, each followed by dropout, then a linear readout."""
    sizes = [input_size, *[hidden] * (layers - 1)]
    cells = [layer for size in sizes for layer in (cell(size, hidden, **options), *_dropout(hidden, dropout))]
    return Stack(*cells, readout=nn.Linear(hidden, output_size))


def _window(inputs: int, input_size: int, output_size: int, hidden: int, layers: int, dropout: float) -> Stack:
    """A feedforward network of the latest `inputs` inputs: `layers` hidden layers of tanh units, then a linear one."""
    sizes = [inputs * input_size, *[hidden] * layers]
    readout = nn.Sequential()
    for below, above in pairwise(sizes):
        readout.extend([nn.Linear(below, above), nn.Tanh()])
    readout.append(nn.Linear(sizes[-1], output_size))
    return Stack(Window(inputs - 1, input_size), *_dropout(sizes[0], dropout), readout=readout)


def _dropout(size: int, rate: float) -> list[Cell]:
    return [Dropout(size, rate)] if rate else []


MODELS: dict[str, Callable[..., Cell]] = {
    "window-1": partial(_window, 1),
    "window-2": partial(_window, 2),
    "elman": partial(_recurrent, Elman),
    "elman-relu": partial(_recurrent, Elman, nonlinearity="relu"),
    "fully-recurrent": partial(_recurrent, FullyRecurrent),
    "lstm": partial(_recurrent, LSTM, forget_bias=1.0),
    "lstm-no-forget": partial(_recurrent, LSTM, forget_gate=False),
    "lstm-peephole": partial(_recurrent, LSTM, peepholes=True, forget_bias=1.0),
    "lstm-coupled": partial(_recurrent, LSTM, coupled=True),
    "lstm-layer-norm": partial(_recurrent, LSTM, layer_norm=True, forget_bias=1.0),
    "gru": partial(_recurrent, GRU),
    "gru-reset-after": partial(_recurrent, GRU, reset_after=True),
    "gru-input-gates": partial(_recurrent, GRU, gates_see="xb"),
    "gru1": partial(_recurrent, GRU, gates_see="hb"),
    "gru2": partial(_recurrent, GRU, gates_see="h"),
    "gru3": partial(_recurrent, GRU, gates_see="b"),
    "mgu": partial(_recurrent, MGU),
}
"""name -> factory(input_size, output_size, hidden, layers, dropout); ``window-N`` stands for any number N of inputs."""


def build(
    name: str,
    input_size: int,
    output_size: int,
    *,
    hidden: int = 32,
    layers: int = 1,
    symbols: int = 0,
    dropout: float = 0.0,
    answer: Literal["last", "mean"] = "last",
    seed: int = 0,
) -> Cell:
    """The network of that name, its weights drawn from `seed` alone.

    Args:
        name:         a key of MODELS, or "window-N": the latest N inputs and a feedforward network.
        input_size:   length of the vector x of a step.
        output_size:  length of the vector y of a step.
        hidden:       units of a layer.
        layers:       recurrent layers; hidden layers of a window network.
        symbols:      0: a step's input is x itself. N: it is a whole number from 0 to N - 1, for each of
                      which a vector x is learned.
        dropout:      share of a layer's outputs that are dropped in training, with one mask a
                      sequence; also of the learned x, and of a window's inputs.
        answer:       y of a step: "last": what the network says there; "mean": the mean of what it has
                      said so far.
        seed:         of the weights; torch's own generator is left as it is.

    Raises:
        InputError: an unknown name, a size below 1, or a dropout outside [0, 1).
    """
    for option, size in (("hidden", hidden), ("layers", layers)):
        if size < 1:
            raise InputError(f"model: expected {option} of at least 1, got {size}")
    check_model(name)
    window = WINDOW.fullmatch(name)
    factory = partial(_window, int(window[1])) if window else MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            cell = factory(input_size, output_size, hidden, layers, dropout)
            if symbols:
                cell = Stack(Embedding(symbols, input_size), *_dropout(input_size, dropout), cell)
        except (RuntimeError, MemoryError, OverflowError) as error:  # torch has no class of its own for it
            sizes = f"{input_size} inputs, {layers} layers of {hidden} units, {output_size} outputs"
            raise InputError(f"model {name}: cannot create a network of {sizes}: {str(error).splitlines()[0][:200]}") from None
        return Stack(cell, Mean(output_size)) if answer == "mean" else cell


TREE_MODELS: dict[str, Callable[[int, int, int, bool], TreeCell]] = {
    "tree-rnn": lambda size, hidden, arity, inner: RecursiveNet(hidden, arity=arity),
    "rntn": lambda size, hidden, arity, inner: RNTN(hidden, arity=arity),
    "tree-lstm": lambda size, hidden, arity, inner: NaryTreeLSTM(size, hidden, arity=arity, inner_inputs=inner),
    "child-sum-tree-lstm": lambda size, hidden, arity, inner: ChildSumTreeLSTM(size, hidden),
    "tree-gru": lambda size, hidden, arity, inner: TreeGRU(size, hidden),
    "recursive-autoencoder": lambda size, hidden, arity, inner: RecursiveAutoencoder(hidden),
    "bag-of-words": lambda size, hidden, arity, inner: BagOfWords(size, inner_inputs=inner),
}
"""name -> factory(length of a word's vector, hidden, most children of a node, whether nodes with children have words)."""

LEAVES_ALONE = ("tree-rnn", "rntn", "recursive-autoencoder")
"""Models whose nodes with children read no word, and whose leaves' states are the words' vectors themselves."""


def build_tree(
    name: str,
    symbols: int,
    output_size: int,
    *,
    hidden: int = 32,
    embedding: int = 32,
    arity: int = 2,
    inner_words: bool = False,
    dropout: float = 0.0,
    greedy: bool = False,
    seed: int = 0,
) -> Recursive:
    """The network over trees of that name, its weights drawn from `seed` alone: a vector for each word, a cell, a readout.

    Where the vectors of tree-rnn, rntn and recursive-autoencoder are not of `hidden` numbers, a learned matrix makes them so.

    Args:
        name:         a key of TREE_MODELS.
        symbols:      how many words there are; a node reads the number of its word.
        output_size:  length of the vector y of a node.
        hidden:       units of a node.
        embedding:    length of a word's vector, drawn from N(0, 0.1).
        arity:        the most children of a node, for the models whose weights differ from child to child.
        inner_words:  whether nodes with children have words too.
        dropout:      share of the entries of the words' vectors, and of what the readout reads, that are dropped in training.
        greedy:       whether a recursive autoencoder makes its own trees, by greedy merging.
        seed:         of the weights; torch's own generator is left as it is.

    Raises:
        InputError: an unknown name, a size below 1, a dropout outside [0, 1), words at nodes that the model does not let read.
    """
    check_tree_model(name)
    for option, size in (("symbols", symbols), ("output_size", output_size), ("hidden", hidden), ("embedding", embedding)):
        if size < 1:
            raise InputError(f"model: expected {option} of at least 1, got {size}")
    if inner_words and name in LEAVES_ALONE:
        others = ", ".join(other for other in TREE_MODELS if other not in LEAVES_ALONE)
        raise InputError(
            f"model {name}: only its leaves read words, and nodes with children have some too; choose one of: {others}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            words = nn.Embedding(symbols, embedding)
            nn.init.normal_(words.weight, std=0.1)
            cell = TREE_MODELS[name](embedding, hidden, arity, inner_words)
            to_hidden = name in LEAVES_ALONE and embedding != hidden
            vectors = nn.Sequential(words, nn.Linear(embedding, hidden)) if to_hidden else nn.Sequential(words)
            readout = nn.Linear(cell.output_size or hidden, output_size)
            if isinstance(cell, RecursiveAutoencoder):
                return Autoencoder(cell, greedy=greedy, readout=readout, embedding=vectors, dropout=dropout)
            return Recursive(cell, readout=readout, embedding=vectors, dropout=dropout)
        except (RuntimeError, MemoryError, OverflowError) as error:  # torch has no class of its own for it
            sizes = f"{symbols} words of {embedding} numbers, {hidden} units, {arity} children, {output_size} outputs"
            raise InputError(f"model {name}: cannot create a network of {sizes}: {str(error).splitlines()[0][:200]}") from None
