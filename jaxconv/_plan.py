"""Which algorithm to take for which convolution, as it was measured: for the machine it was measured on."""

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any

from . import _plan_file
from ._geometry import Geometry
from ._machine import conditions
from ._plan_file import Content, OtherSchemaError, Tuned
from ._settings import Entered, changed, current, using


@dataclass(frozen=True, eq=False)
class Plan:
    """Measured choices, from `autotune` or `load`. As a context manager it makes convolutions in the block use them.

    Entering and leaving makes jitted functions trace anew, so that no choice outlives its plan. Inside one plan a
    second one adds its choices and goes first. Each thread has its own. A plan from another device, another version of
    JAX or jaxconv or another number of threads is refused with a warning, and changes nothing.

    Attributes:
      conditions: device, versions and threads it was made with.
      convolutions: geometry -> what was measured and chosen.
      accuracy, max_workspace_bytes: what `autotune` was told, current inside the block; None keeps what is current.

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
    _entered: Entered = field(default_factory=Entered, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "convolutions", MappingProxyType(dict(self.convolutions)))

    @property
    def _all(self) -> Content:
        return Content(self.conditions, dict(self.convolutions), self.accuracy, self.max_workspace_bytes)

    @property
    def _policy(self) -> dict[str, Any]:
        """What of accuracy and memory was said."""
        said = {"accuracy": self.accuracy, "max_workspace_bytes": self.max_workspace_bytes}
        return {name: value for name, value in said.items() if value is not None}

    @cached_property
    def _text(self) -> str:
        return json.dumps(self.to_json(), sort_keys=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        said = "".join(f", {name}={value!r}" for name, value in self._policy.items())
        return f"Plan({len(self.convolutions)} convolutions on {self.conditions.get('device')}{said})"

    def __reduce__(self) -> Any:  # neither what is entered nor a read-only mapping can be copied
        return Plan, self._all

    def algorithm(self, geometry: Geometry) -> str | None:
        """The choice for it, if there is one."""
        tuned = self.convolutions.get(geometry)
        return tuned.algorithm if tuned else None

    def __or__(self, other: "Plan") -> "Plan":
        """Both plans' convolutions, the right one's choice where they have the same. ValueError unless made alike."""
        if not isinstance(other, Plan):
            return NotImplemented
        mine, theirs = self._policy if self.convolutions else {}, other._policy  # what was said of nothing is not kept
        both = {**mine, **theirs}
        if apart := difference({**self.conditions, **both, **mine}, {**other.conditions, **both, **theirs}):
            raise ValueError(f"plans cannot be merged, they were made under different conditions: {apart}")
        return Plan(self.conditions, {**self.convolutions, **other.convolutions}, **both)

    def __enter__(self) -> "Plan":
        settings = current()
        if apart := difference(self.conditions, conditions()):
            warnings.warn(f"this plan is not used, it was made under other conditions: {apart}", stacklevel=2)
        else:
            plan = self
            if settings.plan is not None:
                plan = _within(settings.plan, self)
            settings = changed(self.accuracy, self.max_workspace_bytes)._replace(plan=plan)
        self._entered.enter(using(settings))
        return self

    def __exit__(self, *error: Any) -> None:
        self._entered.leave(*error)

    def to_json(self) -> dict[str, Any]:
        """Nothing but what JSON has."""
        return _plan_file.to_json(self._all)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it, a convolution a line. Whoever reads the file meanwhile, or stops this, has the old or the new."""
        _plan_file.write(path, self._all)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Plan":
        """What `save` wrote.

        A plan of another version of this format is refused with a warning: what is returned then has no convolutions,
        and changes nothing.

        Raises:
          OSError: if there is none, or it cannot be read.
          PlanError: if the file is damaged, or something else.
        """
        try:
            return cls(*_plan_file.read(path))
        except OtherSchemaError as error:
            warnings.warn(str(error), stacklevel=2)
            return cls(conditions(), {})


@lru_cache(64)
def _within(outer: Plan, inner: Plan) -> Plan:
    """The inner one with what the outer one has besides; the same object each time that it is entered there."""
    convolutions = {**outer.convolutions, **inner.convolutions}
    return Plan(inner.conditions, convolutions, inner.accuracy, inner.max_workspace_bytes)


def difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    """What is not the same in both, in words, or ""."""
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return "; ".join(f"{name} {one.get(name)!r}, not {other.get(name)!r}" for name in names)
