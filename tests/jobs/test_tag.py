"""Tagging from JSON lines: the run folder, the table, use and streams, and refusals."""

import json

import numpy as np
import pytest

from carousel.errors import InputError
from carousel.jobs import of_file, tag
from carousel.jobs.run import Run
from carousel.jobs.tag import Settings

QUICK = {"hidden": 8, "embedding": 8, "sequences": 1600, "evaluate_every": 400, "batch_size": 16, "rate": 0.02}


def sentences(n=60):
    """After "the" comes a noun, after "to" a verb, though the words are the same."""
    generator = np.random.default_rng(0)
    for _ in range(n):
        words, labels = [], []
        for _ in range(generator.integers(1, 4)):
            if generator.random() < 0.5:
                words += ["the", str(generator.choice(["run", "walk", "play"]))]
                labels += ["DET", "NOUN"]
            else:
                words += ["to", str(generator.choice(["run", "walk", "play"]))]
                labels += ["PART", "VERB"]
        yield {"words": words, "labels": labels}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "words.jsonl").write_text("".join(json.dumps(one) + "\n" for one in sentences()))
    tag.train(Settings(folder / "words.jsonl", **QUICK, baseline="window-1"), folder / "run", progress=False)
    return folder / "run"


def test_a_run_folder_with_its_result(trained):
    settings, result = tag.load(trained)
    assert of_file(settings.file) == "tag"
    assert [row["method"] for row in result.rows][1:] == ["window-1", "gru"]
    assert result.labels == ["DET", "NOUN", "PART", "VERB"]
    assert result.counts == {"training": 43, "validation": 5, "test": 12}
    steps = sum(len(item) for item in tag._parts(settings).test.items)
    assert np.sum(result.confusion) == steps
    assert result.rows[2]["accuracy"] == 100  # a network with a memory of one step tells noun from verb,
    assert result.rows[1]["accuracy"] < 90  # one that sees the word alone cannot
    assert result.mistakes == []


def test_mistakes_are_named_by_line_step_and_word(trained, tmp_path):
    settings, _ = tag.load(trained)
    result = tag.train(Settings(settings.file, **{**QUICK, "sequences": 16}, baseline="none"), tmp_path / "run", progress=False)
    assert np.sum(result.confusion) - np.trace(result.confusion) >= len(result.mistakes) > 0
    first = result.mistakes[0]
    lines = settings.file.read_text().splitlines()
    sentence = json.loads(lines[int(first["name"].removeprefix("line ")) - 1])
    assert sentence["words"][first["step"] - 1] == first["word"]
    assert sentence["labels"][first["step"] - 1] == first["truth"] != first["predicted"]
    chances = [one["probability"] for one in result.mistakes]
    assert chances == sorted(chances, reverse=True)


def test_evaluate_predict_and_stream_agree(trained, tmp_path):
    _, result = tag.load(trained)
    assert tag.evaluate(trained) == [result.rows[0], result.rows[-1]]
    (tmp_path / "new.jsonl").write_text('{"words": ["to", "play", "the", "play"]}\n{"words": ["the", "unheard"]}\n')
    records = list(tag.predict(trained, tmp_path / "new.jsonl"))
    assert records[0] == {"name": "line 1", "labels": ["PART", "VERB", "DET", "NOUN"]}
    assert len(records[1]["labels"]) == 2
    answer = tag.stream(trained)
    told = [json.loads(answer(word)) for word in ("to", "play", "the", "play")]
    assert [one["label"] for one in told] == records[0]["labels"]
    assert [one["step"] for one in told] == [1, 2, 3, 4]
    assert answer("") == ""
    with pytest.raises(InputError, match="send the text alone"):
        answer('{"words": ["to", "pl')
    assert json.loads(answer("the"))["step"] == 1


def test_numbers_with_a_label_each(tmp_path):
    generator = np.random.default_rng(0)
    lines = []
    for _ in range(40):
        values = generator.normal(size=6)
        lines.append(json.dumps({"values": values.tolist(), "labels": [int(total > 0) for total in values.cumsum()]}))
    (tmp_path / "sums.jsonl").write_text("\n".join(lines))
    quick = {name: value for name, value in QUICK.items() if name != "embedding"}
    result = tag.train(Settings(tmp_path / "sums.jsonl", **quick, baseline="none"), tmp_path / "run", progress=False)
    assert result.rows[-1]["accuracy"] > 75
    assert Run(tmp_path / "run").prepared["symbols"] == 0
    answer = tag.stream(tmp_path / "run")
    assert json.loads(answer("2.5"))["label"] == "1"
    with pytest.raises(InputError, match="expected 1 numbers, got 2"):
        answer("1, 2")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            '{"words": ["a"], "labels": ["X"]}\n{"words": ["a"]}\n',
            "line 2: expected a list of labels, one a step, found no label",
        ),
        (
            "a.jsonl",
            '{"words": ["a"], "label": "X"}\n',
            "line 1: expected a list of labels, one a step, found one, 'X', which `carousel train classify`",
        ),
        ("a.ts", "@data\n1:1\n", r"a\.ts: expected a file of JSON lines \(\.jsonl\)"),
    ],
)
def test_files_that_cannot_be_tagged(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        tag.train(Settings(tmp_path / name, **QUICK), tmp_path / "run", progress=False)


def test_a_label_unseen_in_training_is_named_with_its_line(trained, tmp_path):
    (tmp_path / "new.jsonl").write_text('{"words": ["the", "run"], "labels": ["DET", "ADJ"]}\n')
    with pytest.raises(InputError, match=r"new\.jsonl: line 1: the label 'ADJ' is not in the training part"):
        tag.evaluate(trained, tmp_path / "new.jsonl")
