"""What an algorithm needs beside operands and result, as the compiler counts it."""

from math import prod

import jax
import pytest
from jax import lax

import jaxconv
from jaxconv._algorithm import MAX_WORKSPACE_BYTES
from jaxconv._algorithms import ALGORITHMS
from jaxconv._measure import workspace_bytes
from jaxconv._parameters import from_params
from jaxconv._primitive import conv_p


@pytest.fixture(autouse=True, scope="module")
def without_optimized_code():
    """Memory is settled before code is generated, which takes half of the time to compile where it is optimized."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


LAYOUTS = {"channels last": ("N{}C", "{}IO"), "channels first": ("NC{}", "OI{}")}

# Each big along another dimension: images, input, inputs a group, outputs a group, groups, kernel, stride, dilation,
# and padding where that is not (1, 2).
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
    "transposed volume": (8, (8, 16, 16), 128, 128, 1, (2, 2, 2), 1, 2),
    "strided": (8, (400, 400), 16, 16, 1, (3, 3), 8, 1),
    "depthwise": (4, (400, 400), 1, 1, 32, (3, 3), 1, 1),
    "depthwise, strided": (4, (400, 400), 1, 1, 32, (3, 3), 2, 1),
    "depthwise, strided, 7x7": (8, (112, 112), 1, 1, 64, (7, 7), 2, 1, (3, 3)),
    "depthwise, long kernel": (8, (800,), 1, 1, 512, (31,), 1, 1, (15, 15)),
    "depthwise, large kernel": (2, (128, 128), 1, 1, 64, (31, 31), 1, 1),
    "first layer": (8, (224, 224), 3, 64, 1, (7, 7), 2, 1, (3, 3)),
    "groups of one": (4, (112, 112), 1, 4, 64, (3, 3), 1, 1),
    "3x3": (8, (56, 56), 64, 64, 1, (3, 3), 1, 1),
    "3x3, small images": (8, (7, 7), 512, 512, 1, (3, 3), 1, 1),
    "few inputs": (8, (64, 64), 3, 256, 1, (3, 3), 1, 1, (1, 1)),
    "few channels a group": (8, (56, 56), 4, 4, 32, (3, 3), 1, 1),
    "1x1": (8, (56, 56), 64, 256, 1, (1, 1), 1, 1, (0, 0)),
    "1x1, groups": (8, (56, 56), 16, 64, 4, (1, 1), 1, 1, (0, 0)),
}
BOUNDED = [name for name in ALGORITHMS if name not in ("naive", "xla")]
REWRITES = ("polyphase", "packing", "slabs", "strips", "karatsuba")
# Volumes take F(4, 3) 216 products of matrices, and a quarter of a minute to compile.
LEFT_OUT = {("winograd4", "volume")}


def layer_of(layer, layout, dtype):
    """Shapes of both operands, and the other arguments."""
    images, size, inputs, outputs, groups, taps, stride, grow, *padding = layer
    space = "DHW"[3 - len(size) :]
    lhs_spec, rhs_spec = (form.format(space) for form in LAYOUTS[layout])
    channels_last = lhs_spec.endswith("C")
    lhs = (images, *size, inputs * groups) if channels_last else (images, inputs * groups, *size)
    rhs = (*taps, inputs, outputs * groups) if channels_last else (outputs * groups, inputs, *taps)

    arguments = {
        "window_strides": (stride,) * len(size),
        "padding": (padding or [(1, 2)]) * len(size),
        "lhs_dilation": (grow,) * len(size),
        "dimension_numbers": (lhs_spec, rhs_spec, lhs_spec),
        "feature_group_count": groups,
    }
    return jax.ShapeDtypeStruct(lhs, dtype), jax.ShapeDtypeStruct(rhs, dtype), arguments


def asked(layer, layout, dtype, algorithm, role="forward", bound=MAX_WORKSPACE_BYTES):
    """The layer's function in this role by the algorithm, its operands, and the geometry of its convolution."""
    lhs, rhs, arguments = layer_of(layer, layout, dtype)
    out = jax.eval_shape(lambda lhs, rhs: lax.conv_general_dilated(lhs, rhs, **arguments), lhs, rhs)

    def conv(lhs, rhs):
        return lax.conv_general_dilated(lhs, rhs, **arguments)

    def input_gradient(rhs, cotangent):
        return jax.linear_transpose(lambda x: conv(x, rhs), lhs)(cotangent)[0]

    def weight_gradient(lhs, cotangent):
        return jax.linear_transpose(lambda x: conv(lhs, x), rhs)(cotangent)[0]

    roles = {
        "forward": (conv, lhs, rhs),
        "input gradient": (input_gradient, rhs, out),
        "weight gradient": (weight_gradient, lhs, out),
    }
    f, *operands = roles[role]
    f = jaxconv.accelerate(f, algorithm=algorithm, max_workspace_bytes=bound)
    equation = next(eqn for eqn in jax.make_jaxpr(f)(*operands).eqns if eqn.primitive is conv_p)
    params = {name: value for name, value in equation.params.items() if name != "request"}
    return f, operands, from_params(equation.invars[0].aval, equation.invars[1].aval, params)


def needed(layer, layout, dtype, algorithm, role="forward", bound=MAX_WORKSPACE_BYTES):
    """Bytes, or None where the algorithm refuses the convolution that it is in this role."""
    f, operands, geometry = asked(layer, layout, dtype, algorithm, role, bound)
    if ALGORITHMS[algorithm].unsupported(geometry, bound):
        return None
    return workspace_bytes(jax.jit(f).lower(*operands).compile())


ROLES = [
    ("channels last", "forward"),
    ("channels last", "input gradient"),
    ("channels last", "weight gradient"),
    ("channels first", "forward"),
    ("channels first", "weight gradient"),
]


@pytest.mark.parametrize("layout, role", ROLES)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("algorithm", BOUNDED)
def test_workspace_stays_within_its_bound(algorithm, layer, layout, role):
    if (algorithm, layer) in LEFT_OUT:
        pytest.skip("too long to compile")
    used = needed(LAYERS[layer], layout, "float32", algorithm, role)
    if used is None:
        return
    # In an input gradient lax reverses the kernel before it calls the convolution: that is a copy of it.
    reversed_kernel = 4 * prod(layer_of(LAYERS[layer], layout, "float32")[1].shape) if role == "input gradient" else 0
    # What some hand to lax's convolution takes what that takes.
    inner = needed(LAYERS[layer], layout, "float32", "xla", role) if algorithm in REWRITES else 0
    assert inner is not None and used <= MAX_WORKSPACE_BYTES + reversed_kernel + inner


@pytest.mark.parametrize("algorithm", BOUNDED)
def test_the_layers_are_for_every_algorithm(algorithm):
    """Or there would be nothing to stay within any bound."""
    cases = [(layer, layout, role) for layer in LAYERS.values() for layout, role in ROLES]
    taken = [
        case
        for case in cases
        if not ALGORITHMS[algorithm].unsupported(asked(case[0], case[1], "float32", algorithm, case[2])[2])
    ]
    assert len(taken) >= 8


def test_col2im_counts_the_rows_of_its_products_that_it_pads():
    """Of one input channel, whatever the layer has: with 32 of them, fewer rows were estimated."""
    bound = 23 * 2**19  # a little less than all of it takes at once
    layer = (4, (64, 64), 32, 3, 1, (7, 7), 1, 1, (3, 3))
    used = needed(layer, "channels last", "float32", "col2im", bound=bound)
    assert used is not None and used <= bound


@pytest.mark.parametrize("bound", [2**22, 2**20])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("algorithm", ["im2col", "kn2row", "winograd2"])
def test_weight_gradients_stay_within_smaller_bounds(algorithm, layout, bound):
    """Their sums are cut into more parts."""
    layers = [LAYERS[name] for name in ("few inputs", "3x3, small images", "groups of one")]
    found = [needed(layer, layout, "float32", algorithm, "weight gradient", bound) for layer in layers]
    assert any(found) and all(used is None or used <= bound for used in found)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "complex128", "int8"])
def test_im2col_stays_within_its_bound_for_other_types(dtype):
    for layer in ("many images", "many channels"):
        used = needed(LAYERS[layer], "channels last", dtype, "im2col")
        assert used is not None and used <= MAX_WORKSPACE_BYTES


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("algorithm", ["im2col", "kn2row", "winograd2"])
@pytest.mark.parametrize("layer, role", [("groups of one", "forward"), ("depthwise, long kernel", "weight gradient")])
def test_groups_of_half_types_stay_within_the_bound(layer, role, algorithm, dtype):
    """Their results are written to, not copied, at every turn; and of operands that are widened there are no more."""
    used = needed(LAYERS[layer], "channels last", dtype, algorithm, role)
    assert used <= MAX_WORKSPACE_BYTES if used is not None else algorithm == "winograd2"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("layer", [layer for layer in LAYERS if layer.startswith("depthwise")])
def test_depthwise_stays_within_its_bound_for_half_types(layer, layout, dtype):
    """Of which XLA may make copies in float32."""
    used = needed(LAYERS[layer], layout, dtype, "depthwise")
    assert used is not None and used <= MAX_WORKSPACE_BYTES


LONG_1D = (8, (20_000,), 1, 1, 1, (101,), 2, 1, (0, 0))
TRANSPOSED_GROUPS = (1, (120, 120), 4, 1, 8, (7, 7), 1, 2, (1, 1))


@pytest.mark.parametrize(
    "layer, role, dtype, bound",
    [
        ((1, (20_000,), 4, 4, 1, (101,), 1, 1, (50, 50)), "forward", "bfloat16", 2**20),
        (LONG_1D, "weight gradient", "bfloat16", 2**20),
        (LONG_1D, "weight gradient", "float32", 2**20),
        ((1, (120, 200), 1, 1, 32, (3, 31), 2, 1, (15, 15)), "weight gradient", "bfloat16", 2**23),
        (TRANSPOSED_GROUPS, "weight gradient", "bfloat16", 6 * 2**20),
        (TRANSPOSED_GROUPS, "weight gradient", "float32", 15 * 2**19),
    ],
)
def test_depthwise_stays_within_bounds_where_it_slices_and_stacks_much(layer, role, dtype, bound):
    layout = "channels first" if role == "forward" else "channels last"
    used = needed(layer, layout, dtype, "depthwise", role, bound)
    assert used is not None and used <= bound


def test_depthwise_counts_what_it_turns_of_operands_in_different_orders():
    bound = 1_850_304  # a little less than all of it takes at once
    lhs, rhs = (jax.ShapeDtypeStruct(shape, "float32") for shape in ((16, 1, 8, 112), (329, 16, 10, 4)))

    def f(lhs, rhs):
        arguments = ((2, 1), ((2, 1), (0, 0)), (3, 2), (1, 3), ("HNCD", "DOHI", "DHCN"), 2)
        return jaxconv.conv_general_dilated(lhs, rhs, *arguments, algorithm="depthwise", max_workspace_bytes=bound)

    assert workspace_bytes(jax.jit(f).lower(lhs, rhs).compile()) <= bound


@pytest.mark.parametrize("layout, dtype", [("channels last", "float32"), ("channels first", "bfloat16")])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_naive_needs_its_output_and_no_more(layer, layout, dtype):
    images, _, inputs, outputs, groups, *_ = layer
    position = 4 * groups * (images * inputs + images * outputs + inputs * outputs)  # one pixel, one tap, one result
    used = needed(layer, layout, dtype, "naive")
    assert used is not None and used <= 4 * position + 64 * 1024
