"""`python -m jaxconv`: commands for a terminal."""

import argparse
import importlib.util
import sys
from pathlib import Path

from ._bench import command as bench_command

NEEDED = {"demo": ("matplotlib", "rich", "sklearn"), "bench": ("matplotlib", "rich")}


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="jaxconv", description="Convolution algorithms for JAX.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="a photograph, a race and a small network: see that it works")
    demo.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for the picture (%(default)s)")
    bench = commands.add_parser("bench", help="every algorithm, lax and PyTorch on the layers of real networks")
    bench_command.add_options(bench)
    options = parser.parse_args(arguments)

    missing = [name for name in NEEDED[options.command] if importlib.util.find_spec(name) is None]
    if missing:
        parser.exit(2, f"jaxconv {options.command} needs {', '.join(missing)}: pip install 'jaxconv[demo]'\n")
    if options.command == "bench":
        return bench_command.run(options, bench)
    from ._demo.show import run

    return run(options.out)


if __name__ == "__main__":
    sys.exit(main())
