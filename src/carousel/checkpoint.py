"""Checkpoints: tensors and plain values in one safetensors file, whole or not there, with a digest of both."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from carousel.errors import InputError
from carousel.files import write_aside

_DIGEST = "sha256"


def write(path: Path, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """Write the tensors, and plain values (numbers, strings, lists, dicts) as JSON in the file's metadata."""
    # safetensors takes neither shared nor strided memory.
    apart = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    # One entry: safetensors writes several in any order, and the same content is to be the same bytes.
    write_aside(path, save(apart, {"plain": json.dumps({**plain, _DIGEST: _digest(apart, json.dumps(plain))})}))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write` wrote: (tensors, plain values). InputError for a file that is missing or damaged.

    Checkpoints of earlier versions have no digest; of them only what cannot be read is known to be damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors, plain = {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["plain"])  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"{path}: no checkpoint there") from None
    except (SafetensorError, OSError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a checkpoint of carousel ({str(error).splitlines()[0]})") from None
    written = plain.pop(_DIGEST, None) if isinstance(plain, dict) else ""
    if written is not None and written != _digest(tensors, json.dumps(plain)):
        raise InputError(f"{path}: damaged: its content is not what was written")
    return tensors, plain


def _digest(tensors: dict[str, Tensor], plain: str) -> str:
    """SHA-256 of tensors and plain values, whatever their order in the file."""
    found = hashlib.sha256(plain.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def load_weights(cell: nn.Module, path: Path | str) -> None:
    """Load a cell's weights from ``best/weights.safetensors`` or a file like it.

    Raises:
        InputError: weights of other names or shapes than the cell's: what was expected, what is there.
    """
    path = Path(path)
    set_weights(cell, read(path)[0], path)


def set_weights(cell: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load weights by name; nothing is changed where one does not fit. `path` is where they are from."""
    own = cell.state_dict()
    for name in [*own, *weights]:
        expected, got = (_shape(tensors.get(name)) for tensors in (own, weights))
        if expected != got:
            raise InputError(f"{path}: a checkpoint of another network: expected {name} {expected}, got {got}")
    cell.load_state_dict(weights)


def _shape(tensor: Tensor | None) -> str:
    return "nothing of that name" if tensor is None else f"{tuple(tensor.shape)} {tensor.dtype}"


def optimizer_state(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as (tensors by name, plain values)."""
    state = optimizer.state_dict()
    tensors = {}
    plain: dict[str, Any] = {"groups": state["param_groups"], "state": {}}
    for number, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{number}.{name}"] = value
            else:
                plain["state"].setdefault(str(number), {})[name] = value
    return tensors, plain


def set_optimizer_state(optimizer: Optimizer, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    """The inverse of `optimizer_state`."""
    state: dict[int, dict[str, Any]] = {int(number): dict(values) for number, values in plain["state"].items()}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": plain["groups"]})
