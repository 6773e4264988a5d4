"""Where JAX knows lax's convolution by name, and is told of ours: policies of remat, checkify's checks, jet."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from jax.extend.core import JaxprEqn, Primitive
from jax.extend.core.primitives import conv_general_dilated_p as lax_conv_p


def asking_of_lax(equation: JaxprEqn, ours: Primitive) -> JaxprEqn:
    """A `checkpoint` whose policy is asked of lax's convolution where it would be asked of ours; others as they are.

    `dots_saveable` saves products of matrices and convolutions, which it knows by their primitives.
    """
    policy = equation.params.get("policy")
    if not callable(policy):
        return equation

    def asked(primitive: Primitive, *args: Any, **params: Any) -> Any:
        if primitive is ours:
            primitive = lax_conv_p
            params = {name: value for name, value in params.items() if name != "request"}
        return policy(primitive, *args, **params)

    return equation.replace(params={**equation.params, "policy": asked})


def register(ours: Primitive, as_ours: Callable[[Callable, Any], Callable]) -> None:
    """Tell checkify and jet of our convolution.

    Neither is promised to stay where it is. A version of JAX that has moved its table is to do without, not to fail
    where nobody asks for it; the tests of these transformations tell.

    Args:
      as_ours: (function, request) -> the same, lax's convolutions in it made ours.
    """
    with suppress(ImportError, AttributeError):
        from jax._src import checkify  # the public module has no table

        checkify.error_checks[ours] = partial(checkify.nan_error_check, ours)
    with suppress(ImportError, AttributeError):
        from jax.experimental import jet

        def of_series(primals: Any, series: Any, *, request: Any, **params: Any) -> Any:
            def of_lax(primals, series):
                return jet.jet_rules[lax_conv_p](primals, series, **params)

            return as_ours(of_lax, request)(primals, series)

        jet.jet_rules[ours] = of_series
