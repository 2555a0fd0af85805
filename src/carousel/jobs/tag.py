"""Tagging: train a network to tell a label for each step of a sequence, judge it on a part that was held back.

The run folder is that of `carousel.train.fit`, with `prepared.json` and `result.json` beside it.
"""

# No annotations from the future here: the fields of Settings are read in another module.

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carousel.errors import InputError
from carousel.jobs import labelled, run
from carousel.jobs.labelled import LabelledSettings, Prepared, kind_of

if TYPE_CHECKING:
    from carousel.data.sequences import Sequences

_HERE = "standard input"


@dataclass(frozen=True)
class Settings(LabelledSettings):
    """What is to be tagged, and how the network is trained."""

    job = "tag"

    file: Path
    """A file of JSON lines, or .gz of one: a list of words, numbers or vectors, and a list of as many labels."""
    _: KW_ONLY


@dataclass(frozen=True)
class Result:
    """Scores on the steps of the held-back part, with C labels.

    Attributes:
        rows:       a method each: {"method", "accuracy", "macro-F1"} in percent of steps, the network last.
        labels:     C texts.
        confusion:  (C, C) how often each label, by row, was told to be each, by column.
        mistakes:   {"name", "step", "truth", "told", "probability"} of the steps told wrongly, the most
                    confident first, twenty at most; for words {"word"} too.
        example:    what the gates did in one sequence, for a picture: {"name", "kind", "steps", "series", "gates"};
                    None for a network without gates.
        counts:     sequences of the training, validation and test part.
        seconds:    time spent in training the network.
        sequences:  training sequences seen.
        stopped:    why training ended.
        command:    the command line that repeats the run.
    """

    rows: list[dict[str, Any]]
    labels: list[str]
    confusion: list[list[int]]
    mistakes: list[dict[str, Any]]
    example: dict[str, Any] | None
    counts: dict[str, int]
    seconds: float
    sequences: int
    stopped: str
    command: str


def train(settings: Settings, out: Path | str, *, resume: bool = False, progress: bool = True) -> Result:
    """Train the network and its baseline, judge both on the held-back part and write the run folder.

    Args:
        settings:  what to do.
        out:       the run folder: new, or with resume=True the one to go on with.
        resume:    go on from the last checkpoint in `out`.
        progress:  show how training goes.

    Raises:
        InputError: a file, option or folder that cannot be used.
    """
    from carousel.data.tagging import Tagging

    out = Path(out)
    parts = _parts(settings)
    judged = labelled.learn(settings, out, parts, Tagging, answer="last", resume=resume, progress=progress)
    result = Result(
        rows=judged.rows,
        labels=judged.prepared.labels,
        confusion=judged.confusion,
        mistakes=_mistakes(parts.test, judged),
        example=judged.example,
        counts={"training": len(parts.training), "validation": len(parts.validation), "test": len(parts.test)},
        seconds=judged.fit.seconds,
        sequences=judged.fit.sequences,
        stopped=judged.fit.stopped,
        command=settings.command(out),
    )
    run.keep(out, judged.prepared.table(settings), asdict(result))
    return result


def load(folder: Path | str) -> tuple[Settings, Result]:
    """The settings and the result of a run folder whose training has ended.

    Raises:
        InputError: a folder that holds no finished tagging.
    """
    settings = Settings.from_table(run.settings_table(folder), Path(folder) / "config.toml")
    try:
        return settings, Result(**run.result(folder))
    except TypeError as error:
        raise InputError(f"{Path(folder) / 'result.json'}: not the result of a tagging: {error}") from None


def evaluate(folder: Path | str, file: Path | str | None = None) -> list[dict[str, Any]]:
    """Scores of the network, and of always telling the most frequent label, on the held-back part or on another file.

    Raises:
        InputError: a run or a file that cannot be used; a label that was not there in training.
    """
    settings, _ = load(folder)
    prepared = Prepared.of(run.prepared(folder))
    part = prepared.part(_parts(settings).test if file is None else _read(Path(file), settings))
    rows, _ = labelled.judge(prepared, part, {settings.model: labelled.logits(run.network(folder), part.inputs, last=False)})
    return rows


def predict(folder: Path | str, file: Path | str) -> Iterator[dict[str, Any]]:
    """{"name", "labels"} of each sequence of a file, in its order; labels in the file are not looked at."""
    settings, _ = load(folder)
    prepared = Prepared.of(run.prepared(folder))
    sequences = _read(Path(file), settings, told=False)
    answers = labelled.logits(run.network(folder), prepared.inputs(sequences), last=False)
    for name, answer in zip(sequences.names, answers, strict=True):
        yield {"name": name, "labels": [prepared.labels[n] for n in answer.argmax(1).tolist()]}


def stream(folder: Path | str) -> Callable[[str], str]:
    """A function from a line, one step, to a line of JSON: {"step", "label", "probability"}.

    A line is a word as it stands, or the numbers of a step, apart by commas or spaces. A blank line begins
    a new sequence and answers with one.
    """
    prepared = Prepared.of(run.prepared(folder))
    encoding, cell = prepared.encoding, run.network(folder)
    if encoding.kind == "numbers":
        return labelled.streamed(
            cell,
            prepared.labels,
            lambda line: encoding.encode(labelled.step_of_numbers(line, encoding.input_size), "standard input"),
        )
    return labelled.streamed(cell, prepared.labels, lambda line: encoding.encode([labelled.bare(line).strip()], "standard input"))


def _parts(settings: Settings) -> labelled.Parts:
    test = None if settings.test is None else _read(settings.test, settings)
    return labelled.cut(_read(settings.file, settings), settings, test)


def _read(path: Path, settings: Settings, *, told: bool = True) -> "Sequences":
    """The sequences of a file of JSON lines, each (where it is to be told) with its labels."""
    from carousel.data.jsonl import read_jsonl

    if kind_of(path) != "JSON lines":
        raise InputError(f"{path}: expected a file of JSON lines (.jsonl), or .gz of one, to tag")
    sequences = read_jsonl(path, key=settings.key, label_key=settings.label_key)
    for n, labels in enumerate(sequences.labels if told else ()):
        if not isinstance(labels, list):
            wrong = "no label" if labels is None else f"one, {labels!r}, which `carousel train classify` learns"
            raise InputError(f"{sequences.place(n)}: expected a list of labels, one a step, found {wrong}")
    return sequences


def _mistakes(test: "Sequences", judged: labelled.Judged) -> list[dict[str, Any]]:
    """The steps told wrongly, the most confident first."""
    wrong: list[dict[str, Any]] = []
    labels = judged.prepared.labels
    for name, item, truths, chances in zip(test.names, test.items, judged.test.classes, judged.chances, strict=True):
        best, told = chances.max(1)
        for step in (told != truths).nonzero()[:, 0].tolist():
            mistake = {"name": name, "step": step + 1, "truth": labels[int(truths[step])], "told": labels[int(told[step])]}
            word = {"word": item[step]} if test.kind == "words" else {}
            wrong.append({**mistake, **word, "probability": round(float(best[step]), 4)})
    return sorted(wrong, key=lambda mistake: -mistake["probability"])[:20]
