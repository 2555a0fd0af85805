"""reproduce: units in parallel processes, interruption and resumption, failures, merged rows."""

import importlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import pytest

from carousel.errors import InputError
from carousel.recipes import RECIPES, Goal, load
from carousel.recipes.reproduce import _summary, collect, reproduce
from carousel.recipes.units import read_units

TOY = """
import os, time
from pathlib import Path
from carousel.recipes import Claim, Goal, Recipe, Row

def run_unit(row, unit):
    assert os.environ["OMP_NUM_THREADS"] == "1" and "MALLOC_TRIM_THRESHOLD_" in os.environ
    here = Path(os.environ["TOY"])
    with (here / "done").open("a") as file:
        file.write(f"{row} {unit}\\n")
    if (here / f"fail-{row}-{unit}").exists():
        raise ValueError("no luck\\ntoday")
    if (here / f"die-{row}-{unit}").exists():
        os._exit(9)
    while (here / f"wait-{row}-{unit}").exists():
        time.sleep(0.01)
    value = {"plain": 10.0, "clever": 4.0 + int(unit)}[row]
    return {"seed": unit, "solved": None, "sequences": 5, "seconds": 0.5, "backend": "none",
            "measures": {"MAE": value}, "curve": [[0, 1.0]]}

RECIPE = Recipe(
    "toy", "a paper", "a toy",
    (
        Row("plain", (0,), claims=(Claim("MAE", 9.5, "unit", "table 1"),), goals=(Goal("MAE", "unit", at_least=10.0),)),
        Row("clever", (0, 1, 2), goals=(Goal("MAE", "unit", rivals=("plain",)),), deviations=("it is a toy",)),
    ),
    run_unit,
)
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toy recipe, importable in the processes too, and the folder whose files steer it."""
    (tmp_path / "toy_recipe.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TOY", str(tmp_path))
    monkeypatch.delitem(sys.modules, "toy_recipe", raising=False)
    importlib.invalidate_caches()
    return importlib.import_module("toy_recipe").RECIPE


def done(tmp_path):
    path = tmp_path / "done"
    return sorted(path.read_text().splitlines()) if path.exists() else []


def test_all_units_are_done_once_and_merged(toy, tmp_path, capfd):
    made = reproduce(toy, out=tmp_path / "results")
    assert made.failures == {}
    assert done(tmp_path) == ["clever 0", "clever 1", "clever 2", "plain 0"]
    plain, clever = made.rows
    assert json.loads((tmp_path / "results/toy/clever.json").read_text()) == clever
    assert [run["seed"] for run in clever["runs"]] == [0, 1, 2]
    assert clever["summary"] == {"MAE": {"n": 3, "mean": 5.0, "median": 5.0, "min": 4.0, "max": 6.0}}
    assert clever["goals"] == [{"measure": "MAE", "unit": "unit", "rivals": ["plain"], "at_most": 10.0}]
    assert (clever["met"], clever["all_met"], clever["missing"]) == ({"MAE": True}, True, [])
    assert clever["deviations"] == ["it is a toy"]
    assert plain["claims"] == [{"measure": "MAE", "figure": 9.5, "unit": "unit", "source": "table 1"}]
    assert plain["met"] == {"MAE": True}
    assert {"recipe", "row", "command", "commit", "date", "backend", "cores"} <= plain.keys()
    assert plain["command"] == "carousel reproduce toy --rows plain"
    assert "[4/4]" in capfd.readouterr().err

    assert json.dumps(reproduce(toy, out=tmp_path / "results", progress=False).rows) == json.dumps(made.rows)
    assert len(done(tmp_path)) == 4
    assert capfd.readouterr().err == ""

    reproduce(toy, out=tmp_path / "results", rows=["plain"], restart=True, progress=False)
    assert done(tmp_path).count("plain 0") == 2
    assert len(done(tmp_path)) == 5
    assert [row["row"] for row in collect(tmp_path / "results")] == ["clever", "plain"]


def test_a_row_is_merged_from_the_units_there_are_and_says_what_is_missing(toy, tmp_path):
    (row,) = reproduce(toy, out=tmp_path / "results", rows=["clever"], seeds=2, progress=False).rows
    assert done(tmp_path) == ["clever 0", "clever 1"]
    assert row["missing"] == [2]
    # Its rival is not there yet, so there is no figure to meet.
    assert (row["goals"][0]["at_most"], row["met"]) == (None, {"MAE": False})
    _, row = reproduce(toy, out=tmp_path / "results", progress=False).rows
    assert len(done(tmp_path)) == 4
    assert (row["missing"], row["met"]) == ([], {"MAE": True})


@pytest.mark.parametrize(("sign", "reason"), [("fail", "ValueError: no luck today"), ("die", "its process ended with status 9")])
def test_a_unit_that_fails_is_reported_and_the_others_go_on(toy, tmp_path, sign, reason):
    (tmp_path / f"{sign}-clever-0").touch()
    made = reproduce(toy, out=tmp_path / "results", processes=1, progress=False)
    assert made.failures == {("clever", 0): reason}
    assert made.rows[1]["missing"] == [0]
    (tmp_path / f"{sign}-clever-0").unlink()
    assert reproduce(toy, out=tmp_path / "results", progress=False).failures == {}
    assert done(tmp_path) == ["clever 0", "clever 0", "clever 1", "clever 2", "plain 0"]


def test_a_missed_goal_is_listed(toy, tmp_path):
    high = replace(toy.rows[0], goals=(Goal("MAE", "unit", at_most=9.0), Goal("RMSE", "unit", at_most=9.0)))
    made = reproduce(replace(toy, rows=(high,)), out=tmp_path / "results", progress=False)
    assert made.failures == {}
    assert (made.rows[0]["met"], made.rows[0]["all_met"]) == ({"MAE": False, "RMSE": False}, False)


@pytest.mark.parametrize(("statistic", "met"), [("mean", True), ("median", True), ("max", False), ("min", True)])
def test_a_goal_is_held_against_its_statistic(statistic, met, toy, tmp_path):
    """The three runs measure 4, 5 and 6."""
    plain, clever = toy.rows
    goal = Goal("MAE", "unit", at_most=5.0, statistic=statistic)
    done = reproduce(replace(toy, rows=(plain, replace(clever, goals=(goal,)))), out=tmp_path, progress=False)
    assert done.rows[1]["met"] == {"MAE": met}
    assert done.rows[1]["goals"][0].get("statistic", "mean") == statistic


def test_the_rows_of_a_paper_s_experiment_are_collected(toy, tmp_path):
    done = reproduce(replace(toy, name="paper/toy"), out=tmp_path, rows=["plain"], progress=False)
    assert (tmp_path / "paper" / "toy" / "plain.json").exists()
    assert collect(tmp_path) == done.rows


def waiting(tmp_path):
    """A process that does the toy's units, and is at clever 1, which waits."""
    (tmp_path / "wait-clever-1").touch()
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent(f"""
            from toy_recipe import RECIPE
            from carousel.recipes.reproduce import reproduce
            if __name__ == "__main__":
                reproduce(RECIPE, out={str(tmp_path / "results")!r}, processes=1)
        """)
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    running = subprocess.Popen([sys.executable, script], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while "clever 1" not in done(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    return running


def test_workers_end_with_their_parent(toy, tmp_path):
    running = waiting(tmp_path)
    running.kill()
    running.communicate(timeout=30)  # until nobody holds the other end of stderr, the worker included
    assert (tmp_path / "wait-clever-1").exists()


def test_ctrl_c_loses_only_the_unit_under_way(toy, tmp_path):
    running = waiting(tmp_path)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: every process of the group
    _, errors = running.communicate(timeout=30)
    assert running.returncode != 0
    assert errors.count("KeyboardInterrupt") == 1
    units = tmp_path / "results/toy/units.jsonl"
    assert sorted(read_units(units)) == [("clever", 0), ("plain", 0)]
    assert [row["missing"] for row in collect(tmp_path / "results")] == [[1, 2], []]
    (tmp_path / "wait-clever-1").unlink()
    assert reproduce(toy, out=tmp_path / "results", progress=False).failures == {}
    assert done(tmp_path) == ["clever 0", "clever 1", "clever 1", "clever 2", "plain 0"]


def test_bad_input_is_refused(toy, tmp_path):
    with pytest.raises(InputError, match=f"unknown recipe 'sunspot', expected one of: {', '.join(RECIPES)}"):
        reproduce("sunspot", out=tmp_path)
    with pytest.raises(InputError, match="no row 'dull', expected one of: plain, clever"):
        reproduce(toy, out=tmp_path, rows=["dull"])
    with pytest.raises(InputError, match="expected processes of at least 1, got 0"):
        reproduce(toy, out=tmp_path, processes=0)
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/row.json").write_text("[" * 99999)
    with pytest.raises(InputError, match=r"row\.json: damaged"):
        collect(tmp_path)
    (tmp_path / "toy/row.json").write_text("{}")
    with pytest.raises(InputError, match=r"row\.json: not a result row"):
        collect(tmp_path)


def test_a_folder_that_cannot_be_made_is_found_before_the_work(toy, tmp_path):
    (tmp_path / "results").touch()
    with pytest.raises(NotADirectoryError):
        reproduce(toy, out=tmp_path / "results", progress=False)
    assert done(tmp_path) == []


def test_collect_of_nothing_is_nothing(tmp_path):
    assert collect(tmp_path / "nothing") == []


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_consistent(name):
    recipe = load(name)
    assert recipe.name == name
    names = [row.name for row in recipe.rows]
    assert len(set(names)) == len(names)
    for row in recipe.rows:
        assert row.units
        for goal in row.goals:
            assert set(goal.rivals) < set(names)
            assert [goal.at_most is not None, goal.at_least is not None, bool(goal.rivals)].count(True) == 1


def test_a_unit_of_several_trials_is_summed_up_trial_by_trial():
    units = [
        {"measures": {"solved": 0.0}, "trials": [{"met": {}}, {"met": {}}]},
        {"measures": {"solved": 100.0, "sequences": 3.0}, "trials": [{"met": {"": {"sequences": n}}} for n in (1, 5)]},
    ]
    summary = _summary(units)
    assert summary["sequences"] == {"n": 2, "mean": 3.0, "median": 3.0, "min": 1, "max": 5}
    assert summary["solved"]["mean"] == 50.0
    named = _summary([{"measures": {"wrong (ST1)": 2.5}, "trials": [{"met": {"ST1": {"wrong": n}}} for n in (1, 4)]}])
    assert named["wrong (ST1)"]["max"] == 4
