"""fit: repeats, stops, keeps, resumes after kill -9 to the identical result, and refuses in one line."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import carousel.train
import run_fit
from carousel import fit
from carousel.errors import InputError
from carousel.learn import BPTT, Diverged, Learner
from carousel.network import as_network
from carousel.train import load_weights
from tiny import RunningMean, network


def run(out: Path | None = None, **options: Any) -> carousel.train.Fit:
    given = {"batch_size": 7, "sequences": 100, "evaluate_every": 20, "rate": 0.01, "progress": False} | options
    return fit(network(), RunningMean(), out=out, **given)


def metrics(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_it_learns_within_its_budget() -> None:
    done = run(sequences=1000, evaluate_every=100)
    losses = [row["value"] for row in done.history if row["split"] == "validation" and row["name"] == "loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert done.sequences == 1000
    assert done.stopped == "budget"
    assert done.best["loss"] == min(losses)


def test_the_best_weights_are_given_in_evaluation_mode() -> None:
    task = RunningMean()
    done = run(rate=0.5, sequences=200)  # a rate at which the last weights are not the best
    losses = [row["value"] for row in done.history if row["split"] == "validation" and row["name"] == "loss"]
    assert losses[-1] > min(losses)
    assert not done.cell.training
    assert carousel.train._figures(as_network(done.cell), task, task.validation()) == done.best


def test_the_rate_falls_evenly_to_nothing() -> None:
    rates = []

    class Recording(torch.optim.SGD):
        def step(self, *given: Any) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(*given)

    run(optimizer=lambda parameters: Recording(parameters, 0.1), decay=True, batch_size=25)
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_a_seed_repeats_bit_for_bit_and_another_does_not(tmp_path: Path) -> None:
    first, second, other = run(tmp_path / "a"), run(tmp_path / "b"), run(seed=1)
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")
    assert all(map(torch.equal, first.cell.parameters(), second.cell.parameters()))
    assert not all(map(torch.equal, first.cell.parameters(), other.cell.parameters()))


def test_the_global_seed_plays_no_part() -> None:
    torch.manual_seed(random.randrange(1000))
    first = run()
    torch.manual_seed(random.randrange(1000, 2000))
    assert all(map(torch.equal, first.cell.parameters(), run().cell.parameters()))


def test_patience_ends_a_training_that_no_longer_gets_better() -> None:
    done = run(rate=1e-12, sequences=1000, patience=3, monitor="MAE", optimizer="sgd")
    assert done.stopped == "patience"
    assert done.sequences < 200


def test_the_run_folder(tmp_path: Path) -> None:
    done = run(tmp_path / "run", settings={"file": "x.csv", "season": None})
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert config["fit"]["rate"] == 0.01
    assert config["settings"] == {"file": "x.csv"}
    assert config["versions"]["torch"] == torch.__version__
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == {
        "run/config.toml",
        "run/metrics.jsonl",
        "run/best/weights.safetensors",
        "run/last/checkpoint.safetensors",
    }
    rows = metrics(tmp_path / "run")
    assert {(row["split"], row["name"]) for row in rows} == {("train", "loss"), ("validation", "loss"), ("validation", "MAE")}
    assert [row["sequences"] for row in rows if row["split"] == "train"] == [21, 42, 63, 84, 100]
    cell = network(seed=5)
    load_weights(cell, tmp_path / "run" / "best" / "weights.safetensors")
    assert all(map(torch.equal, cell.parameters(), done.cell.parameters()))


def test_losses_in_the_metrics_are_means_over_the_steps_that_count(tmp_path: Path) -> None:
    task, cell = RunningMean(), network()
    batch = task.sample(7, torch.Generator().manual_seed(0))
    outputs, _ = carousel.scan(cell, batch.inputs, lengths=batch.lengths)
    expected = float(((outputs.detach() - batch.targets).square()[..., 0])[batch.mask].mean())
    done = run(sequences=7, evaluate_every=7)
    assert done.history[0]["value"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop-graves"])
def test_a_run_killed_at_random_moments_goes_on_to_the_identical_result(
    tmp_path: Path, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes = multiprocessing.get_context("forkserver")  # torch is imported once, by the server
    processes.set_forkserver_preload(["run_fit"])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # Python 3.11's server does not take sys.path over

    def start(folder: str, resume: bool = False) -> multiprocessing.context.ForkServerProcess:
        process = processes.Process(target=run_fit.train, args=(tmp_path / folder, optimizer, resume))
        process.start()
        return process

    whole = start("whole")
    whole.join(120)
    assert whole.exitcode == 0

    moments = random.Random(time.time_ns())
    checkpoint = tmp_path / "killed" / "last" / "checkpoint.safetensors"
    for _ in range(3):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = start("killed", resume=checkpoint.exists())
        while process.is_alive() and not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before):
            time.sleep(0.001)  # it is at work once it has written a checkpoint
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.join(120)
        assert process.exitcode in (-signal.SIGKILL, 0)
    last = start("killed", resume=True)
    last.join(120)
    assert last.exitcode == 0

    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole")
    for name in ("best/weights.safetensors", "last/checkpoint.safetensors"):
        one, two = (load_file(tmp_path / folder / name) for folder in ("killed", "whole"))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one), name


class Stops(Learner):
    """BPTT that an exception ends at an update."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.at, self.error, self.update = at, error, 0

    def __repr__(self) -> str:
        return "Stops()"

    def train_on(self, *args: Any, **options: Any) -> Any:
        self.update += 1
        if self.update == self.at:
            raise self.error
        return BPTT().train_on(*args, **options)


def test_ctrl_c_says_how_far_it_came_and_the_rest_is_identical(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt, match="interrupted after 63 of 100 sequences"):
        run(folder, learner=Stops(10, KeyboardInterrupt()))
    done = run(folder, learner=Stops(0, KeyboardInterrupt()), resume=True)
    whole = run(tmp_path / "whole", learner=Stops(0, KeyboardInterrupt()))
    assert all(map(torch.equal, done.cell.parameters(), whole.cell.parameters()))
    assert metrics(folder) == metrics(tmp_path / "whole")
    assert done.best == whole.best


def test_a_torn_last_line_of_the_metrics_is_made_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", learner=Stops(10, KeyboardInterrupt()))
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "seque')
    run(tmp_path / "run", learner=Stops(0, KeyboardInterrupt()), resume=True)
    run(tmp_path / "whole", learner=Stops(0, KeyboardInterrupt()))
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")


def test_resuming_a_finished_run_gives_its_result_again(tmp_path: Path) -> None:
    done = run(tmp_path / "run")
    again = run(tmp_path / "run", resume=True)
    assert again.best == done.best
    assert again.history == done.history
    assert all(map(torch.equal, again.cell.parameters(), done.cell.parameters()))


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run(folder)
    monkeypatch.undo()
    assert not list(folder.rglob(".*"))
    done, whole = run(folder, resume=True), run(tmp_path / "whole")
    assert all(map(torch.equal, done.cell.parameters(), whole.cell.parameters()))
    assert metrics(folder) == metrics(tmp_path / "whole")


def test_what_diverges_is_named_and_the_run_folder_stays(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"update \d+ \(\d+ sequences\): the (loss|gradient).*smaller rate"):
        run(tmp_path / "run", rate=1e30, optimizer="sgd")
    assert (tmp_path / "run" / "last" / "checkpoint.safetensors").exists()


def test_a_user_optimiser_is_a_callable() -> None:
    done = run(optimizer=lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9))
    assert done.sequences == 100


def test_progress_is_plain_lines_on_standard_error_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    run(progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    note, *lines = err.splitlines()
    assert note.startswith("the loss is not part of the compiled step: RunningMean.loss is a method")
    assert [line.split()[0] for line in lines] == ["21/100", "42/100", "63/100", "84/100", "100/100", "stopped"]
    assert lines[-1].startswith("stopped after 100 sequences, the training budget; best validation loss 0.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adma"}, "no optimizer 'adma'"),
        ({"monitor": "MEA"}, "no figure 'MEA' to monitor, expected one of: loss, MAE"),
        ({"patience": 0}, "expected patience of at least 1 or None, got 0"),
        ({"batch_size": 0}, "expected batch_size of at least 1, got 0"),
        ({"device": "cuda:99"}, "no device cuda:99 on this machine"),
        ({"device": "tpux"}, "expected device cpu, cuda or cuda:N, got 'tpux'"),
        ({"resume": True}, "resume=True needs the run folder"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(**options)


def test_folders_that_cannot_be_used_are_refused_and_left_alone(tmp_path: Path) -> None:
    run(tmp_path / "run")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="run already exists"):
        run(tmp_path / "run")
    with pytest.raises(InputError, match=r"cannot resume with other settings: rate was 0\.01, is 0\.02"):
        run(tmp_path / "run", rate=0.02, resume=True)
    with pytest.raises(InputError, match="no run to resume there"):
        run(tmp_path / "nothing", resume=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "run" / "last" / "checkpoint.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"checkpoint\.safetensors: not a checkpoint of carousel"):
        run(tmp_path / "run", resume=True)


def test_of_two_that_begin_at_once_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = carousel.train._Training._checkpoint

    def meanwhile(self: Any) -> None:
        monkeypatch.setattr(carousel.train._Training, "_checkpoint", real)
        real(self)
        shutil.copytree(self.folder, tmp_path / "run")  # as another process makes it

    monkeypatch.setattr(carousel.train._Training, "_checkpoint", meanwhile)
    with pytest.raises(InputError, match="run already exists; choose another folder, or resume"):
        run(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    run(tmp_path / "run", resume=True)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory") as refusal:
        run(tmp_path / "file" / "run")
    assert refusal.value.filename == str(tmp_path / "file" / "run")


def test_a_checkpoint_of_another_shape_says_expected_and_got(tmp_path: Path) -> None:
    run(tmp_path / "run")
    other = carousel.Stack(carousel.cells.LSTM(1, 6), readout=torch.nn.Linear(6, 1))
    with pytest.raises(InputError, match=r"expected cells\.0\.W \(24, 1\) torch\.float32, got \(20, 1\) torch\.float32"):
        load_weights(other, tmp_path / "run" / "best" / "weights.safetensors")


class Unnamed(Learner):
    """A user's rule that says nothing of itself."""

    def train_on(self, *args: Any, **options: Any) -> Any:
        return BPTT().train_on(*args, **options)


def test_a_run_with_a_user_learner_and_tuples_in_its_settings_resumes(tmp_path: Path) -> None:
    done = run(tmp_path / "run", learner=Unnamed(), settings={"layers": (1, 2)})
    again = run(tmp_path / "run", learner=Unnamed(), settings={"layers": (1, 2)}, resume=True)
    assert again.best == done.best
    with pytest.raises(InputError, match=r"learner was Unnamed, is BPTT"):
        run(tmp_path / "run", settings={"layers": (1, 2)}, resume=True)


def test_settings_that_toml_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected settings of plain values"):
        run(tmp_path / "run", settings={"file": tmp_path})
    assert not list(tmp_path.iterdir())


def test_another_cell_is_refused_in_one_line(tmp_path: Path) -> None:
    run(tmp_path / "run")
    other = carousel.Stack(carousel.cells.LSTM(1, 6), readout=torch.nn.Linear(6, 1))
    with pytest.raises(InputError, match=r"cell was Stack.*in_features=5.*, is Stack.*in_features=6") as caught:
        fit(other, RunningMean(), out=tmp_path / "run", resume=True, rate=0.01, batch_size=7, sequences=100, evaluate_every=20)
    assert "\n" not in str(caught.value)


def test_a_disk_full_from_the_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_score_may_be_a_tensor(tmp_path: Path) -> None:
    class Tensors(RunningMean):
        def score(self, outputs: Any, batch: Any) -> dict[str, Any]:
            return {"MAE": (outputs - batch.targets).abs().mean()}

    done = fit(network(), Tensors(), sequences=7, evaluate_every=7, batch_size=7, out=tmp_path / "run", progress=False)
    assert type(done.best["MAE"]) is float
