"""The command line: parse, call, print. What it does is done by the modules below it.

Whatever the user gave that cannot be used ends in one line on the standard error and exit status
2; a traceback means a bug. Nothing here imports torch, matplotlib or polars before a command needs
them, so that ``carousel --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from io import TextIOWrapper

from cyclopts import CycloptsError
from cyclopts.exceptions import MissingArgumentError

from carousel.cli import train
from carousel.cli.commands import app
from carousel.cli.options import DASH, hide_dashes
from carousel.errors import InputError
from carousel.printable import printable

BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count
READER_GONE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status.

    Args:
        argv:  the words after ``carousel``; None for those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A column or a file may be named in letters that the terminal does not have.
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if argv is None else argv)
    for word in words:
        if any("\udc80" <= letter <= "\udcff" for letter in word):
            return _refuse(f"{word!a}: expected a name in UTF-8; rename the file")
    try:
        if words[:1] == ["train"]:
            words[1:] = train.complete(words[1:])
        status: int | None = app(hide_dashes(words), exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        return _refuse(_usage_line(error, words).replace(DASH, "-"))
    except InputError as error:
        return _refuse(str(error))
    except BrokenPipeError:
        # The reader (`| head`) has seen enough. Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
    except KeyboardInterrupt as stop:
        print(f"carousel: {printable(str(stop)) or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    return status or 0


def _refuse(reason: str) -> int:
    print(f"carousel: {printable(' '.join(reason.split()))}", file=sys.stderr)
    return BAD_INPUT


def _usage_line(error: CycloptsError, words: list[str]) -> str:
    """What was wrong with the words themselves, and where to read more."""
    command = " ".join(["carousel", *(error.command_chain or ())])
    argument = error.argument
    if isinstance(error, MissingArgumentError) and argument is not None and not argument.tokens:
        name = argument.name if argument.index is None else argument.name.lstrip("-").upper()
        if name in words:
            return f"{command}: {name} expects a value; see {command} --help"
        near = get_close_matches(name, [word for word in words if word.startswith("--")], 1, 0.8)
        if near:
            return f"{command}: no option {near[0]}; did you mean {name}?"
        return f"{command}: {name} is missing; see {command} --help"
    return f"{str(error).rstrip()} See {command} --help"
