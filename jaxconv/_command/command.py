"""What a command is, and what commands have in common: wrong input, options, output."""

import argparse
import json
from collections.abc import Callable
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
      needs: modules to import that are no part of jaxconv, jax or numpy.
      add_options: gives a parser the command's arguments.
      run: does it, with what was parsed. Returns the exit code: 0, or 1 if something is not as it should be, or 130 if
        it was interrupted. Raises UsageError.
    """

    help: str
    needs: tuple[str, ...]
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def positive(text: str) -> int:
    """An option that counts something."""
    return _at_least(1, text)


def not_negative(text: str) -> int:
    """An option that may be 0."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"must be {'positive' if least else '0 or more'}, got {value}")
    return value


def add_policy(parser: argparse.ArgumentParser) -> None:
    """What `jaxconv.policy` takes, None where it was not said."""
    parser.add_argument("--accuracy", choices=ACCURACIES, help="what errors to allow (default)")
    parser.add_argument(
        "--max-workspace-bytes", type=not_negative, metavar="N", help="beside operands and result (16 MiB on CPUs)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Output for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def print_json(content: Any) -> None:
    """To stdout, and nothing else should be."""
    print(json.dumps(content, indent=1))


def terminal(stderr: bool = False) -> "Console":
    """Where people read: as wide and colourful as the terminal, plain and wide where there is none."""
    from rich.console import Console

    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=WIDTH)
