"""How a long sum is cut into parts."""

from math import prod

import jax
import pytest

from jaxconv._algorithm import MAX_WORKSPACE_BYTES
from jaxconv._algorithms import onednn
from jaxconv._geometry import Geometry
from jaxconv._parameters import geometry_of
from jaxconv._summands import Cut, choose_summands

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


def test_onednn_goes_through_taps_that_stay_in_the_cache():
    """Twice as many rows take twice as long for each."""
    part = choose_summands(GEOMETRY, onednn.workspace_of_parts, MAX_WORKSPACE_BYTES, onednn.BY_ROWS)
    assert part is not None and (part.in_channels, part.kernel) == (8, (372,))
