"""Geometry: every way of writing the arguments means one problem, and the problem can be written back."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from jax import lax

from jaxconv._geometry import Geometry
from jaxconv._geometry_json import from_json, to_json
from jaxconv._parameters import geometry_of, to_params
from jaxconv.testing import DTYPES, problems


def shapes(problem):
    return [jax.ShapeDtypeStruct(shape, problem.dtype) for shape in (problem.lhs_shape, problem.rhs_shape)]


@given(problem=problems(dtypes=DTYPES))
def test_there_and_back(problem):
    lhs, rhs = shapes(problem)
    geometry = geometry_of(lhs, rhs, **problem.arguments)
    assert geometry_of(lhs, rhs, **to_params(geometry)) == geometry
    out = jax.eval_shape(problem.lax, lhs, rhs)
    assert geometry.out_layout.shape == out.shape and geometry.out_dtype == out.dtype.name
    assert geometry.lhs_layout.shape == lhs.shape and geometry.rhs_layout.shape == rhs.shape
    assert hash(geometry) == hash(dataclasses.replace(geometry))


@given(problem=problems(dtypes=("float64",), max_macs=2_000))
def test_canonical_form_is_what_it_says(problem):
    """The sum in the module's docstring, written out on the canonical blocks, is lax's convolution."""
    lhs, rhs = problem.operands()
    g = geometry_of(lhs, rhs, **problem.arguments)
    image = whole(g.lhs_layout, lhs)
    kernel = whole(g.rhs_layout, rhs)
    assert image.shape == (g.batch, *g.spatial, g.groups, g.in_channels)
    assert kernel.shape == (*g.kernel, g.in_channels, g.groups, g.out_channels)
    config = [(low, high, grow - 1) for (low, high), grow in zip(g.padding, g.lhs_dilation, strict=True)]
    image = np.asarray(lax.pad(image, jnp.zeros((), image.dtype), [(0, 0, 0), *config, (0, 0, 0), (0, 0, 0)]))
    out = np.zeros((g.batch, *g.out_spatial, g.groups, g.out_channels))
    for s in np.ndindex(*g.out_spatial):
        for k in np.ndindex(*g.kernel):
            at = tuple(
                stride * i + spread * j for stride, i, spread, j in zip(g.strides, s, g.rhs_dilation, k, strict=True)
            )
            out[(slice(None), *s)] += np.einsum("ngc,cgo->ngo", image[(slice(None), *at)], kernel[k])
    expected = problem.lax(lhs, rhs)
    np.testing.assert_allclose(out, whole(g.out_layout, expected), rtol=1e-9, atol=1e-9)
    assert g.macs == out.size * g.in_channels * np.prod(g.kernel, initial=1)


def whole(layout, array):
    """The array in canonical order, without going through `Layout.read`."""
    return np.asarray(array).reshape(layout.split).transpose(layout.order)


@given(problem=problems(dtypes=("float32",), empty=False))
def test_layouts_read_and_write_blocks(problem):
    lhs, rhs = problem.operands()
    geometry = geometry_of(lhs, rhs, **problem.arguments)
    for layout, array in ((geometry.lhs_layout, lhs), (geometry.rhs_layout, rhs)):
        canonical = whole(layout, array)
        sizes = tuple((size + 1) // 2 for size in canonical.shape)
        starts = tuple(size // 3 for size in canonical.shape)
        block = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
        read = layout.read(array, starts, sizes)
        np.testing.assert_array_equal(read, canonical[block])
        changed = layout.filled(layout.write(array.reshape(layout.split), read + 1, starts))
        canonical = canonical.copy()
        canonical[block] += 1
        np.testing.assert_array_equal(whole(layout, changed), canonical)


nchw = jax.ShapeDtypeStruct((2, 4, 9, 8), "float32"), jax.ShapeDtypeStruct((6, 4, 3, 2), "float32")


@pytest.mark.parametrize(
    "left, right",
    [
        (dict(padding="SAME"), dict(padding=[(1, 1), (0, 1)])),
        (dict(padding="SAME_LOWER"), dict(padding=((1, 1), (1, 0)))),
        (dict(padding="VALID"), dict(padding=np.zeros((2, 2), int))),
        (dict(dimension_numbers=None), dict(dimension_numbers=("NCHW", "OIHW", "NCHW"))),
        (
            dict(dimension_numbers=("NCHW", "OIHW", "NCHW")),
            dict(dimension_numbers=lax.ConvDimensionNumbers((0, 1, 2, 3), (0, 1, 2, 3), (0, 1, 2, 3))),
        ),
        (dict(lhs_dilation=None, rhs_dilation=None), dict(lhs_dilation=(1, 1), rhs_dilation=[1, 1])),
        (dict(precision="highest"), dict(precision=lax.Precision.HIGHEST)),
        (dict(precision="highest"), dict(precision=(lax.Precision.HIGHEST, lax.Precision.HIGHEST))),
        (dict(preferred_element_type="float64"), dict(preferred_element_type=np.float64)),
    ],
)
def test_forms_of_one_argument(left, right):
    base = dict(window_strides=(1, 1), padding="SAME")
    assert geometry_of(*nchw, **{**base, **left}) == geometry_of(*nchw, **{**base, **right})


def test_numbers_of_numpy_are_plain_ones():
    """Which go through files, and are no symbols."""
    numbers = {"lhs_dilation": np.array([2, 1]), "rhs_dilation": np.array([1, 2]), "feature_group_count": np.int64(2)}
    geometry = geometry_of(
        nchw[0], jax.ShapeDtypeStruct((6, 2, 3, 2), "float32"), np.array([1, 2]), ((1, 1), (0, 1)), **numbers
    )
    assert not geometry.is_symbolic and from_json(json.loads(json.dumps(to_json(geometry)))) == geometry


def test_letters_of_the_kernel_order_the_spatial_axes():
    lhs, rhs = jax.ShapeDtypeStruct((2, 9, 8, 4), "float32"), jax.ShapeDtypeStruct((2, 3, 4, 6), "float32")
    geometry = geometry_of(lhs, rhs, (1, 2), [(0, 1), (2, 3)], dimension_numbers=("NHWC", "WHIO", "CWHN"))
    assert isinstance(geometry, Geometry)
    assert (geometry.spatial, geometry.kernel, geometry.strides) == ((8, 9), (2, 3), (1, 2))
    assert geometry.out_layout.shape == (6, 8, 6, 2)
