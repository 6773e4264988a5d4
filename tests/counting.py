"""What a program consists of, and which algorithms compute it."""

from collections import Counter

import jax
import pytest
from jax.extend.core import jaxprs_in_params

from jaxconv import ALGORITHMS


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


def recorded(patch: pytest.MonkeyPatch) -> list[str]:
    """The algorithms by which convolutions are lowered from now on, in that order, as long as the patch holds."""
    names = []
    for name, algorithm in ALGORITHMS.items():

        def convolve(*operands, name=name, algorithm=algorithm):
            names.append(name)
            return algorithm.convolve(*operands)

        patch.setitem(ALGORITHMS, name, algorithm._replace(convolve=convolve))
    return names
