"""What is measured in one go: a layer in one direction, type and layout; and the data it is measured on."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .layer import Layer

DIRECTIONS = ("forward", "input-grad", "weight-grad")
DTYPES = ("float32", "bfloat16", "float64")
OPERANDS = {"forward": ("lhs", "rhs"), "input-grad": ("out", "rhs"), "weight-grad": ("lhs", "out")}


class CannotError(Exception):
    """A backend has no way to do a job, and says why."""


class Job(NamedTuple):
    """`batch` is the one asked for, None in suites whose layers have their own."""

    suite: str
    batch: int | None
    name: str
    layer: Layer
    direction: str
    dtype: str
    layout: str

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Job":
        """From `to_json()` that went through JSON."""
        return cls(**{**{name: fields[name] for name in cls._fields}, "layer": Layer.from_json(fields["layer"])})

    def to_json(self) -> dict[str, Any]:
        """Nothing but what JSON has."""
        return {**self._asdict(), "layer": self.layer._asdict()}


def operands(job: Job) -> tuple[NDArray, NDArray]:
    """The two operands of the job's direction, channels last, random, the same for every backend and layout.

    They are float64 for float64 and otherwise float32, which narrower types are to be made from.
    """
    lhs, rhs = job.layer.shapes()
    shapes = {"lhs": lhs, "rhs": rhs, "out": job.layer.out_shape()}
    rng = np.random.default_rng(0)
    dtype = np.float64 if job.dtype == "float64" else np.float32
    first, second = (rng.standard_normal(shapes[name], dtype) for name in OPERANDS[job.direction])
    return first, second


def channels_first(name: str, array: NDArray) -> NDArray:
    """lhs and out NHWC -> NCHW, rhs HWIO -> OIHW, for any number of spatial axes; contiguous."""
    axes = range(array.ndim)
    order = (axes[-1], axes[-2], *axes[:-2]) if name == "rhs" else (0, axes[-1], *axes[1:-1])
    return np.ascontiguousarray(array.transpose(order))


def sum_of_squares(out: NDArray) -> float:
    """The same for every backend, up to rounding."""
    return float((out.astype(np.float64) ** 2).sum())
