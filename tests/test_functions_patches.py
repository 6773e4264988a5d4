"""Patches are those of lax, bit by bit, and `fold` is their transpose, judged without either of our two functions."""

import inspect
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import convolutions
from hypothesis import assume, given
from jax import lax
from marks import where_lax_has_all

import jaxconv
from jaxconv._algorithms import im2col
from jaxconv.testing import DTYPES, Problem, error_bound, problems

WINDOWS = ("window_strides", "padding", "lhs_dilation", "rhs_dilation", "dimension_numbers")


def arguments(problem):
    """Of a function of patches: the window's taps in the order of the kernel's axes, and how it is moved."""
    numbers = lax.conv_dimension_numbers(problem.lhs_shape, problem.rhs_shape, problem.dimension_numbers)
    taps = tuple(problem.rhs_shape[axis] for axis in sorted(numbers.rhs_spec[2:]))
    return {"filter_shape": taps, **{name: getattr(problem, name) for name in WINDOWS}}


def extent(problem):
    """The image's along its spatial axes, in the order of the strides."""
    numbers = lax.conv_dimension_numbers(problem.lhs_shape, problem.rhs_shape, problem.dimension_numbers)
    return tuple(problem.lhs_shape[axis] for axis in numbers.lhs_spec[2:])


def origins(problem):
    """For each element of the patches the flat index of the pixel it is a copy of, or -1: padding."""
    numbered = jnp.arange(1, np.prod(problem.lhs_shape, dtype=int) + 1).reshape(problem.lhs_shape)
    with where_lax_has_all():
        return np.asarray(lax.conv_general_dilated_patches(numbered, **arguments(problem))) - 1


def sums(problem, patches):
    """What fold is to give, in the type of NumPy array that it is given."""
    total, where = np.zeros(np.prod(problem.lhs_shape, dtype=int), patches.dtype), origins(problem)
    np.add.at(total, where[where >= 0], patches[where >= 0])
    return total.reshape(problem.lhs_shape)


def unfold(problem):
    return lambda image: jaxconv.conv_general_dilated_patches(image, **arguments(problem))


def fold(problem):
    return lambda patches: jaxconv.fold(patches, extent(problem), **arguments(problem))


def check_fold(got, problem, patches):
    assert got.dtype == patches.dtype and got.shape == problem.lhs_shape
    if not jnp.issubdtype(got.dtype, np.inexact):
        np.testing.assert_array_equal(got, sums(problem, np.asarray(patches)))  # both wrap
        return
    wide = np.asarray(patches).astype(np.complex128 if got.dtype.kind == "c" else np.float64)
    most = np.bincount(origins(problem).ravel() + 1)[1:].max(initial=0)
    allowed = error_bound(got.dtype, int(most)) * sums(problem, np.abs(wide))
    assert (np.abs(np.asarray(got).astype(wide.dtype) - sums(problem, wide)) <= allowed).all()


# Axes in an order of their own, which three strings cannot say: taps are numbered by the kernel's array.
NUMBERS = lax.ConvDimensionNumbers((1, 0, 3, 2), (3, 1, 2, 0), (2, 1, 3, 0))
FIXED = {
    "volume": Problem((1, 2, 4, 3, 5), (1, 2, 2, 1, 3), (1, 2, 1), "SAME"),
    "axes in any order": Problem((2, 3, 5, 6), (3, 1, 2, 1), (2, 1), ((1, 0), (0, 2)), dimension_numbers=NUMBERS),
    "cropped and dilated": Problem((2, 1, 5, 6), (1, 1, 3, 2), (2, 1), ((1, -1), (-2, 3)), (2, 3), (1, 2)),
    "many positions of many taps": Problem((1, 1, 300), (1, 1, 40), (3,), ((5, 7),), rhs_dilation=(2,)),
    "frames": Problem((1, 1, 700), (1, 1, 50), (16,), "VALID"),
    "bools": Problem((1, 2, 5), (1, 1, 3), (1,), "SAME", dtype="bool"),
    "no images": Problem((0, 2, 5), (1, 1, 3), (1,), "SAME"),
    "no positions": Problem((1, 2, 2), (1, 1, 3), (1,), "VALID"),
    "no positions of bools": Problem((1, 2, 2), (1, 1, 3), (1,), "VALID", dtype="bool"),
    "nothing but padding": Problem((1, 2, 0), (1, 1, 3), (1,), ((2, 2),)),
    "no axes": Problem((2, 3), (1, 3), (), "VALID"),
}


@given(problem=problems(dtypes=(*DTYPES, "bool"), groups=False))
def test_patches_and_fold(problem):
    numbers = lax.conv_dimension_numbers(problem.lhs_shape, problem.rhs_shape, problem.dimension_numbers)
    assume(problem.lhs_shape[numbers.lhs_spec[1]])  # lax has no word for groups of no channel
    agree(problem)


@pytest.mark.parametrize("problem", FIXED.values(), ids=FIXED)
def test_one_of_each_kind(problem):
    agree(problem)


def agree(problem):
    image, _ = problem.operands()
    more = {"preferred_element_type": problem.preferred_element_type, "precision": lax.Precision.HIGHEST}

    def theirs(image):
        return lax.conv_general_dilated_patches(image, **arguments(problem), **more)

    # lax rounds complex products by one.
    is_complex = jnp.issubdtype(image.dtype, np.complexfloating)
    with where_lax_has_all():
        expected = lax.complex(theirs(image.real), theirs(image.imag)) if is_complex else theirs(image)
    got = jaxconv.conv_general_dilated_patches(image, **arguments(problem), **more)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)
    patches = replace(problem, lhs_shape=expected.shape).operands()[0]
    check_fold(fold(problem)(patches), problem, patches)


@pytest.mark.parametrize("problem", [FIXED["cropped and dilated"], FIXED["frames"]])
def test_derivatives_in_both_modes(problem):
    image, tangent = (replace(problem, dtype="float64", seed=seed).operands()[0] for seed in (0, 1))
    patches, vjp = jax.vjp(unfold(problem), image)
    direction = np.random.default_rng(2).standard_normal(patches.shape)
    (gradient,) = vjp(jnp.asarray(direction))
    check_fold(gradient, problem, jnp.asarray(direction))
    np.testing.assert_array_equal(jax.jvp(unfold(problem), (image,), (tangent,))[1], unfold(problem)(tangent))

    _, vjp = jax.vjp(fold(problem), patches)  # the transpose of the transpose
    np.testing.assert_array_equal(vjp(tangent)[0], unfold(problem)(tangent))
    _, moved = jax.jvp(fold(problem), (patches,), (jnp.asarray(direction),))
    check_fold(moved, problem, jnp.asarray(direction))
    transposed = jax.linear_transpose(unfold(problem), image)(jnp.asarray(direction))[0]
    np.testing.assert_array_equal(transposed, fold(problem)(jnp.asarray(direction)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_types_are_added_up_in_float32(dtype):
    problem = Problem((2, 3, 9, 8), (1, 1, 5, 5), (1, 1), "SAME", dtype=dtype)
    patches = replace(problem, lhs_shape=(2, 75, 9, 8)).operands()[0]
    exact, size = (sums(problem, np.asarray(some, "float64")) for some in (patches, abs(patches)))
    with jax.disable_jit():  # a compiler may keep more digits between operations than it is asked for
        gradient = jax.vjp(unfold(problem), problem.operands()[0])[1](patches)[0]
        for got in (gradient, fold(problem)(patches)):
            rounded_once = float(jnp.finfo(dtype).eps) / 2 * abs(exact) + error_bound("float32", 25) * size
            assert (abs(np.asarray(got, "float64") - exact) <= rounded_once).all()


def test_fold_of_the_patches_is_the_image_times_counts():
    problem = Problem((2, 3, 6, 7), (1, 1, 3, 2), (2, 1), "SAME", dtype="int32")
    image = problem.operands()[0]
    counts = fold(problem)(unfold(problem)(jnp.ones_like(image)))
    assert counts[0, 0].tolist() == [[1] + [2] * 6] * 2 + [[2] + [4] * 6] + [[1] + [2] * 6] + [[2] + [4] * 6] + [
        [1] + [2] * 6
    ]
    np.testing.assert_array_equal(fold(problem)(unfold(problem)(image)), image * counts)


def test_batched_and_compiled():
    problem = FIXED["cropped and dilated"]
    three = np.random.default_rng(0).standard_normal((*problem.lhs_shape, 3))
    out = jax.jit(jax.vmap(unfold(problem), -1, 1))(three)
    back = jax.jit(jax.vmap(fold(problem), 1))(out)
    for i in range(3):
        np.testing.assert_array_equal(out[:, i], unfold(problem)(three[..., i]))
        np.testing.assert_array_equal(back[i], fold(problem)(out[:, i]))


@pytest.mark.parametrize("shape", ["b, 3, h, w", "2, 3, h, 6", "b, 3, 7, 6"])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 2), (0, -1))])
def test_symbolic_sizes(shape, padding):
    """Of axes whose extent is a symbol slices cannot be counted: there it is lax's own."""
    image = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 7, 6)), "float32")

    def ours(image):
        return jaxconv.conv_general_dilated_patches(image, (3, 2), (2, 1), padding, rhs_dilation=(1, 2))

    struct = jax.ShapeDtypeStruct(jax.export.symbolic_shape(shape), image.dtype)
    exported = jax.export.export(jax.jit(ours))(struct)
    np.testing.assert_array_equal(exported.call(image), ours(image))


def test_no_convolution_and_few_slices():
    for problem, most in ((FIXED["volume"], 10), (FIXED["many positions of many taps"], 20), (FIXED["frames"], 20)):
        image = problem.operands()[0]
        patches = unfold(problem)(image)
        assert convolutions(unfold(problem), image) == convolutions(fold(problem), patches) == (0, 0)
        assert str(jax.make_jaxpr(unfold(problem))(image)).count(" slice[") <= most


@pytest.mark.parametrize("front, last, far, near", [(33, 33, 1, 1), (40, 35, 2, 3), (35, 40, 2, 3), (1100, 34, 1, 7)])
def test_many_slices_are_cut_in_two_steps(front, last, far, near):
    line = jnp.arange((front - 1) * far + (last - 1) * near + 3)[None, None, None]
    got = im2col.patches(line, (front,), (last,), (far,), (near,))
    np.testing.assert_array_equal(got[0, :, 0, 0], far * np.arange(front)[:, None] + near * np.arange(last))


@pytest.mark.parametrize("dilation, padding, stride", [((1, 1), (0, 0), (1, 1)), ((2, 1), (3, 1), (1, 2))])
def test_those_of_torch(dilation, padding, stride):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    window = {"kernel_size": (3, 2), "dilation": dilation, "padding": padding, "stride": stride}
    ours = {"padding": [(p, p) for p in padding], "rhs_dilation": dilation, "window_strides": stride}
    image = rng.integers(-8, 8, (2, 3, 8, 9)).astype("float32")
    patches = jaxconv.conv_general_dilated_patches(image, (3, 2), **ours)
    theirs = torch.nn.functional.unfold(torch.tensor(image), **window)
    np.testing.assert_array_equal(np.asarray(patches).reshape(theirs.shape), theirs)
    folded = torch.nn.functional.fold(theirs, (8, 9), **window)
    np.testing.assert_array_equal(jaxconv.fold(patches, (8, 9), (3, 2), **ours), folded)


@pytest.mark.parametrize("check_vma", [True, False])
def test_fold_of_shards(check_vma):
    mesh = jax.make_mesh((4,), ("a",), axis_types=(jax.sharding.AxisType.Auto,))
    patches = jnp.arange(4 * 27 * 16.0, dtype="float32").reshape(4, 27, 4, 4)

    def folded(patches):
        return jaxconv.fold(patches, (4, 4), (3, 3), (1, 1), "SAME")

    over = jax.sharding.PartitionSpec("a")
    sharded = jax.shard_map(folded, mesh=mesh, in_specs=over, out_specs=over, check_vma=check_vma)
    np.testing.assert_array_equal(sharded(patches), folded(patches))


@pytest.mark.parametrize("spec", [("a",), (None, None, "a"), ("a", None, None, "b")], ids=str)
def test_fold_of_arrays_whose_types_say_how_they_are_sharded(spec):
    explicit = jax.sharding.AxisType.Explicit
    patches = jnp.arange(4 * 27 * 16.0, dtype="float32").reshape(4, 27, 4, 4)
    expected = jaxconv.fold(patches, (4, 4), (3, 3), (1, 1), "SAME")
    with jax.set_mesh(jax.make_mesh((2, 2), ("a", "b"), axis_types=(explicit, explicit))):
        put = jax.device_put(patches, jax.sharding.PartitionSpec(*spec))
        out = jax.jit(lambda patches: jaxconv.fold(patches, (4, 4), (3, 3), (1, 1), "SAME"))(put)
    np.testing.assert_array_equal(out, expected)


def test_signature_is_that_of_lax():
    for name in ("conv_general_dilated_patches", "conv_general_dilated_local"):
        theirs, ours = (inspect.signature(getattr(of, name)).parameters.values() for of in (lax, jaxconv))
        assert [(p.name, p.default, p.kind) for p in ours] == [(p.name, p.default, p.kind) for p in theirs]


IMAGE = jnp.ones((1, 2, 5, 5), "float32")
WRONG: list[Any] = [[1.0], (3.0, 3), "patches"]  # more than types allow


@pytest.mark.parametrize(
    "wrong",
    [
        dict(filter_shape=(3,)),
        dict(window_strides=(1,)),
        dict(padding=[1, 1]),
        dict(padding=[(-9, 0), (0, 0)]),
        dict(padding="SAME", lhs_dilation=(2, 2)),
        dict(dimension_numbers=("NCHW", "OIHW")),
        dict(precision="very good"),
        dict(preferred_element_type="float16"),
        dict(lhs=jnp.ones((1, 0, 5, 5))),
    ],
    ids=str,
)
def test_errors_are_those_of_lax(wrong):
    call = {"lhs": IMAGE, "filter_shape": (3, 3), "window_strides": (1, 1), "padding": "VALID", **wrong}
    with pytest.raises((TypeError, ValueError)) as theirs:
        lax.conv_general_dilated_patches(**call)
    with pytest.raises(type(theirs.value)) as ours:
        jaxconv.conv_general_dilated_patches(**call)
    if "precision" not in wrong:  # lax says what it made of it
        assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: jaxconv.conv_general_dilated_patches(WRONG[0], (1,), (1,), "SAME"), "lhs must be an array, got"),
        (lambda: jaxconv.conv_general_dilated_patches(IMAGE, (0, 3), (1, 1), "SAME"), r"one tap.*got \(0, 3\)"),
        (lambda: jaxconv.conv_general_dilated_patches(IMAGE, (3, 3), (0, 1), "VALID"), r"positive, got \(0, 1\)"),
        (lambda: jaxconv.conv_general_dilated_patches(IMAGE, WRONG[1], (1, 1), "VALID"), "'float' object cannot"),
        (lambda: jaxconv.fold(WRONG[2], (5,), (3,), (1,), "VALID"), "fold patches must be an array, got 'patches'"),
        (lambda: jaxconv.fold(IMAGE[0], (5,), (3,), (1,), "VALID"), r"multiple of prod.*patches.shape=\(2, 5, 5\)"),
        (lambda: jaxconv.fold(IMAGE[0], (5, 5), (2,), (1,), "VALID"), r"one entry of spatial_shape.*=\(5, 5\)"),
        (lambda: jaxconv.fold(IMAGE[0], (5,), (1,), (2,), "VALID"), r"shape \(2, 5, 3\) .*=\(5,\), got \(2, 5, 5\)"),
        (lambda: jaxconv.fold(IMAGE[0], (5,), (0,), (1,), "VALID"), r"one tap.*got \(0,\)"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_errors_of_their_own(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_patches_in_another_order_are_found(monkeypatch):
    """So the comparison bites, on images that are not square and windows that are not symmetrical."""
    right = im2col.patches

    def turned(window, stacked, *rest):
        return right(window, stacked, *rest)[:, ::-1]

    def exchanged(window, stacked, kept, stacked_steps, kept_steps):
        return right(window, stacked, kept, kept_steps, stacked_steps)

    for wrong in (turned, exchanged):
        monkeypatch.setattr(im2col, "patches", wrong)
        with jax.disable_jit(), pytest.raises((AssertionError, ValueError, TypeError)):
            agree(Problem((1, 2, 6), (1, 1, 2), (1,), "SAME", rhs_dilation=(2,)))
