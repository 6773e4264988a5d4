"""What a command is, and what commands have in common: wrong input, options, output."""

import argparse
import importlib.util
import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .._accuracy import ACCURACIES

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 180  # characters of a line where there is no terminal that has a width


class UsageError(Exception):
    """The input is wrong, and how: for one line on stderr and the exit code 2."""


class Command(NamedTuple):
    """A command.

    Attributes:
      help: a line on what it is for.
      needs: modules to import that are no part of jaxconv, jax or numpy, whatever the options; see `require`.
      add_options: gives a parser the command's arguments.
      run: does it, with what was parsed. Returns the exit code: 0, or 1 if something is not as it should be, or 130 if
        it was interrupted. Raises UsageError.
      device: whether it is nothing without a device that this process finds.
    """

    help: str
    needs: tuple[str, ...]
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    device: bool = True


def positive(text: str) -> int:
    """An option that counts something."""
    return _at_least(1, text)


def not_negative(text: str) -> int:
    """An option that may be 0."""
    return _at_least(0, text)


def amount(text: str) -> float:
    """An option that measures something: a time, a factor."""
    return _read(text, float, 0.0, "a finite number of 0 or more")


def _at_least(least: int, text: str) -> int:
    return _read(text, int, least, "an integer of 0 or more" if least == 0 else "a positive integer")


def _read(text: str, kind: type, least: float, words: str) -> Any:
    """In words, or else argparse would name our functions."""
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value < math.inf:  # which nan is not, either
        raise argparse.ArgumentTypeError(f"must be {words}, got {text!r}")
    return value


def add_policy(parser: argparse.ArgumentParser) -> None:
    """What `jaxconv.policy` takes, None where it was not said."""
    parser.add_argument("--accuracy", choices=ACCURACIES, help="what errors to allow (default)")
    parser.add_argument(
        "--max-workspace-bytes",
        type=not_negative,
        metavar="N",
        help="beside operands and result (16 MiB on CPUs, 1 GiB elsewhere)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Output for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def require(**modules: bool) -> None:
    """UsageError if one that is needed, as not with all options, is not installed: before the command does anything."""
    if missing := [name for name, needed in modules.items() if needed and importlib.util.find_spec(name) is None]:
        raise UsageError(f"this needs {', '.join(missing)}: pip install 'jaxconv[cli]'")


def check_file(option: str, path: Path, in_place: bool = False) -> None:
    """UsageError if no file can be written there, or put there whole: before minutes of measuring, not after.

    `in_place`: what is there is overwritten rather than replaced, so that it may be a device.
    """
    if os.path.isdir(path):
        raise UsageError(f"{option}: {path} is a folder")
    if not (in_place and os.path.exists(path)):
        check_folder(option, Path(os.path.realpath(path)).parent)
    elif not os.access(path, os.W_OK):
        raise UsageError(f"{option}: {path} cannot be written to")


def check_folder(option: str, path: Path) -> None:
    """UsageError if there can be no files in it, or in the one above that is there already. Nothing stays behind."""
    there = next(each for each in (path, *path.parents) if os.path.exists(each))
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UsageError(f"{option}: nothing can be written in {there}: {error.strerror}") from None


def quantity(number: int, noun: str) -> str:
    """As in "1 job" and "2 jobs"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_json(content: Any) -> None:
    """To stdout, and nothing else should be."""
    print(json.dumps(content, indent=1))


def terminal(stderr: bool = False) -> "Console":
    """Where people read: as wide and colourful as the terminal, plain and wide where there is none."""
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=WIDTH)
