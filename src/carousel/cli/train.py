"""``carousel train [JOB] FILE``: a command a job, and how the job and the options of a TOML file are found."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from cyclopts import App, ArgumentCollection, Parameter, Token

from carousel import jobs
from carousel.cli.options import Sectioned, show_dashes, whole_numbers
from carousel.cli.tables import print_table
from carousel.errors import InputError
from carousel.jobs import classify, forecast, language, tag, trees
from carousel.jobs import run as runs
from carousel.jobs.settings import Section, TrainSettings, check_names
from carousel.plain import entries
from carousel.printable import printable

RUN = Section("Run", 2)


@dataclass(frozen=True)
class RunOptions:
    """Where the run is kept, and where its options come from."""

    out: Annotated[Path | None, RUN] = None
    """The run folder to create: settings, metrics, checkpoints, result and report.html. [required]"""
    config: Annotated[Path | None, RUN] = None
    """A TOML file of options by name (including job, file and out), or a run's config.toml; the command line takes precedence."""
    print_config: Annotated[bool, RUN] = False
    """Print all options as TOML, for --config, and exit."""


NOWHERE = RunOptions()


def _from_file(_app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give each option that is not on the command line the value that the file of --config has for it."""
    by_name = {argument.keys[-1]: argument for argument in arguments if argument.keys}
    named = by_name["config"].tokens
    if not named:
        return
    path = Path(named[0].value)
    table = _table(path)
    settings = jobs.load(commands[-1]).Settings
    check_names(settings, table, path, besides=("out",))
    values = entries(settings, {name: table[name] for name in table if name not in ("job", "out")}, str(path))
    for name, value in {**values, **entries(RunOptions, {name: table[name] for name in table if name == "out"}, str(path))}.items():
        if not by_name[name].tokens:
            by_name[name].append(Token(keyword=name, implicit_value=value, source=str(path)))


app = Sectioned(
    name="train",
    usage="Usage: carousel train [JOB] FILE --out RUN [OPTIONS]",
    config=(show_dashes, whole_numbers, _from_file),
    sort_key=0,
)
app.help = """Train a network on a file, test it on a held-out part, and write a report.

Without JOB the file type selects it: a table (.csv) is forecast; recordings (a folder or .tar of them), .ts, .tsv, idx
and JSON lines (.jsonl) are classified; JSON lines with a list of labels and CoNLL files are tagged; the nodes of trees in
brackets, and of JSON lines with parents or children, are labeled; any other file is a text, for a language model. Each job has
its own options: `carousel train forecast --help`."""


@app.command(name="forecast")
def _forecast(
    settings: Annotated[forecast.Settings, Parameter(name="*")], *, run: Annotated[RunOptions, Parameter(name="*")] = NOWHERE
) -> None:
    """Forecast a column of a CSV file, one series or many.

    Rows must be in chronological order; an empty cell or NA is a gap. The end of each series is held out for testing: the errors
    there are printed together with those of naive forecasts and of a network on a window of the last values, and a report
    shows them in pictures.
    """
    _train(settings, run)


@app.command(name="classify")
def _classify(
    settings: Annotated[classify.Settings, Parameter(name="*")], *, run: Annotated[RunOptions, Parameter(name="*")] = NOWHERE
) -> None:
    """Classify whole sequences: recordings, vectors over time, texts, images.

    The test part is a fraction of the sequences, the same for each label, or a file of its own. The accuracy there is
    printed together with that of a network without memory, and a report shows it in pictures.
    """
    _train(settings, run)


@app.command(name="tag")
def _tag(
    settings: Annotated[tag.Settings, Parameter(name="*")], *, run: Annotated[RunOptions, Parameter(name="*")] = NOWHERE
) -> None:
    """Tag each step of a sequence with a label: words, numbers or vectors, as JSON lines or CoNLL files.

    The test part is a fraction of the sequences, or a file of its own. The accuracy over all its steps is
    printed together with that of a network without memory, and a report shows it in pictures.
    """
    _train(settings, run)


@app.command(name="trees")
def _trees(
    settings: Annotated[trees.Settings, Parameter(name="*")], *, run: Annotated[RunOptions, Parameter(name="*")] = NOWHERE
) -> None:
    """Label the nodes of trees: a network merges its way from the words to the root.

    The test part is a fraction of the trees, or a file of its own. The accuracy there, at the roots and over all nodes, is printed
    together with that of a bag of words, and a report draws trees with what the network says at each node.
    """
    _train(settings, run)


@app.command(name="language")
def _language(
    settings: Annotated[language.Settings, Parameter(name="*")], *, run: Annotated[RunOptions, Parameter(name="*")] = NOWHERE
) -> None:
    """Train a language model that predicts the next character, or byte, of a text.

    The end of the text is held out for testing. The bits per character there are printed together with those of an n-gram
    model, and a report shows a sample of generated text.
    """
    _train(settings, run)


def complete(words: Sequence[str]) -> list[str]:
    """The words after ``carousel train`` with the job named, where it is to be found by the file.

    Raises:
        InputError: a file that cannot be used.
    """
    given = list(words)
    if not given or given[0] in ("--help", "-h", *jobs.JOBS):
        return given
    config, others = _config(given)
    table = _table(config) if config else {}
    job = str(table.get("job") or _job_of_the_file(others, table))
    jobs.load(job)  # names the nearest right one
    return [job, *given]


def _config(words: list[str]) -> tuple[Path | None, list[str]]:
    """The value of --config, and the other words."""
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == "--config":
            if equals:
                return Path(value), words[:at] + words[at + 1 :]
            if at + 1 < len(words):
                return Path(words[at + 1]), words[:at] + words[at + 2 :]
    return None, words


def _table(path: Path) -> dict[str, Any]:
    """The options in a TOML file; of a run's config.toml, its settings."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, or not TOML
        raise InputError(f"{path}: not a TOML file: {error}") from None
    settings = table.get("settings", table)
    if not isinstance(settings, dict):
        raise InputError(f"{path}: expected options by their names")
    for name, value in settings.items():
        if isinstance(value, dict):
            raise InputError(f"{path}: expected a value for {name!r}, got a table")
    return settings


def _job_of_the_file(words: Sequence[str], table: dict[str, Any]) -> str:
    """The job by the kind of the file: the first word that is one, else that of the table."""
    plain = [word for word in words if not word.startswith("-")]
    files = [word for word in plain if Path(word).exists()] or [str(table[name]) for name in table if name == "file"] or plain
    if not files:
        raise InputError("carousel train: FILE is missing; see carousel train --help")
    if not Path(files[0]).exists() and (near := get_close_matches(files[0], jobs.JOBS, n=1)):
        raise InputError(f"{files[0]}: no such file; did you mean the job {near[0]!r}?")
    return jobs.of_file(Path(files[0]))


def _train(settings: TrainSettings, run: RunOptions) -> None:
    if run.print_config:
        print(_as_toml(settings, run), end="")
        return
    if run.out is None:
        raise InputError(f"carousel train {settings.job}: --out is missing: the run folder to create")
    if run.out.exists():
        raise InputError(f"{run.out} already exists; choose another folder, or resume the run in it")
    for file in settings.files():
        if not file.exists():
            raise InputError(f"{file}: no such file")
    train(settings, run.out, resume=False)


def _as_toml(settings: TrainSettings, run: RunOptions) -> str:
    """All options and their values; one that is not set stands as a comment."""
    asked: dict[str, Any] = {field.name: getattr(settings, field.name) for field in fields(settings)}
    lines = [f'job = "{settings.job}"\n']
    for name, value in (asked | {"out": run.out}).items():
        plain = [str(entry) if isinstance(entry, Path) else entry for entry in (value if isinstance(value, tuple) else [value])]
        lines.append(f"# {name} =\n" if value is None else tomli_w.dumps({name: plain if isinstance(value, tuple) else plain[0]}))
    return "".join(lines)


def train(settings: TrainSettings, run: Path, *, resume: bool) -> None:
    """Train, or resume training, then show the result."""
    try:
        jobs.load(settings.job).train(settings, run, resume=resume)
    except KeyboardInterrupt as stop:
        if not (run / "last").exists():
            raise
        raise KeyboardInterrupt(f"{str(stop) or 'interrupted'}; {_go_on(run)}") from None
    except OSError as error:
        if not (run / "last").exists():
            raise
        raise OSError(
            error.errno, f"{error.strerror}; the last checkpoint is intact: {_go_on(run)}", error.filename or str(run)
        ) from None
    show(run)


def _go_on(run: Path) -> str:
    return f"continue with: carousel resume {shlex.quote(str(run))}"


def show(run: Path) -> None:
    """The table of a finished run, and its report."""
    from carousel.report.html import write_run_report
    from carousel.report.results import errors_table

    opened = runs.Run(run)
    _, result = jobs.of_run(opened).load(opened)
    print_table(*errors_table(result.rows))
    print(f"\nreport: {printable(str(write_run_report(opened)))}")
