"""``carousel train FILE`` by the kind of the file: the job that it finds, what it reads, and what it refuses."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from carousel import jobs
from carousel.cli import main
from carousel.errors import InputError
from carousel.jobs import classify
from carousel.jobs.run import Run
from sounds import sine, wav

Capture = pytest.CaptureFixture[str]
SHORT = ["--sequences", "960", "--evaluate-every", "480", "--hidden", "8", "--rate", "0.02", "--baseline", "none"]

WAVES = [[round(math.sin((0.4, 1.4)[n % 2] * t + n), 3) for t in range(12)] for n in range(40)]
LABELS = [n % 2 for n in range(40)]
TAGS = {"the": "DET", "a": "DET", "cat": "NOUN", "mat": "NOUN", "sat": "VERB"}
SENTENCES = [words.split() for words in ("the cat sat", "a cat sat", "the mat", "a mat sat the cat") * 10]


def lines_of(form: str) -> str:
    """The waves, or the sentences, as a file of a form."""
    waves = list(zip(WAVES, LABELS, strict=True))
    tagged = [[(word, TAGS[word]) for word in sentence] for sentence in SENTENCES]
    match form:
        case "tsv":
            return "".join("\t".join(map(str, [label, *wave])) + "\n" for wave, label in waves)
        case "json":
            return json.dumps([{"values": wave, "label": float(label)} for wave, label in waves], indent=1)
        case "jsonl":
            return "".join(json.dumps({"values": wave, "label": label == 1}) + "\n" for wave, label in waves)
        case "ts":
            pairs = [",".join(f"(2020-01-01 00:{t:02}:00,{value})" for t, value in enumerate(wave)) for wave in WAVES]
            head = "@timeStamps true\n@univariate true\n@classLabel true 0 1\n@data\n"
            return head + "".join(f"{line}:{label}\n" for line, label in zip(pairs, LABELS, strict=True))
        case "csv":
            return "text,label\n" + "".join(f'"a {word}, film",{word}\n' for word in ("good", "bad") * 20)
        case "conll":
            return "\n".join("".join(f"{word} _ {tag}\n" for word, tag in one) for one in tagged)
        case "conllu":
            rest = "\t_" * 6
            return "\n".join("".join(f"{n}\t{w}\t{w}\t{tag}{rest}\n" for n, (w, tag) in enumerate(one, 1)) for one in tagged)
        case _:
            return json.dumps([{"tokens": [w for w, _ in one], "tags": [tag for _, tag in one]} for one in tagged])


@pytest.mark.parametrize(
    ("name", "form", "job", "labels", "inputs"),
    [
        ("Waves_TRAIN.tsv", "tsv", "classify", ["0", "1"], 1),
        ("waves.json", "json", "classify", ["0", "1"], 1),
        ("lines.json", "jsonl", "classify", ["false", "true"], 1),
        ("waves.ts", "ts", "classify", ["0", "1"], 2),
        ("films.csv", "csv", "classify", ["bad", "good"], 64),
        ("eng.conll", "conll", "tag", ["DET", "NOUN", "VERB"], 64),
        ("en.conllu", "conllu", "tag", ["DET", "NOUN", "VERB"], 64),
        ("tags.json", "tags", "tag", ["DET", "NOUN", "VERB"], 64),
    ],
)
def test_the_job_is_found_and_the_file_is_read_and_predicted(
    name: str, form: str, job: str, labels: list[str], inputs: int, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / (name if form != "tsv" else name + ".gz")
    file.write_bytes(lines_of(form).encode() if form != "tsv" else gzip.compress(lines_of(form).encode()))
    assert main(["train", str(file), *SHORT, "--out", str(tmp_path / "run")]) == 0
    run = Run.of(tmp_path / "run")
    assert (run.table["job"], run.prepared["labels"], run.prepared["input_size"]) == (job, labels, inputs)
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "run"), str(file)]) == 0
    printed = capsys.readouterr().out
    as_table = csv.DictReader(io.StringIO(printed)) if form == "csv" else None
    records = list(as_table or map(json.loads, printed.splitlines()))
    assert len(records) == 40
    told = [label for record in records for label in record.get("labels", [record.get("label")])]
    truth = [TAGS[word] for one in SENTENCES for word in one] if job == "tag" else [labels[label] for label in LABELS]
    truth = ["good", "bad"] * 20 if form == "csv" else truth
    assert sum(one == other for one, other in zip(told, truth, strict=True)) > 0.8 * len(truth)
    assert main(["evaluate", str(tmp_path / "run"), str(file)]) == 0


def test_predict_does_not_look_at_labels(tmp_path: Path, capsys: Capture) -> None:
    for name, form in (("waves.json", "json"), ("eng.conll", "conll")):
        (tmp_path / name).write_text(lines_of(form))
        run = str(tmp_path / form)
        assert main(["train", str(tmp_path / name), *SHORT[4:], "--sequences", "32", "--evaluate-every", "32", "--out", run]) == 0
    (tmp_path / "new.jsonl").write_text('{"values": [1], "label": 0.7}\n{"values": [2, 3], "label": null}\n{"values": [1]}\n')
    (tmp_path / "new.conll").write_text("the\ncat\n\nsat\n")
    for form, name, count in (("json", "new.jsonl", 3), ("conll", "new.conll", 2)):
        capsys.readouterr()
        assert main(["predict", str(tmp_path / form), str(tmp_path / name)]) == 0
        assert len(capsys.readouterr().out.splitlines()) == count


@pytest.mark.parametrize(
    ("name", "content", "job"),
    [
        ("a.csv", "t,x\n1,2\n", "forecast"),
        ("a.csv", "label,value\n1,2\n", "forecast"),
        ("a.csv", '"Text";"Label"\r\n"a";1\r\n', "classify"),
        ("a.tsv", "time\tvalue\n1\t2\n", "forecast"),
        ("a.tsv", "1\t0.5\t-2e-3\tNaN\n2\t1\t2\t3\n", "classify"),
        ("a.tsv", "up\t0.5\t1\n", "classify"),
        ("a.json", ' [\n {"text": "x", "labels": ["a"]}]', "tag"),
        ("a.json", '[{"text": "x", "labels": "a"}]', "classify"),
        ("a.ndjson", '{"text": "x"}\n', "classify"),
        ("a.json", "{", "classify"),
        ("a.json", "[" * 100_000, "classify"),
        ("a.iob2", "x O\n", "tag"),
        ("a.txt", "1. First\n2. Second\n3. Third\n", "language"),
        ("a.txt", "All at 5.\n\n1\n2\n3\nend\n", "language"),
        ("a.txt", "3.14159\n", "language"),
        ("a.txt", "\n\n\n\n", "language"),
        ("a", "Numbers: 1\n" * 3 + "E e T Z\n", "language"),
    ],
)
@pytest.mark.parametrize(("pack", "encoding"), [(False, "utf-8"), (True, "utf-8-sig"), (False, "utf-16")])
def test_the_job_of_a_file(name: str, content: str, job: str, pack: bool, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / (name + ".gz" if pack else name)
    path.write_bytes(gzip.compress(content.encode(encoding)) if pack else content.encode(encoding))
    assert jobs.of_file(path) == job


@pytest.mark.parametrize(
    "content",
    [
        "1\n2\n3\n",
        "\ufeff0.5 1e-3\n-2 +.5E+07\n3 nan\n",
        "1;2,5\r\n2;3,5\r\n3;4,5\r\n",
        "date,value\n2020-01-01,5\n2020-01-02,6\n\n2020-01-03,\n",
        "2020-01-01T00:00:00Z 5\n2020-01-01T00:00:01Z 6\n02/01/2020 7\n",
        "   1.0000000e+00  -1.2\n   2.0000000e+00   3.4\n   1.0  2\n",
        "1 2\n" * 100_000,
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.dat", "a", "a.txt.gz"])
def test_rows_of_numbers_are_no_text_unless_asked_for(content: str, name: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "rows of numbers, not a text" in told
    assert f"carousel train language {path}" in told
    assert not (tmp_path / "run").exists()
    assert main(["train", "language", str(path), "--print-config"]) == 0


@pytest.mark.parametrize("name", ["a.xlsx", "a.npz", "a.arff", "a.parquet"])
def test_kinds_that_are_not_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"@relation\n" * 5)
    with pytest.raises(InputError, match=r"is not read; save a series as a table \(\.csv\)"):
        jobs.of_file(tmp_path / name)


def with_odd_ones(form: str) -> tuple[str, list[str]]:
    """A file of a form with odd sequences among the others, and what is said of each of them."""
    lines = lines_of(form).splitlines()
    match form:
        case "tsv":
            odd = {0: "0", 5: "1\t2\tx", 9: "\t1\t2", 12: "1\tinf"}
            told = ["line 1: expected a label and then numbers", "line 6: step 2", "line 13: step 1", "line 10: expected one label"]
        case "jsonl":
            bad = (
                '{"values": []}',
                "{",
                "[]",
                '{"values": [[1, 2]], "label": 1}',
                '{"values": [1]}',
                '{"values": [1], "label": [1]}',
            )
            odd = {0: bad[0], 3: bad[1], 4: bad[2], 8: bad[3], 9: bad[4], 30: bad[5]}
            told = ["line 1: expected a text", "line 4: not JSON", "line 5: expected a JSON object", "line 9: expected 1 numbers"]
            told += ["line 10: expected one label, found no label", "line 31: expected one label, found a label for each step"]
        case "ts":
            odd = {4: "(0,?),(0,1):1", 6: "1,2:1", 7: "(1,2),(0,1):1", 9: "(1,2):2"}
            told = ["line 5: step 1", "line 7: channel 1", "line 8: step 2: its time", "line 10: the label '2' is none of those"]
        case _:
            odd = {1: "cat", 4: "a _ "}
            told = ["line 2: expected 3 columns", "line 5: expected 3 columns"]
    return "\n".join(odd.get(n, line) for n, line in enumerate(lines)) + "\n", told


@pytest.mark.parametrize("form", ["tsv", "jsonl", "ts", "conll"])
def test_odd_sequences_are_skipped_with_a_line_each(form: str, tmp_path: Path, capsys: Capture) -> None:
    content, odd = with_odd_ones(form)
    file, run = tmp_path / f"odd.{form}", tmp_path / "run"
    file.write_text(content)
    short = [*SHORT[4:], "--sequences", "32", "--evaluate-every", "32"]
    assert main(["train", str(file), *short, "--out", str(run)]) == 2
    assert odd[0] in capsys.readouterr().err
    assert main(["train", str(file), *short, "--skip", "--out", str(run)]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped: ")]
    assert len(told) == len(odd)
    for line, reason in zip(told, odd, strict=True):
        assert line.startswith(f"skipped: {file}: {reason}")
    assert sum(Run.of(run).result["counts"].values()) == 40 - len(odd)
    assert main(["evaluate", str(run), str(file)]) == 0
    assert main(["predict", str(run), str(file)]) == 0
    answers = capsys.readouterr().out.splitlines()
    assert sum(line.startswith('{"name"') for line in answers) == 40 - sum("expected one label" not in reason for reason in odd)


def test_recordings_and_images_that_are_odd_are_skipped(tmp_path: Path, capsys: Capture) -> None:
    for n in range(12):
        path = tmp_path / "sounds" / "ab"[n % 2] / f"{n:02}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav(sine(500, 0.02)) if n else b"RIFF")
    (tmp_path / "sounds" / "a" / "fast.wav").write_bytes(wav(sine(500, 0.02), rate=16000))
    (tmp_path / "sounds" / "beside.wav").write_bytes(wav(sine(500, 0.02)))
    images = np.zeros((9, 2, 2), ">f4")
    images[3, 1, 0] = np.nan
    (tmp_path / "images-idx3").write_bytes(b"\0\0\x0d\3" + np.array(images.shape, ">u4").tobytes() + images.tobytes())
    (tmp_path / "labels-idx1").write_bytes(b"\0\0\x08\1" + np.array([9], ">u4").tobytes() + bytes(range(9)))
    for file, left, reasons in (
        (
            tmp_path / "sounds",
            11,
            ["a/00.wav: not a sound file", "a/fast.wav: expected a sample rate", "beside.wav: expected one label"],
        ),
        (tmp_path / "images-idx3", 8, ["image 4: step 2, channel 1: expected a finite number, got nan"]),
    ):
        with pytest.raises(InputError, match=reasons[0]):
            classify.read(file, classify.Settings(file))
        sequences = classify.read(file, classify.Settings(file, skip=True))
        assert len(sequences) == len(sequences.labels) == len(sequences.names) == left
        told = capsys.readouterr().err.splitlines()
        assert len(told) == len(reasons)
        for line, reason in zip(told, reasons, strict=True):
            assert line.startswith(f"skipped: {file}: {reason}")
        assert not {name.split(":")[0] for name in reasons} & set(sequences.names)


def test_labels_that_training_did_not_have_are_skipped_where_asked_to(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.conll").write_text(lines_of("conll"))
    test = ["the _ DET", "", "a _ DET", "cat _ NOUN", "", "ran _ ADV", "sat _ X", "", "sat _ VERB"]
    (tmp_path / "b.conll").write_text("\n".join(test) + "\n")
    words = ["train", str(tmp_path / "a.conll"), "--test", str(tmp_path / "b.conll"), *SHORT[4:], "--sequences", "32"]
    words += ["--evaluate-every", "32", "--out", str(tmp_path / "run")]
    reason = f"{tmp_path / 'b.conll'}: line 6: the label 'ADV' is not in the training part (DET, NOUN, VERB)"
    assert main(words) == 2
    assert reason in capsys.readouterr().err
    assert main([*words, "--skip"]) == 0
    assert f"skipped: {reason}\n" in capsys.readouterr().err
    assert Run.of(tmp_path / "run").result["counts"]["test"] == 3
    assert sum(map(sum, Run.of(tmp_path / "run").result["confusion"])) == 4
    assert main(["evaluate", str(tmp_path / "run"), str(tmp_path / "b.conll")]) == 0
    assert f"skipped: {reason}\n" in capsys.readouterr().err


def test_a_file_that_is_mostly_odd_is_refused_with_the_reasons(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.jsonl").write_text('{"values": [[1, 2]], "label": 1}\n' + '{"values": [1], "label": 1}\n' * 3)
    assert main(["train", str(tmp_path / "a.jsonl"), "--skip", "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in told] == ["skipped"] * 3 + ["carousel"]
    assert "3 sequences would be skipped, 1 read; see what is wrong with the file" in told[-1]
