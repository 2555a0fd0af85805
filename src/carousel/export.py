"""A trained network for other machines: weights and configuration, and its step as an ONNX model.

config.json            which carousel, which job, and how the network is built
weights.safetensors    its weights
prepared.json          what it must know of its training data: scaling, names of labels, ...
step.onnx              one step of a batch: (x, state...) -> (y, state...), float32
leaf.onnx, merge.onnx  in its place for a network over trees: (x) -> (y, state...), and (x, children's states...) -> (y, state...)
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import carousel
from carousel import checkpoint
from carousel.batch import Batch
from carousel.cell import Cell
from carousel.errors import InputError
from carousel.files import write_aside
from carousel.forest import Forest
from carousel.jobs.run import Run
from carousel.loop import scan
from carousel.models import build, build_tree
from carousel.network import Autoencoder, Recursive
from carousel.torch_private import pytree

TOLERANCE = 1e-5
"""The largest difference, absolute or relative, between step.onnx and the network."""

BATCHES = (1, 7)
"""Batch sizes that step.onnx is tried with."""


def export(run: Path | str, out: Path | str, *, onnx: bool = True) -> str | None:
    """Write the network of a finished run into a new folder, whole or not at all.

    Args:
        run:   the run folder.
        out:   the folder to make.
        onnx:  write step.onnx too, or leaf.onnx and merge.onnx, once onnxruntime has given what `carousel.scan`, or
               `carousel.fold`, gives, within TOLERANCE.

    Returns:
        Why there is no ONNX model, in one line, where the network has no such form; else None.

    Raises:
        InputError: no finished run; `out` is there already; the packages for ONNX are missing; an ONNX model
            differs from the network.
    """
    source, out = Run(run), Path(out)
    network, sizes = source.network, source.network_arguments()
    if out.exists():
        raise InputError(f"{out} already exists; choose another folder")
    models: dict[str, bytes] = {}
    reason = None
    if onnx:
        _check_packages()
        try:
            if isinstance(network, Recursive):
                models["leaf.onnx"], models["merge.onnx"] = tree_models(network, symbols=sizes["symbols"], arity=sizes["arity"])
            else:
                models["step.onnx"] = step_model(network, symbols=sizes["symbols"])
        except NoForm as error:
            reason = str(error)
    config = {"carousel": carousel.__version__, "job": source.job, "network": sizes}
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        checkpoint.write(aside / "weights.safetensors", network.state_dict(), {})
        write_aside(aside / "config.json", json.dumps(config, indent=1) + "\n")
        write_aside(aside / "prepared.json", json.dumps(source.prepared))
        for name, model in models.items():
            write_aside(aside / name, model)
        aside.rename(out)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return reason


def load(folder: Path | str) -> Any:
    """The network of an exported folder, a `Cell` or (over trees) a `Recursive`, in evaluation mode, on the CPU.

    Raises:
        InputError: a folder that `export` has not made, or that is damaged.
    """
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        network = config["network"]
        make: Callable[..., Any] = build_tree if config.get("job") == "trees" else build
        cell = make(network.pop("name"), **network)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder}: not an exported network: there is no config.json in it") from None
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not the configuration of an exported network: {error}") from None
    checkpoint.load_weights(cell, Path(folder) / "weights.safetensors")
    return cell.eval()


# --- ONNX ------------------------------------------------------------------------------------------


class NoForm(Exception):
    """The network cannot be written as an ONNX step model; the reason, in one line."""


class _BatchedStep(nn.Module):
    """The step of a batch, on the leaves of the state."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        self.built = pytree.tree_structure(cell.initial_state())

    def forward(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        def one(x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            y, new_state = self.cell(x, pytree.tree_unflatten(state, self.built))
            return y, *pytree.tree_leaves(new_state)

        return torch.func.vmap(one)(x, *state)


def step_model(cell: Cell, *, symbols: int = 0) -> bytes:
    """The ONNX model of one step of a batch of any size, tried with onnxruntime.

    Its inputs are x (B, I), or (B,) int64 where symbols is not 0, and a (B, ...) for each tensor of
    the state, named state_0_h and so on; its outputs are y (B, O) and the next state in the same
    order, named next_0_h and so on. A sequence begins with a state of zeros.

    Args:
        cell:     in evaluation mode.
        symbols:  x is a whole number below it; 0: x is a vector.

    Raises:
        NoForm:      PyTorch cannot write this step for every batch size, or the state does not begin with zeros.
        InputError:  the model differs from the cell.
    """
    with torch.no_grad():
        leaves = pytree.tree_leaves_with_path(cell.initial_state())
        if any(bool(leaf.any()) for _, leaf in leaves):
            raise NoForm(f"the state of {type(cell).__name__} does not begin with zeros")
        names = [re.sub(r"\W+", "_", pytree.keystr(path)).strip("_") for path, _ in leaves]
        state = [leaf.expand(3, *leaf.shape).contiguous() for _, leaf in leaves]
        x = _inputs(cell, symbols, (3,))
        batch = torch.export.Dim("batch", min=1)
        model = _onnx(
            _BatchedStep(cell),
            (x, *state),
            ({0: batch}, tuple({0: batch} for _ in state)),
            ["x", *(f"state_{name}" for name in names)],
            ["y", *(f"next_{name}" for name in names)],
        )
    _compare(cell, model, symbols)
    return model


def _onnx(module: nn.Module, args: tuple[Tensor, ...], shapes: Any, inputs: list[str], outputs: list[str]) -> bytes:
    """A module as an ONNX model, for every size of the axes that `shapes` names.

    Raises:
        NoForm:  PyTorch cannot write it.
    """
    # The exporter warns of its own parts, of torchvision, and of what it leaves as it is.
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = torch.export.export(module, args, dynamic_shapes=shapes)
            program = torch.onnx.export(exported, dynamo=True, verbose=False, input_names=inputs, output_names=outputs)
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        raise NoForm(f"PyTorch cannot export its step for every batch size ({lines[0] if lines else error})") from None
    finally:
        logging.disable(disabled)
    if program is None:
        raise NoForm("PyTorch gave no model")
    proto = program.model_proto
    for part in (*proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.value_info, *proto.graph.initializer):
        del part.metadata_props[:]  # where in which file of this machine each came from
    model: bytes = proto.SerializeToString()
    return model


class _BatchedNodes(nn.Module):
    """Leaves or, given the children's states, nodes above them, with the readout, on the leaves of the state."""

    def __init__(self, network: Recursive, built: Any) -> None:
        super().__init__()
        self.network, self.built = network, built

    def forward(self, x: Tensor, *children: Tensor) -> tuple[Tensor, ...]:
        network = self.network
        if network.embedding is not None:
            x = network.embedding(x)
        if children:
            state = torch.func.vmap(network.cell.merge)(x, pytree.tree_unflatten(children, self.built))
        else:
            state = torch.func.vmap(network.cell.leaf)(x)
        y = torch.func.vmap(network.cell.output)(state)
        return y if network.readout is None else network.readout(y), *pytree.tree_leaves(state)


def tree_models(network: Recursive, *, symbols: int, arity: int) -> tuple[bytes, bytes]:
    """The ONNX models of leaves and of nodes with children, of a batch of any size, tried with onnxruntime.

    Both read x (B,) int64, the numbers of words. The second reads, for each tensor of the state, the children's states
    (B, K, ...), child_0 and so on, zero where there is no child; K is the network's arity. They give y (B, C) and the state
    (B, ...), state_0 and so on.

    Args:
        network:  in evaluation mode.
        symbols:  words are whole numbers below it.
        arity:    K.

    Raises:
        NoForm:      PyTorch cannot write a node for every batch size.
        InputError:  a model differs from the network.
    """
    if isinstance(network, Autoencoder):
        raise NoForm("a recursive autoencoder makes its trees itself, which two graphs of nodes do not")
    B = {0: torch.export.Dim("batch", min=1)}
    x = torch.zeros(3, dtype=torch.int64)
    with torch.no_grad():
        state = torch.func.vmap(network.cell.leaf)(x if network.embedding is None else network.embedding(x))
        leaves, built = pytree.tree_flatten(state)
        states = [f"state_{n}" for n in range(len(leaves))]
        module = _BatchedNodes(network, built)
        leaf = _onnx(module, (x,), (B,), ["x"], ["y", *states])
        children = tuple(part[:, None].expand(-1, arity, *part.shape[1:]).contiguous() for part in leaves)
        names = [f"child_{n}" for n in range(len(leaves))]
        merge = _onnx(module, (x, *children), (B, tuple(B for _ in children)), ["x", *names], ["y", *states])
    _compare_trees(network, leaf, merge, symbols, arity)
    return leaf, merge


def _compare_trees(network: Recursive, leaf: bytes, merge: bytes, symbols: int, arity: int) -> None:
    """Refuse models that give, over trees of three heights, other outputs than `carousel.fold`."""
    import numpy as np
    import onnxruntime

    leaves, above = (onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]) for model in (leaf, merge))
    generator = np.random.default_rng(0)
    for B in BATCHES:
        children: list[list[int]] = [[] for _ in range(4)]
        for node in range(4, 7):  # the last node, the root, and one child or more, one of them the node before
            others = generator.permutation(node - 1)[: arity - 1].tolist()
            children.append([*others, node - 1])
        forest = Forest.of([children] * B, torch.from_numpy(generator.integers(symbols, size=7 * B)))
        with torch.no_grad():
            batch = Batch(forest, forest.inputs, forest.inputs >= 0, torch.ones(B))
            expected = network(batch)[0].reshape(B, 7, -1).numpy()
        x = forest.inputs.reshape(B, 7).numpy()
        made: list[list[Any]] = []  # of each node (y, state...), B trees at once
        for node, own in enumerate(children):
            if not own:
                made.append(leaves.run(None, {"x": x[:, node]}))
                continue
            given = {"x": x[:, node]}
            for n, part in enumerate(made[0][1:]):
                states = np.zeros((B, arity, *part.shape[1:]), np.float32)
                for k, child in enumerate(own):
                    states[:, k] = made[child][1 + n]
                given[f"child_{n}"] = states
            wanted = {one.name for one in above.get_inputs()}  # the exporter leaves out what is not read
            made.append(above.run(None, {name: value for name, value in given.items() if name in wanted}))
        got = np.stack([y for y, *_ in made], 1)
        if not np.allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE):
            raise InputError(
                f"the ONNX models differ from the network by {abs(got - expected).max():.2g} at batch {B}; nothing was written; "
                "export without them: --no-onnx"
            )


def _compare(cell: Cell, model: bytes, symbols: int) -> None:
    """Refuse a model that gives, over some steps, other outputs or another state than `carousel.scan`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    T = 4
    for B in BATCHES:
        inputs = _inputs(cell, symbols, (T, B))
        with torch.no_grad():
            outputs, final_state = scan(cell, inputs, backend="eager")
        state = [leaf.expand(B, *leaf.shape).numpy() for leaf in pytree.tree_leaves(cell.initial_state())]
        made = []
        for x in inputs.numpy():
            feeds = dict(zip((given.name for given in session.get_inputs()), (x, *state), strict=True))
            y, *state = session.run(None, feeds)
            made.append(torch.from_numpy(y))
        pairs = [(torch.stack(made), outputs), *zip(map(torch.from_numpy, state), pytree.tree_leaves(final_state), strict=True)]
        if not all(torch.allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE) for got, expected in pairs):
            worst = max(float((got - expected).abs().max()) for got, expected in pairs)
            raise InputError(
                f"the ONNX model differs from the network by {worst:.2g} at batch {B}; nothing was written; "
                "export without it: --no-onnx"
            )


def _inputs(cell: Cell, symbols: int, leading: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if symbols:
        return torch.randint(symbols, leading, generator=generator)
    return torch.randn(*leading, cell.input_size or 1, generator=generator)


def _check_packages() -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise InputError(f"step.onnx needs {', '.join(missing)}: pip install 'carousel-rnn[onnx]', or leave it out: --no-onnx")
