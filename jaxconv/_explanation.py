"""What is said of the convolutions of a program: a row for each, which print as a table and draw as bars."""

import html
import io
from collections.abc import Iterable, Iterator
from itertools import compress
from typing import Any, NamedTuple

from . import _geometry_json
from ._geometry import Geometry

COLUMNS = ("#", "role", "convolution", "algorithm", "why", "ms", "Gflop", "MB", "workspace", "error", "others, ms")
WIDE = 140  # characters, from which on a table has room for all columns


class Explained(NamedTuple):
    """One convolution of a program.

    Attributes:
      geometry: what it computes.
      role: "forward", "input gradient" or "weight gradient", as far as its layout tells.
      times: how often it runs each time the program does.
      algorithm, why: what was chosen and in words what for.
      predicted: algorithm -> seconds by the cost model, of all that have a prediction.
      measured: algorithm -> seconds as the plan in use has them.
      rejected: algorithm -> why it is not the one.
      others: algorithm -> seconds, measured or predicted, of those that might have been taken, fastest first.
      flops: of one run, two for each multiply-add; None where shapes are symbols.
      bytes: of operands and result, or None.
      workspace: bytes that the algorithm takes beside those, as it estimates them, or None.
      error_factor: the bound on its error, as a multiple of that of a direct sum.
    """

    geometry: Geometry
    role: str
    times: int
    algorithm: str
    why: str
    predicted: dict[str, float]
    measured: dict[str, float]
    rejected: dict[str, str]
    others: dict[str, float]
    flops: int | None
    bytes: int | None
    workspace: int | None
    error_factor: float

    @property
    def seconds(self) -> float | None:
        """Of one run: measured, or predicted, or unknown."""
        return self.seconds_of(self.algorithm)

    @property
    def is_predicted(self) -> bool:
        """Whether that is a prediction."""
        return self.algorithm not in self.measured and self.algorithm in self.predicted

    def seconds_of(self, algorithm: str) -> float | None:
        """What one run by `algorithm` takes: measured, or predicted, or unknown."""
        return self.measured.get(algorithm, self.predicted.get(algorithm))

    def to_json(self) -> dict[str, Any]:
        """Nothing but what JSON has."""
        return {**self._asdict(), "geometry": _geometry_json.to_json(self.geometry), "seconds": self.seconds}


class Explanation(NamedTuple):
    """Every convolution of a program, in order. It prints as a table, also in notebooks; `details` has all reasons.

    Attributes:
      rows: the convolutions.
    """

    rows: tuple[Explained, ...]

    @property
    def seconds(self) -> float | None:
        """Of all convolutions together, as far as they are measured or predicted; None where none of them is."""
        return self._total(row.seconds for row in self.rows)

    @property
    def flops(self) -> int | None:
        """Of all convolutions together, as far as their shapes are numbers; None where those of none are."""
        return self._total(row.flops for row in self.rows)

    def _total(self, each: Iterable[Any]) -> Any:
        """Of all runs, where one of each row has so much, as far as that is known; None where none of it is."""
        known = [row.times * one for row, one in zip(self.rows, each, strict=True) if one is not None]
        return sum(known) if known or not self.rows else None

    def table(self) -> list[tuple[str, ...]]:
        """A line of words for each row, then the totals; `COLUMNS` are the names."""
        lines = [
            (
                f"{number}" + (f" x {row.times}" if row.times > 1 else ""),
                row.role,
                row.geometry.describe(),
                row.algorithm,
                row.why,
                milliseconds(row.seconds) + (" predicted" if row.is_predicted else ""),
                *_sizes(row.flops, row.bytes, row.workspace),
                f"{row.error_factor:g}",
                ", ".join(f"{name} {milliseconds(seconds)}" for name, seconds in row.others.items()),
            )
            for number, row in enumerate(self.rows, 1)
        ]
        runs = sum(row.times for row in self.rows)
        moved = self._total(row.bytes for row in self.rows)
        workspaces = [row.workspace for row in self.rows if row.workspace is not None]
        most = max(workspaces, default=None if self.rows else 0)
        total = (f"{runs}", "", "all", "", "", milliseconds(self.seconds))
        return [*lines, (*total, *_sizes(self.flops, moved, most), "", "")]

    def __repr__(self) -> str:  # what a prompt shows; the fields' own are pages long
        return f"Explanation({len(self.rows)} convolutions, {milliseconds(self.seconds)} ms)"

    def __str__(self) -> str:
        try:
            from rich.console import Console
        except ImportError:
            raise ImportError("a printed table needs rich: pip install 'jaxconv[tools]'") from None
        text = io.StringIO()
        Console(file=text, width=200).print(self)
        return text.getvalue().rstrip("\n")

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """The table, for a console of rich: on a narrow one without the columns that have sentences."""
        from rich.table import Table

        shown = [name not in ("why", "others, ms") or options.max_width >= WIDE for name in COLUMNS]
        table = Table()
        for name in compress(COLUMNS, shown):
            table.add_column(name, overflow="fold", no_wrap=name == "algorithm")
        *lines, total = self.table()
        for line in lines:
            table.add_row(*compress(line, shown))
        table.add_section()
        table.add_row(*compress(total, shown))
        yield table

    def details(self) -> str:
        """Of each convolution, why every other algorithm is not the one."""
        blocks = []
        for number, row in enumerate(self.rows, 1):
            head = f"{number} {row.role} {row.geometry.describe()}: {row.algorithm}, {row.why}"
            blocks.append("\n".join([head, *(f"    {name}: {reason}" for name, reason in row.rejected.items())]))
        return "\n".join(blocks)

    def _repr_html_(self) -> str:
        def row(cells, kind: str) -> str:
            return "<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells) + "</tr>"

        *lines, total = self.table()
        body = "\n".join(row(line, "td") for line in lines)
        return f"<table>\n{row(COLUMNS, 'th')}\n{body}\n{row(total, 'th')}\n</table>"

    def plot(self, axes: Any = None) -> Any:
        """Bars of the time of each convolution, by what was chosen and by lax's own, on matplotlib `axes` (new ones
        if None), which are returned; "?" where it is not known.

        Raises:
          ImportError: without matplotlib.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise ImportError("a plot needs matplotlib: pip install 'jaxconv[tools]'") from None
        if axes is None:
            _, axes = plt.subplots(figsize=(8, 1 + 0.3 * len(self.rows)), layout="constrained")
        names = [f"{i} {row.geometry.describe()}, {row.role}, {row.algorithm}" for i, row in enumerate(self.rows, 1)]
        lax = [row.seconds_of("xla") for row in self.rows]
        chosen = [row.seconds for row in self.rows]
        for shift, label, color, seconds in ((-0.2, "xla", "lightgray", lax), (0.2, "chosen", None, chosen)):
            lengths = [1e3 * row.times * (each or 0.0) for row, each in zip(self.rows, seconds, strict=True)]
            bars = axes.barh([place + shift for place in range(len(lengths))], lengths, 0.4, label=label, color=color)
            axes.bar_label(bars, ["?" if each is None else "" for each in seconds], padding=2)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel("ms")
        axes.legend()
        return axes


def milliseconds(seconds: float | None) -> str:
    """In words; "?" where they are not known."""
    return _in_words(seconds, 1e-3)


def _sizes(flops: int | None, moved: int | None, workspace: int | None) -> tuple[str, str, str]:
    """In Gflop, MB and MiB."""
    return _in_words(flops, 1e9), _in_words(moved, 1e6), _in_words(workspace, 2**20, " MiB")


def _in_words(amount: float | None, unit: float, name: str = "") -> str:
    return "?" if amount is None else f"{amount / unit:.3g}{name}"
