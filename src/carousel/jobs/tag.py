"""Tagging: train a network to tell a label for each step of a sequence, judge it on a part that was held out.

The run folder is that of `carousel.train.fit`, with `prepared.json` and `result.json` beside it.
"""

# No annotations from the future here: the fields of Settings are read in another module.

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carousel.errors import InputError
from carousel.files import SOUNDS
from carousel.jobs import JSON, ending, labelled
from carousel.jobs.labelled import LabelledPreprocessing, LabelledSettings
from carousel.jobs.labelled import LabelledResult as Result
from carousel.jobs.run import Run

if TYPE_CHECKING:
    from carousel.data.sequences import Sequences

__all__ = ["Result", "Settings", "evaluate", "load", "predict", "stream", "train"]


@dataclass(frozen=True)
class Settings(LabelledSettings):
    """What to tag, and how the network is trained."""

    job = "tag"

    file: Path
    """JSON lines, each a list of words, numbers or vectors and a list of as many labels; or a CoNLL file, a word a line; or .gz."""
    _: KW_ONLY


def train(settings: Settings, out: Path | str, *, resume: bool = False, progress: bool = True) -> Result:
    """Train the network and its baseline, judge both on the held-out part and write the run folder.

    Args:
        settings:  what to do.
        out:       the run folder: new, or with resume=True the one to go on with.
        resume:    go on from the last checkpoint in `out`.
        progress:  show how training goes.

    Raises:
        InputError: a file, option or folder that cannot be used.
    """
    from carousel.data.tagging import Tagging

    return labelled.train(settings, out, _parts(settings), Tagging, answer="last", resume=resume, progress=progress)


def load(folder: Run | Path | str) -> tuple[Settings, Result]:
    """The settings and the result of a run folder whose training has ended.

    Raises:
        InputError: a folder that holds no finished tagging.
    """
    return Run.of(folder).load(Settings, Result.from_table)


def evaluate(folder: Run | Path | str, file: Path | str | None = None) -> list[dict[str, Any]]:
    """Scores of the network, and of always telling the most frequent label, on the held-out part or on another file.

    Raises:
        InputError: a run or a file that cannot be used; a label that was not there in training.
    """
    run = Run.of(folder)
    settings, prepared = run.settings(Settings), run.prepared_as(LabelledPreprocessing.of)
    if file is None:
        run.check_files(settings, "evaluate another file")
    sequences = _parts(settings).test if file is None else _read(Path(file), settings)
    return labelled.evaluate(run, prepared, settings, sequences, last=False)


def predict(folder: Run | Path | str, file: Path | str) -> Iterator[dict[str, Any]]:
    """{"name", "labels"} of each sequence of a file, in its order; labels in the file are not looked at."""
    run = Run.of(folder)
    settings, prepared = run.settings(Settings), run.prepared_as(LabelledPreprocessing.of)
    sequences = _read(Path(file), settings, with_labels=False)
    answers = labelled.logits(run.network, prepared.inputs(sequences), last=False)
    for name, answer in zip(sequences.names, answers, strict=True):
        yield {"name": name, "labels": [prepared.labels[n] for n in answer.argmax(1).tolist()]}


def stream(folder: Run | Path | str) -> Callable[[str], str]:
    """A function from a line, one step, to a line of JSON: {"step", "label", "probability"}.

    A line is a word as it stands, or the numbers of a step, apart by commas or spaces. A blank line begins
    a new sequence and answers with one.
    """
    run = Run.of(folder)
    prepared = run.prepared_as(LabelledPreprocessing.of)
    if prepared.encoding.kind == "numbers":
        size = prepared.encoding.input_size
        return labelled.streamed(run.network, prepared, lambda line: labelled.step_of_numbers(line, size))
    return labelled.streamed(run.network, prepared, lambda line: [labelled.bare(line).strip()])


def _parts(settings: Settings) -> labelled.Parts:
    test = None if settings.test is None else _read(settings.test, settings)
    return labelled.cut(_read(settings.file, settings), settings, test)


def _read(path: Path, settings: Settings, *, with_labels: bool = True) -> "Sequences":
    """The sequences of a file, each (where it must have them) with its labels."""
    from carousel.data.conll import read_conll
    from carousel.data.jsonl import read_jsonl

    if path.is_dir() or ending(path) in (".csv", ".ts", ".tsv", ".tar", *SOUNDS):
        raise InputError(f"{path}: expected a file of JSON lines (.jsonl), a CoNLL file, or .gz of one, to tag")
    reader = read_jsonl if ending(path) in JSON else read_conll
    read = partial(reader, key=settings.key, label_key=settings.label_key, with_labels=with_labels)
    return labelled.read_with_labels(path, settings, read, each_step=True, with_labels=with_labels)
