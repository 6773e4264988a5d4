"""Change equations of a traced function, wherever they are. Knows nothing about convolutions.

A rule may give an equation another primitive and other parameters; operands, results and their types stay. So programs
are rewritten in place, with no second trace: jit, loops, branches, remat, custom derivatives and manual sharding keep
their own jaxpr, with the equations in it exchanged.
"""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

Rule = Callable[[JaxprEqn], JaxprEqn]

# jit compiles anew for a jaxpr that it has not seen. The same sub-program must therefore become the same object again
# the next time the function around it is traced.
_rewritten: weakref.WeakKeyDictionary[Any, dict[Rule, Any]] = weakref.WeakKeyDictionary()


def rewrite(f: Callable, rule: Rule) -> Callable:
    """`f` with `rule` applied to each of its equations, those of sub-programs included.

    Arrays among the arguments and results, at any depth of any pytree, are traced, of the results those of JAX.
    Everything else (numbers, NumPy's among them, strings, None, functions) is passed as it is, so it may steer Python
    control flow in `f`.
    """

    def rewritten(*args, **kwargs):
        program = trace(f, args, kwargs)
        out = eval_jaxpr(rewrite_jaxpr(program.closed.jaxpr, rule), program.closed.consts, *program.arrays)
        # Constants come as JAX has them in programs, which is not as arrays.
        return program.restore([leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf) for leaf in out])

    return rewritten


class Program(NamedTuple):
    """A traced function: its jaxpr, the arrays it takes, and what makes its result of those it gives."""

    closed: Any
    arrays: list
    restore: Callable[[list], Any]


def trace(f: Callable, args: tuple, kwargs: dict[str, Any]) -> Program:
    """The program of `f(*args, **kwargs)`, for arrays or `jax.ShapeDtypeStruct`s among the arguments."""
    leaves, structure = jax.tree.flatten((args, kwargs))
    is_array = list(map(_is_array, leaves))
    arrays = [leaf for leaf, traced in zip(leaves, is_array, strict=True) if traced]
    other = [leaf for leaf, traced in zip(leaves, is_array, strict=True) if not traced]
    result: list[Any] = []  # structure of the result and what in it is not an array

    def on_arrays(*arrays):
        args, kwargs = structure.unflatten(_merge(is_array, arrays, other))
        out, out_structure = jax.tree.flatten(f(*args, **kwargs))
        out_is_array = [_is_array(leaf) and not isinstance(leaf, np.ndarray) for leaf in out]
        rest = [leaf for leaf, traced in zip(out, out_is_array, strict=True) if not traced]
        result[:] = out_structure, out_is_array, rest
        return [leaf for leaf, traced in zip(out, out_is_array, strict=True) if traced]

    closed = jax.make_jaxpr(on_arrays)(*arrays)
    out_structure, out_is_array, rest = result
    return Program(closed, arrays, lambda out: out_structure.unflatten(_merge(out_is_array, out, rest)))


def _is_array(leaf: Any) -> bool:
    if isinstance(leaf, np.ndarray):
        # Objects, strings, dates and records are no business of JAX.
        return leaf.dtype.kind not in "OSUmM" and leaf.dtype.type is not np.void
    return isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct))


def _merge(is_array, arrays, other) -> list:
    arrays, other = iter(arrays), iter(other)
    return [next(arrays) if traced else next(other) for traced in is_array]


def rewrite_jaxpr(jaxpr: Any, rule: Rule) -> Any:
    """The jaxpr with `rule` applied throughout. The same jaxpr gives the same object each time."""
    known = _rewritten.setdefault(jaxpr, {})
    if rule not in known:
        equations = [_rewrite_equation(equation, rule) for equation in jaxpr.eqns]
        changed = any(new is not old for new, old in zip(equations, jaxpr.eqns, strict=True))
        known[rule] = jaxpr.replace(eqns=equations) if changed else None  # None, not itself: that would keep it alive
    return jaxpr if known[rule] is None else known[rule]


def _rewrite_equation(equation: JaxprEqn, rule: Rule) -> JaxprEqn:
    params = {name: _rewrite_param(value, rule) for name, value in equation.params.items()}
    if any(params[name] is not value for name, value in equation.params.items()):
        equation = equation.replace(params=params)
    return rule(equation)


def _rewrite_param(value: Any, rule: Rule) -> Any:
    if isinstance(value, Jaxpr):
        return rewrite_jaxpr(value, rule)
    if isinstance(value, ClosedJaxpr):  # in newer versions of JAX the same class as Jaxpr
        inner = rewrite_jaxpr(value.jaxpr, rule)
        if inner is value.jaxpr:
            return value
        known = _rewritten.setdefault(value, {})
        return known.setdefault(rule, value.replace(jaxpr=inner))
    if isinstance(value, (tuple, list)):
        items = [_rewrite_param(item, rule) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
