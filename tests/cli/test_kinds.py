"""``carousel train FILE`` by the kind of the file: the job that it finds, what it reads, and what it refuses."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest

from carousel import jobs
from carousel.cli import main
from carousel.errors import InputError
from carousel.jobs.run import Run

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
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 40
    told = [label for record in records for label in record.get("labels", [record.get("label")])]
    truth = [TAGS[word] for one in SENTENCES for word in one] if job == "tag" else [labels[label] for label in LABELS]
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
@pytest.mark.parametrize("pack", [False, True], ids=["plain", "gzip"])
def test_the_job_of_a_file(name: str, content: str, job: str, pack: bool, tmp_path: Path) -> None:
    path = tmp_path / (name + ".gz" if pack else name)
    path.write_bytes(gzip.compress(content.encode()) if pack else content.encode())
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
