"""The step-by-step functions and the layer. Each fault of the NumPy notebook they replace has a test that pins it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv import Conv2d, get_patches, matmul_conv2d, naive_conv2d
from jaxconv.testing import oracle

FUNCTIONS = [naive_conv2d, matmul_conv2d]
every_function = pytest.mark.parametrize("conv2d", FUNCTIONS)


def random(shape, dtype="float64", seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def expected(x, w, stride=(1, 1), **kwargs):
    return oracle(x, w, stride, "VALID", dimension_numbers=("NCHW", "HWIO", "NCHW"), **kwargs)


@every_function
@pytest.mark.parametrize("stride", [1, 2, (2, 3)])
def test_several_input_channels(conv2d, stride):
    """The notebook ordered its patches (C, kh, kw) and its filter (kh, kw, C): right for one channel only."""
    x, w = random((2, 3, 9, 9)), random((3, 3, 3, 4), seed=1)
    strides = stride if isinstance(stride, tuple) else (stride, stride)
    np.testing.assert_allclose(conv2d(x, w, stride), expected(x, w, strides), rtol=1e-12)


@every_function
def test_rectangular_images_and_kernels(conv2d):
    x, w = random((2, 3, 7, 11)), random((2, 5, 3, 4), seed=1)
    np.testing.assert_allclose(conv2d(x, w), expected(x, w), rtol=1e-12)


@every_function
def test_batch_is_not_confused_with_outputs(conv2d):
    """Each result goes to its own image, whatever the number of filters."""
    x, w = random((5, 2, 6, 6)), random((3, 3, 2, 7), seed=1)
    out = conv2d(x, w)
    assert out.shape == (5, 7, 4, 4)
    np.testing.assert_allclose(out[3:4], conv2d(x[3:4], w), rtol=1e-12)


@every_function
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64", "int32"])
def test_keeps_the_type_it_is_given(conv2d, dtype):
    """Nothing is computed in float64 unasked."""
    x, w = jnp.ones((1, 2, 5, 5), dtype), jnp.ones((3, 3, 2, 1), dtype)
    assert conv2d(x, w).dtype == dtype
    assert (conv2d(x, w) == 18).all()


@every_function
def test_gradients_have_the_shape_of_what_they_belong_to(conv2d):
    """The gradient of x is not that of the patches."""
    x, w = random((2, 3, 8, 7)), random((3, 2, 3, 4), seed=1)
    cotangent = random((2, 4, 3, 3), seed=2)
    dx, dw = jax.vjp(lambda x, w: conv2d(x, w, 2), x, w)[1](cotangent)
    assert dx.shape == x.shape and dw.shape == w.shape
    patches = np.asarray(get_patches(x, w, 2))
    rows = np.asarray(cotangent).transpose(0, 2, 3, 1).reshape(-1, 4)
    np.testing.assert_allclose(dw, (patches.T @ rows).reshape(w.shape), rtol=1e-12)
    np.testing.assert_allclose(dx, col2im(rows @ np.asarray(w).reshape(-1, 4).T, x.shape, w.shape, 2), rtol=1e-12)


def col2im(patches, x_shape, w_shape, stride):
    """The transpose of `get_patches`: every entry of a patch is added back to the pixel it came from."""
    batch, _, height, width = x_shape
    rows, columns, channels, _ = w_shape
    down, across = (height - rows) // stride + 1, (width - columns) // stride + 1
    patches = patches.reshape(batch, down, across, rows, columns, channels)
    x = np.zeros(x_shape)
    for n in range(batch):
        for i in range(down):
            for j in range(across):
                for a in range(rows):
                    for b in range(columns):
                        x[n, :, i * stride + a, j * stride + b] += patches[n, i, j, a, b]
    return x


def test_patches_are_rows_in_the_order_of_the_kernel():
    x = jnp.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    patches = get_patches(x, jnp.zeros((2, 3, 3, 1), int), (2, 1))
    assert patches.shape == (2 * 2 * 3, 2 * 3 * 3)
    row = np.asarray(x)[1, :, 2:4, 1:4].transpose(1, 2, 0).ravel()  # image 1, position (1, 1)
    np.testing.assert_array_equal(patches[1 * 6 + 1 * 3 + 1], row)


def test_the_notebooks_experiments():
    """Its shapes, its tolerance and its comparisons, with its layer's gradients against col2im."""
    x, w = random((100, 1, 14, 14)), random((3, 3, 1, 8), seed=1)
    assert get_patches(x, w, 1).shape == (14400, 9)
    assert np.allclose(naive_conv2d(x, w, 1), matmul_conv2d(x, w, 1))
    assert np.allclose(matmul_conv2d(x, w, 1), expected(x, w))

    layer = Conv2d.init(jax.random.key(0), kernel_size=3, in_channels=1, out_channels=8, stride=1, dtype=jnp.float64)
    out, backward = jax.vjp(lambda layer, x: layer(x), layer, x)
    assert np.allclose(out, matmul_conv2d(x, layer.w, 1))
    upstream = random(out.shape, seed=2)
    dlayer, dx = backward(upstream)
    rows = np.asarray(upstream).transpose(0, 2, 3, 1).reshape(14400, 8)
    assert np.allclose(dlayer.w.reshape(9, 8), np.asarray(get_patches(x, layer.w)).T @ rows)
    assert dx.shape == x.shape
    assert np.allclose(dx, col2im(rows @ np.asarray(layer.w).reshape(9, 8).T, x.shape, layer.w.shape, 1))


@pytest.mark.parametrize("algorithm", [None, "naive", "im2col", "xla"])
def test_layer_arguments(algorithm):
    key = jax.random.key(0)
    x = random((2, 4, 9, 8), "float32")
    layer = Conv2d.init(key, (3, 2), 4, 6, (2, 1), [(1, 2), 3], (1, 2), groups=2, scale=1.0, algorithm=algorithm)
    assert layer.w.shape == (3, 2, 2, 6)
    reference = lax.conv_general_dilated(
        x, layer.w, (2, 1), [(1, 2), (3, 3)], rhs_dilation=(1, 2), feature_group_count=2,
        dimension_numbers=("NCHW", "HWIO", "NCHW"),
    )  # fmt: skip
    np.testing.assert_allclose(layer(x), reference, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jax.jit(lambda layer, x: layer(x))(layer, x), reference, rtol=1e-4, atol=1e-5)
    assert Conv2d.init(key, 3, 1, 1, padding=1).padding == ((1, 1), (1, 1))
    assert Conv2d.init(key, 3, 1, 1, padding=(1, 2)).padding == ((1, 1), (2, 2))
    assert Conv2d.init(key, 3, 1, 1, padding="SAME")(jnp.ones((1, 1, 5, 5), jnp.float32)).shape == (1, 1, 5, 5)


def test_layer_is_a_pytree_made_from_its_key():
    same, again, other = (Conv2d.init(jax.random.key(seed), 3, 2, 4) for seed in (0, 0, 1))
    assert [leaf.shape for leaf in jax.tree.leaves(same)] == [(3, 3, 2, 4)]
    np.testing.assert_array_equal(same.w, again.w)
    assert (same.w != other.w).any()
    assert same.w.dtype == jnp.float32
    np.testing.assert_allclose(Conv2d.init(jax.random.key(0), 3, 64, 64).w.std(), 0.01, rtol=0.02)
    stepped = jax.tree.map(lambda w: w + 1, same)
    assert stepped.stride == (1, 1) and (stepped.w == same.w + 1).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x, w: naive_conv2d(x, w[:, :, :1]), "feature dimension size"),
        (lambda x, w: matmul_conv2d(x, w[:, :, :1]), "feature dimension size"),
        (lambda x, w: get_patches(x[0], w), "ndim to be equal"),
        (
            lambda x, w: matmul_conv2d(x, w, (1, 2, 3)),
            r"matmul_conv2d stride must be an integer or one for each of 2 axes, .* got \(1, 2, 3\)",
        ),
        (lambda x, w: matmul_conv2d(x, w, 0), "stride must be .* 1 or more, got 0"),
        (lambda x, w: Conv2d.init(jax.random.key(0), 3, 3, 4, groups=2), "groups must divide"),
        (lambda x, w: Conv2d.init(jax.random.key(0), 0, 3, 4), "Conv2d kernel_size must be .* 1 or more, got 0"),
        (lambda x, w: Conv2d.init(jax.random.key(0), 3, 2, 4)(x), "feature dimension size"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_errors(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(random((2, 3, 6, 6), "float32"), random((3, 3, 3, 4), "float32"))


def test_a_layer_is_a_function_like_others():
    """It can be hashed, as jit and checkpoint want of what they are given."""
    layer, x = Conv2d.init(jax.random.key(0), 3, 2, 4), random((1, 2, 6, 6), "float32")
    for f in (jax.jit(layer), jax.checkpoint(layer)):
        np.testing.assert_allclose(f(x), layer(x), 1e-6)
    assert layer != Conv2d.init(jax.random.key(0), 3, 2, 4)
