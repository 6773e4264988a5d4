"""The measurements that the cost model is fitted to, training.json, and those that it never is, unfitted.json."""

import json
from collections.abc import Iterable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from jaxconv import _geometry_json
from jaxconv._bench import by_jax
from jaxconv._bench.figures import OTHERS, median, with_xla
from jaxconv._bench.job import Job
from jaxconv._collect import role
from jaxconv._files import write_rows
from jaxconv._geometry import Geometry
from jaxconv._machine import having

TRAINING, UNFITTED = (Path(__file__).parents[1] / name for name in ("training.json", "unfitted.json"))


class Row(NamedTuple):
    """One convolution: the suite and name of the layer, direction, layout, geometry, threads, seconds by algorithm."""

    suite: str
    name: str
    direction: str
    layout: str
    geometry: Geometry
    threads: int
    seconds: dict[str, float]


def condense(paths: Iterable[Path]) -> None:
    """Medians of all rows that have lax's, in the order of the files; the first measurement of a layer counts, and of a
    convolution in plans."""
    rows, conditions = {}, []
    for path in paths:
        content = json.loads(path.read_text())
        of_cpu(path, content)
        if "convolutions" in content:
            conditions.append(content["conditions"])
            for row in of_plan(path, content):
                rows.setdefault(json.dumps(row["geometry"]), row)
            continue
        conditions.append({**content["environment"], **content["settings"]})
        for row in map(with_xla, content["rows"]):
            seconds = {name: time for name in row["backends"] if name not in OTHERS and (time := median(row, name))}
            if "xla" in seconds:
                job = Job.from_json(row).to_json()
                job["threads"] = content["environment"]["cores"]
                rows.setdefault(json.dumps(job), {**job, "seconds": seconds})
    write_rows(TRAINING, {"conditions": conditions}, "rows", rows.values())


def of_cpu(path: Path, content: dict[str, Any]) -> None:
    """Ends the program where the file is not what a CPU took."""
    platform = content.get("environment", content.get("conditions", {})).get("platform", "cpu")
    if platform != "cpu":
        raise SystemExit(f"{path} was measured on {platform}: the model is of CPUs, and chooses for them alone")


def of_plan(path: Path, content: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that a plan's file has, of a training step of the file's name."""
    each = {"suite": f"{path.stem}, training step", "threads": content["conditions"]["threads"]}
    return [{**each, "geometry": row["geometry"], "seconds": row["seconds"]} for row in content["convolutions"]]


def load(path: Path = TRAINING) -> list[Row]:
    """The rows of the file."""
    return [row_of(fields) for fields in json.loads(path.read_text())["rows"]]


def row_of(fields: dict[str, Any]) -> Row:
    """As training.json has it: a job of the benchmark, or a geometry of a plan."""
    if "geometry" in fields:
        geometry = _geometry_json.from_json(fields["geometry"])
        layout = "NHWC" if geometry.lhs_layout.is_canonical else "other"
        layer = fields["suite"], arrays(geometry), role(geometry), layout
    else:
        job = Job.from_json(fields)
        with having([job.dtype]):
            geometry = replace(by_jax.geometry(job), preferred_element_type=fields.get("result"))
        layer = job.suite, job.name, job.direction, job.layout
    return Row(*layer, geometry, fields["threads"], fields["seconds"])


def arrays(geometry: Geometry) -> str:
    """The name of a layer in a plan: how large its input, kernel and output are, which in all its directions are the
    same three."""
    layouts = geometry.lhs_layout, geometry.rhs_layout, geometry.out_layout
    return ", ".join(map(str, sorted(prod(layout.shape) for layout in layouts)))
