"""The convolution that users call, and the one for code that calls lax's."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import jax
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike, DTypeLike

from ._parameters import check_integers, check_operands, is_fraction
from ._primitive import PARAMETERS, ours
from ._rewrite import rewrite
from ._select import check_request
from ._settings import Request, changed
from ._sharding.halo import AxisName
from ._sharding.spatial import convolve_spatial_shard

F = TypeVar("F", bound=Callable)


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
    accuracy: str | None = None,
    max_workspace_bytes: int | None = None,
    spatial_axis_name: Sequence[AxisName | None] | None = None,
) -> jax.Array:
    """N-dimensional convolution: `lax.conv_general_dilated` with a choice of algorithm.

    All arguments but the last four mean what they mean to `lax.conv_general_dilated`, and wrong ones raise the same
    errors.

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
      algorithm: one of `jaxconv.ALGORITHMS`, or None: the choice of the plan in use, or else the one predicted to be
        fastest, for the convolution and for each of its derivatives and batched forms by itself. A named one is used
        for all of those, or "xla" where it cannot do them, whatever the accuracy.
      accuracy, max_workspace_bytes: as in `policy`, for the choice; the second binds a named algorithm, too.
      spatial_axis_name: inside `jax.shard_map`, for each of the n spatial axes None or the mesh axis (or a tuple of
        them) that it is split over. lhs is then one shard, and so is the result; `padding` and the rest are about the
        whole image. What a shard needs of its neighbours' rows it gets from them, as by `halo_exchange`.

    Returns:
      The convolution, with the shape and dtype that lax gives it.

    Raises:
      ValueError: for an unknown algorithm, for one that cannot do this convolution, and for strides or dilations that
        are not positive, and for results that `spatial_axis_name` cannot share out evenly.
      TypeError: for strides or dilations that are no integers, of which JAX's caches would take 1.0 for 1.
      TypeError, ValueError: whatever `lax.conv_general_dilated` raises for the same arguments.

    >>> import jax.numpy as jnp, jaxconv
    >>> image, kernel = jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    >>> nhwc = ("NHWC", "HWIO", "NHWC")
    >>> jaxconv.conv_general_dilated(image, kernel, (2, 2), "SAME", dimension_numbers=nhwc, algorithm="im2col").shape
    (1, 4, 4, 4)
    """
    request = Request(algorithm, changed(accuracy, max_workspace_bytes))
    check_request(request)
    check_operands(lhs, rhs)
    check_integers(window_strides=window_strides, lhs_dilation=lhs_dilation, rhs_dilation=rhs_dilation)
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
        "request": request,
    }
    if spatial_axis_name is not None:
        return convolve_spatial_shard(_convolve, lhs, rhs, spatial_axis_name, arguments)
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


def _convolve(lhs, rhs, *, request, **arguments):
    """lax reads and checks the arguments; its convolution becomes ours."""

    def call(lhs, rhs):
        return lax.conv_general_dilated(lhs, rhs, **arguments)

    return rewrite(call, ours(request, strict=True))(lhs, rhs)


def _frozen(value: Any) -> Any:
    """Lists and arrays, which cannot be hashed, as tuples. TypeError for 1.0, which is 1 to the cache, not to lax."""
    if isinstance(value, (list, np.ndarray)) or type(value) is tuple:
        return tuple(map(_frozen, value))
    if is_fraction(value):
        raise TypeError(f"not an integer: {value!r}")
    return value


# Outside of any trace, jit's cache spares reading the arguments again: it is keyed by them and by JAX's settings.
_convolve_eagerly = jax.jit(_convolve, static_argnames=PARAMETERS)


def accelerate(
    f: F, *, algorithm: str | None = None, accuracy: str | None = None, max_workspace_bytes: int | None = None
) -> F:
    """`f` with every `lax.conv_general_dilated` in it replaced by `jaxconv.conv_general_dilated`.

    Whoever wrote `f` need not know: the convolutions in layers of flax, Equinox or Keras are found where they are,
    inside `jit`, `vmap`, `grad`, `scan`, `while_loop`, `cond`, `checkpoint`, `shard_map` and custom derivatives. Apply
    it outermost, to the whole training step rather than to the model: `accelerate(grad(loss))` reaches backward
    convolutions that are already there in the program it sees, while `grad(accelerate(loss))` leaves those alone that a
    custom derivative inside `loss` makes by itself.

    Args:
      f: any function. Arrays among its arguments and results may sit in any pytree; other arguments (numbers, strings,
        None, functions) reach `f` as they are. As under `jax.jit`, changes that `f` makes to its arguments in place are
        lost: a flax.nnx model goes in as its state and comes out as its state.
      algorithm: as in `conv_general_dilated`, for all convolutions; those it cannot do use "xla".
      accuracy, max_workspace_bytes: as in `policy`, for all convolutions.

    Returns:
      A function with the signature and results of `f`. It traces `f` at each call: put `jax.jit` around it.

    >>> import jax, jax.numpy as jnp, jaxconv
    >>> def model(kernel, image):
    ...     return jnp.tanh(jax.lax.conv(image, kernel, (1, 1), "SAME")).sum()
    >>> step = jax.jit(jaxconv.accelerate(jax.grad(model), algorithm="im2col"))
    >>> step(jnp.ones((4, 3, 3, 3)), jnp.ones((1, 3, 8, 8))).shape
    (4, 3, 3, 3)
    """
    check_request(Request(algorithm, changed(accuracy, max_workspace_bytes)))
    if not callable(f):
        raise TypeError(f"accelerate takes a function, got {f!r}")

    def accelerated(*args, **kwargs):
        request = Request(algorithm, changed(accuracy, max_workspace_bytes))  # what is current where it is called
        return rewrite(f, ours(request))(*args, **kwargs)

    return wraps(f)(accelerated)  # pyright: ignore[reportReturnType] (same signature)
