"""Tables of the results, and of the model beside and beyond them."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxconv._bench.figures import failures
from jaxconv._bench.results import Row
from jaxconv._bench.sheets import Sheet

from .layouts import Layout
from .model import Cost, cost
from .networks import NETWORKS
from .run import CONTESTANTS, in_order, program

TITLE = "Training steps on slices of TPUs, compiled ahead of time"
EXPLANATION = (
    "Nothing was run: these are programs that XLA made for TPU v5e, its own estimates, and a model. A step is the "
    "forward and the backward pass and an update by gradient descent, activations bfloat16, parameters float32. "
    "layout: images x chips that share one, along its first two axes; there is one image to each such group. lax: the "
    "program for whole images, partitioned by XLA. accelerate: the same within jaxconv.accelerate, under explicit "
    "axes. spatial: the same in jax.shard_map, by jaxconv's convolution with spatial_axis_name. MiB are per chip; "
    "temporaries are what the compiler allots beside arguments and results. Sent: bytes of elements that leave the "
    "chip which sends most; of a collective-permute its operand, where the chip is the source of a pair, of an "
    "all-reduce of B bytes over n chips 2 B (n - 1) / n, as by a ring, of an all-gather or all-to-all with results of "
    "B bytes B (n - 1) / n. Each instruction counts once."
)
OURS = ("accelerate", "spatial")  # which the model is of
NAMES = ("network", "slice", "layout", "contestant")  # of a program
# Slices that no compiler was asked for, on paper: a pod of v5e has 256 chips, so 1024 are four of them.
PAPER = (
    Layout(1, (16, 16)),
    Layout(64, (2, 2)),
    Layout(4, (16, 16)),
    Layout(16, (8, 8)),
    Layout(64, (4, 4)),
    Layout(256, (2, 2)),
)


def sheets(rows: Sequence[Row]) -> list[Sheet]:
    """What XLA makes of the programs, what they send, the model against that, and what it says of more chips."""
    rows = in_order(rows)
    return [_programs(rows), _sent(rows), _checked(rows), _on_paper()]


def failed(rows: Sequence[Row]) -> list[str]:
    """What does not compile, and why."""
    return [
        f"{row['name']}, {program(row).layout} by {name}: {why}" for row in rows for name, why in failures(row).items()
    ]


def compiled(row: Row) -> dict[str, dict[str, Any]]:
    """Contestant -> what the compiler says of its program, of those that compiled."""
    return {name: entry for name, entry in row["backends"].items() if "memory" in entry}


def doubt(row: Row, name: str) -> str:
    """Why XLA's estimate of the time is not to be used, or ""."""
    entry = row["backends"][name]
    if entry["loops"]:
        return "a loop, whose body is counted once"
    if entry["seconds"] <= 0:
        return "an operation without a price"
    if entry["flops"] < predicted(row, "spatial").flops / 2:
        return "fewer operations than it must have"
    return ""


def predicted(row: Row, name: str) -> Cost:
    """By the model, of one of ours."""
    return cost(NETWORKS[row["name"]], program(row).layout, name)


def sent(entry: dict[str, Any], kind: str) -> int:
    """Bytes of that kind."""
    return entry["collectives"].get(kind, {"sent": 0})["sent"]


def differences(rows: Sequence[Row], name: str) -> dict[str, float]:
    """Kind of collective -> the largest relative difference of what one of ours sends from what the model says."""
    found = {"collective-permute": 0.0, "all-reduce": 0.0}
    for row in rows:
        if name in compiled(row):
            expected = predicted(row, name)
            for kind, value in (("collective-permute", expected.halos), ("all-reduce", expected.gradients)):
                found[kind] = max(found[kind], abs(sent(row["backends"][name], kind) - value) / value)
    return found


def _programs(rows: Sequence[Row]) -> Sheet:
    def cells(row: Row, name: str, entry: dict[str, Any]) -> list[str]:
        memory = entry["memory"]
        return [
            *(_mib(memory[part]) for part in ("arguments", "results", "temporaries")),
            _mib(sum(memory.values())),
            "-" if doubt(row, name) else f"{entry['seconds'] * 1e3:.1f}",
            f"{entry['flops'] / 1e12:.2f}",
            f"{entry['bytes'] / 1e9:.1f}",
            f"{entry['compiling']:.0f}",
        ]

    notes = [
        f"Without an estimate: {row['name']}, {program(row).layout} by {name}: {why}."
        for row in rows
        for name in compiled(row)
        if (why := doubt(row, name))
    ]
    notes += [f"FAILED: {line}" for line in failed(rows)]
    columns = [*NAMES, "arguments MiB", "results MiB", "temporaries MiB", "all MiB"]
    columns += ["estimate ms", "Tflop", "GB", "compiling s"]
    return Sheet("programs", columns, _each(rows, cells), 4, notes)


def _sent(rows: Sequence[Row]) -> Sheet:
    kinds = sorted({kind for row in rows for entry in compiled(row).values() for kind in entry["collectives"]})

    def cells(row: Row, name: str, entry: dict[str, Any]) -> list[str]:
        found = entry["collectives"]
        counts = (
            f"{found[kind]['instructions']}: {_mb(found[kind]['sent'])}" if kind in found else "-" for kind in kinds
        )
        return [*counts, _mb(sum(one["sent"] for one in found.values()))]

    notes = []
    for name in OURS:
        pairs = [(row["backends"]["lax"], row["backends"][name]) for row in rows if {"lax", name} <= set(compiled(row))]
        if pairs:
            times = sorted(sent(lax, "collective-permute") / sent(ours, "collective-permute") for lax, ours in pairs)
            notes.append(f"Permuted bytes of lax: {times[0]:.1f} to {times[-1]:.1f} times those of {name}.")
    columns = [*NAMES, *kinds, "sent MB"]
    return Sheet("collectives: instructions, and MB sent per chip", columns, _each(rows, cells), 4, notes)


def _checked(rows: Sequence[Row]) -> Sheet:
    def cells(row: Row, name: str, entry: dict[str, Any]) -> list[str]:
        expected = predicted(row, name)
        pairs = (("collective-permute", expected.halos), ("all-reduce", expected.gradients))
        return [_mb(value) for kind, model in pairs for value in (model, sent(entry, kind))]

    notes = []
    for name in OURS:
        if any(name in compiled(row) for row in rows):
            apart = differences(rows, name)
            notes.append(
                f"Largest difference of {name} from the model: collective-permutes {apart['collective-permute']:.4%}, "
                f"all-reduces {apart['all-reduce']:.4%}."
            )
    columns = [*NAMES, "halos MB", "permuted MB", "gradients MB", "reduced MB"]
    return Sheet("the model against the programs: MB sent per chip", columns, _each(rows, cells, OURS), 4, notes)


def _on_paper() -> Sheet:
    cells = []
    for name, network in NETWORKS.items():
        for layout in PAPER:
            for contestant in OURS:
                found = cost(network, layout, contestant)
                cells.append(
                    [
                        name,
                        str(layout.chips),
                        str(layout),
                        contestant,
                        *map(_mb, (found.halos, found.gradients)),
                        f"{found.flops / 1e12:.2f}",
                        f"{found.ratio:.3f}",
                    ]
                )
    notes = [
        "On paper: by the model alone, nothing compiled. The last column is seconds of sending by seconds of "
        "computing, at the published 200 GB/s out of a chip, over all of its links, and 197 Tflop/s "
        "(https://cloud.google.com/tpu/docs/v5e); real programs reach neither, and may do both at once. A pod has 256 "
        "chips: between the four of 1024 the sums of gradients cross a slower network, which is not in these figures."
    ]
    columns = ["network", "chips", "layout", "contestant", "halos MB", "gradients MB", "Tflop", "sending by computing"]
    return Sheet("on paper, per chip", columns, cells, 4, notes)


def _each(
    rows: Sequence[Row], cells: Callable[[Row, str, dict[str, Any]], list[str]], names: Sequence[str] = CONTESTANTS
) -> list[list[str]]:
    """A line for each program of these contestants that compiled: which one it is, and these cells."""
    lines = []
    for row in rows:
        found, entries = program(row), compiled(row)
        begin = [found.network, found.slice, str(found.layout)]
        lines += [[*begin, name, *cells(row, name, entries[name])] for name in names if name in entries]
    return lines


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f}"


def _mb(count: int) -> str:
    return f"{count / 1e6:.2f}"
