"""The convolutions that a command is about: in words, as `language` has them, or as layers of the benchmark's suites.

    SUITE[/LAYER] [batch=N] [dtype=TYPE] [layout=LAYOUT]

is those of a suite with LAYER in their names, or all. A problem is one of these in one direction.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._bench.by_jax import in_direction
from .._bench.job import DIRECTIONS
from .._bench.layer import LAYOUTS
from .._bench.suites import FIXED, SUITES, suite
from .._geometry import Geometry
from .._machine import having
from .._parameters import geometry_of, to_params
from .command import UsageError
from .keys import KEYS, count
from .language import FORM, check_keys, read, split, value_of

SAYS = "'conv LHS RHS key=value ...' or 'SUITE/LAYER', in quotes; keys are " + ", ".join(KEYS)
LAYER_KEYS = ("batch", "dtype", "layout")


class Problem(NamedTuple):
    """A convolution, or one of its gradients.

    Attributes:
      layer: its name in a suite, or "".
      geometry: of the convolution itself, forward.
      occurs: how often a network has it.
      direction: one of DIRECTIONS.
    """

    layer: str
    geometry: Geometry
    occurs: int = 1
    direction: str = "forward"

    def program(self) -> tuple[Callable, list[jax.ShapeDtypeStruct]]:
        """lax's function of two operands that computes it, and their shapes."""
        g = self.geometry
        lhs, rhs = (jax.ShapeDtypeStruct(layout.shape, g.dtype) for layout in (g.lhs_layout, g.rhs_layout))
        return in_direction(self.direction, partial(lax.conv_general_dilated, **to_params(g)), lhs, rhs)

    def titled(self, title: str) -> str:
        """For people: a title, and the layer it is of, if it is of one."""
        return f"{title} of {self.layer}" if self.layer else title

    def to_json(self) -> dict[str, str]:
        """For programs."""
        return {**({"layer": self.layer} if self.layer else {}), "direction": self.direction}


def add_problems(parser: argparse.ArgumentParser) -> None:
    """What `problems` reads."""
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", help=SAYS)
    parser.add_argument("--suite", action="append", metavar="NAME", help=f"a problem as well; {', '.join(SUITES)}")
    parser.add_argument("--layer", metavar="PART", help="of these suites, only layers with this in their name")
    parser.add_argument("--direction", choices=(*DIRECTIONS, "all"), default="all", help="(%(default)s)")


def problems(options: argparse.Namespace) -> list[Problem]:
    """All that were asked for, in the directions asked for: integers have no gradients. UsageError if none are."""
    named = [f"{name}/{options.layer or ''}" for name in options.suite or ()]
    if options.layer and not named:
        raise UsageError("--layer is of no --suite")
    if not options.problems and not named:
        raise UsageError(f"no problem is given; {FORM}")
    found = []
    for text in (*options.problems, *named):
        for problem in read_problems(text):
            differentiable = jnp.issubdtype(problem.geometry.dtype, jnp.inexact)
            if options.direction not in ("all", "forward") and not differentiable:
                raise UsageError(f"{text!r}: {problem.geometry.dtype} has no gradients, and so no {options.direction}")
            if options.direction == "all":
                directions = DIRECTIONS if differentiable else ("forward",)
            else:
                directions = (options.direction,)
            found += [problem._replace(direction=direction) for direction in directions]
    return found


def read_problems(text: str) -> list[Problem]:
    """What `text` names, forward. UsageError if that is nothing.

    >>> [problem.layer for problem in read_problems("core/ResNet-50 3")]
    ['ResNet-50 3b', 'ResNet-50 3a']
    """
    words, options = split(text)
    if words[:1] == ["conv"]:
        return [Problem("", read(text))]
    return _layers(text, " ".join(words), options)


def _layers(text: str, name: str, options: dict[str, str]) -> list[Problem]:
    of, _, part = name.partition("/")
    if of not in SUITES:
        raise UsageError(f"{text!r} is neither conv nor a suite; {FORM}; suites are {', '.join(SUITES)}")
    check_keys(text, options, LAYER_KEYS)
    if "batch" in options and of in FIXED:
        raise UsageError(f"'batch={options['batch']}' in {text!r}: layers of {of} have batch sizes of their own")
    try:
        layers = suite(of, count(options.get("batch", "8")))
    except ValueError:
        raise UsageError(f"'batch={options['batch']}' in {text!r} must be a positive integer") from None
    dtype, layout = value_of(text, "dtype", options.get("dtype", "float32"), 0), options.get("layout", "NHWC")
    if layout not in LAYOUTS:
        raise UsageError(f"'layout={layout}' in {text!r} must be one of {', '.join(LAYOUTS)}")
    labels = [part] if part in layers else [label for label in layers if part in label]
    if not labels:
        raise UsageError(f"{text!r}: no layer of {of} has {part!r} in its name; there are {', '.join(layers)}")
    found = []
    with having([dtype]):
        for layer in map(layers.__getitem__, labels):
            lhs, rhs = (jax.ShapeDtypeStruct(shape, dtype) for shape in layer.shapes(layout))
            found.append(geometry_of(lhs, rhs, **layer.arguments(layout)))
    return [Problem(label, g, layers[label].occurs) for label, g in zip(labels, found, strict=True)]


def types(asked: list[Problem]) -> list[str]:
    """Of their operands and results."""
    return [name for problem in asked for name in (problem.geometry.dtype, problem.geometry.out_dtype)]
