"""A language model of a text: train a network to tell the next symbol, judge it in bits, let it write.

The run folder is that of `carousel.train.fit`, with `prepared.json` and `result.json` beside it.
"""

# No annotations from the future here: the fields of Settings are read in another module.

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from carousel.errors import InputError
from carousel.jobs import run as runs
from carousel.jobs.run import Run
from carousel.jobs.settings import COUNT, DROPOUT, POSITIVE, SHARE, SIZE, Bounds, Training, TrainSettings
from carousel.plain import from_table, typed

if TYPE_CHECKING:
    from torch import Tensor

    from carousel.cell import Cell
    from carousel.data.text import Alphabet

SAMPLE = 500
"""Symbols of the text that a finished run shows."""

GATED = 50
"""Symbols of the test part over which the gates are shown."""

PASSAGE = 300
"""Symbols of the passages that the report colours."""


@dataclass(frozen=True)
class Settings(TrainSettings):
    """The text to model, and how the network is trained."""

    job = "language"

    file: Path
    """A text in UTF-8, or any file to read by byte; may be gzipped (.gz)."""
    _: KW_ONLY
    unit: Literal["character", "byte"] = "character"
    """Predict characters or bytes."""
    order: Annotated[int, Bounds(1, 100)] = 5
    """Length of the n-grams of the counting baseline, including the predicted symbol."""
    validation: Annotated[float, SHARE] = 0.05
    """Fraction of the text, before the test part, used for validation."""
    test: Annotated[float, SHARE] = 0.1
    """Fraction of the text, at its end, held out for testing."""
    length: Annotated[int, Training, Bounds(1, 10**6)] = 100
    """Length of a training sequence, in symbols."""
    embedding: Annotated[int, Training, SIZE] = 64
    """Size of the learned embedding of a symbol."""
    hidden: Annotated[int, Training, SIZE] = 256
    """Units per layer."""
    dropout: Annotated[float, Training, DROPOUT] = 0.0
    """Dropout rate of each layer's outputs in training."""
    sequences: Annotated[int, Training, COUNT] = 32000
    """Training budget, the maximum number of training sequences, repeats included."""
    evaluate_every: Annotated[int, Training, COUNT] = 1600
    """Training sequences between two evaluations on the validation part."""
    rate: Annotated[float, Training, POSITIVE] = 0.003
    """The learning rate."""
    clip_norm: Annotated[float | None, Training, POSITIVE] = 100.0
    """Clip gradients (of the loss summed over a sequence's steps) to this norm."""


@dataclass(frozen=True, kw_only=True)
class Result(runs.Result):
    """Bits on the held-out end of the text.

    Attributes:
        rows:       a method each: {"method", "bits/character" or "bits/byte"}, the network last.
        counts:     symbols of the training, validation and test part.
        symbols:    how many different ones there are.
        sample:     what the network writes by itself, at temperature 0.8.
        gates:      what the gates did in the first steps of the test part: name -> (steps, units); empty for
                    a network without gates.
        passages:   {"title", "pieces": [(text, bits)]} of the test part: its beginning, and where the network took the most bits.
    """

    counts: dict[str, int]
    symbols: int
    sample: str
    passages: list[dict[str, Any]]
    gates: dict[str, list[list[float]]]


def train(settings: Settings, out: Path | str, *, resume: bool = False, progress: bool = True) -> Result:
    """Train the network, judge it on the held-out end and write the run folder.

    Args:
        settings:  what to do.
        out:       the run folder: new, or with resume=True the one to go on with.
        resume:    go on from the last checkpoint in `out`.
        progress:  show how training goes.

    Raises:
        InputError: a file, option or folder that cannot be used.
    """
    from carousel.data.text import Alphabet, Language, counted_bits, read_text
    from carousel.models import build

    out = Path(out)
    text = read_text(settings.file, settings.unit)
    test_start = len(text) - round(settings.test * len(text))
    train_end = max(test_start - round(settings.validation * len(text)), 0)
    alphabet = Alphabet.of(text[:train_end])
    numbers = alphabet.numbers(text)
    training = numbers[:train_end]
    task = Language(training, numbers[train_end:test_start], alphabet.size, length=settings.length)
    if len(text) - test_start < 1:
        raise InputError(f"language: the test part of {settings.file} is empty: a share of {settings.test} of {len(text)} symbols")
    prepared = {
        "alphabet": asdict(alphabet),
        "input_size": settings.embedding,
        "symbols": alphabet.size,
        "output_size": alphabet.size,
        "length": settings.length,
    }
    cell = build(
        settings.model,
        settings.embedding,
        alphabet.size,
        hidden=settings.hidden,
        layers=settings.layers,
        symbols=alphabet.size,
        dropout=settings.dropout,
        seed=settings.seed,
    )
    fitted = runs.fitted(cell, task, settings, out=out, resume=resume, progress=progress and settings.model)
    bits = _bits(fitted.cell, numbers, test_start, settings.length)
    measure = f"bits/{settings.unit}"
    counted = {
        "every symbol alike": counted_bits(training, numbers, test_start, alphabet.size, 0),
        "frequencies": counted_bits(training, numbers, test_start, alphabet.size, 1),
        f"runs of {settings.order}": counted_bits(training, numbers, test_start, alphabet.size, settings.order),
    }
    result = Result(
        rows=[{"method": name, measure: float(one.mean())} for name, one in {**counted, settings.model: bits}.items()],
        counts={"training": train_end, "validation": test_start - train_end, "test": len(text) - test_start},
        symbols=alphabet.size,
        sample="".join(_written(fitted.cell, alphabet, alphabet.start, SAMPLE, 0.8, settings.seed)),
        passages=_passages(alphabet, numbers[test_start:], bits),
        gates=_gates(fitted.cell, numbers[test_start : test_start + GATED]),
        seconds=fitted.seconds,
        sequences=fitted.sequences,
        stopped=fitted.stopped,
        command=settings.command(out),
    )
    runs.keep(out, prepared, asdict(result))
    return result


def load(folder: Run | Path | str) -> tuple[Settings, Result]:
    """The settings and the result of a run folder whose training has ended.

    Raises:
        InputError: a folder that holds no finished language model.
    """
    return Run.of(folder).load(Settings, Result.from_table)


def evaluate(folder: Run | Path | str, file: Path | str | None = None) -> list[dict[str, Any]]:
    """The table of the held-out end; or the network's bits on the whole of another text.

    Raises:
        InputError: no finished run, a file that cannot be used.
    """
    import math

    from carousel.data.text import read_text

    run = Run.of(folder)
    settings, result = load(run)
    if file is None:
        return result.rows
    alphabet, warm_up = run.prepared_as(_prepared)
    numbers = alphabet.numbers(read_text(file, alphabet.unit))
    if len(numbers) < 2:
        raise InputError(f"{file}: expected two symbols or more, got {len(numbers)}")
    bits = _bits(run.network, numbers, 1, warm_up)
    measure = f"bits/{alphabet.unit}"
    return [
        {"method": "every symbol alike", measure: math.log2(alphabet.size)},
        {"method": settings.model, measure: float(bits.mean())},
    ]


def predict(folder: Run | Path | str, file: Path | str) -> Iterator[dict[str, Any]]:
    """How surprising each line of a text is: {"line", "symbols", "bits": of its symbols, on average}.

    A line's end counts as its last symbol; what came before it is known. The first symbol of all has no bits.

    Raises:
        InputError: no finished run, a file that cannot be used.
    """
    from carousel.data.text import read_text

    run = Run.of(folder)
    alphabet, warm_up = run.prepared_as(_prepared)
    text = read_text(file, alphabet.unit)
    numbers = alphabet.numbers(text)
    if len(numbers) < 2:
        raise InputError(f"{file}: expected two symbols or more, got {len(numbers)}")
    bits = [0.0, *_bits(run.network, numbers, 1, warm_up).tolist()]
    end = 10 if isinstance(text, bytes) else "\n"
    start = 0
    lines = 0
    for n, symbol in enumerate(text):
        if symbol == end or n == len(text) - 1:
            lines += 1
            taken = bits[max(start, 1) : n + 1]
            yield {"line": lines, "symbols": n + 1 - start, "bits": round(sum(taken) / len(taken), 4) if taken else None}
            start = n + 1


def stream(folder: Run | Path | str) -> Callable[[str], str]:
    """A function from a line of text to a line of JSON: {"bits": of its symbols on average, "next": the likeliest after it}.

    The line is read as it stands: its end counts where it has one. The very first symbol has no bits. Read by byte, a
    byte that is not UTF-8 is a surrogate, as Python's error handler "surrogateescape" has it.

    Raises:
        InputError: no finished run.
    """
    import math

    import torch

    from carousel.loop import scan

    run = Run.of(folder)
    alphabet, _ = run.prepared_as(_prepared)
    cell, state = run.network, None
    expected: Tensor | None = None  # log probabilities of the next symbol

    @torch.no_grad()
    def answer(line: str) -> str:
        nonlocal expected, state
        if not line:
            raise InputError("expected a line of text, or its end alone, got nothing")
        numbers = alphabet.numbers(line.encode(errors="surrogateescape") if alphabet.unit == "byte" else line)
        outputs, state = scan(cell, numbers[:, None], state)
        after = outputs[:, 0].log_softmax(1)
        before = after[:-1] if expected is None else torch.cat([expected, after[:-1]])
        taken = before.gather(1, numbers[len(numbers) - len(before) :, None])
        expected = after[-1:]
        bits = round(-float(taken.mean()) / math.log(2), 4) if len(taken) else None
        return json.dumps({"bits": bits, "next": alphabet.shown(int(expected.argmax()))}, ensure_ascii=False)

    return answer


def generate(
    folder: Run | Path | str, prompt: str | None = None, *, length: int = 500, temperature: float = 1.0, seed: int = 0
) -> Iterator[str]:
    """Text that the network writes on from a prompt, a symbol at a time; the prompt itself is not given again.

    Args:
        folder:       of a finished run.
        prompt:       what is read first, at least one symbol; None: an end of line or, where training had none, its first symbol.
        length:       symbols to write.
        temperature:  by which the logits are divided: below 1 the likely becomes likelier, at 0 always the likeliest.
        seed:         of the drawing.

    Raises:
        InputError: no finished language model, an option that cannot be used.
    """
    run = Run.of(folder)
    if run.job != Settings.job:
        raise InputError(f"{run.folder}: a run of {run.job}; only a language model writes")
    if prompt == "":
        raise InputError("generate: expected a prompt of one symbol or more")
    if length < 0:
        raise InputError(f"generate: expected length of at least 0, got {length}")
    if not 0 <= temperature < float("inf"):
        raise InputError(f"generate: expected a temperature of at least 0, got {temperature}")
    alphabet, _ = run.prepared_as(_prepared)
    prompt = alphabet.start if prompt is None else prompt
    if alphabet.unit == "character" and not set(prompt) <= set(alphabet.symbols):
        from carousel.data.files import shortened

        # Its network has never read what stands for them.
        unknown = "".join(sorted(set(prompt) - set(alphabet.symbols)))
        raise InputError(
            f"generate: the prompt has {shortened(unknown)}, which the training part has not; leave such characters out"
        )
    return _written(run.network, alphabet, prompt, length, temperature, seed)


def _written(cell: "Cell", alphabet: "Alphabet", prompt: str, length: int, temperature: float, seed: int) -> Iterator[str]:
    """What `cell` writes on from a prompt."""
    import torch

    from carousel.loop import Stepper

    stepper, generator = Stepper(cell.cpu().eval()), torch.Generator().manual_seed(seed)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for symbol in alphabet.numbers(prompt.encode() if alphabet.unit == "byte" else prompt):
        logits = stepper(symbol)
    for _ in range(length):
        if alphabet.unit == "character":
            logits[-1] = -torch.inf  # what stands for unknown characters is never written
        if temperature == 0:
            symbol = logits.argmax()
        else:
            symbol = torch.multinomial(torch.softmax(logits / temperature, 0), 1, generator=generator)[0]
        yield alphabet.symbols[symbol] if alphabet.unit == "character" else decoder.decode(bytes([int(symbol)]))
        logits = stepper(symbol)
    yield decoder.decode(b"", final=True)


def _prepared(table: dict[str, Any]) -> "tuple[Alphabet, int]":
    """The alphabet of a run, and the length of its training sequences, of prepared.json."""
    from carousel.data.text import Alphabet

    alphabet = from_table(Alphabet, table["alphabet"], "alphabet")
    if not alphabet.size == table["symbols"] == table["output_size"]:
        raise ValueError("the alphabet does not fit the sizes of the network")
    return alphabet, typed(table["length"], int, "length")


def _bits(cell: "Cell", numbers: "Tensor", begin: int, warm_up: int) -> "Tensor":
    """(n - begin,) the bits that each symbol from `begin` on took."""
    import torch

    from carousel.data.text import bits_of
    from carousel.loop import scan

    device = next(cell.parameters()).device

    def logits_after(inputs: "Tensor", state: Any) -> "tuple[Tensor, Any]":
        with torch.no_grad():
            return scan(cell, inputs.to(device), state)

    cell.eval()
    return bits_of(logits_after, numbers, begin, warm_up)


def _gates(cell: "Cell", text: "Tensor") -> dict[str, list[list[float]]]:
    """What the gates did while the network read a text from the start state."""
    return (
        {name: values.round(3).tolist() for name, values in runs.gates(cell.cpu(), text, len(text)).items()}
        if len(text) > 1
        else {}
    )


def _passages(alphabet: "Alphabet", text: "Tensor", bits: "Tensor") -> list[dict[str, Any]]:
    """The beginning of the test part, and the passage of it that took the most bits, symbol by symbol."""
    size = min(PASSAGE, len(text))
    sums = bits.cumsum(0)
    means = (sums[size - 1 :] - sums[: len(sums) - size + 1] + bits[: len(bits) - size + 1]) / size
    worst = int(means.argmax())
    return [
        {
            "title": f"{title}, {float(bits[at : at + size].mean()):.2f} bits a symbol",
            "pieces": [
                [alphabet.shown(n), round(b, 2)]
                for n, b in zip(text[at : at + size].tolist(), bits[at : at + size].tolist(), strict=True)
            ],
        }
        for title, at in (("The beginning of the held-out end", 0), ("Where it took the most bits", worst))
    ]
