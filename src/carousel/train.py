"""fit: the plain training loop. Every training in carousel goes through it.

A run is a folder::

    config.toml                   what was asked: fit's settings, the caller's, the versions, and where the loss runs
    metrics.jsonl                 a row a line: step, sequences, seconds, split, name, value
    best/weights.safetensors      the weights that did best on the validation batch
    last/checkpoint.safetensors   everything that training goes on from

The checkpoint is replaced in one step and is what counts: whatever was written after it is dropped
and made again on resume, so a run that was killed at any moment goes on to the identical result.
"""

from __future__ import annotations

import errno
import hashlib
import json
import platform
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
import torch
from torch import Tensor
from torch.optim import Optimizer

import carousel
from carousel import checkpoint
from carousel.batch import Batch
from carousel.cell import Cell
from carousel.checkpoint import load_weights
from carousel.errors import InputError
from carousel.files import alone, beside, named, sweep, write_aside
from carousel.learn import BPTT, Diverged, Learner, objective, optimizer_by_name
from carousel.names import check_device
from carousel.network import Network, as_network
from carousel.plain import from_table
from carousel.printable import printable
from carousel.task import Task

__all__ = ["Fit", "fit", "load_weights"]

CHECKPOINT_EVERY = 30.0
"""Seconds after which a checkpoint is written between two evaluations."""


@dataclass(frozen=True)
class Fit:
    """The result of training.

    Attributes:
        cell:       the given cell or network, with its best weights, in evaluation mode.
        best:       the validation scores of these weights, by name.
        history:    rows of metrics: step (updates), sequences, seconds, split, name, value. "loss" is the
                    task's loss averaged over the steps that count.
        sequences:  total number of training sequences.
        seconds:    total time, including resumed parts.
        stopped:    "budget" or "patience".
    """

    cell: Any
    best: dict[str, float]
    history: list[dict[str, Any]]
    sequences: int
    seconds: float
    stopped: str


@dataclass
class _Progress:
    """Progress of training, apart from weights, optimizer and generator: plain values, kept in the checkpoint."""

    step: int = 0
    sequences: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0  # of the training loss since the last evaluation
    loss_steps: int = 0
    best: dict[str, float] = field(default_factory=dict)
    waited: int = 0  # evaluations since the best one
    stopped: str = ""


def fit(
    network: Network | Cell,
    task: Task,
    *,
    learner: Learner | None = None,
    optimizer: str | Callable[[Iterable[Tensor]], Optimizer] = "adam",
    rate: float = 1e-3,
    decay: bool = False,
    batch_size: int = 32,
    sequences: int = 10_000,
    evaluate_every: int = 1_000,
    patience: int | None = None,
    monitor: str = "loss",
    evaluate_first: bool = False,
    seed: int = 0,
    device: str = "cpu",
    out: Path | str | None = None,
    resume: bool = False,
    settings: dict[str, Any] | None = None,
    files: dict[str, str] | None = None,
    progress: bool | str = True,
    notes: Sequence[str] = (),
) -> Fit:
    """Train `network` on `task` and keep the weights that do best on the task's validation batch.

    The same arguments, seed and number of threads give the same bits. The seed governs the batches and the
    noise; the starting weights are those that the network comes with.

    Args:
        network:         a `Network`, or a cell, which stands for `Sequence(cell)`; it is changed in place.
        task:            where the batches, the loss and the score come from.
        learner:         the learning rule; None for BPTT() over the whole sequence.
        optimizer:       a name in `carousel.learn.OPTIMIZERS`, or parameters -> optimizer.
        rate:            the learning rate, for an optimizer given by name.
        decay:           decay the learning rate linearly to zero over the budget.
        batch_size:      B, sequences per update.
        sequences:       the budget, the total number of training sequences.
        evaluate_every:  training sequences between two evaluations.
        patience:        early-stopping patience, evaluations without a better `monitor`; None for no early stopping.
        monitor:         the validation score that selects the best weights, lower is better: "loss" or a
                         name from task.score.
        evaluate_first:  evaluate before the first update too, so that the weights that the network comes with may be the best.
        seed:            of the generator that batches and noise are drawn from.
        device:          "cpu", "cuda" or "cuda:N".
        out:             the run folder; None to keep nothing on disk.
        resume:          continue from the checkpoint in `out`, with the same arguments.
        settings:        plain values of the caller, kept in config.toml.
        files:           path -> `carousel.files.digest` of what the task was made from, kept there too: a run does not resume on
                         other data. A setting that names one of these paths may name another of the same content.
        progress:        report progress on standard error; a string is a prefix, for several networks.
        notes:           lines to print first, once all arguments have been accepted.

    Raises:
        InputError: a folder that already exists or cannot be resumed, an option that cannot be used, a damaged file
            in the folder, another process that trains there.
        Diverged: a loss or gradient that is not finite; says at which update, time step and sequence.
        OSError: the run folder cannot be written; the last checkpoint stays intact.
        KeyboardInterrupt: the message says how far training came; with `out`, resume=True continues.
    """
    for name, count in (("batch_size", batch_size), ("sequences", sequences), ("evaluate_every", evaluate_every)):
        if count < 1:
            raise InputError(f"fit: expected {name} of at least 1, got {count}")
    if patience is not None and patience < 1:
        raise InputError(f"fit: expected patience of at least 1 or None, got {patience}")
    learner = learner or BPTT()
    where = _device(device)
    as_network(network)  # refuses what is neither
    network = network.to(where)
    parameters = network.parameters()
    made = optimizer_by_name(optimizer, parameters, rate) if isinstance(optimizer, str) else optimizer(parameters)
    validation = task.validation().to(where)
    outside = learner.fusion_refusal(network.train(), validation, task.loss)
    if outside is not None and progress:
        print(f"{_prefix(progress)}the loss is not part of the compiled step: {outside}", file=sys.stderr)
    config = {
        "versions": {"carousel": carousel.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "threads": torch.get_num_threads(),
        "loss": "part of the compiled step" if outside is None else f"not part of the compiled step: {outside}",
        "fit": {
            "cell": repr(network),
            "learner": _named(learner),
            "optimizer": optimizer if isinstance(optimizer, str) else repr(made),
            "rate": rate,
            "decay": decay,
            "batch_size": batch_size,
            "sequences": sequences,
            "evaluate_every": evaluate_every,
            "patience": patience,
            "monitor": monitor,
            **({"evaluate_first": True} if evaluate_first else {}),
            "seed": seed,
            "device": device,
        },
        "settings": settings or {},
        "files": files or {},
    }
    training = _Training(network, task, learner, made, torch.Generator().manual_seed(seed), monitor, where)
    with ExitStack() as held:
        if out is not None:
            training.keep_in(Path(out), _as_read_back(config), resume, held)
        elif resume:
            raise InputError("fit: resume=True needs the run folder, out=...")
        if progress:
            print("".join(f"{printable(note)}\n" for note in notes), end="", file=sys.stderr)
        return training.run(validation, batch_size, sequences, decay, evaluate_every, patience, evaluate_first, progress)


class _Training:
    """One training under way: its parts, its folder, and the loop."""

    def __init__(
        self,
        model: Network | Cell,
        task: Task,
        learner: Learner,
        optimizer: Optimizer,
        generator: torch.Generator,
        monitor: str,
        device: torch.device,
    ) -> None:
        self.model, self.task, self.learner, self.optimizer = model, task, learner, optimizer
        self.network = as_network(model)
        self.generator, self.monitor, self.device = generator, monitor, device
        self.at = _Progress()
        self.history: list[dict[str, Any]] = []
        self.best_weights = _copied(model)
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.folder: Path | None = None
        self.asked = ""
        self.began = self.saved = time.monotonic()

    # The run folder

    def keep_in(self, folder: Path, config: dict[str, Any], resume: bool, held: ExitStack) -> None:
        """Make the run folder, whole or not at all; or with resume go on from the one that is there. `held` gets its lock."""
        if resume:
            try:
                held.enter_context(alone(folder / "config.toml"))
            except FileNotFoundError:
                raise InputError(f"{folder}: no run to resume there (config.toml is missing)") from None
            for place in (folder, folder / "best", folder / "last"):
                sweep(place)
            self._resume(folder, config)
            self.folder = folder
            return
        if folder.exists():
            raise InputError(f"{folder} already exists; choose another folder, or resume the run in it")
        sweep(folder.parent, folder.name)
        self.asked = _digest(_asked(config, _of_files(config)))
        self.folder = beside(folder)
        try:
            write_aside(self.folder / "config.toml", tomli_w.dumps(config))
            held.enter_context(alone(self.folder / "config.toml"))
            (self.folder / "metrics.jsonl").touch()
            self._checkpoint()
            self.folder = self.folder.rename(folder)
        except BaseException as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            if isinstance(error, OSError) and error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was quicker
                raise InputError(f"{folder} already exists; choose another folder, or resume the run in it") from None
            if isinstance(error, OSError):  # name the folder that was asked for, not the one beside it
                raise OSError(error.errno, error.strerror, str(folder)) from None
            raise

    def _resume(self, folder: Path, config: dict[str, Any]) -> None:
        try:
            before = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
            if "files" not in before:  # an earlier version kept no digests
                before, config = ({**table, "files": {}} for table in (before, config))
            then, now = (_asked(table, _of_files(config)) for table in (before, config))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{folder}: no run to resume there (config.toml is damaged: {error})") from None
        for key in [*then, *now]:
            if then.get(key) != now.get(key):
                if key == "files":
                    changed = ", ".join(name for name, digest in config["files"].items() if digest not in then[key])
                    raise InputError(f"{changed or folder}: changed since the run began; restore it, or train in a new folder")
                was, now_is = (" ".join(str(table.get(key)).split()) for table in (then, now))  # a cell's repr has many lines
                name = key.partition(" ")[2]
                raise InputError(f"{folder}: cannot resume with other settings: {name} was {was}, is {now_is}")
        self.asked = _digest(now)
        path = folder / "last" / "checkpoint.safetensors"
        tensors, plain = checkpoint.read(path)
        if plain.get("asked", self.asked) != self.asked:
            raise InputError(f"{folder / 'config.toml'}: damaged: it is not what the run began with")

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        try:
            self.at = from_table(_Progress, plain["progress"], str(path))
            if self.at.best:
                checkpoint.load_weights(self.model, folder / "best" / "weights.safetensors")
                self.best_weights = _copied(self.model)
            checkpoint.set_weights(self.model, part("cell."), path)
            checkpoint.set_optimizer_state(self.optimizer, part("optimizer."), plain["optimizer"])
            self.generator.set_state(tensors["generator"])
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(f"{path}: not a checkpoint of this run ({error})") from None
        self.began = time.monotonic() - self.at.seconds
        self._read_metrics(folder / "metrics.jsonl", plain.get("metrics"))

    def _read_metrics(self, path: Path, expected: str | None) -> None:
        """The rows up to the checkpoint; those after it, of which the last may be cut off, are made again."""
        lines = path.read_bytes().splitlines() if path.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                if row["step"] > self.at.step:
                    break
            except (ValueError, KeyError, TypeError, RecursionError):
                if expected is None and number < len(lines):
                    raise InputError(f"{path}: damaged: line {number} is no row of metrics") from None
                break
            self.history.append(row)
        text = _as_lines(self.history)
        if expected is not None and _digest(text) != expected:
            raise InputError(f"{path}: damaged: it does not have the rows that were written up to the checkpoint")
        write_aside(path, text)

    def _checkpoint(self) -> None:
        """Replace the checkpoint: the moment from which what has been done counts."""
        if self.folder is None:
            return
        optimizer_tensors, optimizer_plain = checkpoint.optimizer_state(self.optimizer)
        tensors = {f"cell.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors.items()}
        tensors["generator"] = self.generator.get_state()
        self.at.seconds = time.monotonic() - self.began
        plain = {"progress": asdict(self.at), "optimizer": optimizer_plain, "asked": self.asked}
        plain["metrics"] = _digest(_as_lines(self.history))
        checkpoint.write(self.folder / "last" / "checkpoint.safetensors", tensors, plain)
        self.saved = time.monotonic()

    def _record(self, split: str, figures: dict[str, float]) -> None:
        at = {"step": self.at.step, "sequences": self.at.sequences, "seconds": round(time.monotonic() - self.began, 3)}
        rows = [at | {"split": split, "name": name, "value": value} for name, value in figures.items()]
        self.history += rows
        if self.folder is not None:
            path = self.folder / "metrics.jsonl"
            with named(path), path.open("a") as file:
                file.write(_as_lines(rows))

    # The loop

    def run(
        self,
        validation: Batch,
        batch_size: int,
        budget: int,
        decay: bool,
        evaluate_every: int,
        patience: int | None,
        evaluate_first: bool,
        progress: bool | str,
    ) -> Fit:
        try:
            if evaluate_first and not self.at.best and not self.at.stopped:
                self._evaluate(validation, budget, patience)
            with _Teller(progress, budget, self.at.sequences) if progress and not self.at.stopped else nullcontext() as teller:
                while not self.at.stopped:
                    batch = self.task.sample(min(batch_size, budget - self.at.sequences), self.generator).to(self.device)
                    if decay:
                        self._set_rate(1 - self.at.sequences / budget)
                    self._update(batch)
                    due = self.at.sequences // evaluate_every > (self.at.sequences - batch.size) // evaluate_every
                    if due or self.at.sequences >= budget:
                        figures = self._evaluate(validation, budget, patience)
                        if teller is not None:
                            teller.evaluated(self.at.sequences, self.monitor, figures[self.monitor], self.at.best[self.monitor])
                        self._checkpoint()
                    elif time.monotonic() - self.saved > CHECKPOINT_EVERY:
                        self._checkpoint()
                    if teller is not None:
                        teller.moved(self.at.sequences)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"interrupted after {self.at.sequences} of {budget} sequences") from None
        if progress:
            print(f"{_prefix(progress)}{self._why_stopped(patience)}", file=sys.stderr)
        self.model.load_state_dict(self.best_weights)
        self.model.eval()
        seconds = self.at.seconds if self.folder is not None else time.monotonic() - self.began
        return Fit(self.model, self.at.best, self.history, self.at.sequences, seconds, self.at.stopped)

    def _why_stopped(self, patience: int | None) -> str:
        """Why training ended, in one line."""
        best = f"best validation {self.monitor} {self.at.best[self.monitor]:.4g}"
        if self.at.stopped == "patience":
            return f"stopped early after {self.at.sequences} sequences, {patience} evaluations without improvement; {best}"
        improving = "; still improving when the budget ended, a larger --sequences may help" if not self.at.waited else ""
        return f"stopped after {self.at.sequences} sequences, the training budget; {best}{improving}"

    def _set_rate(self, share: float) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = share * rate

    def _update(self, batch: Batch) -> None:
        self.model.train()
        try:
            value, _, _ = self.learner.train_on(self.model, batch, self.task.loss, self.optimizer, generator=self.generator)
        except Diverged as error:
            raise Diverged(f"update {self.at.step + 1} ({self.at.sequences + batch.size} sequences): {error}") from None
        self.at.step += 1
        self.at.sequences += batch.size
        self.at.loss_sum += float(value) * batch.size
        self.at.loss_steps += int(batch.mask.sum())

    def _evaluate(self, validation: Batch, budget: int, patience: int | None) -> dict[str, float]:
        """Look at the validation batch; keep the best weights; decide whether training ends."""
        if self.at.step:
            self._record("train", {"loss": self.at.loss_sum / max(self.at.loss_steps, 1)})
        self.at.loss_sum, self.at.loss_steps = 0.0, 0
        figures = _figures(self.network, self.task, validation)
        if self.monitor not in figures:
            raise InputError(f"fit: no figure {self.monitor!r} to monitor, expected one of: {', '.join(figures)}")
        if not torch.isfinite(torch.tensor(figures[self.monitor])):
            raise Diverged(f"update {self.at.step}: the validation {self.monitor} is {figures[self.monitor]}; try a smaller rate")
        self._record("validation", figures)
        if not self.at.best or figures[self.monitor] < self.at.best[self.monitor]:
            self.at.best, self.at.waited = figures, 0
            self.best_weights = _copied(self.model)
            if self.folder is not None:
                checkpoint.write(self.folder / "best" / "weights.safetensors", self.best_weights, {"step": self.at.step})
        else:
            self.at.waited += 1
        if patience is not None and self.at.waited >= patience:
            self.at.stopped = "patience"
        elif self.at.sequences >= budget:
            self.at.stopped = "budget"
        return figures


@torch.no_grad()
def _figures(network: Network, task: Task, batch: Batch) -> dict[str, float]:
    """The loss averaged over the steps that count, and the task's score, in evaluation mode."""
    network.eval()
    outputs = network(batch)[0]
    loss = float(objective(outputs, batch, task.loss)) * batch.size / max(int(batch.mask.sum()), 1)
    return {"loss": loss} | {name: float(value) for name, value in task.score(outputs, batch).items()}


class _Teller:
    """Reports progress on standard error: a bar on a terminal, or else a line per evaluation."""

    def __init__(self, name: bool | str, budget: int, done: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self.budget = budget
        self.name = _prefix(name)
        self.bar: Progress | None = None
        if sys.stderr.isatty():
            text = TextColumn("{task.description}")
            self.bar = Progress(text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True)
            self.line = self.bar.add_task(f"{self.name}training", total=budget, completed=done)

    def __enter__(self) -> _Teller:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def moved(self, sequences: int) -> None:
        if self.bar is not None:
            self.bar.update(self.line, completed=sequences)

    def evaluated(self, sequences: int, monitor: str, now: float, best: float) -> None:
        text = f"validation {monitor} {now:.4g}, best {best:.4g}"
        if self.bar is not None:
            self.bar.update(self.line, description=self.name + text)
        else:
            print(f"{self.name}{sequences}/{self.budget} sequences: {text}", file=sys.stderr, flush=True)


def _prefix(progress: bool | str) -> str:
    """What stands before a line about a training run that has a name."""
    return f"{progress}: " if isinstance(progress, str) else ""


def _device(name: str) -> torch.device:
    check_device(name)
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"fit: no device {name} on this machine ({torch.cuda.device_count()} CUDA devices); use cpu")
    return device


def _copied(model: Network | Cell) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _named(learner: Learner) -> str:
    """What config.toml says of a learner; Python's own repr holds an address, which is another in every process."""
    return type(learner).__qualname__ if type(learner).__repr__ is object.__repr__ else repr(learner)


def _of_files(config: dict[str, Any]) -> set[str]:
    """The settings that name files: what counts of these is their content."""
    return {name for name, value in config["settings"].items() if isinstance(value, str) and value in config["files"]}


def _asked(config: dict[str, Any], of_files: set[str]) -> dict[str, Any]:
    """What a resume must find as it was: fit's settings, the caller's, and the content of the files."""
    named = {f"fit {name}": value for name, value in config["fit"].items()}
    named |= {f"settings {name}": value for name, value in config["settings"].items() if name not in of_files}
    return {**named, "files": sorted(config["files"].values())}


def _digest(content: Any) -> str:
    text = content if isinstance(content, str) else json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _as_lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _as_read_back(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as config.toml will give it back (tuples as lists), so that a resume compares like with like."""
    try:
        return tomllib.loads(tomli_w.dumps(_without_none(config)))
    except TypeError as error:
        raise InputError(f"fit: expected settings of plain values (text, numbers, lists, tables): {error}") from None


def _without_none(config: dict[str, Any]) -> dict[str, Any]:
    """TOML has no None: what is not given is not there."""
    return {name: _without_none(value) if isinstance(value, dict) else value for name, value in config.items() if value is not None}
