"""A finished or an interrupted run of which a file is damaged: the same result as before, or one line; nothing else.

Bytes are changed, zeroed, cut off and inserted in every file, and files are removed, by seeds.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import carousel.train
from carousel import jobs
from carousel.errors import InputError
from carousel.jobs.run import Run
from carousel.report.html import write_run_report

SAVED = Path(__file__).parent / "saved"
FILES = {"forecast": "tide.csv", "classify": "films.jsonl", "tag": "tags.jsonl", "language": "rhyme.txt"}
OPTIONS: dict[str, dict[str, Any]] = {
    "forecast": {"target": "Level", "time": ("Hour",), "horizon": 2, "history": 4},
    "classify": {"embedding": 2, "baseline": "none"},
    "tag": {"embedding": 2, "baseline": "none"},
    "language": {"embedding": 2, "length": 10},
}
TINY = {"hidden": 2, "sequences": 16, "evaluate_every": 8, "batch_size": 4}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For each job a finished run, and one that was stopped after its first evaluation."""
    folder = tmp_path_factory.mktemp("made")
    for job, file in FILES.items():
        module = jobs.load(job)
        shutil.copyfile(SAVED / file, folder / file)
        settings = module.Settings.from_table({"file": str(folder / file), **OPTIONS[job], **TINY}, job)
        module.train(settings, folder / job, progress=False)
        with pytest.MonkeyPatch.context() as patch:
            real = carousel.train._Training._update

            def stop(self: Any, batch: Any, real: Callable[[Any, Any], None] = real) -> None:
                if self.at.step == 3:
                    raise KeyboardInterrupt
                real(self, batch)

            patch.setattr(carousel.train._Training, "_update", stop)
            with pytest.raises(KeyboardInterrupt):
                module.train(settings, folder / f"{job}-interrupted", progress=False)
    return folder


def damage(path: Path, by: random.Random) -> str:
    """Damage a file; gives what was done."""
    content = bytearray(path.read_bytes())
    kind = by.choice(["flip", "flip", "flip", "zero", "cut", "insert", "remove", "empty"])
    at, n = by.randrange(len(content)), by.randrange(1, 40)
    if kind == "flip":
        content[at] ^= 1 << by.randrange(8)
    elif kind == "zero":
        content[at : at + n] = bytes(len(content[at : at + n]))
    elif kind == "cut":
        del content[at:]
    elif kind == "insert":
        content[at:at] = by.randbytes(n)
    elif kind == "empty":
        content.clear()
    path.write_bytes(content)
    if kind == "remove":
        path.unlink()
    return f"{kind} at {at} of {path.name}"


def used(job: str, folder: Path, file: Path) -> Iterator[Any]:
    """What a finished run gives, one use after the other."""
    module, run = jobs.of_run(folder), Run(folder)
    settings, result = module.load(run)
    yield settings, result.rows
    yield module.evaluate(run)
    yield module.evaluate(run, file)
    yield list(module.predict(run, file))


def resumed(job: str, folder: Path) -> Any:
    """What comes out when the run goes on."""
    module = jobs.load(job)
    result = module.train(Run(folder).settings(module.Settings), folder, resume=True, progress=False)
    return result.rows, Run(folder).network.state_dict().__repr__()


def refusal(use: Callable[[], object]) -> str | None:
    """Why a use is refused; None where it is not."""
    try:
        use()
    except InputError as error:
        return str(error)
    return None


def copied(folder: Path, to: Path) -> Path:
    shutil.rmtree(to, ignore_errors=True)
    return shutil.copytree(folder, to)


@pytest.mark.parametrize("job", list(FILES))
def test_a_finished_run_is_used_as_it_was_or_refused(job: str, made: Path, tmp_path: Path) -> None:
    file = made / FILES[job]
    expected = list(used(job, made / job, file))
    refusals = 0
    names = sorted(path.relative_to(made / job) for path in (made / job).rglob("*") if path.is_file())
    for seed in range(60):
        by = random.Random(seed)
        folder = copied(made / job, tmp_path / "run")
        done = damage(folder / names[seed % len(names)], by)
        found: list[Any] = []
        reason = refusal(lambda found=found, folder=folder: found.extend(used(job, folder, file)))
        assert found == expected[: len(found)], done
        assert "\n" not in (reason or ""), done
        refusals += reason is not None
    assert refusals > 20


@pytest.mark.parametrize("job", list(FILES))
def test_an_interrupted_run_goes_on_to_the_same_result_or_is_refused(job: str, made: Path, tmp_path: Path) -> None:
    source = made / f"{job}-interrupted"
    expected = resumed(job, copied(source, tmp_path / "run"))
    refusals = 0
    names = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    for seed in range(24):
        folder = copied(source, tmp_path / "run")
        done = damage(folder / names[seed % len(names)], random.Random(seed))
        found: list[Any] = []
        reason = refusal(lambda found=found, folder=folder: found.append(resumed(job, folder)))
        assert found == ([expected] if reason is None else []), done
        assert "\n" not in (reason or ""), done
        refusals += reason is not None
    assert refusals > 8


@pytest.mark.parametrize("job", list(FILES))
def test_a_report_is_written_or_refused(job: str, made: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(["metrics.jsonl", "result.json"] * 2):
        folder = copied(made / job, tmp_path / "run")
        damage(folder / name, random.Random(seed))
        with pytest.raises(InputError):
            write_run_report(folder)
        assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "was", "now"),
    [
        ("config.toml", "hidden = 2", "hidden = 1000000000000"),
        ("config.toml", "hidden = 2", "hidden = -3"),
        ("config.toml", "hidden = 2", "hidden = 'two'"),
        ("config.toml", "hidden = 2", "hidden = 2\nx = " + "[" * 9999),
        ("config.toml", "batch_size = 4", "batch_size = 1000000000000"),
        ("prepared.json", '"input_size": ', '"input_size": 9'),
        ("prepared.json", '"input_size": ', '"input_size": -'),
        ("prepared.json", '"output_size": ', '"output_size": 99999999999999999999'),
        ("prepared.json", "{", '{"input_size": "two", "x": ' + "[" * 99999),
        ("prepared.json", "{", '{"x": ' + "1" * 5000 + ", "),
        ("result.json", "{", '{"rows": [], "x": ' + '{"a":' * 99999),
        ("result.json", '"rows": [', '"rows": [{"method": 3}, '),
        ("result.json", '"rows": [', '"rows": [[], '),
        ("result.json", '"seconds": ', '"seconds": "long", "second": '),
        ("result.json", '"command": ', '"commands": '),
    ],
)
@pytest.mark.parametrize("job", list(FILES))
def test_a_file_edited_by_hand_is_refused_whether_or_not_its_digest_is_there(
    job: str, name: str, was: str, now: str, made: Path, tmp_path: Path
) -> None:
    folder = copied(made / job, tmp_path / "run")
    path = folder / name
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, now, -1 if name == "config.toml" else 1))
    for sealed in (True, False):
        reason = refusal(lambda: list(used(job, folder, made / FILES[job])))
        assert reason is not None, sealed
        assert "\n" not in reason
        (folder / "SHA256SUMS").unlink(missing_ok=True)
