"""The settings that all jobs share, and their way to and from a table of TOML."""

# No annotations from the future here: the jobs inherit these, and theirs are read in another module.

import shlex
from dataclasses import KW_ONLY, asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from carousel.errors import InputError
from carousel.plain import entries, from_table


class Section(NamedTuple):
    """What stands together in the help of the command line, in the order of `rank`; settings without one come first."""

    name: str
    rank: float


Training = Section("Training", 1)

ALIASES = {"rate": "--learning-rate"}
"""Other names of options on the command line."""


@dataclass(frozen=True)
class TrainSettings:
    """The settings of a training run. Each job adds its own, and names the defaults in which it differs.

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
    hidden: Annotated[int, Training] = 32
    """Units per layer."""
    layers: Annotated[int, Training] = 1
    """Number of recurrent layers."""
    sequences: Annotated[int, Training] = 6400
    """Training budget: the maximum number of training sequences, repeats included."""
    batch_size: Annotated[int, Training] = 32
    """Sequences per update."""
    evaluate_every: Annotated[int, Training] = 320
    """Training sequences between two evaluations on the validation part."""
    patience: Annotated[int, Training] = 10
    """Early-stopping patience: evaluations without improvement after which training stops."""
    optimizer: Annotated[str, Training] = "adam"
    """The optimizer: sgd, momentum, adam, rmsprop, adagrad or rmsprop-graves."""
    rate: Annotated[float, Training] = 0.01
    """The learning rate."""
    decay: Annotated[bool, Training] = False
    """Decay the learning rate linearly to zero over the training budget."""
    clip_norm: Annotated[float | None, Training] = None
    """Clip gradients to this norm. [default: no clipping]"""
    seed: Annotated[int, Training] = 0
    """Random seed of the weights and the batches; the same seed repeats a run bit for bit."""
    device: Annotated[str, Training] = "cpu"
    """cpu or cuda."""

    def __post_init__(self) -> None:
        vars(self).update(entries(type(self), vars(self), self.job))

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
    """The words that give an option its value: --name value, --name a b, or --name alone for a true flag."""
    word = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [word] if value else []
    if isinstance(value, tuple):
        return [word, *map(str, value)] if value else []
    return [word, str(value)]


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.resolve())
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value
