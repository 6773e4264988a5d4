"""A photograph through a bank of filters, with every algorithm, judged by lax and by the oracle."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.image
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .._accuracy import ERROR_FACTOR, NORMWISE, error_bound, largest
from .._algorithms import ALGORITHMS
from .._conv import conv_general_dilated
from .._measure import measure
from .._oracle import oracle
from .._parameters import geometry_of

TAPS = 9
SECONDS = 0.1  # of runs of each algorithm, of which there are three at least
ARGUMENTS = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}


def filters() -> dict[str, NDArray]:
    """Named kernels of TAPS x TAPS, applied without flipping."""
    x = np.arange(TAPS) - TAPS // 2
    bell = np.exp(-(x**2) / (2 * 1.5**2))
    gaussian = np.outer(bell, bell) / bell.sum() ** 2
    identity = np.zeros((TAPS, TAPS))
    identity[TAPS // 2, TAPS // 2] = 1
    sobel = np.zeros((TAPS, TAPS))
    middle = slice(TAPS // 2 - 1, TAPS // 2 + 2)
    sobel[middle, middle] = np.outer([1, 2, 1], [-1, 0, 1]) / 4
    along = (x[:, None] + x[None, :]) / np.sqrt(2)
    gabor = np.exp(-(x[:, None] ** 2 + x[None, :] ** 2) / (2 * 2.5**2)) * np.cos(2 * np.pi * along / 5)
    return {
        "Sobel x": sobel,
        "Sobel y": sobel.T,
        "Gaussian": gaussian,
        "sharpen": 3 * identity - 2 * gaussian,
        "Gabor 45°": (gabor - gabor.mean()) / 4,
    }


def photo() -> NDArray:
    """Grace Hopper, (300, 256, 3), 0 to 1: the photograph among matplotlib's sample data, at half its resolution."""
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    whole = matplotlib.image.imread(path) / 255
    return whole.reshape(300, 2, 256, 2, 3).mean((1, 3))


class Truth(NamedTuple):
    """What results of one type are judged by."""

    exact: NDArray
    lax: jax.Array
    magnitudes: NDArray  # conv(|lhs|, |rhs|)
    largest: float  # what stands in its place where an algorithm promises a bound by the norm


def truth(lhs: jax.Array, rhs: jax.Array) -> Truth:
    """The same for every algorithm, so that it is computed once for each type."""
    left, right = np.abs(lhs), np.abs(rhs)
    by_norm = oracle(largest(left, (1, 2)), largest(right, (0, 1)), **ARGUMENTS)
    return Truth(
        exact=oracle(lhs, rhs, **ARGUMENTS),
        lax=jax.lax.conv_general_dilated(lhs, rhs, **ARGUMENTS),
        magnitudes=oracle(left, right, **ARGUMENTS),
        largest=by_norm.max(),
    )


def show(console: Console, out: Path) -> bool:
    """One table, one picture. True if every algorithm agrees with the oracle within its bound, in both precisions."""
    picture, bank = photo(), filters()
    table = Table(title=f"A photograph, {picture.shape}, through {len(bank)} filters of {TAPS} x {TAPS}")
    words = ("algorithm", "type", "agrees")
    for column in (*words, "off lax", "off exact", "of bound", "compile", "run", "memory"):
        table.add_column(column, justify="left" if column in words else "right", no_wrap=True)
    held, filtered = True, None
    shapes = (3, *picture.shape[:2], 1), (TAPS, TAPS, 1, len(bank))
    geometry = geometry_of(*(jax.ShapeDtypeStruct(shape, "float32") for shape in shapes), **ARGUMENTS)
    takers = {
        dtype: [name for name, one in ALGORITHMS.items() if not one.unsupported(replace(geometry, dtype=dtype))]
        for dtype in ("float32", "float64")
    }
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("photograph", total=sum(map(len, takers.values())))
        for dtype in takers:
            with jax.enable_x64(dtype == "float64"):
                # The three colours are three images of one channel. What is judged is the convolution alone: picture
                # and filters are rounded to the type before the exact result is made from them.
                lhs = jnp.asarray(picture.transpose(2, 0, 1)[..., None], dtype)
                rhs = jnp.asarray(np.stack(list(bank.values()), axis=-1)[:, :, None, :], dtype)
                right = truth(lhs, rhs)
                for algorithm in takers[dtype]:
                    progress.update(task, description=f"photograph, {algorithm}, {dtype}")
                    filtered, agrees = _judged(algorithm, lhs, rhs, right, table)
                    held &= agrees
                    progress.advance(task)
    console.print(table)
    console.print("of bound: the largest share of the allowed error, c * eps * conv(|lhs|, |rhs|), that a pixel takes")
    console.print("memory: beside operands and result")
    console.print(f"picture: {_draw(picture, np.asarray(filtered), bank, out)}\n")
    return held


def _judged(algorithm: str, lhs: jax.Array, rhs: jax.Array, right: Truth, table: Table) -> tuple[jax.Array, bool]:
    """The photograph filtered by an algorithm, and whether it is within the algorithm's bound. One more row."""
    filtered, cost = measure(
        lambda lhs, rhs: conv_general_dilated(lhs, rhs, **ARGUMENTS, algorithm=algorithm), lhs, rhs, seconds=SECONDS
    )
    dtype, error = lhs.dtype, abs(np.asarray(filtered) - right.exact)
    allowed = error_bound(dtype, TAPS**2, ERROR_FACTOR[algorithm]) * (
        right.largest if algorithm in NORMWISE else right.magnitudes
    )
    agrees = bool((error <= allowed).all()) and filtered.dtype == dtype
    table.add_row(
        algorithm,
        str(dtype),
        "[green]yes[/]" if agrees else "[bold red]NO[/]",
        f"{abs(filtered - right.lax).max():.0e}",
        f"{error.max():.0e}",
        f"{np.max(error / np.maximum(allowed, np.finfo(dtype).tiny)):.0%}",
        f"{cost.compile * 1e3:.0f} ms",
        f"{cost.run * 1e3:.0f} ms",
        f"{cost.workspace / 2**20:.2f} MiB",
    )
    return filtered, agrees


def _draw(picture: NDArray, filtered: NDArray, bank: dict[str, NDArray], out: Path) -> Path:
    """The photograph and what each filter makes of it, side by side."""
    figure = Figure(figsize=(3 * len(bank) + 3, 4), layout="constrained")
    axes = figure.subplots(1, len(bank) + 1)
    panels = {"photograph": picture}
    for i, (name, kernel) in enumerate(bank.items()):
        planes = filtered[..., i].transpose(1, 2, 0)
        grey = 0.5 if abs(kernel.sum()) < 1e-6 else 0  # edge filters give both signs
        panels[name] = np.clip(planes + grey, 0, 1)
    for axis, (name, panel) in zip(axes, panels.items(), strict=True):
        axis.imshow(panel)
        axis.set_title(name)
        axis.axis("off")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "filters.png"
    figure.savefig(path, dpi=80)
    return path
