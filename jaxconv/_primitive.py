"""The one convolution primitive: what JAX must know of a convolution.

All but how to compute it (the result's type, the derivatives, how it batches) is lax's own knowledge: do it to lax's
convolution, then put ours back. The derivatives and the batched forms of a convolution are convolutions again, so
"putting ours back" is one rewriting rule:

    lax's convolution, parameters p   ->   ours, parameters p and what was asked for

What was asked for stays a request until the equation is lowered, when grad and vmap have made of it what it is going to
be. Lax's own convolutions are lowered in the same way once `lower_lax_by` says so.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from math import prod
from typing import Any

import jax
from jax.core import ShapedArray
from jax.extend.core import JaxprEqn, Primitive
from jax.extend.core.primitives import conv_general_dilated_p as lax_conv_p
from jax.interpreters import ad, batching, mlir

from . import _by_name, _lax_rules
from ._algorithms import ALGORITHMS
from ._algorithms.xla import mended
from ._geometry import Geometry
from ._operand_types import of_types_that_multiply
from ._parameters import check_geometry, from_params
from ._rewrite import Rule, rewrite
from ._select import EXPORTED_CPU, check_request, choose
from ._settings import Request
from ._sharding.explicit import explicit_mesh, shared_out_by_types
from ._sharding.partition import flat_mesh, shared_out_by_xla

PARAMETERS = (
    "window_strides padding lhs_dilation rhs_dilation dimension_numbers feature_group_count batch_group_count "
    "precision preferred_element_type out_sharding request"
).split()

conv_p = Primitive("jaxconv")


@lru_cache(256)  # requests have plans, which are not to be kept for ever
def ours(request: Request, strict: bool = False) -> Rule:
    """The rule: lax's convolution becomes ours. A strict one raises where the request cannot be met."""

    def rule(equation: JaxprEqn) -> JaxprEqn:
        if equation.primitive is not lax_conv_p:
            return _by_name.asking_of_lax(equation, conv_p)
        if strict:
            lhs, rhs = (var.aval for var in equation.invars)
            check_request(request, from_params(lhs, rhs, equation.params))
        return equation.replace(primitive=conv_p, params={**equation.params, "request": request})

    return rule


def _computed_by(
    name: str, geometry: Geometry, max_workspace_bytes: int, platform: str
) -> Callable[[jax.Array, jax.Array], Any]:
    """(lhs, rhs) -> out, all in the caller's layouts, by the algorithm of this name."""
    convolve = ALGORITHMS[name].convolve
    if geometry.is_empty:  # nothing to index into
        return lambda lhs, rhs: jax.numpy.zeros(geometry.out_layout.shape, geometry.out_dtype)
    wide = of_types_that_multiply(geometry, platform)

    def compute(lhs, rhs):
        out = convolve(lhs.astype(wide.dtype), rhs.astype(wide.dtype), wide, max_workspace_bytes)
        out = out if wide is geometry else out.astype(geometry.out_dtype)
        promised = geometry.out_layout.shape, geometry.out_dtype
        if (out.shape, out.dtype.name) != promised:  # JAX would run on, with arrays that are not what they say
            raise TypeError(f"algorithm {name!r} gave {out.dtype.name}{list(out.shape)}, promised are {promised}")
        return out

    return compute


def _lower(context, lhs, rhs, *, request, **params):
    """By the algorithm that is chosen for what the convolution has become."""
    lhs_aval, rhs_aval = context.avals_in
    geometry = from_params(lhs_aval, rhs_aval, params)
    check_geometry(geometry)  # lax's own come unchecked
    platforms = context.platforms or context.module_context.platforms
    platform = platforms[0] if len(platforms) == 1 else "several"
    # One program for several platforms is to compile for the pickiest of them.
    target = "cuda" if "cuda" in platforms else platform
    if target == "cpu" and context.module_context.lowering_parameters.for_export:
        target = EXPORTED_CPU
    context = _lax_rules.followed(context, platform)
    if (shared_out := _shared_out(context, geometry, request, params, platforms)) is not None:
        compute, context = shared_out
        return mlir.lower_fun(compute, multiple_results=False)(context, lhs, rhs)
    name = choose(request, geometry, target, _devices(context) > 1).algorithm
    if name == "xla":  # what lax made, with all parameters it has, symbolic ones, in any program
        compute = mended(lax_conv_p.bind, params, geometry, platform)
    else:
        compute = _computed_by(name, geometry, request.settings.bound(target), target)
        context = _untyped(context)
    return mlir.lower_fun(compute, multiple_results=False)(context, lhs, rhs)


def _untyped(context: Any) -> Any:
    """The context without the shardings of arrays, and the manual axes they vary over, in their types.

    That is settled: types that carry it would only keep algorithms from mixing these arrays with those they make.
    """
    return context.replace(avals_in=[ShapedArray(aval.shape, aval.dtype) for aval in context.avals_in])


def _shared_out(
    context: Any, geometry: Geometry, request: Request, params: dict[str, Any], platforms: Sequence[str]
) -> tuple[Callable[[jax.Array, jax.Array], jax.Array], Any] | None:
    """The convolution shared out among devices and the context to lower it in, or None where that is not ours to do.

    That is where there is one device to a program, or some axes of the mesh are manual. And where types do not say how
    arrays are sharded (automatic axes), in programs for those who cannot ask this process: another process, which is to
    compile an exported program, and XLA for TPUs, as libtpu does not have PJRT's extension for custom partitioners. Nor
    is it for more devices than there are here, in programs that are compiled only.
    """
    module, plan, devices = context.module_context, request.settings.plan, _devices(context)
    if devices == 1 or hasattr(module.axis_context, "manual_axes") or geometry.is_symbolic or geometry.is_empty:
        return None

    def convolve(lhs, rhs, params, taken):
        return conv_p.bind(lhs, rhs, request=request.less(taken), **params)

    max_bytes = request.settings.bound("cpu") if set(platforms) == {"cpu"} else None
    limits = {"max_bytes": max_bytes, "rounds_parts": request.settings.accuracy == "fast"}
    avals = *context.avals_in, *context.avals_out
    if mesh := explicit_mesh(avals):
        return shared_out_by_types(convolve, geometry, params, mesh, avals, **limits), context
    if module.lowering_parameters.for_export or "tpu" in platforms:
        return None
    # JAX wants to know the devices, of which their places in the program are all that counts: any will do.
    stand_ins = jax.devices()
    with suppress(RuntimeError):  # JAX_PLATFORMS may have left the CPU out
        stand_ins = max(stand_ins, jax.devices("cpu"), key=len)
    stand_ins = stand_ins[:devices]
    if len(stand_ins) < devices:
        return None
    choices = [(str(planned), tuned.algorithm) for planned, tuned in plan.convolutions.items()] if plan else []
    placed = replace(module.axis_context, device_assignment=tuple(stand_ins), abstract_mesh=flat_mesh(devices))
    context = _untyped(context.replace(module_context=module.replace(axis_context=placed)))
    return shared_out_by_xla(convolve, geometry, params, f"{request} {sorted(choices)}", **limits), context


def _devices(context: Any) -> int:
    """How many devices XLA has to share the program out among."""
    axes = context.module_context.axis_context
    if hasattr(axes, "manual_axes"):
        return prod(size for name, size in axes.mesh.shape.items() if name not in axes.manual_axes)
    return getattr(axes, "num_devices", 1)


def lower_lax_by(make_request: Callable[[], Request] | None) -> None:
    """From now on lax's convolutions are lowered as ours are, by the request that is made when they are; None: by lax's
    own rules again. As `_lax_rules.lower_by`."""
    _lax_rules.lower_by(partial(_lower_lax, make_request) if make_request else None)


def _lower_lax(make_request, context, lhs, rhs, **params):
    return _lower(context, lhs, rhs, request=make_request(), **params)


@partial(jax.jit, static_argnames=PARAMETERS)
def _bind_jitted(lhs, rhs, **params):
    return conv_p.bind(lhs, rhs, **params)


@conv_p.def_impl
def _evaluate(lhs, rhs, **params):
    with jax.disable_jit(False):  # a jitted bind would come straight back here; lax's own is compiled, too
        return _bind_jitted(lhs, rhs, **params)


@conv_p.def_effectful_abstract_eval
def _abstract(lhs, rhs, *, request, **params):
    result = lax_conv_p.abstract_eval(lhs, rhs, **params)
    check_geometry(from_params(lhs, rhs, params))
    return result


def _transpose_lhs(cotangent, lhs, rhs, *, request, **params):
    def transposed(cotangent, rhs):
        return jax.linear_transpose(lambda lhs: lax_conv_p.bind(lhs, rhs, **params), lhs.aval)(cotangent)[0]

    return rewrite(transposed, ours(request))(cotangent, rhs)


def _transpose_rhs(cotangent, lhs, rhs, *, request, **params):
    def transposed(cotangent, lhs):
        return jax.linear_transpose(lambda rhs: lax_conv_p.bind(lhs, rhs, **params), rhs.aval)(cotangent)[0]

    return rewrite(transposed, ours(request))(cotangent, lhs)


def _batch(operands, axes, *, request, **params):
    batched = jax.vmap(lambda lhs, rhs: lax_conv_p.bind(lhs, rhs, **params), in_axes=axes)
    return rewrite(batched, ours(request))(*operands), 0


ad.defbilinear(conv_p, _transpose_lhs, _transpose_rhs)
batching.primitive_batchers[conv_p] = _batch
_by_name.register(conv_p, lambda f, request: rewrite(f, ours(request)))
for platform in (None, "cpu", "gpu"):  # each by itself, as lax's own: the choice depends on it
    mlir.register_lowering(conv_p, _lower, platform)
