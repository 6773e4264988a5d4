"""Cutting a convolution into tiles changes nothing but memory."""

from math import prod

import hypothesis.strategies as st
import jax
import pytest
from hypothesis import assume, given

from jaxconv._algorithms import im2col
from jaxconv._parameters import geometry_of
from jaxconv._tiling import choose_tile
from jaxconv.testing import problems


@given(problem=problems(dtypes=("float32", "bfloat16", "complex64", "int8")), bound=st.sampled_from([200, 1000, 5000]))
def test_values_do_not_depend_on_the_tiles(problem, bound):
    lhs, rhs = problem.operands()
    geometry = geometry_of(lhs, rhs, **problem.arguments)
    assume(geometry.macs > 0 and lhs.size > 0)
    out = jax.jit(lambda lhs, rhs: im2col.convolve(lhs, rhs, geometry, bound))(lhs, rhs)
    assert not problem.violation(out, lhs, rhs)


@given(problem=problems(empty=False), bound=st.sampled_from([0, 200, 1000, 5000]), slices=st.integers(1, 3))
def test_tiles_keep_within_the_bound_or_are_the_smallest(problem, bound, slices):
    shapes = [jax.ShapeDtypeStruct(shape, problem.dtype) for shape in (problem.lhs_shape, problem.rhs_shape)]
    geometry = geometry_of(*shapes, **problem.arguments)
    assume(geometry.macs > 0)
    tile = choose_tile(geometry, im2col.workspace, bound, slices)
    assert im2col.workspace(tile) <= bound or tile.macs == 1
    assert all(size % block == 0 for size, block in zip(geometry.kernel, tile.kernel, strict=True))
    assert all(min(taps, count) <= slices for taps, count in zip(tile.kernel, tile.out_spatial, strict=True))


def test_images_are_cut_first_and_taps_last():
    shapes = jax.ShapeDtypeStruct((64, 56, 56, 64), "float32"), jax.ShapeDtypeStruct((3, 3, 64, 64), "float32")
    geometry = geometry_of(*shapes, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    sizes = []
    for bound in (2**32, 2**28, 2**24, 2**20, 2**16):
        tile = choose_tile(geometry, im2col.workspace, bound, 32)
        sizes.append((tile.batch, *tile.out_spatial, tile.in_channels, prod(tile.kernel)))
    assert sizes[0] == (64, 56, 56, 64, 9)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1][1:] == (56, 56, 64, 9)
    assert sizes[2][0] == 1 and sizes[2][3:] == (64, 9)
    assert sizes[3][4] == 9


@pytest.mark.parametrize("kernel, position_blocks", [((1000,), 7), ((31,), 1)])
def test_long_kernels_are_not_unrolled(kernel, position_blocks):
    shapes = jax.ShapeDtypeStruct((1, 1, 1199), "float32"), jax.ShapeDtypeStruct((1, 1, *kernel), "float32")
    geometry = geometry_of(*shapes, (1,), "VALID")
    tile = choose_tile(geometry, im2col.workspace, 2**24, im2col.MAX_SLICES)
    assert -(-geometry.out_spatial[0] // tile.out_spatial[0]) == position_blocks
    assert min(tile.kernel[0], tile.out_spatial[0]) <= im2col.MAX_SLICES
