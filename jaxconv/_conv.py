"""The one convolution primitive and the public function that binds it.

Everything JAX must know of a convolution besides how to compute it (its result's type, its derivatives, how it batches)
is lax's own knowledge: do it to lax's convolution, then put ours back. The derivatives and the batched forms of a
convolution are convolutions again, so "putting ours back" is one rewriting rule:

    lax's convolution, parameters p   ->   ours, parameters p and the algorithm that was asked for
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.extend.core.primitives import conv_general_dilated_p as lax_conv_p
from jax.interpreters import ad, batching, mlir
from jax.typing import ArrayLike, DTypeLike

from ._algorithms import ALGORITHMS
from ._geometry import Geometry
from ._rewrite import rewrite

conv_p = Primitive("jaxconv")


def _with_ours(f: Callable, algorithm: str | None) -> Callable:
    """`f` with every convolution of lax replaced by ours."""

    def bind(lhs, rhs, **params):
        Geometry.from_params(lhs, rhs, params)  # raises on what lax would leave to the compiler
        return conv_p.bind(lhs, rhs, algorithm=algorithm, **params)

    return rewrite(f, {lax_conv_p: bind})


def conv_general_dilated(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
    out_sharding: Any = None,
    *,
    algorithm: str | None = None,
) -> jax.Array:
    """N-dimensional convolution: `lax.conv_general_dilated` with a choice of algorithm.

    All arguments but the last mean what they mean to `lax.conv_general_dilated`, and wrong ones raise the same errors.

    Args:
      lhs: input, rank n + 2.
      rhs: kernel, rank n + 2, of the same dtype.
      window_strides: n positive integers.
      padding: "SAME", "SAME_LOWER", "VALID" or n pairs (low, high); negative values crop.
      lhs_dilation: n positive integers; above 1 the convolution is a transposed one.
      rhs_dilation: n positive integers; above 1 the convolution is an atrous one.
      dimension_numbers: None (NCHW, OIHW, NCHW), three strings or `lax.ConvDimensionNumbers`.
      feature_group_count: groups of input and output channels that do not mix.
      batch_group_count: groups of images, each with its own part of the output channels.
      precision: None, a `lax.Precision`, its name, or a pair of either.
      preferred_element_type: type to accumulate in and to return, None for the operands' own.
      out_sharding: sharding of the result under explicit axes.
      algorithm: one of `jaxconv.ALGORITHMS`, or None for the default ("xla"). Derivatives and batched forms of the
        convolution use the same one.

    Returns:
      The convolution, with the shape and dtype that lax gives it.

    Raises:
      ValueError: for an unknown algorithm, or strides or dilations that are not positive.
      TypeError, ValueError: whatever `lax.conv_general_dilated` raises for the same arguments.

    >>> import jax.numpy as jnp, jaxconv
    >>> image, kernel = jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    >>> nhwc = ("NHWC", "HWIO", "NHWC")
    >>> jaxconv.conv_general_dilated(image, kernel, (2, 2), "SAME", dimension_numbers=nhwc, algorithm="im2col").shape
    (1, 4, 4, 4)
    """
    if algorithm is not None and algorithm not in ALGORITHMS:
        names = ", ".join(map(repr, ALGORITHMS))
        raise ValueError(f"conv_general_dilated algorithm must be None or one of {names}, got {algorithm!r}")
    for name, operand in (("lhs", lhs), ("rhs", rhs)):
        if not hasattr(operand, "shape"):
            raise TypeError(f"conv_general_dilated {name} must be an array, got {operand!r}")

    def call(lhs, rhs):
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            dimension_numbers=dimension_numbers,
            feature_group_count=feature_group_count,
            batch_group_count=batch_group_count,
            precision=precision,
            preferred_element_type=preferred_element_type,
            out_sharding=out_sharding,
        )

    return _with_ours(call, algorithm)(lhs, rhs)


def _compute(lhs, rhs, *, algorithm, **params):
    """What the primitive lowers to."""
    if algorithm is None or algorithm == "xla":
        return lax_conv_p.bind(lhs, rhs, **params)
    geometry = Geometry.from_params(lhs, rhs, params)
    if 0 in (lhs.size, rhs.size, geometry.macs):  # nothing to add up, and nothing to index into
        return jax.numpy.zeros(geometry.out_layout.shape, geometry.out_dtype)
    return ALGORITHMS[algorithm](lhs, rhs, geometry)


_PARAMETERS = (
    "window_strides padding lhs_dilation rhs_dilation dimension_numbers feature_group_count batch_group_count "
    "precision preferred_element_type out_sharding algorithm"
).split()


@partial(jax.jit, static_argnames=_PARAMETERS)
def _bind_jitted(lhs, rhs, **params):
    return conv_p.bind(lhs, rhs, **params)


@conv_p.def_impl
def _evaluate(lhs, rhs, **params):
    # Under `jax.disable_jit` a jitted bind would come straight back here.
    run = _compute if jax.config.jax_disable_jit else _bind_jitted  # pyright: ignore[reportAttributeAccessIssue] (made at run time)
    return run(lhs, rhs, **params)


@conv_p.def_effectful_abstract_eval
def _abstract(lhs, rhs, *, algorithm, **params):
    return lax_conv_p.abstract_eval(lhs, rhs, **params)


def _transpose_lhs(cotangent, lhs, rhs, *, algorithm, **params):
    def transposed(cotangent, rhs):
        return jax.linear_transpose(lambda lhs: lax_conv_p.bind(lhs, rhs, **params), lhs.aval)(cotangent)[0]

    return _with_ours(transposed, algorithm)(cotangent, rhs)


def _transpose_rhs(cotangent, lhs, rhs, *, algorithm, **params):
    def transposed(cotangent, lhs):
        return jax.linear_transpose(lambda rhs: lax_conv_p.bind(lhs, rhs, **params), rhs.aval)(cotangent)[0]

    return _with_ours(transposed, algorithm)(cotangent, lhs)


def _batch(operands, axes, *, algorithm, **params):
    batched = jax.vmap(lambda lhs, rhs: lax_conv_p.bind(lhs, rhs, **params), in_axes=axes)
    return _with_ours(batched, algorithm)(*operands), 0


ad.defbilinear(conv_p, _transpose_lhs, _transpose_rhs)
batching.primitive_batchers[conv_p] = _batch
mlir.register_lowering(conv_p, mlir.lower_fun(_compute, multiple_results=False))
