"""Tables of measured figures, from the JSON files in benchmarks/."""

import json
from pathlib import Path
from typing import Any

from jaxconv._bench.figures import compare, with_xla

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def _read(name: str) -> dict[str, Any]:
    return json.loads((BENCHMARKS / name).read_text(encoding="utf-8"))


def _table(names: list[str], rows: list[list[str]]) -> str:
    """The first column is words, the others are numbers."""
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _conditions(environment: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in environment.items() if value)


def accuracy() -> str:
    """The largest errors of all algorithms in units of a direct sum's bound, by layer, in float32."""
    content = _read("accuracy.json")
    all_rows = [row for row in content["rows"] if row["dtype"] == "float32"]
    rows = [row for row in all_rows if row["promised"]]
    measured = {row["algorithm"] for row in rows}
    stated = {name: promise for name, promise in content["stated"].items() if name in measured}
    parts = []

    def by_layer(rows: list[dict[str, Any]], kind: str) -> list[list[str]]:
        errors = {(row["layer"], row["algorithm"]): f"{row[kind]:.2g}" for row in rows}
        layers = dict.fromkeys(row["layer"] for row in rows)
        return [[layer, *(errors.get((layer, name), "") for name in stated)] for layer in layers]

    for kind in ("componentwise", "normwise"):
        promised = [
            f"{bound['factor']:g}" if bound["normwise"] == (kind == "normwise") else "" for bound in stated.values()
        ]
        parts.append(
            f"### {kind.capitalize()}\n\n{_table(['layer', *stated], [['stated', *promised], *by_layer(rows, kind)])}"
        )
    table = by_layer([row for row in all_rows if not row["promised"]], "componentwise")
    parts.append(f"### Componentwise, of which nothing is promised\n\n{_table(['layer', *stated], table)}")
    if others := ", ".join(f"`{name}`" for name in content["stated"] if name not in measured):
        parts.append(f"None of these layers is for {others}, which the tests hold to their bounds.")
    parts.append(f"Measured with {_conditions(content['environment'])}; float64 is in the file as well.")
    return "\n\n".join(parts)


def models() -> str:
    """Over how many steps of training the time that compiling takes longer comes back."""
    content = _read("models.json")
    table = []
    for row in content["rows"]:
        lax, ours = row["backends"]["lax"], row["backends"]["jaxconv"]
        more, less = ours["compile"] - lax["compile"], lax["median"] - ours["median"]
        steps = f"{more / less:.0f}" if less > 0 else "never"
        seconds = [f"{lax['compile']:.1f}", f"{ours['compile']:.1f}"]
        table.append([row["name"], *seconds, f"{1e3 * lax['median']:.0f}", f"{1e3 * ours['median']:.0f}", steps])
    names = ["model", "lax compile s", "jaxconv compile s", "lax step ms", "jaxconv step ms", "even after steps"]
    return f"{_table(names, table)}\n\nMeasured with {_conditions(content['environment'])}."


def no_faster(file: str) -> str:
    """Layers and directions where lax's own is the fastest of the algorithms, and in how many more it nearly is."""
    content = _read(file)
    lines = compare(map(with_xla, content["rows"]), ["lax"])
    lost = [line for line in lines if line.best == "xla"]
    table = [[line.row["name"], line.row["direction"]] for line in lost]
    close = sum(1 for line in lines if line.best != "xla" and line.ratios["lax"] < 1.25)
    words = f"Of {len(lines)} cases lax is the fastest in {len(lost) or 'none'}"
    words += f", and within a quarter of the fastest in {close}{' more' if lost else ''}."
    listed = "\n\nIt is the fastest in\n\n" + "\n".join(f"- {name}, {direction}" for name, direction in table)
    return f"{words}{listed if table else ''}\n\nMeasured with {_conditions(content['environment'])}."
