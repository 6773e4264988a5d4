"""Bounds on workspace that have a convolution computed in as many parts as a test is about."""

from jaxconv._algorithm import Algorithm
from jaxconv._geometry import Geometry


def bound_for(algorithm: Algorithm, geometry: Geometry, more_than: int, at_most: int | None = None) -> int:
    """A bound under which there are so many parts."""
    bound = algorithm.workspace(geometry)
    while not more_than < algorithm.turns(geometry, bound) <= (at_most or 10**6):
        bound = bound * 7 // 8
        assert bound > 100, "no bound cuts it so"
    return bound
