"""What an algorithm needs beside operands and result, as the compiler counts it."""

import jax
import pytest

import jaxconv
from jaxconv._measure import workspace_bytes
from jaxconv._tiling import MAX_WORKSPACE_BYTES

LAYOUTS = {"channels last": ("N{}C", "{}IO"), "channels first": ("NC{}", "OI{}")}

# Each big along another dimension: images, input, inputs a group, outputs a group, groups, kernel, stride, dilation.
LAYERS = {
    "many images": (64, (40, 40), 64, 64, 1, (3, 3), 1, 1),
    "large images": (1, (1500, 1500), 8, 8, 1, (3, 3), 1, 1),
    "one long row": (1, (3_000_000,), 1, 2, 1, (9,), 1, 1),
    "many channels": (2, (8, 8), 4096, 1024, 1, (3, 3), 1, 1),
    "many groups": (4, (40, 40), 1, 1, 4096, (3, 3), 1, 1),
    "large kernel": (1, (1200, 1200), 4, 4, 1, (1100, 1100), 1, 1),
    "medium kernel": (2, (128, 128), 16, 16, 1, (15, 15), 1, 1),
    "volume": (1, (100, 100, 100), 8, 8, 1, (3, 3, 3), 1, 1),
    "transposed": (8, (100, 100), 32, 32, 1, (4, 4), 1, 4),
    "strided": (8, (400, 400), 16, 16, 1, (3, 3), 8, 1),
}


def needed(layer, layout, dtype, algorithm):
    images, size, inputs, outputs, groups, taps, stride, grow = layer
    space = "DHW"[3 - len(size) :]
    lhs_spec, rhs_spec = (form.format(space) for form in LAYOUTS[layout])
    channels_last = lhs_spec.endswith("C")
    lhs = (images, *size, inputs * groups) if channels_last else (images, inputs * groups, *size)
    rhs = (*taps, inputs, outputs * groups) if channels_last else (outputs * groups, inputs, *taps)

    def f(lhs, rhs):
        return jaxconv.conv_general_dilated(
            lhs,
            rhs,
            (stride,) * len(size),
            [(1, 2)] * len(size),
            lhs_dilation=(grow,) * len(size),
            dimension_numbers=(lhs_spec, rhs_spec, lhs_spec),
            feature_group_count=groups,
            algorithm=algorithm,
        )

    program = jax.jit(f).lower(jax.ShapeDtypeStruct(lhs, dtype), jax.ShapeDtypeStruct(rhs, dtype)).compile()
    return workspace_bytes(program)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_im2col_stays_within_its_bound(layer, layout):
    assert needed(layer, layout, "float32", "im2col") <= MAX_WORKSPACE_BYTES


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "complex128", "int8"])
def test_im2col_stays_within_its_bound_for_other_types(dtype):
    for layer in ("many images", "many channels"):
        assert needed(LAYERS[layer], "channels last", dtype, "im2col") <= MAX_WORKSPACE_BYTES


@pytest.mark.parametrize("layout, dtype", [("channels last", "float32"), ("channels first", "bfloat16")])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_naive_needs_its_output_and_no_more(layer, layout, dtype):
    images, _, inputs, outputs, groups, *_ = layer
    position = 4 * groups * (images * inputs + images * outputs + inputs * outputs)  # one pixel, one tap, one result
    assert needed(layer, layout, dtype, "naive") <= 4 * position + 64 * 1024


@pytest.mark.parametrize("role", ["input gradient", "weight gradient"])
def test_backward_stays_within_the_bound(role):
    def conv(lhs, rhs):
        layout = ("NHWC", "HWIO", "NHWC")
        return jaxconv.conv_general_dilated(lhs, rhs, (2, 2), "SAME", dimension_numbers=layout, algorithm="im2col")

    def backward(lhs, rhs, cotangent):
        return jax.vjp(conv, lhs, rhs)[1](cotangent)[role == "weight gradient"]

    shapes = [(16, 120, 120, 32), (3, 3, 32, 32), (16, 60, 60, 32)]
    program = jax.jit(backward).lower(*(jax.ShapeDtypeStruct(shape, "float32") for shape in shapes)).compile()
    assert workspace_bytes(program) <= MAX_WORKSPACE_BYTES
