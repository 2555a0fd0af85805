"""Rewrites of a graph before it is distributed: the same values, with more of them outside the recurrence."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from carousel.engine.build import Builder
from carousel.engine.ir import SHARED, Graph, Input, Op, Value


def rewritten(graph: Graph, look_up: bool = True) -> Graph:
    """The graph with products split (with concatenations), looked up (rows of small tables) or plain (numbers), and states last.

    Args:
        look_up:  products with rows of small tables may be made once a call, by PyTorch.
    """
    depends = _state_dependence(graph)
    builder = Builder()
    builder.constants, builder.stopped = dict(graph.constants), set()
    inputs = (*graph.weights, *graph.inputs, *graph.state, *graph.context, *graph.step_noise, *graph.sequence_noise)
    builder.lead = {value: graph.lead[value] for value in (*inputs, *graph.constants)}
    new: dict[Value, Value] = {}
    producers = {op.output: op for op in graph.ops}

    def translated(item: Input) -> Input:
        return new.get(item, item) if isinstance(item, Value) else item

    for op in graph.ops:
        builder.line = op.line
        if op.output in graph.stopped:
            new[op.output] = builder.detach(new.get(op.values[0], op.values[0]))
            continue
        found = _looked_up(op, producers, graph) if look_up else None
        if found is not None:  # W E[i] is row i of E W^T, which is made once a call
            columns = builder.emit("permute", translated(op.values[0]), axes=(1, 0))
            products = builder.emit("matmul", translated(found[0]), columns)
            row = builder.emit("index_select", products, translated(found[1]), axis=0)
            new[op.output] = builder.emit("reshape", row, shape=op.output.shape)
            continue
        parts = _split_product(op, producers, depends) or _states_last(op, producers, depends)
        given = tuple(translated(item) for item in op.inputs)
        if op.kind == "matvec" and op.values[1].shape == (1,):  # a product with one number, and a row of it a sum less
            column = builder.emit("reshape", given[0], shape=op.output.shape, dtype=op.output.dtype)
            new[op.output] = builder.emit("mul", column, given[1])
        elif parts is None:
            new[op.output] = builder.emit(op.kind, *given, shape=op.output.shape, dtype=op.output.dtype, **op.attributes)
        elif op.kind == "add":
            first, second, last = (translated(part) for part in parts)
            new[op.output] = builder.emit("add", builder.emit("add", first, second), last)
        else:
            matrix, kinds = new.get(op.values[0], op.values[0]), [depends[part] for part in parts]
            new[op.output] = _sum_of_products(builder, matrix, [new.get(part, part) for part in parts], kinds)
    return replace(
        graph,
        ops=tuple(builder.ops),
        constants=builder.constants,
        lead=builder.lead,
        stopped=frozenset(builder.stopped),
        outputs=tuple(new.get(value, value) for value in graph.outputs),
        new_state=tuple(new.get(value, value) for value in graph.new_state),
    )


def _state_dependence(graph: Graph) -> dict[Value, frozenset[Value]]:
    """For each value the states that it depends on, now or through earlier steps."""
    through = {state: frozenset([state]) for state in graph.state}
    while True:
        depends: dict[Value, frozenset[Value]] = dict.fromkeys(graph.lead, frozenset())
        depends.update(through)
        for op in graph.ops:
            depends[op.output] = frozenset().union(*(depends[value] for value in op.values))
        further = {old: through[old] | depends[new] for old, new in zip(graph.state, graph.new_state, strict=True)}
        if further == through:
            return depends
        through = further


LOOKED_UP = 256
"""The most rows of a table whose products with a matrix are all made once a call: symbols or bytes, not words."""


def _looked_up(op: Op, producers: dict[Value, Op], graph: Graph) -> tuple[Value, Value] | None:
    """(E, i) of W E[i], where W and E are the same for all rows and steps."""
    if op.kind != "matvec" or op.attributes["transposed"] or graph.lead[op.values[0]] != SHARED:
        return None
    below = producers.get(op.values[1])
    while below is not None and below.kind == "reshape":
        below = producers.get(below.values[0])
    if below is None or below.kind != "index_select" or below.attributes["axis"] != 0:
        return None
    table, index = below.values
    fits = len(table.shape) == 2 and table.shape[0] <= LOOKED_UP and index.shape == (1,)
    return (table, index) if fits and graph.lead[table] == SHARED and graph.lead[index] != SHARED else None


def _split_product(op: Op, producers: dict[Value, Op], depends: dict[Value, frozenset[Value]]) -> list[Value] | None:
    """The parts of x in W x, where x is a concatenation whose parts depend on different states.

    Always splitting would be wrong: parts that depend on the same states belong in one product.
    """
    if op.kind != "matvec" or op.attributes["transposed"]:
        return None
    below = producers.get(op.values[1])
    if below is None or below.kind != "cat" or len({depends[part] for part in below.values}) == 1:
        return None
    return list(below.values)


def _sum_of_products(b: Builder, matrix: Value, parts: list[Value], depends: list[frozenset[Value]]) -> Value:
    """W [a, b, ...] as W_1 [a, ...] + W_2 [...], neighbours of equal dependence together."""
    total: Value | None = None
    start = 0
    for _, group in groupby(zip(parts, depends, strict=True), key=lambda pair: pair[1]):
        neighbours = [part for part, _ in group]
        stop = start + sum(part.shape[0] for part in neighbours)
        columns = b.emit("slice", matrix, axis=1, start=start, stop=stop, step=1)
        x = neighbours[0] if len(neighbours) == 1 else b.emit("cat", *neighbours, axis=0)
        product = b.emit("matvec", columns, x, transposed=False)
        total = product if total is None else b.emit("add", total, product)
        start = stop
    assert total is not None
    return total


def _states_last(op: Op, producers: dict[Value, Op], depends: dict[Value, frozenset[Value]]) -> tuple[Value, Value, Value] | None:
    """(a, b, s) for (a + s) + b, where only s depends on states: a + b can then be made for all steps at once."""
    if op.kind != "add" or len(op.values) != 2:
        return None
    for sum_, b in (op.values, op.values[::-1]):
        below = producers.get(sum_)
        if depends[b] or below is None or below.kind != "add" or len(below.values) != 2 or sum_.shape != op.output.shape:
            continue
        for a, s in (below.values, below.values[::-1]):
            if depends[s] and not depends[a]:
                return a, b, s
    return None
