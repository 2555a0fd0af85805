"""The folder of a run, as every job keeps it: settings, what was learned of the data, weights, result.

config.toml       [settings]: the job's settings, with its name; written by `carousel.train.fit`
best/             the weights that count
prepared.json     what the network must know of its training data to be used alone
result.json       the job's result; written last
"""

from __future__ import annotations

import json
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carousel.errors import InputError
from carousel.files import write_aside

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from carousel.cell import Cell


def settings_table(run: Path | str) -> dict[str, Any]:
    """The settings of a run folder as config.toml has them, whether or not its training has ended."""
    path = Path(run) / "config.toml"
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["settings"]
        return {**table, "job": str(table["job"])}
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{run}: not a run folder: there is no config.toml in it") from None
    except KeyError as error:
        raise InputError(f"{path}: not the settings of a run: it has no {error}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: not the settings of a run: {error}") from None


def keep_prepared(run: Path, prepared: dict[str, Any]) -> None:
    """Write what was learned of the data; arrays become lists."""
    _keep_json(run / "prepared.json", prepared)


def keep(run: Path, prepared: dict[str, Any], result: dict[str, Any]) -> None:
    """Write what was learned of the data, then the result; arrays become lists."""
    keep_prepared(run, prepared)
    _keep_json(run / "result.json", result)


def prepared(run: Path | str) -> dict[str, Any]:
    """What the job kept of its training data: at least input_size and output_size, as `carousel.models.build` takes them."""
    return _json(Path(run), "prepared.json")


def result(run: Path | str) -> dict[str, Any]:
    """The table of a finished run's result."""
    return _json(Path(run), "result.json")


def network(run: Path | str) -> Cell:
    """The trained network of a finished run, in evaluation mode, on the CPU."""
    from carousel.checkpoint import load_weights
    from carousel.models import build

    cell = build(**build_arguments(run))
    load_weights(cell, Path(run) / "best" / "weights.safetensors")
    return cell.eval()


def build_arguments(run: Path | str) -> dict[str, Any]:
    """What `carousel.models.build` made the network of a finished run from, but the seed of its first weights."""
    settings, sizes = settings_table(run), prepared(run)
    return {
        "name": settings["model"],
        "input_size": sizes["input_size"],
        "output_size": sizes["output_size"],
        "hidden": settings["hidden"],
        "layers": settings["layers"],
        "symbols": sizes.get("symbols", 0),
        "dropout": settings.get("dropout", 0.0),
        "answer": settings.get("answer", "last"),
    }


def blank_inputs(run: Path | str, steps: int = 50) -> Tensor:
    """(T, B, I) inputs of the shape and kind that the network of a finished run takes, B as in its training."""
    import torch

    B, sizes = settings_table(run)["batch_size"], prepared(run)
    return torch.zeros(steps, B, dtype=torch.int64) if sizes.get("symbols") else torch.zeros(steps, B, sizes["input_size"])


def gates(cell: Cell, inputs: Tensor, last: int) -> dict[str, np.ndarray]:
    """What `cell.gates` gives at the last steps of one sequence, with the state carried from its beginning.

    Args:
        cell:    the network, in evaluation mode.
        inputs:  (T, ...) the steps of the sequence.
        last:    how many of the last steps to look at.

    Returns:
        name -> (last, units), at most T steps; empty for a network without gates.
    """
    import torch

    from carousel.loop import scan
    from carousel.torch_private import pytree

    with torch.no_grad():
        state = None
        if len(inputs) > last:
            _, state = scan(cell, inputs[:-last, None])
        initial = pytree.tree_map(lambda leaf: leaf[None], cell.initial_state()) if state is None else state
        _, _, states = scan(cell, inputs[-last:, None], state, return_states=True)
        before = pytree.tree_map(lambda first, rest: torch.cat([first, rest[:-1, 0]]), initial, states)
        found = torch.vmap(cell.gates)(inputs[-last:], before)
    return {name: values.flatten(1).cpu().numpy() for name, values in found.items()}


def _keep_json(path: Path, content: dict[str, Any]) -> None:
    write_aside(path, json.dumps(content, default=lambda array: array.tolist()))


def _json(run: Path, name: str) -> dict[str, Any]:
    settings_table(run)  # names a folder that is no run
    try:
        table = json.loads((run / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{run}: the run has no result yet; go on with: carousel resume {shlex.quote(str(run))}") from None
    except ValueError as error:
        raise InputError(f"{run / name}: damaged: {error}") from None
    if not isinstance(table, dict):
        raise InputError(f"{run / name}: damaged: expected an object")
    return table
