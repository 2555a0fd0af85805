"""The folder of a run, as every job keeps it: settings, what was learned of the data, weights, result.

config.toml       [settings]: the job's settings, with its name; written by `carousel.train.fit`
best/             the weights that count
prepared.json     what the network must know of its training data to be used alone
result.json       the job's result
SHA256SUMS        digests of these files, as `sha256sum -c` reads them; written last
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from carousel.errors import InputError
from carousel.files import digest, write_aside
from carousel.jobs.settings import TrainSettings
from carousel.plain import from_table, typed

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from carousel.cell import Cell
    from carousel.network import Network
    from carousel.task import Task
    from carousel.train import Fit

SUMS = "SHA256SUMS"
SEALED = ("config.toml", "metrics.jsonl", "best/weights.safetensors", "prepared.json", "result.json", "forecasts.npz")
"""Files of a finished run whose digests are kept, those that there are."""

S = TypeVar("S", bound=TrainSettings)
P = TypeVar("P")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What every job's result has; each job adds its own.

    Attributes:
        rows:       a method each: {"method", and its measures}, the network last.
        seconds:    time spent in training the network.
        sequences:  training sequences seen.
        stopped:    why training ended.
        command:    the command line that repeats the run.
    """

    rows: list[dict[str, Any]]
    seconds: float
    sequences: int
    stopped: str
    command: str

    @classmethod
    def from_table(cls, table: dict[str, Any], place: str) -> Self:
        """The result that result.json has. InputError begins with `place`."""
        result = from_table(cls, table, place)
        for row in result.rows or [{}]:
            measures = [value for name, value in row.items() if name != "method"]
            same = row.keys() == result.rows[0].keys() if result.rows else False
            if not same or not isinstance(row.get("method"), str) or not all(type(value) in (int, float) for value in measures):
                raise InputError(f"{place}: rows: expected a method each, with the same measures")
        return result


class Run:
    """A run folder. Each of its files is read once, when it is first asked for.

    Raises:
        InputError: a folder that is no run, a file in it that is missing or damaged.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @staticmethod
    def of(run: Run | Path | str) -> Run:
        """The run in a folder; a `Run` as it stands."""
        return run if isinstance(run, Run) else Run(run)

    @cached_property
    def sums(self) -> dict[str, str]:
        """name -> SHA-256 of the files of a finished run, as SHA256SUMS has them; empty where there is none."""
        path = self.folder / SUMS
        if not path.is_file():
            return {}
        found = dict(re.findall(r"^([0-9a-f]{64})  (.+)$", path.read_text(errors="replace"), re.MULTILINE))
        if not set(found.values()) <= set(SEALED) or len(found) != len(path.read_bytes().splitlines()):
            raise InputError(f"{path}: damaged; without it the files are read unchecked")
        return {name: digest for digest, name in found.items()}

    def read(self, name: str) -> bytes:
        """The content of a file of the run, which of a finished run must be what it was.

        Raises:
            InputError: a file that has changed.
            OSError: a file that is not there.
        """
        path = self.folder / name
        content = path.read_bytes()
        if self.sums.get(name, found := hashlib.sha256(content).hexdigest()) != found:
            raise InputError(
                f"{path}: changed since the run was finished; restore it, or if that is meant, take its line out of {SUMS}"
            )
        return content

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.toml, with the job's settings in it, whether or not training has ended."""
        path = self.folder / "config.toml"
        try:
            config = tomllib.loads(self.read("config.toml").decode())
            config["settings"] = {**config["settings"], "job": str(config["settings"]["job"])}
            return config
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"{self.folder}: not a run folder: there is no config.toml in it") from None
        except KeyError as error:
            raise InputError(f"{path}: not the settings of a run: it has no {error}") from None
        except InputError:
            raise
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: not the settings of a run: {error}") from None

    @property
    def table(self) -> dict[str, Any]:
        """The settings as config.toml has them."""
        table: dict[str, Any] = self.config["settings"]
        return table

    @property
    def job(self) -> str:
        """The name of the job that made it."""
        name: str = self.table["job"]
        return name

    def settings(self, kind: type[S]) -> S:
        """The settings, those of one job."""
        if self.job != kind.job:
            raise InputError(f"{self.folder}: a run of {self.job}, not of {kind.job}")
        return kind.of_run(self.table, self.folder / "config.toml")

    @cached_property
    def prepared(self) -> dict[str, Any]:
        """What the job kept of its training data: at least input_size and output_size, as `carousel.models.build` takes them."""
        return self._json("prepared.json")

    def prepared_as(self, make: Callable[[dict[str, Any]], P]) -> P:
        """What `make` makes of `prepared`."""
        try:
            return make(self.prepared)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            message = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{self.folder / 'prepared.json'}: damaged, or of another job: {message}") from None

    @cached_property
    def result(self) -> dict[str, Any]:
        """The table of a finished run's result."""
        return self._json("result.json")

    def load(self, settings: type[S], result: Callable[[dict[str, Any], str], P]) -> tuple[S, P]:
        """The settings and the result of a run whose training has ended; `result` makes it from (table, place)."""
        place = f"{self.folder / 'result.json'}: not the result of {settings.job}"
        return self.settings(settings), result(self.result, place)

    @cached_property
    def network(self) -> Any:
        """The trained network of a finished run, a cell or a `Recursive`, in evaluation mode, on the CPU."""
        from carousel.checkpoint import load_weights
        from carousel.models import build, build_tree

        make: Callable[..., Any] = build_tree if self.job == "trees" else build
        cell = make(**self.network_arguments())
        path = self.folder / "best" / "weights.safetensors"
        load_weights(cell, path)
        self.read("best/weights.safetensors")  # of a finished run: those that it had
        return cell.eval()

    def network_arguments(self) -> dict[str, Any]:
        """What `carousel.models.build` or `build_tree` made the network from, but the seed of its first weights."""
        settings, sizes = self.table, self.prepared
        try:
            arguments = (
                {
                    "name": settings["model"],
                    "symbols": sizes["symbols"],
                    "output_size": sizes["output_size"],
                    "hidden": settings["hidden"],
                    "embedding": sizes["input_size"],
                    "arity": sizes["arity"],
                    "inner_words": sizes["inner_words"],
                    "greedy": settings.get("parse") == "greedy",
                    "dropout": settings.get("dropout", 0.0),
                }
                if self.job == "trees"
                else {
                    "name": settings["model"],
                    "input_size": sizes["input_size"],
                    "output_size": sizes["output_size"],
                    "hidden": settings["hidden"],
                    "layers": settings["layers"],
                    "symbols": sizes.get("symbols", 0),
                    "dropout": settings.get("dropout", 0.0),
                    "answer": settings.get("answer", "last"),
                }
            )
        except KeyError as error:
            raise InputError(f"{self.folder}: config.toml or prepared.json is damaged: no {error}") from None
        kinds: dict[str, Any] = {"name": str, "dropout": float, "answer": Literal["last", "mean"]}
        kinds |= {"inner_words": bool, "greedy": bool}
        for name, value in arguments.items():
            found = typed(value, kinds.get(name, int), f"{self.folder}: {name}")
            if name not in kinds and not (name != "symbols") <= found < 2**31:
                raise InputError(f"{self.folder}: config.toml or prepared.json is damaged: {name} is {value}")
        return arguments

    def check_files(self, settings: TrainSettings, remedy: str) -> None:
        """Refuse a file that the run was trained on where its content has changed since; `remedy` ends the message."""
        for file in settings.files():
            was = self.config.get("files", {}).get(str(file.resolve()))
            if was is not None and file.exists() and was != digest(file):
                raise InputError(f"{file}: changed since the run began; restore it, or {remedy}")

    def blank_inputs(self, steps: int = 50) -> Tensor:
        """(T, B, I) inputs of the shape and kind that the network takes, B as in its training."""
        import torch

        B, sizes = self.table["batch_size"], self.prepared
        return torch.zeros(steps, B, dtype=torch.int64) if sizes.get("symbols") else torch.zeros(steps, B, sizes["input_size"])

    def _json(self, name: str) -> dict[str, Any]:
        assert self.table  # names a folder that is no run
        path = self.folder / name
        try:
            table = json.loads(self.read(name))
        except FileNotFoundError:
            go_on = f"carousel resume {shlex.quote(str(self.folder))}"
            raise InputError(f"{self.folder}: the run has no result yet; continue with: {go_on}") from None
        except InputError:
            raise
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: damaged: {error}") from None
        if not isinstance(table, dict):
            raise InputError(f"{path}: damaged: expected an object")
        return table


def fitted(cell: Cell | Network, task: Task, settings: TrainSettings, **where: Any) -> Fit:
    """Train a network with the settings; `where` are monitor, out, resume and progress of `carousel.train.fit`."""
    from carousel.learn import BPTT
    from carousel.train import fit

    keeps = where.get("out") is not None
    assert settings.sequences is not None, "a job that leaves it open decides before"
    assert settings.evaluate_every is not None
    return fit(
        cell,
        task,
        learner=BPTT(clip_norm=settings.clip_norm),
        optimizer=settings.optimizer,
        rate=settings.rate,
        decay=settings.decay,
        batch_size=settings.batch_size,
        sequences=settings.sequences,
        evaluate_every=settings.evaluate_every,
        patience=settings.patience,
        seed=settings.seed,
        device=settings.device,
        settings=settings.table(),
        files={str(file.resolve()): digest(file) for file in settings.files()} if keeps else None,
        **where,
    )


def keep_prepared(folder: Path, prepared: dict[str, Any]) -> None:
    """Write what was learned of the data, arrays as lists, then the digests of all files."""
    (folder / SUMS).unlink(missing_ok=True)
    _keep_json(folder / "prepared.json", prepared)
    _seal(folder)


def keep(folder: Path, prepared: dict[str, Any], result: dict[str, Any], arrays: bytes | None = None) -> None:
    """Write what was learned of the data, the arrays, the result, and the digests of all files; other arrays become lists."""
    (folder / SUMS).unlink(missing_ok=True)
    if arrays is not None:
        write_aside(folder / "forecasts.npz", arrays)
    _keep_json(folder / "prepared.json", prepared)
    _keep_json(folder / "result.json", result)
    _seal(folder)


def _seal(folder: Path) -> None:
    there = [name for name in SEALED if (folder / name).exists()]
    write_aside(folder / SUMS, "".join(f"{digest(folder / name)}  {name}\n" for name in there))


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
