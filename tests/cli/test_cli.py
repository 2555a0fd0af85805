"""The command line as a user meets it: through its entry points, with right and wrong words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import carousel
from carousel.cli import main


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "carousel", *words], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command was refused with."""
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("carousel: ")
    assert printed.err.count("\n") == 1
    return printed.err


def test_module_entry_point_prints_the_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{carousel.__version__}\n", "")


def test_console_script_prints_the_version() -> None:
    script = Path(sys.executable).with_name("carousel")
    if not script.exists():
        pytest.skip("the package is on the path but not installed, so there is no console script")
    assert subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from carousel.cli import main; status = main(['--help']);"
        "print([name for name in ('torch', 'numpy', 'matplotlib', 'polars') if name in sys.modules], status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_without_words_it_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Usage: carousel COMMAND" in capsys.readouterr().out


def test_help_fits_a_narrow_terminal() -> None:
    done = run("--help", COLUMNS="60")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 60


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lst"], 'Did you mean "list"?'),
        (["list", "cels"], 'Did you mean "cells"?'),
    ],
)
def test_a_typo_gets_the_nearest_right_name(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told in refused(words, capsys)


def test_the_refusal_is_one_line_through_a_narrow_pipe() -> None:
    done = run("list", "cels", COLUMNS="30")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_list_cells_names_the_lstm(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "cells"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("LSTM ") for line in lines)
    assert not any(line.startswith("LSTMState") for line in lines)


def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path) -> None:
    row = {"recipe": "demo", "row": "a", "runs": [], "summary": {}, "goals": [], "claims": [], "met": {}}
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "a.json").write_text(json.dumps(row))
    command = [sys.executable, "-m", "carousel", "results", "--json", "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_a_file_name_that_is_not_utf8_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(["report", "b\udcff"], capsys) == "carousel: 'b\\udcff': expected a name in UTF-8; rename the file\n"
