"""Where a measured figure comes from: the code, the date, the cores."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import carousel


def provenance() -> dict[str, Any]:
    """Which code, when, on how many cores."""
    package = Path(carousel.__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(package), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    # An installed package may lie inside somebody else's repository, as a virtual environment does.
    commit = git("rev-parse", "HEAD") if git("ls-files", "__init__.py") else ""
    if commit and git("status", "--porcelain", "."):
        commit += "-changed"
    return {
        "commit": commit or f"carousel-rnn {carousel.__version__}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }
