"""Convolutions in words: what is read is what lax would compute, what is written reads back, what is wrong is named."""

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxconv._bench.job import DIRECTIONS
from jaxconv._bench.suites import SUITES
from jaxconv._collect import convolutions
from jaxconv._command.command import UsageError
from jaxconv._command.keys import KEYS
from jaxconv._command.language import read, written
from jaxconv._command.problem import Problem, read_problems
from jaxconv._geometry_json import TYPES
from jaxconv._parameters import geometry_of
from jaxconv.testing import DTYPES, problems

NHWC, NCHW = ("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW")
PLAIN = {"window_strides": (1, 1), "padding": "VALID", "dimension_numbers": NHWC}

# What one says, and the same call of lax.
MEANT = {
    "conv 2x9x8x4 3x3x4x6": ((2, 9, 8, 4), (3, 3, 4, 6), PLAIN),
    "conv 2x9x8x4 3x3x4x6 stride=2 pad=SAME": (
        (2, 9, 8, 4),
        (3, 3, 4, 6),
        {**PLAIN, "window_strides": (2, 2), "padding": "SAME"},
    ),
    "  conv   2x9x8x4 stride=2,1 3x3x4x6 pad=1:2,-1 ": (
        (2, 9, 8, 4),
        (3, 3, 4, 6),
        {**PLAIN, "window_strides": (2, 1), "padding": [(1, 2), (-1, -1)]},
    ),
    "conv 2x4x9x8 6x2x3x3 layout=NCHW groups=2 dilation=2 pad=2": (
        (2, 4, 9, 8),
        (6, 2, 3, 3),
        {
            "window_strides": (1, 1),
            "padding": [(2, 2)] * 2,
            "rhs_dilation": (2, 2),
            "dimension_numbers": NCHW,
            "feature_group_count": 2,
        },
    ),
    "conv 2x9x8x4 3x3x4x6 lhs_dilation=2,3 pad=0:-1 batch_groups=2 layout=NHWC,HWIO,CHWN precision=highest": (
        (2, 9, 8, 4),
        (3, 3, 4, 6),
        {
            "window_strides": (1, 1),
            "padding": [(0, -1)] * 2,
            "lhs_dilation": (2, 3),
            "batch_group_count": 2,
            "dimension_numbers": ("NHWC", "HWIO", "CHWN"),
            "precision": "highest",
        },
    ),
    "conv 1x40x4 5x4x6 dilation=4 pad=SAME_LOWER precision=high,default": (
        (1, 40, 4),
        (5, 4, 6),
        {
            "window_strides": (1,),
            "padding": "SAME_LOWER",
            "rhs_dilation": (4,),
            "dimension_numbers": ("NWC", "WIO", "NWC"),
            "precision": ("high", "default"),
        },
    ),
    "conv 1x4x5x6x7 2x4x1x2x3 layout=NCDHW stride=1,2,3": (
        (1, 4, 5, 6, 7),
        (2, 4, 1, 2, 3),
        {"window_strides": (1, 2, 3), "padding": "VALID", "dimension_numbers": ("NCDHW", "OIDHW", "NCDHW")},
    ),
    "conv 3x4 4x6 stride=2": (
        (3, 4),
        (4, 6),
        {"window_strides": (), "padding": (), "dimension_numbers": ("NC", "IO", "NC")},
    ),
    "conv 0x9x8x4 3x3x4x6": ((0, 9, 8, 4), (3, 3, 4, 6), PLAIN),
}


@pytest.mark.parametrize("text", MEANT)
def test_what_it_means(text):
    lhs, rhs, arguments = MEANT[text]
    operands = (jax.ShapeDtypeStruct(shape, "float32") for shape in (lhs, rhs))
    assert read(text) == geometry_of(*operands, **arguments)


@pytest.mark.parametrize("dtype", sorted(TYPES))
@pytest.mark.parametrize("x64", [False, True])
def test_types(dtype, x64):
    """64-bit ones, too, whether or not they are switched on."""
    with jax.enable_x64(x64):
        assert read(f"conv 1x4x4x1 2x2x1x1 dtype={dtype}").dtype == dtype
    assert read("conv 1x4x4x1 2x2x1x1 dtype=int8 preferred_element_type=int32").preferred_element_type == "int32"


@given(problems(dtypes=DTYPES), st.sampled_from(DIRECTIONS), st.sampled_from([None, "highest", ("high", "default")]))
def test_what_is_written_reads_back(problem, direction, precision):
    """Every convolution that lax takes, and those that its gradients are."""
    geometry = geometry_of(*problem.operands(), **problem.arguments, precision=precision)
    if direction != "forward" and "int" not in geometry.dtype:
        f, structs = Problem("", geometry, direction=direction).program()
        for found in convolutions(f, *structs):
            assert read(written(found.geometry)) == found.geometry
    assert read(written(geometry)) == geometry


def test_only_what_is_not_usual_is_written():
    text = "conv 2x9x8x4 3x3x4x6"
    assert written(read(f"{text} stride=1 pad=VALID dilation=1,1 groups=1 dtype=float32 layout=NHWC")) == text
    assert written(read(f"{text} precision=highest layout=NHWC,HWIO,NHWC pad=1:1")) == f"{text} pad=1 precision=HIGHEST"


WRONG = {
    "conv": "'conv' is not conv and two operands; a convolution is 'conv LHS RHS",
    "conv 1x2x3x4": "not conv and two operands",
    "conv 1x2x3x4 1x1x4x2 2": "not conv and two operands",
    "conv 1x2x3x4 1x1x4y2": "'1x1x4y2' in 'conv 1x2x3x4 1x1x4y2' must be sizes with x between, as in 8x56",
    "conv 1x2x-3x4 1x1x4x2": "'1x2x-3x4' in",
    "conv 1x2x1_0x4 1x1x4x2": "'1x2x1_0x4' in",
    "conv 1x2x99999999999999999999x4 1x1x4x2": "'1x2x99999999999999999999x4' in",
    "conv 1x2x3x4 1x4x2": "'1x4x2' in 'conv 1x2x3x4 1x4x2' must have 4 axes, as '1x2x3x4' has",
    "conv 3 4": "'3' in 'conv 3 4' must have from 2 to 5 axes",
    "conv 1x2x3x4x5x6 1x2x3x4x5x6": "must have from 2 to 5 axes",
    "conv 1x2x3x4 1x1x4x2 strides=2": "'strides' in 'conv 1x2x3x4 1x1x4x2 strides=2' is no key here; there are stride",
    "conv 1x2x3x4 1x1x4x2 stride=1 stride=2": "says stride twice",
    "conv 1x2x3x4 1x1x4x2 stride=0": "'stride=0' in 'conv 1x2x3x4 1x1x4x2 stride=0' must be a positive integer, or",
    "conv 1x2x3x4 1x1x4x2 stride=2x1": "'stride=2x1' in",
    "conv 1x2x3x4 1x1x4x2 stride=1,2,3": "'stride=1,2,3' in",
    "conv 1x2x3x4 1x1x4x2 stride=": "'stride=' in",
    "conv 1x2x3x4 1x1x4x2 dilation=-1": "'dilation=-1' in",
    "conv 1x2x3x4 1x1x4x2 pad=same": "'pad=same' in 'conv 1x2x3x4 1x1x4x2 pad=same' must be SAME, SAME_LOWER, VALID, ",
    "conv 1x2x3x4 1x1x4x2 pad=1:2:3": "'pad=1:2:3' in",
    "conv 1x2x3x4 1x1x4x2 pad=1:": "'pad=1:' in",
    "conv 1x2x3x4 1x1x4x2 pad=--1": "'pad=--1' in",
    "conv 1x2x3x4 1x1x4x2 pad=99999999999999999999": "'pad=99999999999999999999' in",
    "conv 1x2x3x4 1x1x4x2 groups=two": "'groups=two' in",
    "conv 1x2x3x4 1x1x4x2 dtype=float": "'dtype=float' in 'conv 1x2x3x4 1x1x4x2 dtype=float' must be one of bfloat16, ",
    "conv 1x2x3x4 1x1x4x2 layout=NWHC": "'layout=NWHC' in",
    "conv 1x2x3x4 1x1x4x2 layout=NWC": "'layout=NWC' in",
    "conv 1x2x3x4 1x1x4x2 layout=NHWC,HWIO": "'layout=NHWC,HWIO' in",
    "conv 1x2x3x4 1x1x4x2 layout=NHWC,HWIX,NHWC": "'layout=NHWC,HWIX,NHWC' in",
    "conv 1x2x3x4 1x1x4x2 precision=good": "'precision=good' in",
    # What only lax can tell, in its words, or in ours where it has none.
    "conv 1x2x3x4 1x1x5x2": "'conv 1x2x3x4 1x1x5x2': conv_general_dilated lhs feature dimension size",
    "conv 1x2x3x4 0x1x4x2": "rhs must have at least one tap along each axis",
    "conv 1x2x3x4 1x1x4x2 pad=SAME lhs_dilation=2": "String padding is not implemented for transposed convolution",
    "conv 1x2x3x4 1x1x4x2 pad=-9": "",
    # Layers.
    "": "'' is neither conv nor a suite",
    "lenet": ", resnet50, ",
    "Conv 1x2x3x4 1x1x4x2": "is neither conv nor a suite; a convolution is",
    "core/AlexNet": "no layer of core has 'AlexNet' in its name; there are notebook, ",
    "core stride=2": "'stride' in 'core stride=2' is no key here; there are batch, dtype, layout",
    "core batch=2": "'batch=2' in 'core batch=2': layers of core have batch sizes of their own",
    "vgg16 batch=0": "'batch=0' in 'vgg16 batch=0' must be a positive integer",
    "vgg16 layout=CHWN": "'layout=CHWN' in 'vgg16 layout=CHWN' must be one of NHWC, NCHW",
    "vgg16 dtype=real": "'dtype=real' in 'vgg16 dtype=real' must be one of bfloat16",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_named(text):
    with pytest.raises(UsageError) as error:
        read_problems(text)
    assert WRONG[text] in str(error.value) and "\n" not in str(error.value)


WORDS = st.one_of(
    st.sampled_from(["conv", "core/ResNeXt", "vgg16", "1x5x5x2", "3x3x2x4", "2x7x3", "", "=", "x", "1x9999999999x5x2"]),
    st.builds("{}={}".format, st.sampled_from([*KEYS, "batch"]), st.text("0123:,-xNCHWSAME", max_size=6)),
    st.text(max_size=5),
)  # fmt: skip


@given(st.lists(WORDS, max_size=6), st.booleans())
def test_anything_else_is_an_error_of_usage(words, convolution):
    text = " ".join(["conv 2x5x6x2 3x3x2x4", *words] if convolution else words)
    try:
        found = read_problems(text)
    except UsageError:
        return
    assert found and all(read(written(problem.geometry)) == problem.geometry for problem in found)


@pytest.mark.parametrize("name", SUITES)
def test_layers_of_suites(name):
    found = read_problems(name)
    assert [problem.layer for problem in found] == list(SUITES[name])
    for problem, layer in zip(found, SUITES[name].values(), strict=True):
        if not layer.up:
            assert problem.geometry.macs == layer.macs
        assert problem.occurs == layer.occurs and problem.geometry.out_spatial == layer.out_spatial


def test_some_layers():
    assert [problem.layer for problem in read_problems("core/ResNet-50 3")] == ["ResNet-50 3b", "ResNet-50 3a"]
    depthwise = "MobileNetV2 depthwise"  # the beginning of another name as well
    assert [problem.layer for problem in read_problems(f"core/{depthwise}")] == [depthwise]
    [stem] = read_problems("resnet50/stem batch=3 dtype=bfloat16 layout=NCHW")
    assert stem.geometry == read("conv 3x3x224x224 64x3x7x7 stride=2 pad=3 dtype=bfloat16 layout=NCHW")
