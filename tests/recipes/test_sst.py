"""The treebank's recipes: labels for two classes, phrases as sequences, and a unit on a few trees."""

import gzip
import json

import pytest
import torch

from carousel.data.trees import parse_trees
from carousel.errors import InputError
from carousel.recipes import load, sst

LINES = ["(3 (2 A) (4 (3 good) (2 film)))", "(1 (2 A) (0 (1 bad) (2 film)))", "(2 (2 Some) (2 film))"] * 9


@pytest.fixture
def treebank(tmp_path, monkeypatch):
    (tmp_path / "sst_trees").mkdir()
    for part in ("train", "dev", "test"):
        with gzip.open(tmp_path / "sst_trees" / f"{part}.txt.gz", "wt") as file:
            file.write("\n".join(LINES))
    monkeypatch.setenv("CAROUSEL_DATA", str(tmp_path))
    sst.trees_of.cache_clear()
    yield
    sst.trees_of.cache_clear()


def test_two_classes_leave_neutral_sentences_out_and_neutral_nodes_unlabeled(treebank):
    trees = sst.trees_of("train", 2)
    assert len(trees) == 18
    assert trees[0].labels == [None, "positive", None, "positive", "positive"]
    assert trees[1].labels == [None, "negative", None, "negative", "negative"]


def test_every_labeled_phrase_is_a_sequence():
    trees = parse_trees(LINES[:2], "here")
    task = sst.Phrases(trees, trees)
    forest, labels = task.vocabulary.forest(trees)
    batch = task.batch(forest, labels)
    assert batch.size == 10
    assert batch.lengths.tolist() == [1, 1, 1, 2, 3] * 2
    words = ["", "?", *task.vocabulary.words]
    phrases = [" ".join(words[n] for n in batch.inputs[:length, b].tolist()) for b, length in enumerate(batch.lengths.tolist())]
    assert phrases == ["A", "good", "film", "good film", "A good film", "A", "bad", "film", "bad film", "A bad film"]
    names = [task.vocabulary.labels[n] for n in batch.targets[batch.mask].tolist()]
    assert sorted(names) == sorted("2324322101")
    assert task.validation().size == 2


@pytest.mark.parametrize("row", ["tree-lstm-5", "child-sum-2", "lstm-2", "recursive-5", "rntn-2"])
def test_a_unit_trains_and_is_tested(treebank, row):
    unit = sst.run_row(row, 0, budget=50)
    assert json.loads(json.dumps(unit)) == unit
    assert 0 <= unit["measures"]["accuracy"] <= 100
    assert unit["curve"]


def test_the_rows_name_networks_and_classes():
    rows = [row.name for name in ("treelstm2015", "socher2013") for row in load(name).rows]
    assert {row.rpartition("-")[0] for row in rows} == set(sst.PRACTICES)
    assert len(rows) == 10


def test_without_the_treebank_it_names_the_file(monkeypatch, tmp_path):
    monkeypatch.setenv("CAROUSEL_DATA", str(tmp_path))
    sst.trees_of.cache_clear()
    with pytest.raises(InputError, match=r"train\.txt\.gz: cannot be read: No such file"):
        sst.trees_of("train", 5)


def test_words_may_have_other_white_space_in_them():
    (tree,) = parse_trees(["(2 8\u00a01\\/2)"], "here")
    assert tree.words == ["8\u00a01/2"]


def test_the_first_words_vectors_are_small():
    torch.manual_seed(0)
    network = sst.network_of(sst.PRACTICES["tree-lstm"], 20, 5)
    assert network.embedding.weight.abs().max() <= 0.05
