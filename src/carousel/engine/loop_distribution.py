"""Loop distribution: what is a recurrence becomes a loop, everything else runs over all steps at once.

The operations of a step and the edges state-out -> state-in make a graph; its strongly connected
components are the true recurrences. They become `Loop`s; what is in no cycle becomes `Batched`
stages between them, in the order of the dependences. Then two corrections for speed: cheap
operations that only feed a loop, or that only need what is in it, go into the loop, since a loop
passes over its memory once and PyTorch once an operation. Products with shared matrices stay out,
but for those of few inputs that feed a loop, and those of few outputs that it feeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

from carousel.engine.ir import SHARED, STEP, Carry, Loop, Op, Value
from carousel.engine.kinds import KINDS
from carousel.engine.sums_over_time import Total


@dataclass(frozen=True)
class Batched:
    """Operations run in PyTorch; those with the lead STEP for all rows and steps at once."""

    ops: tuple[Op, ...]
    lead: int


@dataclass(frozen=True)
class Shift:
    """A carry in no cycle: what one step gives, known for all steps, moved on to the next one."""

    carry: Carry


@dataclass(frozen=True)
class Recurrence:
    """A loop.

    histories:  those of its carries whose `before` is wanted for every step by somebody else.
    totals:     what its sums are, in the order of `loop.summed`, then `loop.row_summed`.
    """

    loop: Loop
    histories: tuple[Carry, ...]
    totals: tuple[Total, ...] = ()


Stage = Batched | Shift | Recurrence

NARROW = 16
"""Inputs or outputs of a product up to which a loop makes it itself, step by step."""


def live(ops: Sequence[Op], carries: Sequence[Carry], wanted: Iterable[Value]) -> tuple[list[Op], list[Carry]]:
    """The operations and carries that the wanted values need, now or through earlier steps."""
    needed = set(wanted)
    kept: list[Carry] = []
    while True:
        for op in reversed(ops):
            if op.output in needed:
                needed.update(op.values)
        found = [carry for carry in carries if carry not in kept and carry.before in needed]
        if not found:
            break
        kept += found
        needed.update(carry.after for carry in found)
    return [op for op in ops if op.output in needed], [carry for carry in carries if carry in kept]


def distribute(
    ops: Sequence[Op],
    carries: Sequence[Carry],
    wanted: Iterable[Value],
    lead: Mapping[Value, int],
    reverse: bool,
    totals: Iterable[Total] = (),
) -> list[Stage]:
    """Stages, in order, that compute the wanted values of all rows and steps.

    Args:
        ops:      live operations of one step, all with the lead STEP, in order.
        carries:  live carries.
        wanted:   values that are read for every row and step after the last stage.
        lead:     what each value has beside its own axes.
        reverse:  time runs backwards.
        totals:   sums over time. Those of kind "sum" whose input is made in a loop are added up there,
                  and the input need not be written.
    """
    wanted, totals = set(wanted), list(totals)
    sums = [total for total in totals if total.kind == "sum"]
    wanted |= {value for total in totals if total.kind != "sum" for value in total.inputs}
    kept = wanted | {total.inputs[0] for total in sums}
    groups = _schedule(ops, carries)
    _sink(groups, kept, lead)
    _absorb(groups, lead)
    _sink(groups, kept, lead)  # once more: what was absorbed may have been the last reader outside
    read = _readers(groups)
    stages: list[Stage] = []
    for n, group in enumerate(groups):
        outside = wanted | {value for m, values in enumerate(read) if m != n for value in values}
        stages += _stages(group, outside, sums, lead, reverse)
    return stages


@dataclass
class _Group:
    """Operations and carries of one place in the schedule."""

    ops: list[Op]
    carries: list[Carry]
    cyclic: bool


def _schedule(ops: Sequence[Op], carries: Sequence[Carry]) -> list[_Group]:
    """Everything that is in no cycle as early as possible; then all the loops that are ready, together."""
    nodes: list[Op | Carry] = [*ops, *carries]
    maker = {**{op.output: n for n, op in enumerate(ops)}, **{carry.before: len(ops) + n for n, carry in enumerate(carries)}}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(nodes)))
    for n, node in enumerate(nodes):
        for value in node.values if isinstance(node, Op) else (node.after,):
            if value in maker:
                graph.add_edge(maker[value], n)
    components = nx.condensation(graph)
    cyclic = {c: len(members) > 1 or graph.has_edge(*[next(iter(members))] * 2) for c, members in components.nodes("members")}
    waiting = dict(components.in_degree())
    groups: list[_Group] = []
    ready = sorted((c for c, count in waiting.items() if count == 0), key=lambda c: min(components.nodes[c]["members"]))
    while ready:
        chosen = [c for c in ready if not cyclic[c]] or ready
        loop = cyclic[chosen[0]]
        members = [n for c in chosen for n in components.nodes[c]["members"]]
        group = _Group([], [], loop)
        if groups and not loop and not groups[-1].cyclic:
            group = groups[-1]
        else:
            groups.append(group)
        group.ops += [node for n in sorted(members) if isinstance(node := nodes[n], Op)]
        group.carries += [node for n in sorted(members) if isinstance(node := nodes[n], Carry)]
        ready = [c for c in ready if c not in chosen]
        for c in chosen:
            for follower in components.successors(c):
                waiting[follower] -= 1
                if waiting[follower] == 0:
                    ready.append(follower)
    return groups


def _readers(groups: list[_Group]) -> list[set[Value]]:
    """The values that each group reads."""
    return [{value for op in group.ops for value in op.values} | {carry.after for carry in group.carries} for group in groups]


def is_product(op: Op, lead: Mapping[Value, int]) -> bool:
    """Whether PyTorch does an operation better for all steps at once: a product with, or a look-up in, something shared."""
    if op.kind in ("matvec", "outer"):
        return True
    if op.kind == "matmul":
        return any(lead[value] == SHARED for value in op.values)
    return op.kind == "index_select" and lead[op.values[0]] == SHARED


def _sink(groups: list[_Group], kept: set[Value], lead: Mapping[Value, int]) -> None:
    """Move what only one loop reads into it; but not what PyTorch does better, nor a bias that it adds to its product,
    nor what moves on outside or costs nothing there, as a view that is kept."""
    shifted = {carry.after for group in groups if not group.cyclic for carry in group.carries}
    for n in range(len(groups) - 1, -1, -1):
        if groups[n].cyclic:
            continue
        products = {op.output for op in groups[n].ops if is_product(op, lead) and not _is_narrow(op)}
        for op in reversed(list(groups[n].ops)):
            readers = [m for m, values in enumerate(_readers(groups)) if op.output in values]
            if len(readers) != 1 or not groups[readers[0]].cyclic or op.output in products or op.output in shifted:
                continue
            if op.output in kept and KINDS[op.kind].moves:
                continue
            if (
                op.kind == "add"
                and any(value in products for value in op.values)
                and any(lead[value] == SHARED for value in op.values)
            ):
                continue
            groups[n].ops.remove(op)
            groups[readers[0]].ops.insert(0, op)


def _is_narrow(op: Op) -> bool:
    """Whether a product with a shared matrix reads so little that it costs less than its result's way through memory."""
    return op.kind == "matvec" and op.values[1].shape[0] <= NARROW


def _makes_little(op: Op) -> bool:
    """Whether a product with a shared matrix makes so little that it costs less than its input's way through memory."""
    return op.kind == "matvec" and op.output.shape[0] <= NARROW


def _absorb(groups: list[_Group], lead: Mapping[Value, int]) -> None:
    """Move what needs nothing but a loop's values, and what was there before it, to the loop's end."""
    for n, loop in enumerate(groups):
        if not loop.cyclic:
            continue
        later = {value for group in groups[n + 1 :] for value in _made(group)}
        inside = _made(loop)
        absorbed: list[Op] = []
        for group in groups[n + 1 :]:
            if group.cyclic:
                continue
            for op in list(group.ops):
                touches = any(value in inside for value in op.values)
                if touches and (_makes_little(op) or not is_product(op, lead)) and not any(value in later for value in op.values):
                    absorbed.append(op)
                    inside.add(op.output)
                    later.discard(op.output)
                    group.ops.remove(op)
                    loop.ops.append(op)
        _return_views(groups, n, absorbed)


def _return_views(groups: list[_Group], n: int, absorbed: list[Op]) -> None:
    """Give back what only looks at the loop's values in another way: outside it costs nothing."""
    following = next((group for group in groups[n + 1 :] if not group.cyclic), None)
    for op in reversed(absorbed):
        read_inside = any(op.output in other.values for other in groups[n].ops)
        if KINDS[op.kind].moves and op.kind != "cat" and not read_inside and following is not None:
            groups[n].ops.remove(op)
            following.ops.insert(0, op)


def _made(group: _Group) -> set[Value]:
    return {op.output for op in group.ops} | {carry.before for carry in group.carries}


def _stages(group: _Group, outside: set[Value], sums: list[Total], lead: Mapping[Value, int], reverse: bool) -> list[Stage]:
    if not group.cyclic:
        return _batched_stages(group)
    made = _made(group)
    befores = {carry.before for carry in group.carries}
    read = {value for op in group.ops for value in op.values} | {carry.after for carry in group.carries}
    given = sorted(read - made, key=lambda value: value.name)
    histories = tuple(carry for carry in group.carries if carry.before in outside and not reverse)
    written = {value for value in made if value in outside and (value not in befores or reverse)} | {
        carry.after for carry in histories
    }
    own = [total for total in sums if total.inputs[0] in made]
    of_all, of_rows = ([total for total in own if (total.lead == SHARED) == shared] for shared in (True, False))
    loop = Loop(
        ops=tuple(group.ops),
        shared=tuple(value for value in given if lead[value] == SHARED),
        per_row=tuple(value for value in given if lead[value] not in (SHARED, STEP)),
        per_step=tuple(value for value in given if lead[value] == STEP),
        carried=tuple(group.carries),
        written=tuple(sorted(written, key=lambda value: value.name)),
        summed=tuple(total.inputs[0] for total in of_all),
        row_summed=tuple(total.inputs[0] for total in of_rows),
        reverse=reverse,
    )
    return [Recurrence(loop, histories, (*of_all, *of_rows))]


def _batched_stages(group: _Group) -> list[Stage]:
    """The operations in order, with the shifts between them as soon as what they move is there."""
    stages: list[Stage] = []
    made: set[Value] = set()
    waiting_ops, waiting_carries = list(group.ops), list(group.carries)
    inside = _made(group)
    while waiting_ops or waiting_carries:
        shifts = [carry for carry in waiting_carries if carry.after not in inside - made]
        for carry in shifts:
            stages.append(Shift(carry))
            made.add(carry.before)
            waiting_carries.remove(carry)
        now: list[Op] = []
        for op in waiting_ops:
            if not any(value in inside - made for value in op.values):
                now.append(op)
                made.add(op.output)
        waiting_ops = [op for op in waiting_ops if op.output not in made]
        if now:
            stages.append(Batched(tuple(now), STEP))
    return stages
