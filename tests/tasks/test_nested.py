"""Nested expressions: their values by evaluating the text, their depths, both forms, and scores."""

import numpy as np
import pytest
import torch

from carousel.errors import InputError
from carousel.tasks.nested import LANGUAGES, Expression, NestedExpressions


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def evaluated(symbols, language):
    """(value, depth, symbols that are left) of a text, by recursion."""
    first, *rest = symbols
    if first != "(":
        return int(first), 0, rest
    operator, *rest = rest
    values, depths = [], []
    while rest[0] != ")":
        value, depth, rest = evaluated(rest, language)
        values.append(value)
        depths.append(depth)
    return LANGUAGES[language].operators[operator][2](values), 1 + max(depths), rest[1:]


def test_the_operators_by_hand():
    operators = {symbol: made for language in LANGUAGES.values() for symbol, (_, _, made) in language.operators.items()}
    assert [operators[symbol]([7, 8]) for symbol in "+-*"] == [5, 9, 6]
    assert [operators[symbol]([1, 0]) for symbol in ("and", "or", "xor")] == [0, 1, 1]
    assert operators["not"]([1]) == 0
    assert [operators[symbol]([4, 9, 1, 8]) for symbol in ("MAX", "MIN", "MED", "SM")] == [9, 1, 4, 2]


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_expression_is_worth_what_its_text_says(language):
    task = NestedExpressions(language)
    rng = np.random.default_rng(0)
    for depth in range(7):
        for _ in range(20):
            made = task.draw_expression(rng, depth)
            text = made.text()
            assert evaluated([symbol for symbol, _ in text], language) == (made.values[-1], depth, [])
            if depth:
                assert text[-1] == (")", made.values[-1])


def test_both_forms_have_the_same_expressions():
    tree, text = (NestedExpressions("lists", form=form) for form in ("tree", "text"))
    trees, texts = tree.sample(40, generator()), text.sample(40, generator())
    assert torch.equal(trees.targets[trees.inputs.roots], texts.targets[texts.lengths - 1, torch.arange(40)])
    assert trees.inputs.heights[trees.inputs.roots.numpy()].min() >= 1
    assert trees.inputs.heights.max() <= 5
    inner = int((trees.inputs.children >= 0).any(1).sum())
    assert int(texts.mask.sum()) == inner
    assert torch.equal(tree.sample(3, generator(), depth=9).lengths, tree.sample(3, generator(), depth=9).lengths)


@pytest.mark.parametrize("form", ["tree", "text"])
def test_the_right_answer_is_all_right_and_one_wrong_root_counts(form):
    task = NestedExpressions(form=form)
    batch = task.sample(50, generator())
    outputs = torch.nn.functional.one_hot(batch.targets, 10).double()
    assert task.score(outputs, batch) == {"error": 0.0, "accuracy": 100.0, "accuracy of nodes": 100.0}
    end = (batch.inputs.roots[7],) if form == "tree" else (batch.lengths[7] - 1, 7)
    outputs[end] = outputs[end].roll(1)
    found = task.score(outputs, batch)
    assert found["accuracy"] == pytest.approx(98.0)
    assert found["accuracy of nodes"] == pytest.approx(100 - 100 / int(batch.mask.sum()))
    assert task.draw(batch, outputs).axes


def test_what_cannot_be_is_refused():
    for arguments, told in (
        ({"language": "sums"}, "unknown language 'sums'"),
        ({"form": "graph"}, "unknown form 'graph'"),
        ({"depths": (4, 2)}, "expected depths from 0 up, ascending"),
    ):
        with pytest.raises(InputError, match=told):
            NestedExpressions(**arguments)
    with pytest.raises(InputError, match="expected a depth of at least 0, got length=3"):
        NestedExpressions().sample(1, generator(), length=3)


def test_a_text_by_hand():
    made = Expression(["3", "4", "5", "*", "+"], [[], [], [], [1, 2], [0, 3]], [3, 4, 5, 0, 3])
    assert " ".join(symbol for symbol, _ in made.text()) == "( + 3 ( * 4 5 ) )"
    assert [value for _, value in made.text()] == [None] * 7 + [0, 3]
