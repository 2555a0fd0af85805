"""The settings that all jobs share, and their way to and from a table of TOML."""

# No annotations from the future here: the jobs inherit these, and theirs are read in another module.

import shlex
import sys
from dataclasses import KW_ONLY, asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self, get_type_hints

from carousel.errors import InputError
from carousel.names import check_device, check_model, check_optimizer
from carousel.plain import entries, from_table


class Section(NamedTuple):
    """What stands together in the help of the command line, in the order of `rank`; settings without one come first."""

    name: str
    rank: float


class Bounds(NamedTuple):
    """The numbers that a setting takes, each of many, where it is set; `open`: without the ends."""

    low: float
    high: float = sys.float_info.max
    open: bool = False

    def refusal(self, value: float) -> str | None:
        """What is expected of a number that is none of them; None for one that is."""
        if self.low < value < self.high or (value in (self.low, self.high) and not self.open):
            return None
        if self.open:
            return f"above {self.low:g}" if self.high == sys.float_info.max else f"between {self.low:g} and {self.high:g}"
        return f"of at least {self.low:g}" if not value > self.high else f"of at most {self.high:,g}"


Training = Section("Training", 1)
COUNT, SIZE, POSITIVE, SHARE = Bounds(1, 10**12), Bounds(1, 65_536), Bounds(0, open=True), Bounds(0, 1, open=True)
DROPOUT = Bounds(0, 0.99)

ALIASES = {"rate": "--learning-rate"}
"""Other names of options on the command line."""


@dataclass(frozen=True)
class TrainSettings:
    """The settings that training runs of all jobs share. Each job adds its own, and names the defaults in which it differs.

    The docstring of a field is its help on the command line, and its default stands there too.
    """

    job: ClassVar[str]
    later: ClassVar[tuple[str, ...]] = ()
    """Settings that came after the first version: not in a table where they have their defaults, so that older runs resume."""

    file: Path
    """The file to train on."""
    _: KW_ONLY
    model: Annotated[str, Training] = "lstm"
    """The network; `carousel list models` names them."""
    hidden: Annotated[int, Training, SIZE] = 32
    """Units per layer."""
    layers: Annotated[int, Training, Bounds(1, 1000)] = 1
    """Number of recurrent layers."""
    sequences: Annotated[int | None, Training, COUNT] = 6400
    """Training budget, the maximum number of training sequences, repeats included."""
    batch_size: Annotated[int, Training, Bounds(1, 10**6)] = 32
    """Sequences per update."""
    evaluate_every: Annotated[int | None, Training, COUNT] = 320
    """Training sequences between two evaluations on the validation part."""
    patience: Annotated[int, Training, COUNT] = 10
    """Early-stopping patience, the number of evaluations without improvement after which training stops."""
    optimizer: Annotated[str, Training] = "adam"
    """The optimizer, one of sgd, momentum, adam, rmsprop, adagrad and rmsprop-graves."""
    rate: Annotated[float, Training, POSITIVE] = 0.01
    """The learning rate."""
    decay: Annotated[bool, Training] = False
    """Decay the learning rate linearly to zero over the training budget."""
    clip_norm: Annotated[float | None, Training, POSITIVE] = None
    """Clip gradients to this norm. [default: no clipping]"""
    seed: Annotated[int, Training, Bounds(0, 2**63 - 1)] = 0
    """Random seed of the weights and the batches; the same seed repeats a run bit for bit."""
    device: Annotated[str, Training] = "cpu"
    """cpu or cuda."""

    def __post_init__(self) -> None:
        vars(self).update(entries(type(self), vars(self), self.job))
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            for bounds in (mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Bounds)):
                given = getattr(self, name)
                for value in given if isinstance(given, tuple) else [] if given is None else [given]:
                    if expected := bounds.refusal(value):
                        raise InputError(f"{self.job}: expected {name} {expected}, got {value}")
        self.check_models()
        check_optimizer(self.optimizer)
        check_device(self.device)

    def networks(self) -> list[str]:
        """The models that are trained."""
        return [self.model]

    def check_models(self) -> None:
        """Refuse a name that is no model."""
        for model in self.networks():
            check_model(model)

    def command(self, out: Path | str) -> str:
        """The command line that repeats the run: what differs from the defaults."""
        words = ["carousel", "train", self.job, str(self.file)]
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                words += _option(field.name, value)
        return shlex.join([*words, "--out", str(out)])

    def files(self) -> list[Path]:
        """What is learned from: the files that the settings name."""
        return [value for field in fields(self) if isinstance(value := getattr(self, field.name), Path)]

    def table(self) -> dict[str, Any]:
        """As a table of TOML: no None, and files by their place in full, so that a run resumes from any folder."""
        unset = {field.name for field in fields(self) if field.name in self.later and getattr(self, field.name) == field.default}
        plain = {name: _plain(value) for name, value in asdict(self).items() if value is not None and name not in unset}
        return {"job": self.job, **plain}

    @classmethod
    def of_run(cls, table: dict[str, Any], source: Path | str) -> Self:
        """The settings of a run's table; a job says here what is meant by what an earlier version left out."""
        return cls.from_table(table, source)

    @classmethod
    def from_table(cls, table: dict[str, Any], source: Path | str) -> Self:
        """The inverse of `table`. InputError names a key that is no setting, with the nearest right name."""
        check_names(cls, table, source)
        return from_table(cls, {name: value for name, value in table.items() if name != "job"}, str(source))


def check_names(settings: type[TrainSettings], table: dict[str, Any], source: Path | str, besides: tuple[str, ...] = ()) -> None:
    """Refuse a key that is no setting of the job, with the nearest right name."""
    known = ["job", *(field.name for field in fields(settings)), *besides]
    for name in table:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise InputError(f"{source}: unknown option {name!r} of {settings.job}; did you mean {near!r}?")


def _option(name: str, value: Any) -> list[str]:
    """The words that give an option its value: --name value, --name a b, --name=-a, or --name alone for a true flag."""
    word = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [word] if value else []
    texts = list(map(str, value)) if isinstance(value, tuple) else [str(value)]
    if any(text.startswith("-") for text in texts):
        return [f"{word}={text}" for text in texts]
    return [word, *texts] if texts else []


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.resolve())
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value
