"""The three parts of the demo, one after the other."""

from pathlib import Path

import jax
from rich.console import Console

from . import digits, photograph, race

PARTS = {
    "a photograph, by every algorithm": photograph,
    "a race, each contestant in a process of its own": race,
    "handwritten digits, learnt twice": digits,
}


def show(console: Console, out: Path) -> bool:
    """Print tables, write the picture under `out`. True if every check held."""
    device = jax.devices()[0]
    console.print(f"jaxconv on jax {jax.__version__}, {device.platform} ({device.device_kind})\n")
    held = []
    for number, (name, part) in enumerate(PARTS.items(), 1):
        console.print(f"{number} of {len(PARTS)}: {name}")
        held.append(part.show(console, out))
    console.print("[green]All checks hold.[/]" if all(held) else "[bold red]A check failed: see above.[/]")
    return all(held)
