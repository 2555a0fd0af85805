"""Side-by-side benchmarks: carousel and its peers in one process, in turns.

A case's contenders take turns (A B C A B C ...), so that a busy machine slows all of them alike; told
are medians and their ratios. Before anything is timed, results are compared: what is wrong is not
timed. The cases are a plain list in `carousel.bench.cases`.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llvmlite
import numpy as np
import torch

import carousel
from carousel.bench.cases import AT_LEAST, CASES, Case, Contender, Kind
from carousel.bench.processes import seconds
from carousel.errors import InputError
from carousel.files import write_aside
from carousel.provenance import provenance

SECONDS = 1.0
"""About how long a case is timed; a tenth of it for a quick look."""

LEAST_ROUNDS, LEAST_ALONE = 5, 3
"""Turns of each contender, however slow; fewer where each starts a process, and one of these for a quick look."""

TOLERANCE = 1e-4
"""How far results may differ, in float32, as a share of their largest entry."""

BUSY = 1.0
"""Other work, in processes that run, from which the figures mislead: two threads that wait for one another
on a core of somebody else's may take ten times as long, peers' more than ours."""

_MARK = "<!-- Written by `carousel bench --page`; do not edit. -->\n"

Report = dict[str, Any]


class Disagreement(Exception):
    """Two contenders computed different results."""


def select(names: Sequence[str]) -> list[Case]:
    """The cases of these names, or families; all but the slow ones without any. InputError for one that is not there."""
    for name in names:
        if not any(name in (case.name, case.family) for case in CASES):
            offered = ", ".join(dict.fromkeys(case.family for case in CASES))
            raise InputError(f"bench: no case {name!r}, expected one of: {offered}, each also with a shape, as {CASES[0].name}")
    return [case for case in CASES if (case.name in names or case.family in names if names else not case.slow)]


def run(cases: Sequence[Case], quick: bool = False, threads: int = 2, done: Callable[[str], None] = print) -> Report:
    """Measure the cases; `done` is told each one's name as it ends.

    Returns:
        What JSON has: the circumstances (versions, processor, threads, load before, date, commit,
        command), `rows`, one a case and peer, `skipped` and `wrong`, the cases that were not timed
        and why.
    """
    if threads < 1:
        raise InputError(f"bench: expected threads of 1 or more, got {threads}")
    words = ["carousel bench", *([] if cases == select([]) else [case.name for case in cases]), *(["--quick"] if quick else [])]
    report: Report = {
        **_circumstances(threads),
        "command": " ".join([*words, f"--threads {threads}"]),
        "rows": [],
        "skipped": [],
        "wrong": [],
    }
    with _threads(threads):
        for case in cases:
            try:
                torch.manual_seed(0)
                report["rows"] += _rows(case, _measure(case, quick))
            except InputError as reason:
                report["skipped"].append({"case": case.name, "reason": str(reason)})
            except Disagreement as reason:
                report["wrong"].append({"case": case.name, "reason": str(reason)})
            done(case.name)
    return report


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _circumstances(threads: int) -> Report:
    return {
        **provenance(),
        "cpu": _cpu(),
        "threads": threads,
        "load": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "versions": {
            "carousel": carousel.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "llvmlite": llvmlite.__version__,
        },
    }


def _cpu() -> str:
    """The processor's model, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


# --- Measuring -------------------------------------------------------------------------------------


def _measure(case: Case, quick: bool) -> list[tuple[Contender, list[float]]]:
    """Each contender's samples, taken in turns."""
    contenders = case.contenders(case.shape)
    compare(contenders)
    if any(contender.alone for contender in contenders):
        rounds = 1 if quick else LEAST_ALONE
    else:
        for contender in contenders:
            contender.sample()
        turns = sum(seconds(contender.sample) for contender in contenders)
        rounds = max(LEAST_ROUNDS, int(SECONDS * (0.1 if quick else 1.0) / turns))
    samples: list[list[float]] = [[] for _ in contenders]
    gc.collect()
    gc.disable()  # a collection belongs to no contender
    try:
        for _ in range(rounds):
            for contender, own in zip(contenders, samples, strict=True):
                own.append(contender.sample())
    finally:
        gc.enable()
    return list(zip(contenders, samples, strict=True))


def compare(contenders: Sequence[Contender]) -> None:
    """Compare the first contender's results, y and the gradients of W, U and b, with every other's.

    Raises:
        Disagreement: they differ, by more than TOLERANCE of the largest entry.
    """
    given = [(contender.name, contender.results()[:4]) for contender in contenders if contender.results is not None]
    for name, results in given[1:]:
        for ours, theirs in zip(given[0][1], results, strict=True):
            off = ((ours - theirs).abs().max() / theirs.abs().max()).item()
            if not off <= TOLERANCE:
                raise Disagreement(f"it differs from {name} by {off:.1e} of the largest entry")


def _rows(case: Case, measured: list[tuple[Contender, list[float]]]) -> list[dict[str, Any]]:
    """One row a peer, the goal in the first; one row in all where there is no peer."""
    (ours, own), *others = measured
    a_call = statistics.median(own)
    rows = []
    for n, (peer, theirs) in enumerate(others or [(None, [])]):
        row: dict[str, Any] = {"case": case.name, "kind": case.kind, "goal": case.goal if n == 0 else None}
        row |= {"ours": a_call, "samples": [len(own), len(theirs)]}
        row |= {"peer": None, "theirs": None} if peer is None else {"peer": peer.name, "theirs": statistics.median(theirs)}
        if case.kind == "seconds":
            row["value"] = a_call / ours.work
        else:
            assert peer is not None, f"{case.name}: {case.kind!r} is told of a peer"
            ratio = (row["theirs"] / peer.work) / (a_call / ours.work)
            row["value"] = ratio if case.kind in AT_LEAST else 1 / ratio
        row["met"] = None if row["goal"] is None else met(row["value"], row["goal"], case.kind)
        rows.append(row)
    return rows


def met(value: float, goal: float, kind: Kind) -> bool:
    """Whether a figure reaches its goal."""
    return value >= goal if kind in AT_LEAST else value <= goal


# --- Telling ---------------------------------------------------------------------------------------

COLUMNS = ["case (T x B x I x H)", "ours", "theirs", "peer", "measured", "goal", ""]


def table(report: Report) -> list[list[str]]:
    """The rows of a report as text, under COLUMNS."""
    rows = []
    for row in report["rows"]:
        quantity = _bytes if row["kind"] == "of its memory" else _seconds
        verdict = "" if row["met"] is None else "met" if row["met"] else "missed"
        sides = [quantity(row["ours"]), "" if row["theirs"] is None else quantity(row["theirs"]), row["peer"] or ""]
        rows.append([row["case"], *sides, _told(row["value"], row["kind"]), _told(row["goal"], row["kind"]), verdict])
    return rows


def header(report: Report) -> str:
    """The circumstances in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    load = (
        ""
        if report["load"] is None
        else f", load {report['load'][0]}{' (busy: do not trust it)' if report['load'][0] > BUSY else ''}"
    )
    return f"{report['cpu']}, {report['cores']} cores, {report['threads']} threads{load}; {versions}; {report['commit'][:12]}"


def remarks(report: Report) -> list[str]:
    """A line for each case that was not timed, and why."""
    return [f"{row['case']}: {kind}: {row['reason']}" for kind in ("skipped", "wrong") for row in report[kind]]


def check_page(path: Path) -> None:
    """InputError where a file is there that was not written by `carousel bench`."""
    if path.exists() and not path.read_text(encoding="utf-8").startswith(_MARK):
        raise InputError(f"{path} is not a page of `carousel bench`; expected a new file or an earlier such page")


def write_page(report: Report, path: Path) -> None:
    """Write the report as a Markdown page."""
    lines = [f"| {' | '.join(row)} |" for row in (COLUMNS, ["---"] * len(COLUMNS), *table(report))]
    notes = [f"- {remark}" for remark in remarks(report)]
    text = "\n".join([_INTRODUCTION, f"`{report['command']}`, {report['date']}. {header(report)}.\n", *lines, "", *notes])
    write_aside(path, f"{_MARK}{text.rstrip()}\n")


_INTRODUCTION = """# Benchmarks

Contenders take strict turns in one process, a call each (A B C A B C ...), so a short call may follow a
peer's long one and find the caches cold. The figures are medians of a call, forward and backward unless
the name says otherwise, inputs without gradient, float32. Their
results are compared first. `lstm` and `gru` stand against torch.nn's layers; a `variant` against our
plain LSTM of the same sizes; `peephole-loop` against the cell written as a Python loop; `ntm` (memory
128 x 20) against the same step on the eager backend, and `ntm-update` a whole update of it with clipping and the
optimizer's step, and measured is a sequence. `update` is a whole update of a job's LSTM with Adam, beside the same model
written with torch.nn and torch.optim, and beside the loss computed after the loop. `tree` is the binary Tree-LSTM over B
random trees of T leaves, beside the same in PyTorch, all nodes of a height at once or node after node; `tree-update` is a
whole update of it with word vectors, a label at each node and AdaGrad, `tree-dynet` the same beside DyNet, `tree-many` has so
many trees that the peer takes the first two of them, and measured is a tree. `tree-unary` is an LSTM over chains of nodes
beside its scan; in `tree-arity` and `tree-child-sum` nodes have that many children, beside the scan of an LSTM, and measured
is a multiplication. `stepper` is 1000
steps made one by one, and measured is one of them; `online` is the truncated rule of 1997 on the network with 93 weights, on
one thread, with an update at every step, and measured is a network's step; `peak` counts the LSTM's matrix products against
one of 2048 x 2048.
`compile` is the first call of a cell in a warm process; `load` is machine code read back from disk,
beside the whole first call.
"""


def _told(value: float | None, kind: str) -> str:
    if value is None:
        return ""
    if kind == "seconds":
        return _seconds(value)
    if kind == "faster":
        return f"{value:.3g}x faster"
    return f"{100 * value:.0f} % {kind}" if kind == "of the peak" else f"{value:.3g} {kind}"


def _seconds(value: float) -> str:
    scale, unit = next(((scale, unit) for scale, unit in ((1, "s"), (1e-3, "ms")) if value >= scale), (1e-6, "µs"))
    return f"{value / scale:.3g} {unit}"


def _bytes(value: float) -> str:
    return f"{value / 1e6:.3g} MB"
