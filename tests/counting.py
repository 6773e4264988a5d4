"""How many convolutions a program has."""

from collections import Counter

import jax
from jax.extend.core import jaxprs_in_params


def convolutions(f, *args):
    """Those of lax and those of jaxconv in the jaxpr of `f`, sub-programs included."""

    def count(jaxpr):
        here = Counter(equation.primitive.name for equation in jaxpr.eqns)
        return sum((count(sub) for equation in jaxpr.eqns for sub in jaxprs_in_params(equation.params)), here)

    names = count(jax.make_jaxpr(f)(*args).jaxpr)
    return names["conv_general_dilated"], names["jaxconv"]
