"""Every convolution in a program, in order."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jax.extend.core import jaxprs_in_params
from jax.extend.core.primitives import conv_general_dilated_p as lax_conv_p

from ._geometry import Geometry
from ._parameters import from_params
from ._primitive import conv_p
from ._rewrite import trace
from ._settings import Request


class Found(NamedTuple):
    """One convolution of a program.

    Attributes:
      geometry: what it computes.
      request: what it was asked to go by; None for lax's own.
      times: how often it runs each time the program does, as far as that can be told: bodies of `scan` as often as that
        is long, those of other loops once.
      role: "forward", "input gradient" or "weight gradient", as far as its layout tells.
    """

    geometry: Geometry
    request: Request | None
    times: int
    role: str


def convolutions(f: Callable, /, *args: Any, **kwargs: Any) -> list[Found]:
    """Those in the program of `f(*args, **kwargs)`, lax's and ours, sub-programs included."""
    return list(_walk(trace(f, args, kwargs).closed.jaxpr, 1))


def _walk(jaxpr: Any, times: int) -> Iterator[Found]:
    for equation in jaxpr.eqns:
        if equation.primitive in (lax_conv_p, conv_p):
            lhs, rhs = (var.aval for var in equation.invars)
            params = dict(equation.params)
            request = params.pop("request", None)
            geometry = from_params(lhs, rhs, params)
            yield Found(geometry, request, times, role(geometry))
        more = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        runs = equation.params
        if equation.primitive.name == "custom_linear_solve":  # its other programs are for derivatives
            runs = {"solve": runs["jaxprs"].solve}
        for inner in jaxprs_in_params(runs):
            yield from _walk(inner, times * more)


def role(geometry: Geometry) -> str:
    """What the convolution is by its layout: in gradients, lax exchanges batch and features of lhs, or those of rhs."""
    (batch, *_), (outputs, inputs, *space), _ = geometry.dimension_numbers
    if batch != 0:
        return "weight gradient"
    taps_first = all(axis < outputs for axis in space) if space else True
    return "forward" if (outputs > inputs) == taps_first else "input gradient"
