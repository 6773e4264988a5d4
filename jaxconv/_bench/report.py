"""A report of results: tables in the terminal, the same in Markdown, charts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .results import flat
from .sheets import Sheet

EXPLANATION = (
    "over X: time of X by time of our best algorithm, above 1 is faster than X, 1.00 over lax where our best is xla, "
    "which is lax's own program; ms: median ± half the distance of the quartiles (once: of a single call); of matmul: "
    "terms a second as a part of what XLA's matrix products reach on the same machine at the same time; "
    "of elementwise: the time that XLA takes to read and write as much as operands and result are, adding one, as a "
    "part of ours; workspace: memory beside operands and result, as the compiler counts it."
)


def show(console: Console, sheets: Sequence[Sheet], explanation: str = EXPLANATION) -> None:
    """Print them."""
    for sheet in sheets:
        console.print(escape(sheet.title), style="bold", highlight=False)
        table = Table()
        for i, column in enumerate(sheet.columns):
            left = i < sheet.words or column == "worst"
            table.add_column(column, justify="left" if left else "right", overflow="fold")
        for cells in sheet.rows:
            table.add_row(*map(escape, cells))
        console.print(table)
        for note in sheet.notes:
            console.print(escape(note), style="bold red" if note.startswith("FAILED") else None, highlight=False)
        console.print()
    console.print(explanation, highlight=False)


def write_markdown(
    path: Path,
    header: dict[str, Any],
    sheets: Sequence[Sheet],
    title: str = "Benchmark",
    explanation: str = EXPLANATION,
    verb: str = "Measured",
) -> None:
    """The same tables, with the conditions they hold under; `verb` says what was done."""
    parts = [f"# {title}", f"{verb} with {_conditions(header)}.", explanation]
    for sheet in sheets:
        parts.append(f"## {sheet.title[0].upper()}{sheet.title[1:]}")
        rules = ["---" if i < sheet.words or column == "worst" else "---:" for i, column in enumerate(sheet.columns)]
        lines = [sheet.columns, rules, *sheet.rows]
        parts.append("\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines))
        parts += sheet.notes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _conditions(header: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in flat(header).items() if value is not None)
