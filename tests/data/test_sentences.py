"""Sentences as trees, and the greedy merging of a recursive autoencoder against a plain loop."""

import itertools

import numpy as np
import pytest
import torch

from carousel import Forest, fold
from carousel.batch import Batch
from carousel.cells import BagOfWords, RecursiveAutoencoder
from carousel.data.sentences import SemiSupervisedLoss, SentenceLabels, as_tree
from carousel.data.trees import bracketed
from carousel.models import build_tree


def shaped(text, shape, seed=0):
    return bracketed(as_tree(text.split(), None, shape, np.random.default_rng(seed)))


def test_shapes_of_trees():
    assert shaped("a b c d", "right") == "((a) ((b) ((c) (d))))"
    assert shaped("a b c d", "balanced") == "(((a) (b)) ((c) (d)))"
    assert shaped("a b c d e", "balanced") == "((((a) (b)) ((c) (d))) (e))"
    assert shaped("a", "right") == "(a)"
    assert len({shaped("a b c d e", "random", seed) for seed in range(20)}) > 5


def merge(p, left, right):
    """The equations of section 2.2: (p, n, E) of the node above two others."""
    c = np.concatenate([left[0], right[0]])
    above = np.tanh(p["W"] @ c + p["b"])
    above /= np.linalg.norm(above)
    r = np.split(p["R"] @ above + p["d"], 2)
    n = left[1] + right[1]
    errors = [np.sum((child[0] - own) ** 2) * child[1] / n for child, own in zip((left, right), r, strict=True)]
    return above, n, sum(errors)


def test_the_autoencoder_and_greedy_merging_against_the_equations():
    network = build_tree("recursive-autoencoder", 9, 2, hidden=3, embedding=3, greedy=True, seed=1).double()
    torch.nn.init.normal_(network.embedding[0].weight, generator=torch.Generator().manual_seed(0))
    p = {name: weight.detach().numpy() for name, weight in network.cell.named_parameters()}
    generator = np.random.default_rng(0)
    sentences = [generator.integers(9, size=length).tolist() for length in (1, 2, 7, 4)]
    trees = [as_tree([str(n) for n in words], None, "right", generator).children for words in sentences]
    numbers = [n for words in sentences for n in (*words, *[0] * (len(words) - 1))]
    forest = Forest.of(trees, torch.tensor(numbers))
    parsed = network.parse(forest)
    outputs, _ = network(Batch(forest, None, torch.ones(forest.nodes, dtype=torch.bool), torch.ones(4)))
    for b, words in enumerate(sentences):
        states = [(network.embedding[0].weight[n].detach().numpy(), 1.0, 0.0) for n in words]
        row, made = list(range(len(words))), [[] for _ in words]
        while len(row) > 1:
            pairs = [merge(p, states[left], states[right]) for left, right in itertools.pairwise(row)]
            at = int(np.argmin([error for _, _, error in pairs]))
            made.append(row[at : at + 2])
            row[at : at + 2] = [len(states)]
            states.append(pairs[at])
        start, stop = parsed.starts[b], parsed.starts[b + 1]
        assert [[child - start for child in own if child >= 0] for own in parsed.children[start:stop]] == made
        np.testing.assert_allclose(outputs[1][start:stop].detach(), [error for _, _, error in states], atol=1e-12)


def test_the_loss_is_the_share_of_the_error_and_the_rest_of_the_label():
    y = torch.tensor([1.0, -1.0]), torch.tensor(0.3)
    expected = 0.25 * 0.3 + 0.75 * np.log(1 + np.exp(-2.0))
    assert float(SemiSupervisedLoss(0.25)(y, torch.tensor(0))) == pytest.approx(expected)


def test_gradients_of_the_loss_along_greedy_trees_are_those_of_finite_differences():
    trees = [as_tree(text.split(), label, "right", np.random.default_rng(0)) for text, label in (("a b c d", "+"), ("b a", "-"))]
    task = SentenceLabels(trees, trees, 0.3)
    network = build_tree("recursive-autoencoder", task.vocabulary.size, 2, hidden=3, embedding=3, greedy=True).double()
    batch = task.validation()
    network.run_with_loss(batch, task.loss)[2].backward()
    for weight in network.parameters():
        at = tuple(0 if size < 3 else 2 for size in weight.shape)
        with torch.no_grad():
            found = []
            for step in (1e-6, -2e-6):
                weight[at] += step
                found.append(float(network.run_with_loss(batch, task.loss)[2]))
            weight[at] += 1e-6
        assert float(weight.grad[at]) == pytest.approx((found[0] - found[1]) / 2e-6, abs=1e-7)


def test_a_bag_of_words_is_the_mean_below_whatever_the_tree():
    x = torch.arange(10.0).reshape(5, 2)
    forest = Forest.of([[[], [], [0, 1], [], [2, 3]]], x)
    y, _ = fold(BagOfWords(2), forest)
    torch.testing.assert_close(y[4], x[[0, 1, 3]].mean(0))
    y, _ = fold(BagOfWords(2, inner_inputs=True), forest)
    torch.testing.assert_close(y[4], x.mean(0))
    assert RecursiveAutoencoder(2).arity == 2
