"""`python -m jaxconv`, or `jaxconv`: commands for a terminal."""

import argparse
import os
import sys
import warnings
from io import TextIOWrapper
from typing import Any, NoReturn

from ._bench.device import lack
from ._command import bench, check, demo, env, explain, tune
from ._command.command import Command, UsageError, require
from ._machine import version

COMMANDS: dict[str, Command] = {
    "demo": demo.COMMAND,
    "bench": bench.COMMAND,
    "explain": explain.COMMAND,
    "tune": tune.COMMAND,
    "check": check.COMMAND,
    "env": env.COMMAND,
}


class Parser(argparse.ArgumentParser):
    """One that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; {self.prog} --help says what there is\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit code; wrong input exits with 2 and a line on stderr."""
    if isinstance(sys.stdout, TextIOWrapper):  # it fails at what its encoding lacks, as stderr does not
        sys.stdout.reconfigure(errors="replace")
    parser = Parser(prog="jaxconv", description="Convolution algorithms for JAX.")
    parser.add_argument("--version", action="version", version=f"jaxconv {version('jaxconv') or '(not installed)'}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.add_options(commands.add_parser(name, help=command.help, description=command.help))
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2

    command, name = COMMANDS[options.command], f"jaxconv {options.command}"

    def shown(message: Any, *where: Any) -> None:
        print(f"{name}: {message}", file=sys.stderr)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = shown
            require(**dict.fromkeys(command.needs, True))
            if command.device and (reason := lack()):
                raise UsageError(f"JAX finds no device: {reason}")
            code = command.run(options)
        sys.stdout.flush()
        return code
    except UsageError as error:
        parser.exit(2, f"{name}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"{name}: interrupted\n")
    except BrokenPipeError:  # whoever read has had enough; Python would complain again when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
