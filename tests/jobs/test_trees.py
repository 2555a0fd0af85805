"""Trees from brackets and JSON lines: the run folder, the table, use and streams, vectors, export and refusals."""

import gzip
import json
import random

import numpy as np
import pytest
import torch

from carousel import export
from carousel.batch import Batch
from carousel.cli import main
from carousel.data.json_trees import parse_json_trees
from carousel.data.trees import bracketed, parse_trees
from carousel.data.vectors import read_vectors
from carousel.errors import InputError
from carousel.jobs import of_file, trees
from carousel.jobs.run import Run
from carousel.jobs.trees import Settings
from carousel.models import build

QUICK = {"hidden": 8, "sequences": 1500, "evaluate_every": 500, "rate": 0.03}


def formula(generator, depth):
    """(tree in brackets, its value): and, or over truth values."""
    if depth == 0 or generator.random() < 0.2:
        value = generator.random() < 0.5
        return f"({int(value)} {'FT'[value]})", value
    (left, a), (right, b) = formula(generator, depth - 1), formula(generator, depth - 1)
    name = generator.choice(["and", "or"])
    value = (a and b) if name == "and" else (a or b)
    return f"({int(value)} {left} (op {name}) {right})", value


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    generator = random.Random(0)
    path = tmp_path_factory.mktemp("trees") / "formulas.txt"
    path.write_text("".join(formula(generator, 3)[0] + "\n" for _ in range(150)))
    return path


@pytest.fixture(scope="module")
def trained(file):
    trees.train(Settings(file, **QUICK), file.parent / "run", progress=False)
    return file.parent / "run"


def test_a_run_folder_with_its_result(trained):
    settings, result = trees.load(trained)
    assert of_file(settings.file) == "trees"
    assert [row["method"] for row in result.rows] == ["most frequent label", "bag-of-words", "tree-lstm"]
    assert result.labels == ["0", "1", "op"]
    assert result.counts == {"training": 108, "validation": 12, "test": 30}
    assert np.sum(result.confusion) == 30
    test = trees._parts(settings).test
    assert sum(one["nodes"] for one in result.heights) == sum(len(tree.children) for tree in test)
    assert result.rows[-1]["accuracy of nodes"] > 99 > result.rows[0]["accuracy of nodes"]
    assert trees.evaluate(trained) == [result.rows[0], result.rows[-1]]
    assert trees.evaluate(trained, settings.file)[-1]["accuracy"] > 95


def test_predict_and_stream_need_no_labels(trained, tmp_path, capsys):
    (tmp_path / "new.txt").write_text("((T) (and) (F))\n(9 (9 T) (9 or) (9 unheard))\n")
    first, second = trees.predict(trained, tmp_path / "new.txt")
    assert first["tree"] == "(0 (1 T) (op and) (0 F))"
    assert first["label"] == "0"
    assert first["name"] == "tree 1"
    assert "unheard" in second["tree"]
    answer = trees.stream(trained)
    assert json.loads(answer("((T) (and) (F))\n")) == {name: value for name, value in first.items() if name != "name"}
    nested = {"children": [{"word": "T"}, {"word": "and"}, {"word": "F"}]}
    assert json.loads(answer(json.dumps(nested)))["tree"] == first["tree"]
    assert answer("\n") == ""
    assert main(["predict", str(trained), str(tmp_path / "new.txt")]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0]) == first
    with pytest.raises(InputError, match="line 1, column 5: this '\\(' is never closed"):
        answer("(T) (and")
    with pytest.raises(InputError, match="expected one tree a line, got 2"):
        answer("(T) (F)")
    with pytest.raises(InputError, match="tree 1: a node has 4 children, those in training had at most 3"):
        answer("((T) (and) (F) (F))")


def test_a_run_that_was_interrupted_resumes_to_the_same_weights(file, trained, tmp_path, monkeypatch):
    from carousel import train

    recorded = train._Training._record
    calls = []

    def stop(self, split, figures):
        recorded(self, split, figures)
        calls.append(split)
        if len(calls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(train._Training, "_record", stop)
    settings = Settings(file, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        trees.train(settings, tmp_path / "run", progress=False)
    monkeypatch.setattr(train._Training, "_record", recorded)
    trees.train(settings, tmp_path / "run", resume=True, progress=False)
    weights = "best/weights.safetensors"
    assert Run(tmp_path / "run").read(weights) == Run(trained).read(weights)
    assert trees.load(tmp_path / "run")[1].rows == trees.load(trained)[1].rows


@pytest.mark.parametrize("model", ["tree-rnn", "rntn", "child-sum-tree-lstm", "tree-gru", "bag-of-words"])
def test_every_model_trains_and_loads_by_name(file, tmp_path, model):
    settings = Settings(file, model=model, hidden=4, embedding=3, sequences=50, baseline="none", labels="root")
    trees.train(settings, tmp_path / "run", progress=False)
    assert len(list(trees.predict(tmp_path / "run", file))) == 150


def test_an_exported_network_is_the_same_in_python_and_in_onnx(trained, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    assert export.export(trained, tmp_path / "out") is None
    names = ["config.json", "leaf.onnx", "merge.onnx", "prepared.json", "weights.safetensors"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    forest, classes = (
        Run(trained).prepared_as(trees.TreePreprocessing.of).vocabulary.forest(parse_trees(["(0 (1 T) (op and) (0 F))"], ""))
    )
    batch = Batch(forest, classes, classes >= 0, torch.tensor([4]))
    assert torch.equal(export.load(tmp_path / "out")(batch)[0], Run(trained).network(batch)[0])


def test_word_vectors_begin_the_embedding(file, tmp_path):
    (tmp_path / "v.txt").write_text("T 1 2 3\nelse 4 5 6\nand -1 0 1\n")
    settings = Settings(file, vectors=tmp_path / "v.txt", sequences=25, rate=1e-9, baseline="none")
    trees.train(settings, tmp_path / "run", progress=False)
    prepared, network = Run(tmp_path / "run").prepared, Run(tmp_path / "run").network
    row = network.embedding[0].weight[prepared["words"].index("T") + 2]
    assert torch.allclose(row, torch.tensor([1.0, 2, 3]), atol=1e-5)
    with pytest.raises(InputError, match="its vectors have 3 numbers, --embedding is 4"):
        trees.train(Settings(file, vectors=tmp_path / "v.txt", embedding=4), tmp_path / "other", progress=False)
    assert not (tmp_path / "other").exists()


def test_vectors_of_word2vec_and_packed(tmp_path):
    with gzip.open(tmp_path / "v.gz", "wt") as packed:
        packed.write("2 2\na 1 2\nnew york 3 4\n")
    size, found = read_vectors(tmp_path / "v.gz", ["a", "new york", "z"])
    assert size == 2
    assert {word: vector.tolist() for word, vector in found.items()} == {"a": [1, 2], "new york": [3, 4]}
    for text, message in (
        ("a 1 2\nb 1\n", "line 2: expected a word and 2 numbers, as before, got 1"),
        ("a 1 2\nb 1 2 3\n", "line 2: expected a word and 2 numbers, as before, got 3"),
        ("a 1 x\n", "line 1: expected numbers after the word 'a'"),
        ("a 1 nan\n", "not finite"),
    ):
        (tmp_path / "bad.txt").write_text(text)
        with pytest.raises(InputError, match=message):
            read_vectors(tmp_path / "bad.txt", ["a", "b"])


def test_json_lines_in_both_forms_are_the_trees_in_brackets(tmp_path):
    parents = '{"parents": [2, 2, -1], "words": ["not", "bad", null], "labels": ["-", "-", "+"]}'
    nested = '{"label": "+", "children": [{"label": "-", "word": "not"}, {"label": "-", "word": "bad"}]}'
    for line in (parents, nested):
        assert parse_json_trees([line], "f") == parse_trees(["(+ (- not) (- bad))"], "f")
        (tmp_path / "f.jsonl").write_text(line + "\n")
        assert of_file(tmp_path / "f.jsonl") == "trees"
    root = parse_json_trees(['{"parents": [-1, 0], "words": ["eats", "dog"], "label": 1}'], "f")[0]
    assert root.labels == [None, "1"]
    assert root.words == ["dog", "eats"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"parents": [1, -1]', r"f: line 1, column 20: not JSON"),
        ('{"parents": [1, 0], "words": ["a", "b"]}', r"f: line 1: .*expected one root"),
        ('{"parents": [1, -1], "words": ["a"]}', r"words: expected 2, one for each of the parents, got 1"),
        ('{"parents": [1, -1], "words": ["a", null], "label": "x", "labels": ["x", "y"]}', "got both"),
        ('{"parents": [1, -1], "words": [null, "a"]}', "has neither a word nor children"),
        ('{"children": ["a"]}', "children: expected a list of objects"),
        ('{"text": "a"}', "expected an object with parents, or with children"),
        ("[1]", "expected an object"),
    ],
)
def test_json_that_is_no_tree_is_refused_with_its_line(line, message):
    with pytest.raises(InputError, match=message):
        parse_json_trees([line], "f")


def test_words_at_inner_nodes_need_a_model_that_reads_them(tmp_path):
    lines = [{"parents": [1, -1, 1], "words": ["dogs", word, "cats"], "label": word} for word in ("chase", "like")] * 10
    (tmp_path / "f.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match="only its leaves read words"):
        trees.train(Settings(tmp_path / "f.jsonl", model="tree-rnn"), tmp_path / "run", progress=False)
    for model in ("child-sum-tree-lstm", "tree-lstm"):
        settings = Settings(tmp_path / "f.jsonl", model=model, sequences=400, rate=0.05, hidden=8, baseline="none")
        result = trees.train(settings, tmp_path / model, progress=False)
        assert result.rows[-1]["accuracy"] == 100 > result.rows[0]["accuracy"]


@pytest.mark.parametrize("text", ["(This is a text.)\nNo tree.\n", "(see (1)) and so on\n", "Once upon a time\n"])
def test_a_text_that_begins_with_a_bracket_is_no_tree(tmp_path, text):
    (tmp_path / "f.txt").write_text(text)
    assert of_file(tmp_path / "f.txt") == "language"


@pytest.mark.parametrize(
    "text", ["(3 (2 It) (4 works))\n", "( (S\n  (NP (NN dog))\n  (VP (VB runs))))\n", "((It) (works))\n", "(3 word)\n"]
)
def test_trees_in_brackets_are_known_by_their_content(tmp_path, text):
    (tmp_path / "f.txt").write_text(text)
    assert of_file(tmp_path / "f.txt") == "trees"


def test_what_cannot_be_used_is_refused(file, tmp_path):
    for options, message in (
        ({"model": "tree-lstn"}, "did you mean 'tree-lstm'"),
        ({"model": "gru"}, "model gru reads sequences, not trees"),
    ):
        with pytest.raises(InputError, match=message):
            Settings(file, **options)
    with pytest.raises(InputError, match="model tree-gru reads trees, not sequences"):
        build("tree-gru", 1, 1)
    (tmp_path / "bare.txt").write_text("((It) (works))\n" * 9)
    with pytest.raises(InputError, match="tree 1: its root has no label"):
        trees.train(Settings(tmp_path / "bare.txt"), tmp_path / "run", progress=False)


def test_a_tree_in_brackets_reads_back():
    text = "(S (NP (DT the) (NN -LRB-)) (VP runs))"
    tree = parse_trees([text], "f")[0]
    assert tree.words[1] == "("
    assert bracketed(tree) == text


def test_sentences_are_parsed_greedily_beside_other_trees(tmp_path):
    generator = random.Random(1)
    with (tmp_path / "s.tsv").open("w") as file:
        for _ in range(60):
            word = generator.choice(["good", "bad"])
            print(f"{'+' if word == 'good' else '-'}\tthe {generator.choice(['film', 'plot'])} is {word}", file=file)
    settings = Settings(tmp_path / "s.tsv", parse="greedy", hidden=6, sequences=600, evaluate_every=300, rate=0.02)
    result = trees.train(settings, tmp_path / "run", progress=False)
    name = "recursive-autoencoder"
    shapes = [f"{name}, {shape} trees" for shape in ("random", "balanced", "right")]
    assert [row["method"] for row in result.rows] == ["most frequent label", *shapes, "bag-of-words", name]
    assert result.rows[-1]["accuracy"] == 100
    assert trees.evaluate(tmp_path / "run")[-1] == result.rows[-1]
    told = json.loads(trees.stream(tmp_path / "run")("the plot is bad\n"))
    assert told["label"] == "-"
    (tmp_path / "new.txt").write_text("the plot is bad\n")
    assert next(trees.predict(tmp_path / "run", tmp_path / "new.txt"))["tree"] == told["tree"]
    (tmp_path / "bad.tsv").write_text("no label here\n")
    with pytest.raises(InputError, match="line 1: expected a label, a tab and a sentence"):
        trees.evaluate(tmp_path / "run", tmp_path / "bad.tsv")
    with pytest.raises(InputError, match="--parse and --model recursive-autoencoder need each other"):
        Settings(tmp_path / "s.tsv", parse="right", model="rntn")
