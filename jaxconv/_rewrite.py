"""Evaluate a function with some of its primitives replaced. Knows nothing about convolutions."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.extend.core import Literal, Primitive

Rule = Callable[..., Any]


def rewrite(f: Callable, rules: Mapping[Primitive, Rule]) -> Callable:
    """`f` with every equation `out = p(*operands, **params)` evaluated as `rules[p](*operands, **params)`.

    `f` takes arrays and returns a pytree of arrays. Equations inside the sub-programs of control flow, of `jit` and of
    custom derivatives are left as they are.
    """

    def rewritten(*args):
        closed, out_shape = jax.make_jaxpr(f, return_shape=True)(*args)
        values = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        values.update(zip(closed.jaxpr.invars, jax.tree.leaves(args), strict=True))

        def read(atom):
            return atom.val if isinstance(atom, Literal) else values[atom]

        for equation in closed.jaxpr.eqns:
            primitive = equation.primitive
            operands = [read(atom) for atom in equation.invars]
            with equation.ctx.manager:  # the surrounding contexts it was traced in, its mesh among them
                if primitive in rules:
                    outs = rules[primitive](*operands, **equation.params)
                else:
                    outs = primitive.bind(*operands, **primitive.get_bind_params(equation.params))
            if not primitive.multiple_results:
                outs = [outs]
            values.update(zip(equation.outvars, outs, strict=True))
        outs = [read(atom) for atom in closed.jaxpr.outvars]
        return jax.tree.unflatten(jax.tree.structure(out_shape), outs)

    return rewritten
