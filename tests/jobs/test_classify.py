"""Classification from files of every kind: the run folder, the table, what is held out, use and streams, and refusals."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from carousel.data.audio import Hops, LogMel, read_recordings, read_sound
from carousel.errors import InputError
from carousel.jobs import classify, labelled, of_file
from carousel.jobs.classify import Settings
from carousel.jobs.run import Run
from sounds import sine, wav

QUICK = {"hidden": 8, "sequences": 640, "evaluate_every": 160, "batch_size": 16, "rate": 0.02, "baseline": "none"}


def waves(n=60, seed=0):
    """Rising and falling sequences of two channels, 4 to 9 steps, as lines of a .ts file."""
    generator = np.random.default_rng(seed)
    lines = ["@dimensions 2", "@classLabel true up down", "@data"]
    for k in range(n):
        T, up = generator.integers(4, 10), k % 2 == 0
        ramp = np.linspace(0, 1 if up else -1, T) + generator.normal(0, 0.05, T) + 5
        noise = generator.normal(100, 10, T)
        lines.append(":".join([",".join(map(str, channel)) for channel in (ramp, noise)] + ["up" if up else "down"]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def ts(tmp_path):
    path = tmp_path / "waves.ts"
    path.write_text(waves())
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on waves.ts beside it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "waves.ts").write_text(waves())
    classify.train(Settings(folder / "waves.ts", **{**QUICK, "baseline": "window-2"}), folder / "run", progress=False)
    return folder / "run"


def test_a_run_folder_with_its_result(trained):
    settings, result = classify.load(trained)
    assert [row["method"] for row in result.rows] == ["always down", "window-2", "gru"]
    assert result.labels == ["down", "up"]
    assert result.counts == {"training": 43, "validation": 5, "test": 12}
    assert np.sum(result.confusion) == 12
    assert result.rows[0] == {"method": "always down", "accuracy": 50.0, "macro-F1": pytest.approx(100 / 3)}
    assert result.rows[-1]["accuracy"] == 100 * np.trace(result.confusion) / 12 >= 90
    assert len(result.mistakes) == 12 - np.trace(result.confusion)
    assert (settings.hidden, settings.file.name) == (8, "waves.ts")
    example = result.example
    asked = classify._parts(settings).test
    steps = len(asked.items[0])
    assert (example["name"], example["series"], example["steps"]) == (asked.names[0], None, [str(t + 1) for t in range(steps)])
    assert {name: np.shape(values) for name, values in example["gates"].items()} == {f"0.0.{gate}": (steps, 8) for gate in "rzn"}
    assert result.command.startswith("carousel train classify ")


def test_the_same_seed_gives_the_same_result_and_a_resumed_run_too(ts, tmp_path):
    settings = Settings(ts, **QUICK)
    one = classify.train(settings, tmp_path / "one", progress=False)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two" / "result.json").unlink()
    two = classify.train(settings, tmp_path / "two", resume=True, progress=False)
    for name in ("rows", "confusion", "mistakes", "sequences", "stopped"):
        assert getattr(one, name) == getattr(two, name)


def test_the_test_part_changes_nothing_in_training(ts, tmp_path):
    other = tmp_path / "test.ts"
    other.write_text(waves(8, seed=1))
    settings = Settings(ts, test=other, **QUICK)
    first = classify.train(settings, tmp_path / "a", progress=False)
    other.write_text(waves(8, seed=1).replace(":up", ":x").replace(":down", ":up").replace(":x", ":down"))
    second = classify.train(settings, tmp_path / "b", progress=False)
    assert first.counts == {"training": 54, "validation": 6, "test": 8}
    assert first.rows[-1]["accuracy"] + second.rows[-1]["accuracy"] == pytest.approx(100)
    assert Run(tmp_path / "a").prepared == Run(tmp_path / "b").prepared
    weights = [Run(tmp_path / name).network.state_dict() for name in "ab"]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def kinds_of_file(folder, offset):
    """The same 80 sequences, slow and fast, as a file of each kind that holds numbers; all numbers are exact in float64."""
    phases = np.random.default_rng(0).uniform(0, 6, 80)
    waves = [np.round(64 * np.sin((0.4, 1.4)[n % 2] * np.arange(16) + phase)) / 64 + offset for n, phase in enumerate(phases)]
    labels = ["01"[n % 2] for n in range(80)]
    lines = [f"{','.join(map(repr, wave.tolist()))}:{label}\n" for wave, label in zip(waves, labels, strict=True)]
    (folder / "waves.ts").write_text("@classLabel true 0 1\n@data\n" + "".join(lines))
    objects = [{"values": wave.tolist(), "label": label} for wave, label in zip(waves, labels, strict=True)]
    (folder / "waves.jsonl").write_text("".join(json.dumps(one) + "\n" for one in objects))
    for code, dtype, values in ((0x0E, ">f8", waves), (0x0C, ">i4", np.round(64 * (np.array(waves) - offset)) + offset)):
        head = bytes([0, 0, code, 2]) + np.array([80, 16], ">u4").tobytes()
        (folder / f"{dtype[1:]}-images-idx2").write_bytes(head + np.array(values, dtype).tobytes())
        count = np.array([80], ">u4").tobytes()
        (folder / f"{dtype[1:]}-labels-idx2").write_bytes(bytes([0, 0, 8, 1]) + count + bytes(map(int, labels)))
    return [folder / name for name in ("waves.ts", "waves.jsonl", "f8-images-idx2", "i4-images-idx2")]


@pytest.mark.parametrize("kind", range(4), ids=["ts", "jsonl", "idx-f8", "idx-i4"])
def test_an_offset_of_a_billion_changes_nothing(tmp_path, kind):
    inputs, accuracies = [], []
    for name, offset in (("plain", 0), ("shifted", 1_700_000_000)):
        (tmp_path / name).mkdir()
        settings = Settings(kinds_of_file(tmp_path / name, offset)[kind], **{**QUICK, "hidden": 16, "sequences": 1600})
        result = classify.train(settings, tmp_path / name / "run", progress=False)
        accuracies.append(result.rows[-1]["accuracy"])
        inputs.append(
            Run(tmp_path / name / "run").prepared_as(labelled.LabelledPreprocessing.of).inputs(classify._parts(settings).test)
        )
    torch.testing.assert_close(*inputs, rtol=1e-5, atol=1e-5)
    assert min(accuracies) > 90
    records = list(classify.predict(tmp_path / "shifted" / "run", settings.file))
    values = classify.read(settings.file, settings).items[0][:, 0].tolist()
    answer = classify.stream(tmp_path / "shifted" / "run")
    told = [json.loads(answer(repr(value))) for value in values]
    assert told[-1]["label"] == records[0]["label"]
    assert told[-1]["probability"] == pytest.approx(records[0]["probability"], abs=2e-4)


def test_scaling_is_that_of_the_training_part(ts):
    settings = Settings(ts, **QUICK)
    parts = classify._parts(settings)
    assert len({*parts.training.names, *parts.validation.names, *parts.test.names}) == 60
    prepared = labelled.prepare(parts.training, settings)
    steps = np.concatenate(parts.training.items)
    np.testing.assert_allclose(prepared.encoding.mean, steps.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(prepared.encoding.deviation, steps.std(axis=0), rtol=1e-5)


def test_evaluate_repeats_the_table_and_scores_another_file(trained, tmp_path):
    _, result = classify.load(trained)
    assert classify.evaluate(trained) == [result.rows[0], result.rows[-1]]
    other = tmp_path / "other.ts"
    other.write_text(waves(30, seed=5))
    rows = classify.evaluate(trained, other)
    assert rows[0]["accuracy"] == 50.0
    assert rows[1]["accuracy"] > 90


def test_predict_needs_no_labels_and_stream_ends_with_the_same(trained, tmp_path):
    other = tmp_path / "other.jsonl"
    values = [[[5.0 + 0.1 * t, 100.0] for t in range(6)], [[5.0 - 0.1 * t, 100.0] for t in range(3)]]
    other.write_text("".join(json.dumps({"values": one}) + "\n" for one in values))
    records = list(classify.predict(trained, other))
    assert [record["name"] for record in records] == ["line 1", "line 2"]
    assert [record["label"] for record in records] == ["up", "down"]
    answer = classify.stream(trained)
    for one, record in zip(values, records, strict=True):
        for step, vector in enumerate(one, start=1):
            told = json.loads(answer(", ".join(map(str, vector)) if step % 2 else json.dumps(vector)))
            assert told["step"] == step
        assert told["label"] == record["label"]
        assert told["probability"] == pytest.approx(record["probability"], abs=2e-4)
        assert answer("\n") == ""


def test_a_bad_line_leaves_a_stream_as_it_was(trained):
    answer, same = classify.stream(trained), classify.stream(trained)
    answer("5 100"), same("5 100")
    for line, message in (
        ("5", "expected 2 numbers, got 1"),
        ("5 x", "expected 2 numbers, apart by commas or spaces, got '5 x'"),
        ("5 nan", "finite"),
    ):
        with pytest.raises(InputError, match=message):
            answer(line)
    assert answer("5.1 99") == same("5.1 99")


def test_answers_do_not_depend_on_what_is_asked_together(trained, monkeypatch):
    cell = Run(trained).network
    inputs = [torch.randn(T, 2, generator=torch.Generator().manual_seed(T)) for T in (3, 7, 1, 5)]
    together = labelled.logits(cell, inputs, last=False)
    assert [len(one) for one in together] == [3, 7, 1, 5]
    monkeypatch.setattr(labelled, "STEPS_AT_ONCE", 1)
    for one, other, last in zip(
        together, labelled.logits(cell, inputs, last=False), labelled.logits(cell, inputs, last=True), strict=True
    ):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(one[-1:], last)


# --- Kinds of file ---------------------------------------------------------------------------------


@pytest.fixture
def sounds(tmp_path):
    """Low and high tones of several loudnesses, a sub-folder each, named by number."""
    for n in range(24):
        label = "low" if n % 2 else "high"
        path = tmp_path / "sounds" / label / f"{n}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav(sine(400 if n % 2 else 2000, 0.05 + 0.002 * n, 0.1 + 0.02 * n)))
    return tmp_path / "sounds"


def test_recordings_with_a_pattern_for_the_test_part(sounds, tmp_path):
    settings = Settings(sounds, test_pattern=r"/[0-3]\.wav$", mels=8, **QUICK)
    result = classify.train(settings, tmp_path / "run", progress=False)
    assert of_file(sounds) == "classify"
    assert result.counts["test"] == 4
    assert result.rows[-1]["accuracy"] == 100
    alone = list(classify.predict(tmp_path / "run", sounds / "low" / "5.wav"))
    assert (alone[0]["name"], alone[0]["label"]) == ("5.wav", "low")

    answer = classify.stream(tmp_path / "run")
    samples = sine(2000, 0.05, 0.3)
    (tmp_path / "tone.wav").write_bytes(wav(samples))
    hops = [json.loads(answer(" ".join(map(str, samples[at : at + 80])))) for at in range(0, 400, 80)]
    (whole,) = classify.predict(tmp_path / "run", tmp_path / "tone.wav")
    assert (hops[-1]["step"], hops[-1]["label"]) == (5, whole["label"])
    assert hops[-1]["probability"] == pytest.approx(whole["probability"], abs=2e-3)
    with pytest.raises(InputError, match="expected 80 numbers, got 3"):
        answer("0 0 0")

    (tmp_path / "fast.wav").write_bytes(wav(samples, rate=16000))
    with pytest.raises(InputError, match=r"fast\.wav: expected a sample rate of 8000 Hz, as training has, got 16000 Hz"):
        list(classify.predict(tmp_path / "run", tmp_path / "fast.wav"))


def test_a_stream_of_sound_has_the_features_of_the_whole(sounds):
    how = LogMel(mels=8)
    sequences = read_recordings(sounds / "low" / "1.wav", how)
    samples, rate = read_sound((sounds / "low" / "1.wav").read_bytes(), "")
    hops = Hops(how, rate)
    steps = np.concatenate([hops(samples[at : at + hops.hop]) for at in range(0, len(samples) - hops.hop + 1, hops.hop)])
    np.testing.assert_allclose(steps, sequences.items[0], rtol=1e-5)


@pytest.fixture
def reviews(tmp_path):
    generator = np.random.default_rng(0)
    lines = []
    for n in range(80):
        words = [*generator.choice(["the", "film", "was", "a", "plot"], 4), "fine" if n % 2 else "dull"]
        lines.append(json.dumps({"text": " ".join(generator.permutation(words)), "label": n % 2}))
    path = tmp_path / "reviews.jsonl"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("by", [None, "bytes"])
def test_reviews_by_words_and_by_bytes(reviews, tmp_path, by):
    settings = Settings(reviews, by=by, embedding=8, vocabulary=6, **{**QUICK, "sequences": 1600, "baseline": "window-1"})
    result = classify.train(settings, tmp_path / "run", progress=False)
    assert of_file(reviews) == "classify"
    assert result.labels == ["0", "1"]
    assert [row["method"] for row in result.rows] == ["always 0", "window-1", "gru"]
    assert result.rows[-1]["accuracy"] > 90
    prepared = Run(tmp_path / "run").prepared
    assert prepared["symbols"] == (7 if by is None else 256)
    (tmp_path / "new.jsonl").write_text('{"text": "Dull, dull, dull!"}\n')
    (record,) = classify.predict(tmp_path / "run", tmp_path / "new.jsonl")
    assert record["label"] == "0"
    answer = classify.stream(tmp_path / "run")
    assert json.loads(answer("a fine film"))["label"] == "1"
    (tmp_path / "new.jsonl").write_text('{"text": [1, 2]}\n')
    with pytest.raises(InputError, match=f"expected sequences of {by or 'words'}, as in training, got numbers"):
        list(classify.predict(tmp_path / "run", tmp_path / "new.jsonl"))


@pytest.mark.parametrize("by", [None, "pixels"])
def test_images(tmp_path, by):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 50, (60, 4, 3)).astype(np.uint8)
    images[::2, 0] += 150
    images[1::2, 3] += 150
    head = b"\0\0\x08"
    (tmp_path / "train-images-idx3-ubyte").write_bytes(head + b"\x03" + np.array(images.shape, ">u4").tobytes() + images.tobytes())
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(head + b"\x01" + np.array([60], ">u4").tobytes() + bytes([0, 1] * 30))
    path = tmp_path / "train-images-idx3-ubyte"
    settings = Settings(path, by=by, **{**QUICK, "sequences": 960})
    result = classify.train(settings, tmp_path / "run", progress=False)
    assert of_file(path) == "classify"
    assert result.rows[-1]["accuracy"] == 100
    assert Run(tmp_path / "run").prepared["input_size"] == (3 if by is None else 1)
    assert len(set(Run(tmp_path / "run").prepared["encoding"]["deviation"])) == 1


def test_steps_past_the_longest_length_are_not_read(ts, tmp_path):
    settings = Settings(ts, max_length=3, **{**QUICK, "sequences": 160})
    classify.train(settings, tmp_path / "run", progress=False)
    parts = classify._parts(settings)
    prepared = Run(tmp_path / "run").prepared_as(labelled.LabelledPreprocessing.of)
    assert {len(x) for x in prepared.inputs(parts.test)} == {3}
    np.testing.assert_array_equal(prepared.inputs(parts.test)[0], prepared.encoding.encode(parts.test.items[0], "")[:3])


# --- What is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_pattern": "(a)"}, r"--label-pattern would not be read: .*waves\.ts is of another kind"),
        ({"by": "words"}, r"--by would not be read: .*waves\.ts is of another kind"),
        ({"vocabulary": 10}, "--vocabulary would not be read"),
        ({"test_share": 0.0}, "classify: expected test_share between 0 and 1, got 0"),
        ({"validation": 0.001}, "--validation: a share of 0.001 of 48 sequences holds none back"),
        ({"max_length": 0}, "classify: expected max_length of at least 1, got 0"),
        ({"noise": -0.1}, "expected noise of at least 0, got -0.1"),
        ({"dropout": 1.0}, "expected dropout of at most 0.99, got 1.0"),
        ({"model": "grue"}, r"unknown model 'grue' \(did you mean 'gru'\?\)"),
        ({"baseline": "nothing"}, "unknown model 'nothing'"),
    ],
)
def test_options_that_cannot_be(ts, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        classify.train(Settings(ts, **{**QUICK, **options}), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_labels_unseen_in_training_are_named_with_their_line(ts, tmp_path, trained):
    other = tmp_path / "test.ts"
    other.write_text("@classLabel true up down sideways\n@data\n1,2:3,4:up\n1,2:3,4:sideways\n")
    message = r"test\.ts: line 4: the label 'sideways' is not in the training part \(down, up\)"
    with pytest.raises(InputError, match=message):
        classify.train(Settings(ts, test=other, **QUICK), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=message):
        classify.evaluate(trained, other)


def test_files_that_cannot_be_classified(tmp_path, sounds):
    def refused(name, content, message, **options):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=message):
            classify.train(Settings(tmp_path / name, **{**QUICK, **options}), tmp_path / "run", progress=False)

    refused("a.ts", "@classLabel true a\n@data\n1:a\n2:a\n3:a\n4:a\n", "expected two labels or more, found a only")
    refused("b.ts", "@classLabel false\n@data\n1\n2\n", r"b\.ts: line 3: expected one label, found no label")
    refused("c.jsonl", '{"values": [1, 2], "label": ["x", "y"]}\n', "line 1: expected one label, found a label for each step")
    refused("d.csv", "a,b\n1,2\n", r"d\.csv: row 2: no sequence: expected the key one of text, words, .*, got 'a', 'b'")
    refused("d.pdf", "a", r"d\.pdf: expected a folder or \.tar of recordings, a \.ts, \.tsv, \.jsonl, \.json, \.csv or idx file")
    refused("e.jsonl", '{"text": "a", "label": 1}', "--noise would not be read: .*jsonl holds words", noise=0.1)
    refused("e.jsonl", '{"values": [1], "label": 1}', "--embedding would not be read: .*jsonl holds numbers", embedding=3)
    refused("e.jsonl", '{"text": "a", "label": 1}', "--by: expected words or bytes for JSON lines, got rows", by="rows")
    for options, message in (
        ({"test_pattern": "/x"}, "--test-pattern: '/x' is found in no name, such as high/0.wav"),
        ({"test_pattern": "wav"}, "every sequence is in the test part; none is left to learn from"),
        ({"test_pattern": "("}, r"--test-pattern: not a regular expression: '\('"),
        ({"test_pattern": "[0-3].wav", "test_share": 0.3}, "--test-share would not be read: the test part is given otherwise"),
        ({"test_pattern": "0", "test": sounds}, "give either a test file or a pattern"),
        ({"hop": 30.0}, "expected 0 < hop <= window milliseconds"),
    ):
        with pytest.raises(InputError, match=message):
            classify.train(replace(Settings(sounds, **QUICK), **options), tmp_path / "run", progress=False)
    flat = sounds / "low"
    with pytest.raises(InputError, match=r"1\.wav: expected one label, found no label"):
        classify.train(Settings(flat, **QUICK), tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="found wav only; tell the labels by --label-pattern, or by a sub-folder each"):
        classify.train(Settings(flat, label_pattern="(wav)", **QUICK), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_none_and_a_damaged_result(trained, tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        classify.load(tmp_path)
    shutil.copytree(trained, tmp_path / "damaged")
    (tmp_path / "damaged" / "SHA256SUMS").unlink()
    (tmp_path / "damaged" / "result.json").write_text('{"rows": []}')
    with pytest.raises(InputError, match=r"result\.json: not the result of classify: 'seconds' is missing"):
        classify.load(tmp_path / "damaged")
