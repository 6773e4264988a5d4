"""What each algorithm takes, and a small problem that it takes."""

from dataclasses import replace

import jax

from jaxconv import ALGORITHMS
from jaxconv._machine import platform
from jaxconv._parameters import geometry_of
from jaxconv._select import OF_CUDA, xla_lacks
from jaxconv.testing import DTYPES, WIDER, Problem

TYPES = [(dtype, wider) for dtype in DTYPES for wider in (None, *WIDER.get(dtype, []))]
TYPES.append(("complex64", "complex128"))

# What an algorithm takes, where that is not everything: what to draw, so that little of it is refused.
INEXACT = ("float32", "float64", "float16", "bfloat16", "complex64", "complex128")
WINOGRAD = {"ndim": (1, 2), "strides": False, "lhs_dilation": False, "taps": (3, 3, 1), "dtypes": INEXACT}
DENSE = {"groups": False, "strides": False, "lhs_dilation": False, "rhs_dilation": False}
LIMITS = {
    "col2im": {"groups": False},
    "polyphase": {"groups": False},
    "packing": {"ndim": (1, 2)},
    "slabs": {"groups": False, "ndim": (1, 2, 3)},
    "strips": {"groups": False, "ndim": (1, 2, 3), "taps": (3, 5, 7)},
    "karatsuba": {**DENSE, "ndim": (1, 2), "taps": (8, 9, 2)},
    "winograd2": WINOGRAD,
    "winograd4": WINOGRAD,
    "onednn": {"ndim": (1, 2, 3), "lhs_dilation": False, "dtypes": ("float32", "bfloat16")},
    "fft": {"ndim": (1, 2, 3), "lhs_dilation": False, "dtypes": INEXACT},
}
if platform() == "cuda":
    LIMITS["xla"] = {"dtypes": tuple(OF_CUDA)}


def refusal(problem, algorithm):
    """Why the algorithm does not take the problem, or ""."""
    shapes = [jax.ShapeDtypeStruct(shape, problem.dtype) for shape in (problem.lhs_shape, problem.rhs_shape)]
    geometry = geometry_of(*shapes, **problem.arguments)
    return xla_lacks(geometry, platform()) if algorithm == "xla" else ALGORITHMS[algorithm].unsupported(geometry)


def example(algorithm, dtype="float32", preferred=None, size=3):
    """A small problem that the algorithm takes, if it takes the type: one row of `size` pixels."""
    lhs, rhs, more = (2, 2, size), (2, 2, 3), {}
    if algorithm == "polyphase":
        more = {"padding": ((1, 1),), "lhs_dilation": (2,)}
    if algorithm == "packing":
        lhs, rhs, more = (2, 4, size), (4, 2, 3), {"feature_group_count": 2}
    if algorithm == "karatsuba":
        lhs, rhs = (2, 2, size + 1), (2, 2, 9)
    if algorithm == "strips":
        lhs, rhs, more = (2, 2, size + 2), (2, 2, size), {"padding": "VALID"}
    problem = Problem(lhs, rhs, (1,), "SAME", dtype=dtype, preferred_element_type=preferred)
    return replace(problem, **more)
