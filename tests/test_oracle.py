"""The judge is judged: against sums done by hand and against SciPy."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from jax import lax

from jaxconv.testing import in_dtype, oracle


def test_by_hand_1d():
    image, kernel = [[[1, 2, 3, 4]]], [[[1, 10, 100]]]
    assert oracle(image, kernel, (1,), "VALID").tolist() == [[[321, 432]]]
    assert oracle(image, kernel, (1,), "SAME").tolist() == [[[210, 321, 432, 43]]]
    assert oracle(image, kernel, (2,), "SAME").tolist() == [[[321, 43]]]  # one zero in all: "SAME" puts it last
    assert oracle(image, kernel, (2,), "SAME_LOWER").tolist() == [[[210, 432]]]
    assert oracle(image, kernel, (1,), [(-1, 2)]).tolist() == [[[432, 43, 4]]]
    assert oracle(image, kernel, (1,), [(0, 0)], rhs_dilation=(1,), lhs_dilation=(2,)).tolist() == [
        [[201, 20, 302, 30, 403]]
    ]
    assert oracle(image, [[[1, 10]]], (1,), "VALID", rhs_dilation=(3,)).tolist() == [[[41]]]


def test_by_hand_channels_and_groups():
    image = np.array([[[1], [2], [3], [4]]])  # one image, four channels, one position
    kernel = np.array([[[1], [10]], [[100], [1000]]])  # two outputs of two inputs
    assert oracle(image, kernel, (1,), "VALID", feature_group_count=2).ravel().tolist() == [21, 4300]
    pair = np.array([[[1], [2]], [[3], [4]]])  # two images, two channels: each makes its own output
    assert oracle(pair, kernel, (1,), "VALID", batch_group_count=2).tolist() == [[[21], [4300]]]
    assert oracle([[1, 2, 3]], [[1, 10, 100]], (), ()).tolist() == [[321]]


def test_by_hand_layouts():
    image = np.arange(6).reshape(1, 2, 3)  # N, H, W with C in front of it below
    kernel = np.array([[1, 0], [0, 10]])
    expected = [[0 + 40, 1 + 50]]
    assert oracle(image[:, None], kernel[None, None], (1, 1), "VALID")[0, 0].tolist() == expected
    turned = oracle(
        image.transpose(2, 0, 1)[..., None], kernel.T[..., None, None], (1, 1), "VALID",
        dimension_numbers=("WNHC", "WHIO", "CWHN"),
    )  # fmt: skip
    assert turned.shape == (1, 2, 1, 1)
    assert turned[0, :, 0, 0].tolist() == expected[0]


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("kind", ["float", "complex", "int"])
def test_against_scipy(ndim, kind):
    rng = np.random.default_rng(ndim)
    image, kernel = rng.integers(-9, 9, (7, 6, 5)[:ndim]), rng.integers(-9, 9, (3, 2, 4)[:ndim])
    if kind == "float":
        image, kernel = image / 7, kernel / 3
    if kind == "complex":
        image, kernel = image + 1j * image[::-1], kernel - 2j * kernel
    # SciPy's correlate conjugates its second argument.
    expected = scipy.signal.correlate(image, np.conj(kernel), mode="valid", method="direct")
    got = oracle(image[None, None], kernel[None, None], (1,) * ndim, "VALID")[0, 0]
    np.testing.assert_allclose(got.astype(expected.dtype), expected, rtol=1e-13)


def test_integers_are_exact_and_wrap_like_hardware():
    huge = oracle([[[2**62, 2**62]]], [[[4, 4]]], (1,), "VALID")
    assert huge.tolist() == [[[2**65]]]
    exact = np.array([300, -1, -129], dtype=object)
    assert in_dtype(exact, np.int8).tolist() == [44, -1, 127]
    assert in_dtype(exact, np.uint8).tolist() == [44, 255, 127]
    assert in_dtype(exact, np.float32).tolist() == [300, -1, -129]
    assert in_dtype(exact - 300, bool).tolist() == [False, True, True]


def test_dilations_may_be_numpys():
    image, kernel = np.arange(16).reshape(1, 1, 4, 4), np.ones((1, 1, 2, 2), int)
    two, one = np.array([2, 2]), np.array([1, 1])
    expected = oracle(image, kernel, (1, 1), "SAME", (1, 1), (2, 2))
    assert oracle(image, kernel, one, "SAME", one, two).tolist() == expected.tolist()


STRETCHED = {"lhs_dilation": (2,), "padding": "SAME"}
REFUSED = {
    "channels": ((1, 4, 5), (3, 2, 2), {}, r"rhs must have as many channels .*lhs \(1, 4, 5\) .*rhs \(3, 2, 2\)"),
    "channels of groups": ((1, 4, 5), (4, 4, 2), {"feature_group_count": 2}, "rhs must have as many channels"),
    "outputs of groups": ((1, 4, 5), (3, 2, 2), {"feature_group_count": 2}, "must divide .*outputs.* 3"),
    "outputs of batch groups": ((2, 2, 5), (3, 2, 2), {"batch_group_count": 2}, "must divide .*outputs.* 3"),
    "images of batch groups": ((3, 2, 5), (2, 2, 2), {"batch_group_count": 2}, "batch_group_count.* must divide .* 3"),
    "both groups": ((2, 2, 5), (4, 1, 2), {"feature_group_count": 2, "batch_group_count": 2}, "both"),
    "no groups": ((1, 2, 5), (3, 2, 2), {"feature_group_count": 0}, "feature_group_count must be positive, got 0"),
    "ranks": ((1, 2, 5), (3, 2, 2, 2), {}, "lhs and rhs must .* rank"),
    "SAME of a dilated input": ((1, 2, 5), (3, 2, 2), STRETCHED, r"'SAME'.* lhs_dilation .*got \(2,\)"),
    "no such padding": ((1, 2, 5), (3, 2, 2), {"padding": "FULL"}, "padding must .*got 'FULL'"),
    "padding": ((1, 2, 5), (3, 2, 2), {"padding": [(0, 0), (0, 0)]}, r"padding must .* 1 .*got \[\(0, 0\), \(0, 0\)\]"),
    "strides": ((1, 2, 5), (3, 2, 2), {"window_strides": (1, 1)}, r"window_strides must .* 1 .*got \(1, 1\)"),
    "stride": ((1, 2, 5), (3, 2, 2), {"window_strides": (-1,)}, r"window_strides must .* positive.*got \(-1,\)"),
    "dilation": ((1, 2, 5), (3, 2, 2), {"rhs_dilation": (0,)}, r"rhs_dilation must .* positive.*got \(0,\)"),
    "dilations": ((1, 2, 5), (3, 2, 2), {"lhs_dilation": (1, 1)}, r"lhs_dilation must .* 1 .*got \(1, 1\)"),
    "cropping": ((1, 2, 5), (3, 2, 2), {"padding": [(-3, -3)]}, r"padding must .*got \[\(-3, -3\)\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_convolution_is_refused(case):
    """With the values, by a name of its own; lax refuses the same."""
    lhs_shape, rhs_shape, more, said = REFUSED[case]
    arguments = {"window_strides": (1,), "padding": "VALID", **more}
    lhs, rhs = jnp.ones(lhs_shape), jnp.ones(rhs_shape)
    with pytest.raises(ValueError, match=f"^oracle .*{said}"):
        oracle(lhs, rhs, **arguments)
    with pytest.raises((TypeError, ValueError, RuntimeError, ZeroDivisionError)):
        lax.conv_general_dilated(lhs, rhs, **arguments)
