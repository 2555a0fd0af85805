"""Classification of whole sequences: train a network, judge it on a part that was held out, keep the result.

The run folder is that of `carousel.train.fit`, with `prepared.json` and `result.json` beside it.
"""

# No annotations from the future here: the fields of Settings are read in another module.

import re
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from carousel.errors import InputError
from carousel.jobs import IDX, labelled
from carousel.jobs.labelled import LabelledPreprocessing, LabelledSettings, Network, kind_of
from carousel.jobs.labelled import LabelledResult as Result
from carousel.jobs.run import Run
from carousel.jobs.settings import POSITIVE, Bounds, Section

if TYPE_CHECKING:
    from carousel.data.audio import LogMel
    from carousel.data.sequences import Sequences

__all__ = ["Result", "Settings", "check_options", "evaluate", "load", "predict", "read", "stream", "train"]

Recordings = Section("Recordings", 0.2)
Images = Section("Texts and images", 0.3)


@dataclass(frozen=True)
class Settings(LabelledSettings):
    """What to classify, and how the network is trained."""

    job = "classify"

    file: Path
    """A folder or .tar of recordings (.wav, .flac, .ogg, .mp3), a .ts, .tsv, .jsonl, .json, idx or .csv file, or .gz of one."""
    _: KW_ONLY
    by: Annotated[Literal["words", "bytes", "rows", "pixels"] | None, Images] = None
    """Read a text by words or bytes, an image by rows or pixels. [default: words or rows]"""
    labels: Annotated[Path | None, Images] = None
    """The idx file of the labels. [default: FILE with "labels" for "images" and "idx1" for "idx3"]"""
    label_pattern: Annotated[str | None, Recordings] = None
    """A regular expression whose group, matched in the file name, is the label. [default: the name of the subfolder]"""
    test_pattern: Annotated[str | None, Recordings] = None
    """A regular expression; recordings whose names match are the test part. [default: a fraction]"""
    mels: Annotated[int, Recordings, Bounds(1, 10_000)] = 40
    """Number of mel bands, from 0 Hz to half the sample rate."""
    window: Annotated[float, Recordings, POSITIVE] = 25.0
    """Length of the analysis window, in milliseconds."""
    hop: Annotated[float, Recordings, POSITIVE] = 10.0
    """Time from one step to the next, in milliseconds."""
    answer: Annotated[Literal["mean", "last"], Network] = "mean"
    """Predict the label from the mean of the outputs at all steps, or from the last output."""

    def files(self) -> list[Path]:
        """Those that the settings name, and the labels that are found beside images."""
        named = super().files()
        if self.labels is None and re.search(IDX, self.file.name):
            from carousel.data.idx import usual_labels

            usual = usual_labels(self.file)
            return [*named, usual] if usual != self.file and usual.is_file() else named
        return named

    def log_mel(self, rate: int | None) -> "LogMel":
        """How recordings are read, those of this sample rate or, for None, of any."""
        from carousel.data.audio import LogMel

        return LogMel(self.mels, self.window, self.hop, rate)


_ONLY_FOR = {
    "recordings": ("label_pattern", "test_pattern", "mels", "window", "hop"),
    "images": ("by", "labels"),
    "JSON lines": ("by", "key", "label_key", "vocabulary", "embedding"),
}
_STEPS = {"JSON lines": ("words", "bytes"), "images": ("rows", "pixels")}


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
    from carousel.data.classification import Classification

    check_options(settings)
    parts = _parts(settings)
    return labelled.train(settings, out, parts, Classification, answer=settings.answer, resume=resume, progress=progress)


def load(folder: Run | Path | str) -> tuple[Settings, Result]:
    """The settings and the result of a run folder whose training has ended.

    Raises:
        InputError: a folder that holds no finished classification.
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
    sequences = _parts(settings).test if file is None else read(Path(file), settings, rate=prepared.rate)
    return labelled.evaluate(run, prepared, settings, sequences, last=True)


def predict(folder: Run | Path | str, file: Path | str) -> Iterator[dict[str, Any]]:
    """{"name", "label", "probability"} of each sequence of a file, in its order; labels in the file are not looked at."""
    import torch

    run = Run.of(folder)
    settings, prepared = run.settings(Settings), run.prepared_as(LabelledPreprocessing.of)
    unlabelled = replace(settings, label_pattern=None, labels=None)
    sequences = read(Path(file), unlabelled, rate=prepared.rate, with_labels=False)
    answers = torch.cat(labelled.logits(run.network, prepared.inputs(sequences), last=True))
    chances, predicted = torch.softmax(answers, 1).max(1)
    for name, label, chance in zip(sequences.names, predicted.tolist(), chances.tolist(), strict=True):
        yield {"name": name, "label": prepared.labels[label], "probability": round(chance, 4)}


def stream(folder: Run | Path | str) -> Callable[[str], str]:
    """A function from a line to a line of JSON: the label of what has come so far, {"step", "label", "probability"}.

    A line is the numbers of a step, apart by commas or spaces; a piece of text; or, for recordings, the next
    samples in -1..1, as many as a hop has. A blank line begins a new sequence and answers with one.
    """
    from carousel.data.audio import Hops
    from carousel.data.jsonl import step_sequence

    run = Run.of(folder)
    settings, prepared = run.settings(Settings), run.prepared_as(LabelledPreprocessing.of)
    encoding = prepared.encoding
    if prepared.rate is not None:
        hops = Hops(settings.log_mel(prepared.rate), prepared.rate)
        return labelled.streamed(
            run.network, prepared, lambda line: hops(labelled.step_of_numbers(line, hops.hop)[0]), hops.restart
        )
    if encoding.kind == "numbers":
        return labelled.streamed(run.network, prepared, lambda line: labelled.step_of_numbers(line, encoding.input_size))
    return labelled.streamed(
        run.network, prepared, lambda line: step_sequence(labelled.bare(line), encoding.kind, labelled.HERE)[1]
    )


def read(path: Path, settings: Settings, *, rate: int | None = None, with_labels: bool = True) -> "Sequences":
    """The sequences of a file of any kind that is classified.

    Args:
        path:         the file.
        settings:     how files are read.
        rate:         the sample rate that recordings must have; None for that of the first.
        with_labels:  whether each must have its label.
    """
    from carousel.data.audio import read_recordings
    from carousel.data.idx import read_images
    from carousel.data.jsonl import read_jsonl
    from carousel.data.ts import read_table, read_ts

    kind = kind_of(path)
    reader: Callable[..., Sequences]
    if kind == "recordings":
        reader = partial(read_recordings, how=settings.log_mel(rate), label_pattern=settings.label_pattern)
    elif kind == "images":
        labels = settings.labels if path == settings.file else None
        reader = partial(read_images, labels=labels, by=settings.by or "rows")
    elif kind == "JSON lines":
        by = settings.by or "words"
        reader = partial(read_jsonl, key=settings.key, label_key=settings.label_key, by=by, with_labels=with_labels)
    else:
        reader = read_ts if kind == ".ts" else read_table
    return labelled.read_with_labels(path, settings, reader, each_step=False, with_labels=with_labels)


def _parts(settings: Settings) -> labelled.Parts:
    from carousel.data.audio import compiled

    data = read(settings.file, settings)
    test = None if settings.test is None else read(settings.test, settings, rate=data.rate)
    in_test: list[int] = []
    if settings.test_pattern is not None:
        if test is not None:
            raise InputError("--test-pattern: give either a test file or a pattern for the names of the test part")
        pattern = compiled(settings.test_pattern, "--test-pattern")
        in_test = [n for n, name in enumerate(data.names) if pattern.search(name)]
        if not in_test:
            raise InputError(f"--test-pattern: {settings.test_pattern!r} is found in no name, such as {data.names[0]}")
    return labelled.cut(data, settings, test, in_test)


def check_options(settings: Settings) -> None:
    """Refuse an option that the file, being of another kind, does not read."""
    kind = kind_of(settings.file)
    own = _ONLY_FOR.get(kind, ())
    others = {name for names in _ONLY_FOR.values() for name in names} - set(own)
    labelled.refuse_unread(settings, others, f"{settings.file} is of another kind")
    if settings.by is not None and settings.by not in _STEPS[kind]:
        raise InputError(f"--by: expected {' or '.join(_STEPS[kind])} for {kind}, got {settings.by}")
