"""Trees in brackets: read, refused with line and column, and learned by a network of trees."""

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from carousel import Forest, InputError, Recursive, fit, fold
from carousel.cells import NaryTreeLSTM
from carousel.data.trees import NO_WORD, UNKNOWN, LabelledTree, TreeLabels, TreeVocabulary, parse_trees, read_trees

SST = "(3 (2 It) (4 (2 's) (4 lovely)))"


def test_a_tree_of_the_sentiment_treebank() -> None:
    (tree,) = parse_trees([SST], "here")
    assert tree.words == ["It", "'s", "lovely", None, None]
    assert tree.labels == ["2", "2", "4", "4", "3"]
    assert tree.children == [[], [], [], [1, 2], [0, 3]]


def test_penn_brackets_over_several_lines() -> None:
    lines = ["( (S (NP (DT The) (NN dog))", "     (VP (VBD ran) (ADVP (RB 1\\/2))) (. .)))", "(X (-LRB- -LRB-))"]
    dog, other = parse_trees(lines, "here")
    assert dog.words[:2] == ["The", "dog"]
    assert "1/2" in dog.words
    assert dog.labels[-1] == "S"
    assert [len(own) for own in dog.children if own] == [2, 1, 2, 3]
    assert other.words == ["(", None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(3 (2 It) (4 lovely)", r"line 1, column 1: this '\(' is never closed"),
        ("(3 It))", r"line 1, column 7: expected '\(', got '\)'"),
        ("word", r"line 1, column 1: expected '\(', got 'word'"),
        ("(3 It)\n(2 (3 a) b)", r"line 2, column 10: expected '\)' or a node, got 'b'"),
        ("(3 It is)", r"line 1, column 7: expected '\)' or a node, got 'is'"),
        ("(3 ())", "line 1, column 4: a node has neither a word nor nodes"),
        ("(3 It (2 a))", "line 1, column 1: a node has both a word and nodes"),
    ],
)
def test_what_is_no_tree_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"here: {message}"):
        parse_trees(text.splitlines(), "here")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="()ab \n", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        trees = parse_trees(text.splitlines(), "here")
    except InputError:
        return
    Forest.of([tree.children for tree in trees])


def test_depth_has_no_limit() -> None:
    (tree,) = parse_trees(["(x " * 20_000 + "(x a)" + ")" * 20_000], "here")
    assert len(tree.children) == 20_001


def test_files_plain_and_packed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(SST + "\n" + SST)
    with gzip.open(tmp_path / "a.txt.gz", "wt") as file:
        file.write(SST)
    assert read_trees(tmp_path / "a.txt") == read_trees(tmp_path / "a.txt.gz") * 2
    for name, content in (("empty.txt", b"\n"), ("bytes.txt", b"(3 \xff)"), ("no.gz", b"(3 a)")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_trees(tmp_path / name)
    with pytest.raises(InputError, match=r"nothing\.txt: cannot be read: No such file"):
        read_trees(tmp_path / "nothing.txt")


def test_words_and_labels_as_numbers() -> None:
    trees = parse_trees(["(1 (0 a) (0 b))", "(1 (0 a) (1 c))"], "here")
    vocabulary = TreeVocabulary.of(trees, least=2)
    assert vocabulary == TreeVocabulary(("a",), ("0", "1"))
    forest, labels = vocabulary.forest(trees)
    assert forest.inputs.tolist() == [2, UNKNOWN, NO_WORD, 2, UNKNOWN, NO_WORD]
    assert labels.tolist() == [0, 0, 1, 0, 1, 1]
    with pytest.raises(InputError, match="the label '9' was not in training; expected one of 0, 1"):
        vocabulary.forest(parse_trees(["(9 a)"], "here"))


def negations(count: int, seed: int) -> list[LabelledTree]:
    """Trees of "not" and two words, of which each "not" turns what it stands before."""
    drawn = torch.Generator().manual_seed(seed)
    lines = []
    for _ in range(count):
        good = bool(torch.randint(2, (), generator=drawn))
        text = f"({int(good)} {'good' if good else 'bad'})"
        for _ in range(int(torch.randint(4, (), generator=drawn))):
            good = not good
            text = f"({int(good)} (0 not) {text})"
        lines.append(text)
    return parse_trees(lines, "made")


@pytest.mark.parametrize("roots_only", [False, True])
def test_a_network_of_trees_learns_through_fit(tmp_path: Path, roots_only: bool) -> None:
    task = TreeLabels(negations(200, 0), negations(100, 1), roots_only=roots_only)
    torch.manual_seed(0)
    network = Recursive(NaryTreeLSTM(4, 8), embedding=nn.Embedding(task.vocabulary.size, 4), readout=nn.Linear(8, 2), dropout=0.1)
    options: dict[str, Any] = {"rate": 0.05, "sequences": 1500, "batch_size": 25, "evaluate_every": 500, "progress": False}
    done = fit(network, task, out=tmp_path / "run", **options)
    assert done.best["accuracy"] > 95
    deep = parse_trees(["(1 (0 not) " * 8 + "(1 good)" + ")" * 8], "made")  # deeper than in training
    batch = task.batch(*task.vocabulary.forest(deep))
    outputs, _ = done.cell(batch)
    assert outputs.shape == (17, 2)


def test_the_real_treebank_reads_whole_and_batches_like_its_trees() -> None:
    folder = os.environ.get("CAROUSEL_DATA")
    if not folder or not (Path(folder) / "sst_trees").is_dir():
        pytest.skip("the Stanford Sentiment Treebank is not at hand (CAROUSEL_DATA)")
    trees = read_trees(Path(folder) / "sst_trees" / "dev.txt.gz")
    assert len(trees) == 1101
    vocabulary = TreeVocabulary.of(trees)
    assert vocabulary.labels == ("0", "1", "2", "3", "4")
    forest, _ = vocabulary.forest(trees[:30])
    assert set((forest.children >= 0).sum(1).tolist()) == {0, 2}
    cell = NaryTreeLSTM(3, 4).double()
    x = torch.randn(vocabulary.size, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0))[forest.inputs]
    together, _ = fold(cell, forest, x)
    torch.testing.assert_close(together, fold(cell, forest, x, backend="eager")[0])
