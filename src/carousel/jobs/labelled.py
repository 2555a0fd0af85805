"""What classify and tag share: their settings, how a file is read and cut into parts, and how a network is asked.

A file is cut into a training part, a validation part of it that training is watched on, and a test part
that is held out. What is learned of the data (scaling, words, labels) is learned on the training part.
"""

# No annotations from the future here: the settings are inherited, and theirs are read in another module.

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from carousel.errors import InputError
from carousel.files import SOUNDS
from carousel.jobs import IDX, JSON, ending, run
from carousel.jobs.settings import COUNT, DROPOUT, POSITIVE, SHARE, SIZE, Bounds, Section, Training, TrainSettings
from carousel.plain import typed
from carousel.printable import printable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from carousel.cell import Cell
    from carousel.data.classification import Classification, Part
    from carousel.data.sequences import Encoding, Sequences

Texts = Section("JSON lines and texts", 0.4)
Network = Section("Network", 0.9)

Answer = Literal["mean", "last"]
NONE = "none"
HERE = "standard input"
STEPS_AT_ONCE = 50_000
"""Time steps, over all sequences of a batch, that a network is asked for at once: what bounds the memory."""


@dataclass(frozen=True)
class LabelledSettings(TrainSettings):
    """The settings of training runs on labeled sequences."""

    later = ("skip",)

    file: Path
    """The file to train on."""
    _: KW_ONLY
    test: Path | None = None
    """A separate test file. [default: a fraction of FILE]"""
    test_share: Annotated[float, SHARE] = 0.2
    """Fraction of FILE held out for testing if there is no test file, the same for each label."""
    validation: Annotated[float, SHARE] = 0.1
    """Fraction of the remaining sequences used for validation."""
    skip: bool = False
    """Skip sequences that are empty, malformed or without a label, with a message each, instead of rejecting the file."""
    max_length: Annotated[int | None, COUNT] = None
    """Read at most this many steps from the beginning of each sequence. [default: all]"""
    key: Annotated[str | None, Texts] = None
    """The key of the sequence, or its column in a CSV or CoNLL file. [default: text, words, tokens, values, sequence or input]"""
    label_key: Annotated[str | None, Texts] = None
    """The key of the label, or its column. [default: label, labels or tags; the last column]"""
    vocabulary: Annotated[int, Texts, Bounds(1, 10**7)] = 20_000
    """Vocabulary size, counting the most frequent words of the training part."""
    embedding: Annotated[int, Texts, SIZE] = 64
    """Size of the learned embedding of a word or byte."""
    model: Annotated[str, Network] = "gru"
    """The network; `carousel list models` names them."""
    hidden: Annotated[int, Network, SIZE] = 64
    """Units per layer."""
    layers: Annotated[int, Network, Bounds(1, 1000)] = 1
    """Number of recurrent layers."""
    dropout: Annotated[float, Network, DROPOUT] = 0.0
    """Dropout rate of each layer's outputs, and of embeddings, in training."""
    noise: Annotated[float, Network, Bounds(0)] = 0.0
    """Standard deviation of the Gaussian noise added to numeric inputs in training, relative to that of their channel."""
    baseline: Annotated[str, Network] = "window-5"
    """A network without memory to compare with, trained in the same way, or none."""
    sequences: Annotated[int, Training, COUNT] = 20_000
    """Training budget, the maximum number of training sequences, repeats included."""
    evaluate_every: Annotated[int, Training, COUNT] = 1_000
    """Training sequences between two evaluations on the validation part."""
    rate: Annotated[float, Training, POSITIVE] = 0.003
    """The learning rate."""

    def networks(self) -> list[str]:
        """The network, and the one of the baseline."""
        return [self.model, *([] if self.baseline == NONE else [self.baseline])]


@dataclass(frozen=True, kw_only=True)
class LabelledResult(run.Result):
    """Scores on the held-out part, with C labels.

    Attributes:
        rows:       a method each: {"method", "accuracy", "macro-F1"} in percent of the sequences, or of their steps: the
                    most frequent label, the baseline, the network.
        labels:     C texts.
        confusion:  (C, C) how often each label, by row, was predicted as each, by column, by the network.
        mistakes:   {"name", "truth", "predicted", "probability"} of what was predicted wrong, the most confident
                    first, twenty at most; of steps {"step"} too, and of words {"word"}; of texts {"text"}, their beginning.
        example:    what the gates did in one sequence, for a picture: {"name", "kind", "steps", "series", "gates"};
                    None for a network without gates.
        counts:     sequences of the training, validation and test part.
    """

    labels: list[str]
    confusion: list[list[int]]
    mistakes: list[dict[str, Any]]
    example: dict[str, Any] | None
    counts: dict[str, int]

    @classmethod
    def from_table(cls, table: dict[str, Any], place: str) -> Self:
        """The result that result.json has; where "predicted" was once called "told", either is read."""
        result = super().from_table(table, place)
        for mistake in result.mistakes:
            if "told" in mistake:
                mistake["predicted"] = mistake.pop("told")
            if not {"name", "truth", "predicted", "probability"} <= mistake.keys():
                raise InputError(f"{place}: mistakes: expected name, truth, predicted and probability each")
        C = len(result.labels)
        if [len(row) for row in result.confusion] != [C] * C:
            raise InputError(f"{place}: confusion: expected {C} rows of {C} counts, as there are labels")
        return result


def kind_of(path: Path) -> str:
    """recordings, images, JSON lines, .ts or .tsv; InputError for a file of another kind."""
    if path.is_dir() or ending(path) in (".tar", ".tgz", *SOUNDS):
        return "recordings"
    if ending(path) in (*JSON, ".csv"):
        return "JSON lines"
    if ending(path) in (".ts", ".tsv"):
        return ending(path)
    if re.search(IDX, path.name):
        return "images"
    raise InputError(
        f"{path}: expected a folder or .tar of recordings, a .ts, .tsv, .jsonl, .json, .csv or idx file (with idx in its name), "
        "or .gz of one"
    )


def read_with_labels(
    path: Path, settings: LabelledSettings, read: "Callable[..., Sequences]", *, each_step: bool, with_labels: bool
) -> "Sequences":
    """What a reader gives of a file: all of it or, with `settings.skip`, what is as it must be.

    Args:
        path:         the file.
        settings:     whether sequences may be skipped.
        read:         the reader.
        each_step:    whether a sequence must have a label for each step, or one.
        with_labels:  whether it must have any.
    """
    with _skipping(settings) as skipped:
        sequences = read(path, skipped=skipped)
        return _kept(sequences, skipped, lambda label: _wrong_label(label, each_step) if with_labels else None)


@contextmanager
def _skipping(settings: LabelledSettings) -> Iterator[list[str] | None]:
    """The list of why sequences are skipped, printed at the end, a line each; None where none may be."""
    skipped: list[str] | None = [] if settings.skip else None
    try:
        yield skipped
    finally:
        for reason in skipped or ():
            print(f"skipped: {printable(reason)}", file=sys.stderr)


def _kept(sequences: "Sequences", skipped: list[str] | None, wrong: Callable[[Any], str | None]) -> "Sequences":
    """The sequences of whose labels `wrong` says nothing; the others are skipped, or refused where `skipped` is None."""
    from carousel.data.sequences import may_be_skipped

    kept = []
    for n, label in enumerate(sequences.labels):
        with may_be_skipped(skipped):
            if reason := wrong(label):
                raise InputError(f"{sequences.place(n)}: {reason}")
            kept.append(n)
    if skipped and len(skipped) >= len(kept):
        counts = f"{len(skipped)} sequences would be skipped, {len(kept)} read"
        raise InputError(f"{sequences.source}: {counts}; see what is wrong with the file")
    return sequences if len(kept) == len(sequences) else sequences.pick(kept)


def _wrong_label(label: Any, each_step: bool) -> str | None:
    if isinstance(label, list if each_step else str):
        return None
    if each_step:
        found = "no label" if label is None else f"one, {label!r}, which `carousel train classify` learns"
        return f"expected a list of labels, one a step, found {found}"
    found = "no label" if label is None else "a label for each step, which `carousel train tag` learns"
    return f"expected one label, found {found}"


def refuse_unread(settings: TrainSettings, names: Iterable[str], why: str) -> None:
    """Refuse options that were given and would not be read."""
    for field in fields(settings):
        if field.name in names and getattr(settings, field.name) != field.default:
            raise InputError(f"--{field.name.replace('_', '-')} would not be read: {why}")


@dataclass(frozen=True)
class Parts:
    """A file cut into its parts, before anything is learned of it."""

    training: "Sequences"
    validation: "Sequences"
    test: "Sequences"


def cut(data: "Sequences", settings: LabelledSettings, test: "Sequences | None", in_test: Sequence[int] = ()) -> Parts:
    """Hold the test part and then the validation part back.

    Args:
        data:      the sequences of the file, all with their labels.
        settings:  the shares and the seed.
        test:      the sequences of the test file, if one was given.
        in_test:   numbers of the sequences of `data` that are the test part, where another rule than a share says so.
    """
    from carousel.data.classification import held_back

    if test is not None or in_test:
        refuse_unread(settings, ["test_share"], "the test part is given otherwise")
    if data.kind == "numbers":
        refuse_unread(settings, ["vocabulary", "embedding"], f"{data.source} holds numbers")
    else:
        refuse_unread(settings, ["noise"], f"{data.source} holds {data.kind}")
    rest = data
    if test is None:
        held = list(in_test) or held_back(data.labels, settings.test_share, settings.seed, "--test-share")[1]
        rest, test = data.pick(sorted(set(range(len(data))) - set(held))), data.pick(held)
    if len(rest) == 0:
        raise InputError(f"{data.source}: every sequence is in the test part; none is left to learn from")
    labels = sorted(set(_every_label(rest)))
    if len(labels) < 2:
        more = "; tell the labels by --label-pattern, or by a sub-folder each" if data.rate else ""
        raise InputError(f"{data.source}: expected two labels or more, found {listed(labels)} only{more}")
    kept, held = held_back(rest.labels, settings.validation, settings.seed, "--validation")
    # Validation is one batch: past a thousand sequences it costs memory and time, and tells little more.
    return Parts(rest.pick(kept), rest.pick(held[:: -(-len(held) // 1000)]), test)


@dataclass(frozen=True)
class LabelledPreprocessing:
    """What a network must know of its training data to be used alone.

    Attributes:
        encoding:  numbers, words or bytes to tensors.
        labels:    the labels by class.
        usual:     the label that is most frequent in training.
        rate:      sample rate of recordings in Hz, else None.
        length:    steps of a sequence that are read, or None for all.
    """

    encoding: "Encoding"
    labels: list[str]
    usual: str
    rate: int | None
    length: int | None

    def table(self, settings: LabelledSettings) -> dict[str, Any]:
        """As plain values, with the sizes of the network."""
        symbols = 0 if self.encoding.kind == "numbers" else self.encoding.input_size
        input_size = settings.embedding if symbols else self.encoding.input_size
        return {**asdict(self), "input_size": input_size, "symbols": symbols, "output_size": len(self.labels)}

    @staticmethod
    def of(table: dict[str, Any]) -> "LabelledPreprocessing":
        """The inverse of `table`."""
        from carousel.data.sequences import encoding_of

        kinds = {"labels": list[str], "usual": str, "rate": int | None, "length": int | None}
        own = LabelledPreprocessing(
            encoding_of(table["encoding"]), **{name: typed(table[name], kind, name) for name, kind in kinds.items()}
        )
        symbols, size = table["symbols"], own.encoding.input_size
        if len(own.labels) != table["output_size"] or own.usual not in own.labels or size != (symbols or table["input_size"]):
            raise ValueError("the labels or the encoding do not fit the sizes of the network")
        return own

    def inputs(self, sequences: "Sequences") -> "list[Tensor]":
        """Each sequence as the network reads it."""
        from carousel.data.sequences import encoded

        return [x[: self.length] for x in encoded(sequences, self.encoding)]

    def part(self, sequences: "Sequences") -> "Part":
        """The sequences with their classes; all labels were there in training."""
        import torch

        from carousel.data.classification import Part

        number = {label: n for n, label in enumerate(self.labels)}
        classes = []
        for given in sequences.labels:
            classes.append(
                torch.tensor([number[label] for label in given[: self.length]] if isinstance(given, list) else number[given])
            )
        return Part(self.inputs(sequences), classes)

    def known(self, sequences: "Sequences", settings: LabelledSettings) -> "Sequences":
        """Those whose labels were there in training; the others are refused or, with `settings.skip`, skipped."""

        def wrong(label: Any) -> str | None:
            labels = label if isinstance(label, list) else [label]
            unknown = [one for one in labels if one not in self.labels]
            return f"the label {unknown[0]!r} is not in the training part ({listed(self.labels)})" if unknown else None

        with _skipping(settings) as skipped:
            return _kept(sequences, skipped, wrong)


def prepare(training: "Sequences", settings: LabelledSettings) -> LabelledPreprocessing:
    """Learn scaling, words and labels of the training part."""
    from carousel.data.sequences import Bytes, InputScaling, Vocabulary

    counts = Counter(_every_label(training))
    labels = sorted(counts, key=lambda label: (0, int(label), label) if label.isdecimal() else (1, 0, label))
    encoding: Encoding
    if training.kind == "numbers":
        encoding = InputScaling.of(training.items, together=kind_of(settings.file) == "images")
    elif training.kind == "words":
        encoding = Vocabulary.of(training.items, settings.vocabulary)
    else:
        encoding = Bytes()
    usual = max(labels, key=lambda label: counts[label])
    return LabelledPreprocessing(encoding, labels, usual, training.rate, settings.max_length)


def _every_label(sequences: "Sequences") -> Iterator[str]:
    return (label for given in sequences.labels for label in (given if isinstance(given, list) else [given]))


def listed(labels: Sequence[str]) -> str:
    """The labels for a message, the first ten of many."""
    return ", ".join(labels[:10]) + (f" and {len(labels) - 10} more" if len(labels) > 10 else "")


def logits(cell: "Cell", inputs: "Sequence[Tensor]", *, last: bool) -> "list[Tensor]":
    """(T, C) what the network says at each step of a sequence, or (1, C) at its last; those of like length are asked together."""
    import torch

    from carousel.data.sequences import padded
    from carousel.loop import scan

    device = next(cell.parameters()).device
    answers: list[Any] = [None] * len(inputs)
    order = sorted(range(len(inputs)), key=lambda n: -len(inputs[n]))
    cell.eval()
    while order:
        size = max(STEPS_AT_ONCE // len(inputs[order[0]]), 1)
        now, order = order[:size], order[size:]
        batch, lengths = padded([inputs[n] for n in now])
        with torch.no_grad():
            outputs, _ = scan(cell, batch.to(device), lengths=lengths)
        if last:
            outputs, lengths = outputs[lengths - 1, torch.arange(len(now))][None].cpu(), torch.ones_like(lengths)
        for b, (n, length) in enumerate(zip(now, lengths.tolist(), strict=True)):
            answers[n] = outputs[:length, b].cpu()
    return answers


def network(name: str, sizes: dict[str, Any], settings: LabelledSettings, answer: Answer) -> "Cell":
    """The network of that name, untrained; `sizes` are those of `LabelledPreprocessing.table`."""
    from carousel.models import build

    return build(
        name,
        sizes["input_size"],
        sizes["output_size"],
        hidden=settings.hidden,
        layers=settings.layers,
        symbols=sizes["symbols"],
        dropout=settings.dropout,
        answer=answer,
        seed=settings.seed,
    )


def train(
    settings: LabelledSettings,
    out: Path | str,
    parts: Parts,
    make: "type[Classification]",
    *,
    answer: Answer,
    resume: bool,
    progress: bool,
) -> LabelledResult:
    """Train the network, then its baseline, on a task of the class `make`, judge both on the test part, write the run folder."""
    import torch

    # What can be refused is, before any training.
    prepared = prepare(parts.training, settings)
    parts = replace(parts, test=prepared.known(parts.test, settings))
    test = prepared.part(parts.test)
    task = make(prepared.part(parts.training), prepared.part(parts.validation), prepared.labels, noise=settings.noise)
    sizes = prepared.table(settings)
    own = network(settings.model, sizes, settings, answer)
    other = None
    if settings.baseline not in (NONE, settings.model):
        other = network(settings.baseline, sizes, settings, "last" if task.each_step else "mean")

    fit = run.fitted(own, task, settings, out=out, resume=resume, progress=progress and settings.model)
    said = {settings.model: logits(fit.cell, test.inputs, last=not task.each_step)}
    if other is not None:
        # It has no folder of its own: a run that is resumed trains it again.
        trained = run.fitted(other, task, settings, progress=progress and settings.baseline)
        said = {settings.baseline: logits(trained.cell, test.inputs, last=not task.each_step), **said}
    rows, confusion = judge(prepared, test, said)
    chances = [torch.softmax(one, 1) for one in said[settings.model]]
    result = LabelledResult(
        rows=rows,
        labels=prepared.labels,
        confusion=confusion,
        mistakes=_mistakes(prepared.labels, parts.test, test, chances, task.each_step),
        example=_example(fit.cell, parts.test, test),
        counts={"training": len(parts.training), "validation": len(parts.validation), "test": len(parts.test)},
        seconds=fit.seconds,
        sequences=fit.sequences,
        stopped=fit.stopped,
        command=settings.command(out),
    )
    run.keep(Path(out), sizes, asdict(result))
    return result


def evaluate(
    folder: run.Run, prepared: LabelledPreprocessing, settings: LabelledSettings, sequences: "Sequences", *, last: bool
) -> list[dict[str, Any]]:
    """Scores of a finished run's network, and of always the most frequent label, on sequences with their labels."""
    part = prepared.part(prepared.known(sequences, settings))
    rows, _ = judge(prepared, part, {settings.model: logits(folder.network, part.inputs, last=last)})
    return rows


def _mistakes(
    labels: Sequence[str], sequences: "Sequences", part: "Part", chances: "Sequence[Tensor]", each_step: bool
) -> list[dict[str, Any]]:
    """The twenty sequences, or steps, that were predicted wrong with the most confidence, as `LabelledResult` has them."""
    wrong: list[dict[str, Any]] = []
    for name, item, truth, chance in zip(sequences.names, sequences.items, part.classes, chances, strict=True):
        best, predicted = chance.max(1)
        for step in (predicted != truth.reshape(-1)).nonzero()[:, 0].tolist():
            place = {"name": name, "step": step + 1} if each_step else {"name": name}
            pair = {"truth": labels[int(truth.reshape(-1)[step])], "predicted": labels[int(predicted[step])]}
            shown: dict[str, Any] = {}
            if sequences.kind != "numbers":
                shown = {"word": item[step]} if each_step else {"text": _beginning(item)}
            wrong.append({**place, **pair, **shown, "probability": round(float(best[step]), 4)})
    return sorted(wrong, key=lambda mistake: -mistake["probability"])[:20]


def _beginning(item: Any) -> str:
    """The first words of a text."""
    text = item.decode(errors="replace") if isinstance(item, bytes) else " ".join(item[:30])
    return text if len(text) <= 60 else f"{text[:59]}…"


def _example(cell: "Cell", sequences: "Sequences", part: "Part") -> dict[str, Any] | None:
    """{"name", "kind", "steps", "series", "gates"} of the last steps of the first sequence that has two or more.

    steps are the words, or the numbers of the steps; series is the sequence itself where a step is one number, else
    None; gates are name -> (steps, units). None where there is no such sequence, or no gate in the network.
    """
    n = next((n for n, x in enumerate(part.inputs) if len(x) > 1), None)
    if n is None:
        return None
    x, item, words = part.inputs[n], sequences.items[n], sequences.kind == "words"
    shown = min(len(x), 40 if words else 120)
    gates = run.gates(cell.cpu(), x, shown)
    span = range(len(x) - shown, len(x))
    return (
        {
            "name": sequences.names[n],
            "kind": sequences.kind,
            "steps": [item[t] if words else str(t + 1) for t in span],
            "series": [float(item[t, 0]) for t in span] if sequences.kind == "numbers" and item.shape[1] == 1 else None,
            "gates": {name: values.round(3).tolist() for name, values in gates.items()},
        }
        if gates
        else None
    )


def judge(
    prepared: LabelledPreprocessing, part: "Part", said: "dict[str, list[Tensor]]"
) -> tuple[list[dict[str, Any]], list[list[int]]]:
    """The table of scores, that of the most frequent label first, and the last network's confusion.

    Args:
        prepared:  of the networks.
        part:      what was asked.
        said:      network -> (T, C) or (1, C) for each sequence.
    """
    import torch

    from carousel.data.classification import confusion, scores

    truth = torch.cat([one.reshape(-1) for one in part.classes])
    C = len(prepared.labels)
    predicted = {f"always {prepared.usual}": torch.full_like(truth, prepared.labels.index(prepared.usual))}
    predicted |= {name: torch.cat(answers).argmax(1) for name, answers in said.items()}
    counts = {name: confusion(truth, answers, C) for name, answers in predicted.items()}
    rows = [{"method": name, **scores(table)} for name, table in counts.items()]
    return rows, list(counts.values())[-1].tolist()


def streamed(
    cell: "Cell", prepared: LabelledPreprocessing, steps: "Callable[[str], Any]", restart: Callable[[], None] = lambda: None
) -> Callable[[str], str]:
    """A function from a line to a line of JSON: {"step", "label", "probability"} after the steps that the line holds.

    The end of a line is none of what it holds. A blank line begins a new sequence and answers with a blank one.

    Args:
        cell:     the network.
        prepared: of the network.
        steps:    a line to the steps that it holds, as its encoding reads them; InputError before anything has moved.
        restart:  what is to be done, besides, where a new sequence begins.
    """
    import torch

    from carousel.loop import Stepper

    stepper, count = Stepper(cell), 0

    def answer(line: str) -> str:
        nonlocal count
        line = line.rstrip("\r\n")
        if not line.strip():
            stepper.state, count = None, 0
            restart()
            return ""
        for x in prepared.encoding.encode(steps(line), HERE):
            y = stepper(x)
            count += 1
        chance, best = torch.softmax(y, 0).max(0)
        return json.dumps(
            {"step": count, "label": prepared.labels[int(best)], "probability": round(float(chance), 4)}, ensure_ascii=False
        )

    return answer


def bare(line: str) -> str:
    """The line of a stream of texts, which is none of the objects that files of JSON lines have."""
    from carousel.data.files import shortened

    if line.lstrip().startswith("{"):
        raise InputError(
            f"expected a text as it stands, got {shortened(line.strip())}; send the text alone, or use carousel predict"
        )
    return line


def step_of_numbers(line: str, size: int) -> "np.ndarray":
    """(1, size) of a line of numbers apart by commas or spaces, or written as a JSON list."""
    from carousel.data.sequences import as_numbers

    texts = line.strip().strip("[]").replace(",", " ").split()
    try:
        values = [float(text) for text in texts]
    except ValueError:
        raise InputError(f"expected {size} numbers, apart by commas or spaces, got {line.strip()[:40]!r}") from None
    if len(values) != size:
        raise InputError(f"expected {size} numbers, got {len(values)}")
    return as_numbers([values], HERE)
