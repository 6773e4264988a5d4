"""What a program consists of."""

from collections import Counter

import jax
from jax.extend.core import jaxprs_in_params


def equations(f, *args):
    """Those of the jaxpr of `f`, sub-programs included."""

    def every(jaxpr):
        for equation in jaxpr.eqns:
            yield equation
            for sub in jaxprs_in_params(equation.params):
                yield from every(sub)

    return list(every(jax.make_jaxpr(f)(*args).jaxpr))


def convolutions(f, *args):
    """How many there are of lax and of jaxconv."""
    names = Counter(equation.primitive.name for equation in equations(f, *args))
    return names["conv_general_dilated"], names["jaxconv"]
