"""What every training is told: the settings that all jobs share, and their way to and from a table of TOML."""

# No annotations from the future here: the jobs inherit these, and theirs are read in another module.

import shlex
import types
from dataclasses import KW_ONLY, asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin, get_type_hints

from cyclopts import Group, Parameter

from carousel.errors import InputError

Training = Parameter(group=Group("Training", sort_key=1))
"""Where the help of the command line shows a setting; those of the job itself come before."""


@dataclass(frozen=True)
class TrainSettings:
    """The settings of a training. Each job adds its own, and names the defaults in which it differs.

    The docstring of a field is its help on the command line, and its default stands there too.
    """

    job: ClassVar[str]

    file: Path
    """The file to learn from."""
    _: KW_ONLY
    model: Annotated[str, Training] = "lstm"
    """The network; `carousel list models` names them."""
    hidden: Annotated[int, Training] = 32
    """Units of a layer."""
    layers: Annotated[int, Training] = 1
    """Layers of units."""
    sequences: Annotated[int, Training] = 6400
    """Training sequences seen in all, at most."""
    batch_size: Annotated[int, Training] = 32
    """Sequences of an update."""
    evaluate_every: Annotated[int, Training] = 320
    """Sequences between two looks at the validation part."""
    patience: Annotated[int, Training] = 10
    """Looks without improvement after which training stops."""
    optimizer: Annotated[str, Training] = "adam"
    """The optimiser."""
    rate: Annotated[float, Training] = 0.01
    """The learning rate."""
    decay: Annotated[bool, Training] = False
    """Let the rate fall evenly, to nothing at the last of the sequences."""
    clip_norm: Annotated[float | None, Training] = None
    """Gradients longer than this are scaled down to it. [default: as they are]"""
    seed: Annotated[int, Training] = 0
    """Seed of the weights and the batches; a seed repeats a run bit for bit."""
    device: Annotated[str, Training] = "cpu"
    """cpu or cuda."""

    def command(self, out: Path | str) -> str:
        """The command line that repeats the run: what differs from the defaults."""
        words = ["carousel", "train", self.job, str(self.file)]
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                words += option(field.name, value)
        return shlex.join([*words, "--out", str(out)])

    def table(self) -> dict[str, Any]:
        """As a table of TOML: no None, and files by their place in full, so that a run resumes from any folder."""
        plain = {name: _plain(value) for name, value in asdict(self).items() if value is not None}
        return {"job": self.job, **plain}

    @classmethod
    def from_table(cls, table: dict[str, Any], source: Path | str) -> Self:
        """The inverse of `table`. InputError names a key that is no setting, with the nearest right name."""
        check_names(cls, table, source)
        hints = get_type_hints(cls)
        values = {name: _typed(value, hints[name]) for name, value in table.items() if name != "job"}
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(f"{source}: {str(error).partition(') ')[2] or error}") from None


def check_names(settings: type[TrainSettings], table: dict[str, Any], source: Path | str, besides: tuple[str, ...] = ()) -> None:
    """Refuse a key that is no setting of the job, with the nearest right name."""
    known = ["job", *(field.name for field in fields(settings)), *besides]
    for name in table:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise InputError(f"{source}: unknown option {name!r} of {settings.job}; did you mean {near!r}?")


def option(name: str, value: Any) -> list[str]:
    """The words that give an option its value: --name value, --name a b, or --name alone for a true flag."""
    word = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [word] if value else []
    if isinstance(value, tuple | list):
        return [word, *map(str, value)] if value else []
    return [word, str(value)]


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.resolve())
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value


def _typed(value: Any, hint: Any) -> Any:
    """TOML has neither paths nor tuples; the hint says which are meant."""
    origin = get_origin(hint)
    if origin in (Annotated, types.UnionType):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
        return _typed(value, hint)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if origin is tuple and isinstance(value, list):
        return tuple(_typed(entry, get_args(hint)[0]) for entry in value)
    return value
