"""The commands and programs in the README and in docs/ run as they stand.

Blocks fenced as ``console`` (lines that start with "$ ") and ``python`` run, in the order of the
page, in one folder that looks like a clone; ``sh`` blocks are set-up and do not.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def programs(page: Path) -> list[list[str]]:
    """What a page asks its reader to run: the argument lists, in order."""
    commands = []
    for kind, text in BLOCK.findall(page.read_text()):
        if kind == "python":
            commands.append([sys.executable, "-c", text])
        else:
            joined = text.replace("\\\n", " ")
            commands += [["bash", "-euc", line.removeprefix("$ ")] for line in joined.splitlines() if line.startswith("$ ")]
    return commands


@pytest.mark.parametrize("page", [page for page in PAGES if programs(page)], ids=lambda page: page.name)
def test_page_runs(page: Path, tmp_path: Path) -> None:
    for name in ("src", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    for command in programs(page):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{page.name}: {command[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_every_page_is_in_the_contents() -> None:
    contents = (ROOT / "docs" / "index.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem == "index" or re.search(rf"^{page.stem}$", contents, re.MULTILINE), (
            f"docs/{page.name} is not in docs/index.md"
        )
