"""Functions that are linear in each operand, held to the same function by other means: values and derivatives."""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.testing import error_bound


def disagreement(ours, theirs, *shapes, seed=0):
    """Where `ours` differs from `theirs` on random float64 operands, or "".

    Compared are shape, dtype, value (called as it is, and under `jit` and `vmap` over all operands), forward and
    reverse derivatives, and forward over reverse. `theirs` of the magnitudes is the sum of the magnitudes of all
    products, which is what rounding errors are measured by, entry by entry: functions that bring no negative factors of
    their own.
    """
    rng = np.random.default_rng(seed)
    operands, tangents = (tuple(jnp.asarray(rng.standard_normal(shape)) for shape in shapes) for _ in range(2))
    cotangent = jnp.asarray(rng.standard_normal(jax.eval_shape(theirs, *operands).shape))
    arrays = operands, tangents, cotangent

    def everything(f):
        """All in one program, which is compiled once."""

        def of(operands, tangents, cotangent):
            def gradient(*operands):
                return jax.vjp(f, *operands)[1](cotangent)

            return {
                "value": f(*operands),
                "vmap": jax.vmap(f)(*map(jnp.stack, zip(operands, tangents, strict=True))),
                "jvp": jax.jvp(f, operands, tangents)[1],
                "gradient": gradient(*operands),
                "second derivative": jax.jvp(gradient, operands, tangents)[1],
            }

        return jax.jit(of)

    got, exactly = everything(ours)(*arrays), everything(theirs)
    exact, most = exactly(*arrays), exactly(*jax.tree.map(jnp.abs, arrays))
    got["eager"], exact["eager"], most["eager"] = ours(*operands), exact["value"], most["value"]
    # No sum has more terms; both sides round, and derivatives add up one convolution for each operand.
    terms = max(prod(shape) for shape in (*shapes, cotangent.shape))
    bound = 2 * len(shapes) * error_bound("float64", terms)
    for name in got:
        for one, value, size in zip(*map(jax.tree.leaves, (got[name], exact[name], most[name])), strict=True):
            if (one.shape, one.dtype) != (value.shape, value.dtype):
                return f"{name}: got {one.dtype}{one.shape}, expected {value.dtype}{value.shape}"
            if not (abs(one - value) <= bound * size).all():
                return f"{name}: off by {abs(one - value).max():.2g}"
    return ""
