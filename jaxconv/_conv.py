"""The one convolution primitive and the public function that binds it.

Everything JAX must know of a convolution besides how to compute it (its result's type, its derivatives, how it batches)
is lax's own knowledge: do it to lax's convolution, then put ours back. The derivatives and the batched forms of a
convolution are convolutions again, so "putting ours back" is one rewriting rule:

    lax's convolution, parameters p   ->   ours, parameters p and the algorithm that was asked for
"""

from collections.abc import Callable, Sequence
from functools import cache, partial, wraps
from typing import Any, TypeVar

import jax
import numpy as np
from jax import lax
from jax.core import ShapedArray, Tracer
from jax.extend.core import JaxprEqn, Primitive
from jax.extend.core.primitives import conv_general_dilated_p as lax_conv_p
from jax.interpreters import ad, batching, mlir
from jax.typing import ArrayLike, DTypeLike

from ._algorithms import ALGORITHMS
from ._geometry import Geometry
from ._rewrite import Rule, rewrite
from ._select import check_request, choose

F = TypeVar("F", bound=Callable)

conv_p = Primitive("jaxconv")


@cache
def _ours(request: str | None, strict: bool = False) -> Rule:
    """The rule: lax's convolution becomes ours. A strict one raises where the request cannot be met."""

    def rule(equation: JaxprEqn) -> JaxprEqn:
        if equation.primitive is not lax_conv_p:
            return equation
        if strict:
            lhs, rhs = (var.aval for var in equation.invars)
            check_request(request, Geometry.from_params(lhs, rhs, equation.params))
        return equation.replace(primitive=conv_p, params={**equation.params, "algorithm": request})

    return rule


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
        convolution use the same one, or "xla" where that cannot do them.

    Returns:
      The convolution, with the shape and dtype that lax gives it.

    Raises:
      ValueError: for an unknown algorithm, for one that cannot do this convolution, and for strides or dilations that
        are not positive.
      TypeError, ValueError: whatever `lax.conv_general_dilated` raises for the same arguments.

    >>> import jax.numpy as jnp, jaxconv
    >>> image, kernel = jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    >>> nhwc = ("NHWC", "HWIO", "NHWC")
    >>> jaxconv.conv_general_dilated(image, kernel, (2, 2), "SAME", dimension_numbers=nhwc, algorithm="im2col").shape
    (1, 4, 4, 4)
    """
    check_request(algorithm)
    for name, operand in (("lhs", lhs), ("rhs", rhs)):
        if not hasattr(operand, "shape"):
            raise TypeError(f"conv_general_dilated {name} must be an array, got {operand!r}")
    arguments = {
        "window_strides": window_strides,
        "padding": padding,
        "lhs_dilation": lhs_dilation,
        "rhs_dilation": rhs_dilation,
        "dimension_numbers": dimension_numbers,
        "feature_group_count": feature_group_count,
        "batch_group_count": batch_group_count,
        "precision": precision,
        "preferred_element_type": preferred_element_type,
        "out_sharding": out_sharding,
        "algorithm": algorithm,
    }
    if isinstance(lhs, Tracer) or isinstance(rhs, Tracer):
        return _convolve(lhs, rhs, **arguments)
    try:
        frozen = {name: _frozen(value) for name, value in arguments.items()}
        if not isinstance(padding, str):
            frozen["padding"] = tuple(map(tuple, padding))
        hash(tuple(frozen.values()))
    except TypeError:  # something that is no argument of a convolution: lax has words for it
        return _convolve(lhs, rhs, **arguments)
    return _convolve_eagerly(lhs, rhs, **frozen)


def _convolve(lhs, rhs, *, algorithm, **arguments):
    """lax reads and checks the arguments; its convolution becomes ours."""

    def call(lhs, rhs):
        return lax.conv_general_dilated(lhs, rhs, **arguments)

    return rewrite(call, _ours(algorithm, strict=True))(lhs, rhs)


def _frozen(value: Any) -> Any:
    """Lists and arrays, which cannot be hashed, as tuples."""
    if isinstance(value, (list, np.ndarray)) or type(value) is tuple:
        return tuple(map(_frozen, value))
    return value


# Outside of any trace, jit's cache spares reading the arguments again: it is keyed by them and by JAX's settings.
_ARGUMENTS = (
    "window_strides padding lhs_dilation rhs_dilation dimension_numbers feature_group_count batch_group_count "
    "precision preferred_element_type out_sharding algorithm"
).split()
_convolve_eagerly = jax.jit(_convolve, static_argnames=_ARGUMENTS)


def accelerate(f: F, *, algorithm: str | None = None) -> F:
    """`f` with every `lax.conv_general_dilated` in it replaced by `jaxconv.conv_general_dilated`.

    Whoever wrote `f` need not know: the convolutions of flax, Equinox, Keras or Haiku layers are found where they are,
    inside `jit`, `vmap`, `grad`, `scan`, `while_loop`, `cond`, `checkpoint`, `shard_map` and custom derivatives. Apply
    it outermost, to the whole training step rather than to the model: `accelerate(grad(loss))` reaches backward
    convolutions that are already there in the program it sees, while `grad(accelerate(loss))` leaves those alone that a
    custom derivative inside `loss` makes by itself.

    Args:
      f: any function. Arrays among its arguments and results may sit in any pytree; other arguments (numbers, strings,
        None, functions) reach `f` as they are.
      algorithm: as in `conv_general_dilated`, for all convolutions; those it cannot do use "xla".

    Returns:
      A function with the signature and results of `f`. It traces `f` at each call: put `jax.jit` around it.

    >>> import jax, jax.numpy as jnp, jaxconv
    >>> def model(kernel, image):
    ...     return jnp.tanh(jax.lax.conv(image, kernel, (1, 1), "SAME")).sum()
    >>> step = jax.jit(jaxconv.accelerate(jax.grad(model), algorithm="im2col"))
    >>> step(jnp.ones((4, 3, 3, 3)), jnp.ones((1, 3, 8, 8))).shape
    (4, 3, 3, 3)
    """
    check_request(algorithm)
    return wraps(f)(rewrite(f, _ours(algorithm)))  # pyright: ignore[reportReturnType] (same signature)


def _computation(lhs, rhs, algorithm, params) -> tuple[Callable[[jax.Array, jax.Array], jax.Array], bool]:
    """What computes the convolution, chosen for what it has become, and whether that is lax's primitive.

    The operands are looked at for their shapes only.
    """
    geometry = Geometry.from_params(lhs, rhs, params)
    name = choose(algorithm, geometry)
    if name == "xla":  # the very parameters that lax made: any it has, symbolic ones included, any compiled program
        return partial(lax_conv_p.bind, **params), True
    if 0 in (*lhs.shape, *rhs.shape, geometry.macs):  # nothing to add up, and nothing to index into
        return lambda lhs, rhs: jax.numpy.zeros(geometry.out_layout.shape, geometry.out_dtype), False
    convolve = ALGORITHMS[name].convolve
    return lambda lhs, rhs: convolve(lhs, rhs, geometry), False


def _lower(context, lhs, rhs, *, algorithm, **params):
    lhs_aval, rhs_aval = context.avals_in
    compute, is_lax = _computation(lhs_aval, rhs_aval, algorithm, params)
    if not is_lax:
        # How arrays are sharded, and over which manual axes they vary, is settled: types that carry it would only keep
        # the algorithm from mixing them with arrays it makes.
        plain = [ShapedArray(aval.shape, aval.dtype) for aval in context.avals_in]
        context = context.replace(avals_in=plain)
    return mlir.lower_fun(compute, multiple_results=False)(context, lhs, rhs)


@partial(jax.jit, static_argnames=_ARGUMENTS)
def _bind_jitted(lhs, rhs, **params):
    return conv_p.bind(lhs, rhs, **params)


@conv_p.def_impl
def _evaluate(lhs, rhs, **params):
    # Under `jax.disable_jit` a jitted bind would come straight back here.
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue] (made at run time)
        compute, _ = _computation(lhs, rhs, params.pop("algorithm"), params)
        return compute(lhs, rhs)
    return _bind_jitted(lhs, rhs, **params)


@conv_p.def_effectful_abstract_eval
def _abstract(lhs, rhs, *, algorithm, **params):
    result = lax_conv_p.abstract_eval(lhs, rhs, **params)
    Geometry.from_params(lhs, rhs, params).check()
    return result


def _transpose_lhs(cotangent, lhs, rhs, *, algorithm, **params):
    def transposed(cotangent, rhs):
        return jax.linear_transpose(lambda lhs: lax_conv_p.bind(lhs, rhs, **params), lhs.aval)(cotangent)[0]

    return rewrite(transposed, _ours(algorithm))(cotangent, rhs)


def _transpose_rhs(cotangent, lhs, rhs, *, algorithm, **params):
    def transposed(cotangent, lhs):
        return jax.linear_transpose(lambda rhs: lax_conv_p.bind(lhs, rhs, **params), rhs.aval)(cotangent)[0]

    return rewrite(transposed, _ours(algorithm))(cotangent, lhs)


def _batch(operands, axes, *, algorithm, **params):
    batched = jax.vmap(lambda lhs, rhs: lax_conv_p.bind(lhs, rhs, **params), in_axes=axes)
    return rewrite(batched, _ours(algorithm))(*operands), 0


ad.defbilinear(conv_p, _transpose_lhs, _transpose_rhs)
batching.primitive_batchers[conv_p] = _batch
mlir.register_lowering(conv_p, _lower)
