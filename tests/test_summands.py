"""How a long sum is cut into parts."""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import ALGORITHMS
from jaxconv._algorithm import MAX_WORKSPACE_BYTES
from jaxconv._algorithms import onednn
from jaxconv._cut import Cut, choose_summands, summed
from jaxconv._geometry import Geometry
from jaxconv._parameters import geometry_of
from jaxconv.testing import Problem, oracle

# The weight gradient of a 1-D layer: 8 images, 4092 positions.
GEOMETRY = geometry_of(
    jax.ShapeDtypeStruct((8, 4096, 64), "float32"),
    jax.ShapeDtypeStruct((8, 4092, 128), "float32"),
    (1,),
    "VALID",
    dimension_numbers=("CWN", "IWO", "WNC"),
)


def products(geometry: Geometry) -> int:
    """In the sum of one result."""
    return prod(geometry.kernel) * geometry.in_channels


def up_to(most: int):
    """Whether there are no more of them."""
    return lambda geometry: products(geometry) <= most


@pytest.mark.parametrize(
    ("most", "cached", "channels", "rows"),
    [
        (10**6, None, 8, 4092),
        (10**6, 8 * 400, 8, 372),  # 372 and not 400, for parts are equal
        (10**6, 8 * 372, 8, 372),
        (10**6, 7, 4, 1),
        (10**6, 0, 8, 4092),  # none is as small as that
        (8 * 200, 8 * 400, 8, 186),
        (8 * 200, 0, 8, 186),
    ],
)
def test_the_largest_part_that_fits_and_stays_in_the_cache(most, cached, channels, rows):
    cut = Cut(("rows", "channels"), cached=None if cached is None else up_to(cached))
    part = choose_summands(GEOMETRY, products, most, cut)
    assert part is not None and (part.in_channels, part.kernel) == (channels, (rows,))


def test_what_fits_in_no_way():
    assert choose_summands(GEOMETRY, products, 0, Cut(("rows", "channels"), cached=up_to(10))) is None


def of_images(geometry: Geometry) -> int:
    """As if each image took as much as a hundred products, and these much more than results."""
    return geometry.batch * (100 + products(geometry)) * 10**4


@pytest.mark.parametrize(
    ("most", "images", "channels", "rows"),
    [
        (64 * 101 * 10**4, 64, 1, 1),  # of all images the least part that there is
        (64 * 101 * 10**4 - 1, 1, 8, 682),  # with fewer products the hundred would count more
        (2 * 102 * 10**4, 1, 8, 12),
    ],
)
def test_images_are_apart_where_no_part_of_the_sum_for_all_fits(most, images, channels, rows):
    cut = Cut(("rows", "channels"), apart=True)
    part = choose_summands(GEOMETRY, of_images, most, cut)
    assert part is not None and (part.batch, part.in_channels, part.kernel) == (images, channels, (rows,))
    assert (choose_summands(GEOMETRY, of_images, most, cut._replace(apart=False)) is None) == (images < 64)


@pytest.mark.parametrize("algorithm", ["polyphase", "kn2row"])
@pytest.mark.parametrize("up, spread", [(1, 1), (1, 2), (2, 1), (3, 1), (2, 2), (3, 2), (2, 3)])
def test_windows_of_a_dilated_input(algorithm, up, spread):
    """Of any padding in front: the smallest parts there are, which begin at elements or between them."""
    for low in (-4, -1, 0, 1, 2, 5):
        high = 2 * 2 + 11 * spread - 9 * up - low  # for three rows of results
        problem = Problem(
            (2, 4, 10, 5), (3, 4, 12, 5), (2, 1), ((low, high), (1, 1)), (up, 1), (spread, 1), seed=low % 7
        )
        lhs, rhs = problem.operands()
        geometry = geometry_of(lhs, rhs, **problem.arguments)
        if ALGORITHMS[algorithm].unsupported(geometry, MAX_WORKSPACE_BYTES):
            assert algorithm == "polyphase" and up == 1
            continue
        convolve = ALGORITHMS[algorithm].convolve
        out = jax.jit(lambda lhs, rhs, convolve=convolve, geometry=geometry: convolve(lhs, rhs, geometry, 0))(lhs, rhs)
        assert not problem.violation(out, lhs, rhs)


@pytest.mark.parametrize(
    "rows, window",
    [(12, ((10, 5), (2, 1), 1)), (6, ((5, 5), (2, 1), -1)), (4, ((4, 5), (2, 1), -1)), (3, ((5, 5), (1, 1), 0))],
)
def test_a_window_keeps_its_dilation_where_it_begins_at_elements(rows, window):
    lhs, rhs = (jax.ShapeDtypeStruct(shape, "float32") for shape in ((2, 4, 10, 5), (3, 4, 12, 5)))
    geometry = geometry_of(lhs, rhs, (1, 1), ((1, -6), (1, 1)), (2, 1))
    part = summed(geometry, 4, rows)
    assert (part.spatial, part.lhs_dilation, part.padding[0][0]) == window
    assert part.out_spatial == geometry.out_spatial and part.kernel == (rows, 5)


def test_onednn_goes_through_taps_that_stay_in_the_cache():
    """Twice as many rows take twice as long for each."""
    part = choose_summands(GEOMETRY, onednn.workspace_of_parts, MAX_WORKSPACE_BYTES, onednn.BY_ROWS)
    assert part is not None and (part.in_channels, part.kernel) == (8, (372,))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("algorithm, up", [("polyphase", 2), ("kn2row", 2), ("strips", 1), ("winograd2", 1)])
def test_a_sum_in_parts_is_rounded_once(algorithm, up, dtype):
    """Of magnitudes, by half an eps: a sum of parts that are rounded themselves is off by more."""
    taps = 9 * up - up + 1
    problem = Problem((4, 16, 9, 9), (6, 16, taps, taps), (1, 1), ((1, 1), (1, 1)), (up, up), dtype=dtype, seed=1)
    lhs, rhs = problem.operands()
    geometry = geometry_of(lhs, rhs, **problem.arguments)
    exact = oracle(lhs, rhs, **problem.exact_arguments)
    one = ALGORITHMS[algorithm]
    enough = [2**n for n in range(10, 21) if not one.unsupported(geometry, 2**n)]
    bounds = {turns: bound for bound in enough if 1 < (turns := one.turns(geometry, bound)) < 20}
    assert bounds
    for bound in bounds.values():
        out = jax.jit(lambda lhs, rhs, bound=bound: one.convolve(lhs, rhs, geometry, bound))(lhs, rhs)
        assert np.max(np.abs(np.asarray(out, "float64") - exact) / exact) <= 0.51 * float(jnp.finfo(dtype).eps)
