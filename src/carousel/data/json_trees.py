"""Trees as JSON lines, an object a line, in one of two forms.

``{"parents": [2, 2, -1], "words": ["not", "bad", null], "labels": ["-", "-", "+"]}``: of each node the number of its parent (-1 for
the root), its word and its label, null for none; the nodes may stand in any order, and a node's children are in the order of
their numbers. In place of ``labels``, ``label`` is that of the root.

``{"label": "+", "children": [{"label": "-", "word": "not"}, {"word": "bad"}]}``: a node with what is below it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from carousel.data.files import lines_of, read_bytes, shortened
from carousel.data.trees import LabelledTree
from carousel.errors import InputError
from carousel.forest import Forest


def read_json_trees(path: Path | str) -> list[LabelledTree]:
    """The trees of a file of JSON lines, plain or gzip.

    Raises:
        InputError: a file that cannot be read, or what is no tree, with its line, and where it is no JSON its column.
    """
    return parse_json_trees((text for _, text in lines_of(read_bytes(path), path)), str(path))


def parse_json_trees(lines: Iterable[str], source: str) -> list[LabelledTree]:
    """The trees of some lines of JSON; blank lines count, and hold none.

    Raises:
        InputError: what is no tree; `source` and the line are named before it.
    """
    trees = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{source}: line {number}, column {error.colno}: not JSON: {error.msg}") from None
        except RecursionError:
            raise InputError(f"{source}: line {number}: nested too deeply; give each node's parent instead (parents)") from None
        try:
            trees.append(tree_of(given))
        except InputError as error:
            raise InputError(f"{source}: line {number}: {error}") from None
    if not trees:
        raise InputError(f"{source}: there is no tree in it")
    return trees


def tree_of(given: Any) -> LabelledTree:
    """The tree that an object of one of the two forms is.

    Raises:
        InputError: what is no tree; the message says which node.
    """
    if not isinstance(given, dict):
        raise InputError(f"expected an object, got {shortened(given)}")
    if "parents" in given:
        return _of_parents(given)
    if "children" in given or "word" in given:
        return _of_nested(given)
    raise InputError(f"expected an object with parents, or with children, got {', '.join(map(repr, given)) or 'an empty one'}")


def _of_parents(given: dict[str, Any]) -> LabelledTree:
    parents = given["parents"]
    if not isinstance(parents, list) or not parents or any(type(parent) is not int for parent in parents):
        raise InputError(f"parents: expected whole numbers, got {shortened(parents)}")
    words, labels = _texts(given, "words", len(parents)), _texts(given, "labels", len(parents))
    if "label" in given:
        if "labels" in given:
            raise InputError("expected either label, of the root, or labels, got both")
        labels = [_text(given["label"], "label") if parent == -1 else None for parent in parents]
    forest, orders = Forest.of_parents([parents])
    children = [[child for child in own if child >= 0] for own in forest.children.tolist()]
    return _with_words(LabelledTree(children, [labels[n] for n in orders[0]], [words[n] for n in orders[0]]))


def _texts(given: dict[str, Any], name: str, count: int) -> list[str | None]:
    values = given.get(name, [None] * count)
    if not isinstance(values, list) or len(values) != count:
        got = len(values) if isinstance(values, list) else shortened(values)
        raise InputError(f"{name}: expected {count}, one for each of the parents, got {got}")
    return [_text(value, f"{name}[{n}]") for n, value in enumerate(values)]


def _of_nested(root: dict[str, Any]) -> LabelledTree:
    tree = LabelledTree([], [], [])
    pending: list[tuple[dict[str, Any], list[int], int]] = [(root, [], 0)]  # a node, the numbers of its children so far, the next
    while True:
        node, numbers, at = pending.pop()
        below = node.get("children", [])
        if not isinstance(below, list) or any(not isinstance(child, dict) for child in below):
            raise InputError(f"children: expected a list of objects, got {shortened(below)}")
        if at < len(below):
            pending += [(node, numbers, at + 1), (below[at], [], 0)]
            continue
        tree.children.append(numbers)
        tree.labels.append(_text(node.get("label"), "label"))
        tree.words.append(_text(node.get("word"), "word"))
        if not pending:
            return _with_words(tree)
        pending[-1][1].append(len(tree.children) - 1)


def _with_words(tree: LabelledTree) -> LabelledTree:
    for n, (children, word) in enumerate(zip(tree.children, tree.words, strict=True)):
        if not children and word is None:
            raise InputError(f"node {n}, counted from the leaves, has neither a word nor children")
    return tree


def _text(value: Any, place: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{place}: expected a text, a number or null, got {shortened(value)}")
    return str(value)
