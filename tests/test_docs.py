"""The commands and programs in the README and in docs/ run as they stand.

Blocks fenced as ``console`` (lines that start with "$ ") and ``python`` run, those of a section (##) in
order and in one folder that looks like a clone; ``sh`` blocks are set-up and do not. A section that
names $CAROUSEL_DATA needs the public data sets in the folder of that name; those that read the large
ones are for make test-long.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LARGE = ("mnist", "imdb", "tinyshakespeare")
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections() -> list[tuple[str, str]]:
    """(name, text) of the parts of each page that ask their reader to run something; a part begins with "## "."""
    found = []
    for page in PAGES:
        for text in re.split(r"^(?=## )", page.read_text(), flags=re.MULTILINE):
            if BLOCK.search(text):
                found.append((f"{page.name}: {text.partition(chr(10))[0].lstrip('# ')}", text))
    return found


def programs(text: str) -> list[list[str]]:
    """What a part of a page asks its reader to run: the argument lists, in order."""
    commands = []
    for kind, block in BLOCK.findall(text):
        if kind == "python":
            commands.append([sys.executable, "-c", block])
        else:
            joined = block.replace("\\\n", " ")
            commands += [["bash", "-euc", line.removeprefix("$ ")] for line in joined.splitlines() if line.startswith("$ ")]
    return commands


def marked(name: str, text: str) -> object:
    large = any(f"$CAROUSEL_DATA/{folder}" in text for folder in LARGE)
    return pytest.param(name, text, id=name, marks=[pytest.mark.long] if large else [])


@pytest.mark.parametrize(("name", "text"), [marked(*part) for part in sections()])
def test_section_runs(name: str, text: str, tmp_path: Path) -> None:
    if "CAROUSEL_DATA" in text and not os.environ.get("CAROUSEL_DATA"):
        pytest.skip("CAROUSEL_DATA does not name a folder of public data sets")
    for part in ("src", "docs"):
        (tmp_path / part).symlink_to(ROOT / part)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    for command in programs(text):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{name}: {command[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_the_plan_on_the_engine_page_is_the_one_that_is_printed(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "engine.md").read_text()
    program, plan = re.findall(r"^```(?:python|text)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[:2]
    (tmp_path / "leaky.py").write_text(program)
    done = subprocess.run([sys.executable, tmp_path / "leaky.py"], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.rstrip() == plan.rstrip()


def test_every_page_is_in_the_contents() -> None:
    contents = (ROOT / "docs" / "index.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem == "index" or re.search(rf"^{page.stem}$", contents, re.MULTILINE), (
            f"docs/{page.name} is not in docs/index.md"
        )
