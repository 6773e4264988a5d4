"""Convolutions that are wrong in small ways, and the right one."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer

from jaxconv._parameters import geometry_of
from jaxconv.testing import Problem

right = lax.conv_general_dilated


def scaled(lhs, rhs, **arguments):
    return right(lhs, rhs, **arguments) * jnp.asarray(1.01, lhs.dtype)


def padding_swapped(lhs, rhs, **arguments):
    pairs = geometry_of(lhs, rhs, **arguments).padding
    return right(lhs, rhs, **{**arguments, "padding": [(high, low) for low, high in pairs]})


def kernel_flipped(lhs, rhs, **arguments):
    spatial = geometry_of(lhs, rhs, **arguments).dimension_numbers.rhs_spec[2:]
    return right(lhs, jnp.flip(rhs, spatial), **arguments)


def groups_reversed(lhs, rhs, **arguments):
    layout = geometry_of(lhs, rhs, **arguments).out_layout
    out = right(lhs, rhs, **arguments).reshape(layout.split)
    return jnp.flip(out, layout.order[-2]).reshape(layout.shape)


def dilation_ignored(lhs, rhs, **arguments):
    out = jax.eval_shape(lambda lhs, rhs: right(lhs, rhs, **arguments), lhs, rhs)
    plain = {**arguments, "rhs_dilation": None}
    got = right(lhs, rhs, **plain)
    return got if got.shape == out.shape else right(lhs, rhs, **arguments)


def rounded_like_the_largest(lhs, rhs, **arguments):
    """What a transform does: a result is off by the rounding error of larger ones, which were added and subtracted."""

    axes = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, arguments["dimension_numbers"]).out_spec[2:]

    def rounded(x):
        return x + 3 * jnp.finfo(x.dtype).eps * jnp.abs(x).max(axes, keepdims=True, initial=0)

    @jax.custom_vjp
    def conv(lhs, rhs):
        return rounded(right(lhs, rhs, **arguments))

    def backward(operands, cotangent):
        gradients = jax.vjp(lambda lhs, rhs: right(lhs, rhs, **arguments), *operands)[1](cotangent)
        return tuple(map(rounded, gradients))

    conv.defvjp(lambda lhs, rhs: (conv(lhs, rhs), (lhs, rhs)), backward)
    return conv(lhs, rhs)


def one_off_at_the_end(lhs, rhs, **arguments):
    out = right(lhs, rhs, **arguments)
    return out.at[(-1,) * out.ndim].multiply(1 + 1e-4) if out.size else out


def narrow_sum(lhs, rhs, **arguments):
    return right(lhs.astype("bfloat16"), rhs.astype("bfloat16"), **arguments).astype(lhs.dtype)


def wide_result(lhs, rhs, **arguments):
    return right(lhs, rhs, **arguments).astype("float64")


def with_gradients(scale_lhs, scale_rhs):
    """Right values, gradients off by these factors."""

    def convolve(lhs, rhs, **arguments):
        @jax.custom_vjp
        def conv(lhs, rhs):
            return right(lhs, rhs, **arguments)

        def backward(operands, cotangent):
            dlhs, drhs = jax.vjp(lambda lhs, rhs: right(lhs, rhs, **arguments), *operands)[1](cotangent)
            return scale_lhs * dlhs, scale_rhs * drhs

        conv.defvjp(lambda lhs, rhs: (conv(lhs, rhs), (lhs, rhs)), backward)
        return conv(lhs, rhs)

    return convolve


def half_a_tangent(lhs, rhs, **arguments):
    """Right values, forward mode that forgets one operand."""

    @jax.custom_jvp
    def conv(lhs, rhs):
        return right(lhs, rhs, **arguments)

    @conv.defjvp
    def _(primals, tangents):
        return conv(*primals), right(tangents[0], primals[1], **arguments)

    return conv(lhs, rhs)


def no_second_derivative(lhs, rhs, **arguments):
    """Its gradients hold the operands for constants."""

    @jax.custom_vjp
    def conv(lhs, rhs):
        return lax.conv_general_dilated(lhs, rhs, **arguments)

    def backward(saved, cotangent):
        held = map(lax.stop_gradient, saved)
        return jax.vjp(partial(lax.conv_general_dilated, **arguments), *held)[1](cotangent)

    conv.defvjp(lambda *operands: (conv(*operands), operands), backward)
    return conv(lhs, rhs)


def with_rule_of_vmap(rule):
    """Right for each; under vmap what `rule(right convolution, size, batched, lhs, rhs)` gives."""

    def convolve(lhs, rhs, **arguments):
        def conv(lhs, rhs):
            return right(lhs, rhs, **arguments)

        batchable = jax.custom_batching.custom_vmap(conv)
        batchable.def_vmap(lambda *batch: (rule(conv, *batch), True))
        return batchable(lhs, rhs)

    return convolve


@with_rule_of_vmap
def wrong_under_vmap(conv, size, batched, lhs, rhs):
    """Every image gets the result of the first."""
    out = conv(lhs[0] if batched[0] else lhs, rhs[0] if batched[1] else rhs)
    return jnp.broadcast_to(out, (size, *out.shape))


def zero_under_vmap(*batched_operands):
    """Zeros where just these operands are batched."""

    @with_rule_of_vmap
    def convolve(conv, size, batched, lhs, rhs):
        out = jax.vmap(conv, [0 if each else None for each in batched])(lhs, rhs)
        return out * (tuple(batched) != batched_operands)

    return convolve


def wrong_under_jit(lhs, rhs, **arguments):
    out = right(lhs, rhs, **arguments)
    return 2 * out if isinstance(lhs, Tracer) else out


PLAIN = Problem((1, 2, 5), (3, 2, 2), (1,), "SAME")
