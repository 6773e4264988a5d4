"""Plans as files.

They are JSON, which is read as data and checked field by field:

    {"schema": 1, "conditions": {...}, "accuracy": null, "max_workspace_bytes": null, "convolutions": [
      {"geometry": {...}, "algorithm": "winograd2", "seconds": {"xla": 0.0131, ...}, "errors": {"xla": 0.2, ...}}, ...]}
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from . import _geometry_json
from ._accuracy import ACCURACIES
from ._algorithms import ALGORITHMS
from ._files import write_rows
from ._geometry import Geometry
from ._machine import version

SCHEMA = 1
NEEDED = {"platform", "device", "jaxconv", "jax", "jaxlib"}  # of the conditions
FIELDS = {"schema", "conditions", "accuracy", "max_workspace_bytes", "convolutions"}


class PlanError(ValueError):
    """A file has no plan in it, and why."""


class OtherSchemaError(PlanError):
    """A file has a plan of another version of the format in it, or of jaxconv that this one cannot read."""


class Tuned(NamedTuple):
    """One convolution of a plan.

    Attributes:
      algorithm: the one to take.
      seconds: algorithm -> median seconds of a call, of all that were measured.
      errors: algorithm -> largest error of a sample of results, in units of eps times the same sum of magnitudes.
    """

    algorithm: str
    seconds: dict[str, float]
    errors: dict[str, float]


class Content(NamedTuple):
    """What a plan is made of, with the meaning that `Plan` gives to each."""

    conditions: dict[str, Any]
    convolutions: Mapping[Geometry, Tuned]
    accuracy: str | None
    max_workspace_bytes: int | None


def to_json(content: Content) -> dict[str, Any]:
    """Nothing but what JSON has."""
    entries = [
        {"geometry": _geometry_json.to_json(key), **tuned._asdict()} for key, tuned in content.convolutions.items()
    ]
    return {"schema": SCHEMA, **content._asdict(), "convolutions": entries}


def write(path: str | os.PathLike[str], content: Content) -> None:
    """A convolution a line. Whoever reads the file meanwhile, or stops this, has the old or the new."""
    fields = to_json(content)
    rows = fields.pop("convolutions")
    write_rows(Path(path), fields, "convolutions", rows)


def read(path: str | os.PathLike[str]) -> Content:
    """What `write` wrote. PlanError if that is no plan, `OtherSchemaError` if it is one of another version."""
    content = None
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_no_constant)
        schema = content.get("schema") if isinstance(content, dict) else None
        if type(schema) is int and schema != SCHEMA:
            raise OtherSchemaError(f"{path} is not used: its format is version {schema}, this is {SCHEMA}")
        return from_json(content)
    except OtherSchemaError:
        raise
    except (ValueError, RecursionError) as error:
        if other := _other_version(content):  # it may well have other algorithms
            words = f"{path} is not used: it was made by jaxconv {other:.50}, this is {version('jaxconv')}, which says"
            raise OtherSchemaError(f"{words}: {str(error)[:500]}") from None
        raise PlanError(f"{path} has no plan in it: {str(error)[:500]}") from None


def _other_version(content: Any) -> str:
    """Of jaxconv, by which it says that it was made, or ""."""
    made = content.get("conditions") if isinstance(content, dict) else None
    theirs = made.get("jaxconv") if isinstance(made, dict) else None
    return theirs if isinstance(theirs, str) and theirs != (version("jaxconv") or "") else ""


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of a plan")


def from_json(content: Any) -> Content:
    """From `to_json` that went through JSON. ValueError for anything else."""
    if not isinstance(content, dict) or set(content) != FIELDS or content["schema"] != SCHEMA:
        raise ValueError(f"a plan has the fields {', '.join(sorted(FIELDS))}")
    made, entries, bound = content["conditions"], content["convolutions"], content["max_workspace_bytes"]
    if not isinstance(made, dict) or not all(isinstance(value, (str, int)) for value in made.values()):
        raise ValueError(f"conditions must be names with words or numbers, got {made!r:.200}")
    if lacking := NEEDED - set(made):
        raise ValueError(f"conditions must have {', '.join(sorted(lacking))}, got {made!r:.200}")
    if content["accuracy"] not in [None, *ACCURACIES]:
        raise ValueError(f"accuracy must be one of {', '.join(ACCURACIES)}, got {content['accuracy']!r:.100}")
    if bound is not None and (type(bound) is not int or bound < 0):
        raise ValueError(f"max_workspace_bytes must be an integer of 0 or more, got {bound!r:.100}")
    if not isinstance(entries, list):
        raise ValueError(f"convolutions must be a list, got {entries!r:.100}")
    return Content(made, dict(map(_tuned, entries)), content["accuracy"], bound)


def _tuned(entry: Any) -> tuple[Geometry, Tuned]:
    if not isinstance(entry, dict) or set(entry) != {"geometry", *Tuned._fields}:
        raise ValueError(f"a convolution has the fields geometry, {', '.join(Tuned._fields)}, got {entry!r:.200}")
    if entry["algorithm"] not in list(ALGORITHMS):
        raise ValueError(f"algorithm must be one of {', '.join(ALGORITHMS)}, got {entry['algorithm']!r:.100}")
    for name in ("seconds", "errors"):
        values = entry[name]
        if not isinstance(values, dict) or not all(_is_amount(value) for value in values.values()):
            raise ValueError(f"{name} must be names with numbers of 0 or more, got {values!r:.200}")
        if unknown := set(values) - set(ALGORITHMS):
            raise ValueError(f"{name} has no algorithms of ours: {', '.join(sorted(unknown)):.100}")
    geometry = _geometry_json.from_json(entry["geometry"])
    return geometry, Tuned(entry["algorithm"], entry["seconds"], entry["errors"])


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max  # JSON's integers may be any size
