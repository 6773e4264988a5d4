"""Which algorithm to take for which convolution, as it was measured: in memory, and as a file.

A plan holds for the machine it was made on. The file is JSON, read as data and checked field by field:

    {"schema": 1, "conditions": {...}, "accuracy": "default", "max_workspace_bytes": 16777216, "convolutions": [
      {"geometry": {...}, "algorithm": "winograd2", "seconds": {"xla": 0.0131, ...}, "errors": {"xla": 0.2, ...}}, ...]}
"""

import json
import os
import sys
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from . import _geometry_json
from ._accuracy import ACCURACIES
from ._algorithms import ALGORITHMS
from ._files import write_rows
from ._geometry import Geometry
from ._machine import conditions
from ._settings import changed, current, using

SCHEMA = 1
FIELDS = {"schema", "conditions", "accuracy", "max_workspace_bytes", "convolutions"}


class PlanError(ValueError):
    """A file has no plan in it, and why."""


class OtherSchemaError(PlanError):
    """A file has a plan of another version of the format in it."""


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


@dataclass(frozen=True, eq=False)
class Plan:
    """Measured choices, from `autotune` or `load`. As a context manager it makes convolutions in the block use them.

    Entering and leaving makes jitted functions trace anew, so that no choice outlives its plan. Inside one plan a
    second one adds its choices and goes first. Each thread has its own. A plan from another device, another version of
    JAX or another number of threads is refused with a warning, and changes nothing.

    Attributes:
      conditions: device, versions and threads it was made with.
      convolutions: geometry -> what was measured and chosen.
      accuracy, max_workspace_bytes: as `policy` has them, current inside the block; None keeps what is current.

    >>> import jax, jax.numpy as jnp, jaxconv
    >>> def f(image, kernel):
    ...     return jax.lax.conv(image, kernel, (1, 1), "SAME")
    >>> image, kernel = jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
    >>> plan = jaxconv.autotune(f, image, kernel, seconds=5, progress=False)
    >>> with plan:
    ...     out = jax.jit(jaxconv.accelerate(f))(image, kernel)
    >>> len(plan.convolutions), out.shape
    (1, (1, 4, 8, 8))
    """

    conditions: dict[str, Any]
    convolutions: Mapping[Geometry, Tuned]
    accuracy: str | None = None
    max_workspace_bytes: int | None = None
    _entered: threading.local = field(default_factory=threading.local, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "convolutions", MappingProxyType(dict(self.convolutions)))

    @cached_property
    def _content(self) -> str:
        return json.dumps(self.to_json(), sort_keys=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    def __repr__(self) -> str:
        device = self.conditions.get("device")
        return f"Plan({len(self.convolutions)} convolutions on {device}, accuracy {self.accuracy!r})"

    def __reduce__(self) -> Any:  # neither what is entered nor a read-only mapping can be copied
        return Plan, (self.conditions, dict(self.convolutions), self.accuracy, self.max_workspace_bytes)

    def algorithm(self, geometry: Geometry) -> str | None:
        """The choice for it, if there is one."""
        tuned = self.convolutions.get(geometry)
        return tuned.algorithm if tuned else None

    def __or__(self, other: "Plan") -> "Plan":
        """Both plans' convolutions, the right one's choice where they have the same. ValueError unless made alike."""
        if not isinstance(other, Plan):
            return NotImplemented
        mine, theirs = (
            {**plan.conditions, "accuracy": plan.accuracy, "max_workspace_bytes": plan.max_workspace_bytes}
            for plan in (self, other)
        )
        said = {name: value for name, value in theirs.items() if value is not None}
        mine |= {name: said[name] for name, value in mine.items() if value is None and name in said}
        if apart := difference(mine, {**mine, **said}):
            raise ValueError(f"plans cannot be merged, they were made under different conditions: {apart}")
        convolutions = {**self.convolutions, **other.convolutions}
        return Plan(self.conditions, convolutions, mine["accuracy"], mine["max_workspace_bytes"])

    def __enter__(self) -> "Plan":
        settings = current()
        if apart := difference(self.conditions, conditions()):
            warnings.warn(f"this plan is not used, it was made under other conditions: {apart}", stacklevel=2)
        else:
            plan = self
            if settings.plan is not None:  # around this one
                convolutions = {**settings.plan.convolutions, **self.convolutions}
                plan = Plan(self.conditions, convolutions, self.accuracy, self.max_workspace_bytes)
            settings = changed(self.accuracy, self.max_workspace_bytes)._replace(plan=plan)
        context = using(settings)
        context.__enter__()
        self._entered.stack = [*getattr(self._entered, "stack", []), context]
        return self

    def __exit__(self, *error: Any) -> None:
        *self._entered.stack, context = self._entered.stack
        context.__exit__(*error)

    def to_json(self) -> dict[str, Any]:
        """Nothing but what JSON has."""
        entries = [
            {"geometry": _geometry_json.to_json(key), **tuned._asdict()} for key, tuned in self.convolutions.items()
        ]
        return {
            "schema": SCHEMA,
            "conditions": self.conditions,
            "accuracy": self.accuracy,
            "max_workspace_bytes": self.max_workspace_bytes,
            "convolutions": entries,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it, a convolution a line. Whoever reads the file meanwhile, or stops this, has the old or the new."""
        content = self.to_json()
        rows = content.pop("convolutions")
        write_rows(Path(path), content, "convolutions", rows)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Plan":
        """What `save` wrote.

        A plan of another version of this format is refused with a warning: what is returned then has no convolutions,
        and changes nothing.

        Raises:
          FileNotFoundError: if there is none.
          PlanError: if the file is damaged, or something else.
        """
        try:
            return read(path)
        except OtherSchemaError as error:
            warnings.warn(str(error), stacklevel=2)
            return cls(conditions(), {})


def read(path: str | os.PathLike[str]) -> Plan:
    """What `save` wrote. PlanError if that is no plan, `OtherSchemaError` if it is one of another version."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_no_constant)
        schema = content.get("schema") if isinstance(content, dict) else None
        if type(schema) is int and schema != SCHEMA:
            raise OtherSchemaError(f"{path} is not used: its format is version {schema}, this is {SCHEMA}")
        return from_json(content)
    except OtherSchemaError:
        raise
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{path} has no plan in it: {str(error)[:500]}") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of a plan")


def difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    """What is not the same in both, in words, or ""."""
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return "; ".join(f"{name} {one.get(name)!r}, not {other.get(name)!r}" for name in names)


def from_json(content: Any) -> Plan:
    """A plan from `Plan.to_json()` that went through JSON. ValueError for anything else."""
    if not isinstance(content, dict) or set(content) != FIELDS or content["schema"] != SCHEMA:
        raise ValueError(f"a plan has the fields {', '.join(sorted(FIELDS))}")
    made, entries, bound = content["conditions"], content["convolutions"], content["max_workspace_bytes"]
    if not isinstance(made, dict) or not all(isinstance(value, (str, int)) for value in made.values()):
        raise ValueError(f"conditions must be names with words or numbers, got {made!r:.200}")
    if content["accuracy"] not in [None, *ACCURACIES]:
        raise ValueError(f"accuracy must be one of {', '.join(ACCURACIES)}, got {content['accuracy']!r:.100}")
    if bound is not None and (type(bound) is not int or bound < 0):
        raise ValueError(f"max_workspace_bytes must be an integer of 0 or more, got {bound!r:.100}")
    if not isinstance(entries, list):
        raise ValueError(f"convolutions must be a list, got {entries!r:.100}")
    return Plan(made, dict(map(_tuned, entries)), content["accuracy"], bound)


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
