"""Weights from PyTorch and flax and back: the same values as theirs, in either layout."""

import re
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import nn
from jaxconv.testing import error_bound

KEY = jax.random.key(0)


def random(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def agree(got, expected, magnitude, terms):
    """Sums of `terms` products and a bias, computed twice; `magnitude` is that of the operands' magnitudes."""
    assert got.shape == expected.shape and got.dtype == "float64"
    assert (abs(got - expected) <= 4 * error_bound("float64", terms) * magnitude).all()


# PyTorch: name of the layer, its arguments, and the extent of its input.
TORCH = {
    "Conv1d": ("Conv1d", dict(kernel_size=3, stride=2, padding=1, dilation=2, groups=2), (9,)),
    "Conv2d": ("Conv2d", dict(kernel_size=(3, 2), stride=(1, 2), padding=(0, 2), dilation=(2, 1), groups=2), (7, 6)),
    "Conv3d": ("Conv3d", dict(kernel_size=(2, 1, 3), stride=2, padding=1, bias=False), (4, 3, 5)),
    "same": ("Conv2d", dict(kernel_size=(4, 3), padding="same", dilation=(1, 2)), (7, 6)),
    "valid": ("Conv1d", dict(kernel_size=2, padding="valid", stride=3), (9,)),
    "circular": ("Conv2d", dict(kernel_size=(3, 2), stride=2, padding=(1, 2), padding_mode="circular"), (7, 6)),
    "reflect": ("Conv2d", dict(kernel_size=(4, 3), padding="same", padding_mode="reflect", groups=2), (7, 6)),
    "replicate": ("Conv1d", dict(kernel_size=3, stride=2, padding=2, padding_mode="replicate"), (9,)),
    "ConvTranspose1d": (
        "ConvTranspose1d", dict(kernel_size=3, stride=2, padding=1, output_padding=1, dilation=3, groups=2), (5,),
    ),
    "ConvTranspose2d": (
        "ConvTranspose2d",
        dict(kernel_size=(3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2), groups=2), (4, 3),
    ),
    "ConvTranspose3d": ("ConvTranspose3d", dict(kernel_size=(2, 1, 3), stride=2, bias=False), (2, 3, 2)),
}  # fmt: skip


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("kind, arguments, spatial", TORCH.values(), ids=TORCH)
def test_pytorch(torch, kind, arguments, spatial):
    torch.manual_seed(0)
    module = getattr(torch.nn, kind)(4, 6, dtype=torch.float64, **arguments)
    x = random((2, 4, *spatial))
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
        positive = getattr(torch.nn, kind)(4, 6, dtype=torch.float64, **arguments)
        positive.load_state_dict({name: abs(array) for name, array in module.state_dict().items()})
        magnitude = positive(torch.from_numpy(abs(x))).numpy()
    layer = nn.from_torch(module)
    agree(layer(x), expected, magnitude, terms=module.weight.numel())

    exported = nn.to_torch(layer)
    assert exported.keys() == module.state_dict().keys()
    for name, array in module.state_dict().items():
        np.testing.assert_array_equal(exported[name], array.numpy())
    again = getattr(torch.nn, kind)(4, 6, dtype=torch.float64, **arguments)
    again.load_state_dict({name: torch.from_numpy(array) for name, array in exported.items()})
    with torch.no_grad():
        np.testing.assert_array_equal(again(torch.from_numpy(x)).numpy(), expected)

    last = nn.from_torch(module, layout=f"N{'DHW'[3 - len(spatial) :]}C", algorithm="xla")
    out = jnp.moveaxis(last(jnp.moveaxis(x, 1, -1)), -1, 1)
    agree(out, expected, magnitude, terms=module.weight.numel())
    for name, array in nn.to_torch(last).items():
        np.testing.assert_array_equal(exported[name], array)


def test_a_depthwise_layer_of_pytorch(torch):
    module = torch.nn.Conv2d(4, 8, 3, padding="same", groups=4, dtype=torch.float64)
    layer = nn.DepthwiseConv.init(KEY, 4, 3, multiplier=2, layout="NHWC")
    layer = nn.load_torch(layer, module.state_dict())
    x = random((2, 7, 6, 4))
    np.testing.assert_allclose(layer(x), nn.from_torch(module, layout="NHWC")(x), 1e-12, 1e-12)
    np.testing.assert_array_equal(nn.to_torch(layer)["weight"], module.weight.detach().numpy())


def test_weights_of_pytorch_are_copied(torch):
    """What PyTorch does to its weights in place afterwards does not reach ours, in whatever type they are."""
    for dtype in (torch.float32, torch.bfloat16):
        module = torch.nn.Conv1d(3, 4, 1, dtype=dtype)
        layer = nn.from_torch(module, layout="NWC")
        before = jax.tree.map(np.array, layer)
        assert {leaf.dtype.name for leaf in jax.tree.leaves(layer)} == {str(dtype).removeprefix("torch.")}
        with torch.no_grad():
            np.testing.assert_array_equal(before.bias.astype("float32"), module.bias.float().numpy())
            module.weight += 1
            module.bias += 1
        jax.tree.map(np.testing.assert_array_equal, layer, before)


def test_export_is_a_copy():
    layer = nn.Conv.init(KEY, 3, 4, (1,))
    for export in (nn.to_torch, nn.to_flax):
        for array in export(layer).values():
            array += 1
    assert (layer.bias == 0).all()


# flax: name of the layer, its arguments beside features, ours, and the extent of its input.
FLAX = {
    "Conv": (
        "Conv", dict(kernel_size=(3, 2), strides=(1, 2), padding=((1, 2), (0, 1)), kernel_dilation=(2, 1),
                     feature_group_count=2),
        partial(nn.Conv.init, KEY, 4, 6, (3, 2), stride=(1, 2), padding=((1, 2), (0, 1)), dilation=(2, 1), groups=2),
        (7, 6),
    ),
    "Conv, same": (
        "Conv", dict(kernel_size=(4, 3, 2), strides=2),
        partial(nn.Conv.init, KEY, 4, 6, (4, 3, 2), stride=2), (5, 4, 3),
    ),
    "Conv, causal": (
        "Conv", dict(kernel_size=(3,), padding="CAUSAL", kernel_dilation=2, use_bias=False),
        partial(nn.Conv.init, KEY, 4, 6, (3,), padding="CAUSAL", dilation=2, bias=False), (9,),
    ),
    "Conv, circular": (
        "Conv", dict(kernel_size=(4, 3), strides=2, padding="CIRCULAR"),
        partial(nn.Conv.init, KEY, 4, 6, (4, 3), stride=2, padding=[(1, 2), 1], padding_mode="circular"), (7, 6),
    ),
    "Conv, reflect": (
        "Conv", dict(kernel_size=(3,), padding="REFLECT"),
        partial(nn.Conv.init, KEY, 4, 6, (3,), padding_mode="reflect"), (9,),
    ),
    "Conv, depthwise": (
        "Conv", dict(kernel_size=(3, 2), feature_group_count=4, features=8),
        partial(nn.DepthwiseConv.init, KEY, 4, (3, 2), multiplier=2), (7, 6),
    ),
    "ConvTranspose": (
        "ConvTranspose", dict(kernel_size=(3, 4), strides=(3, 2), kernel_dilation=(1, 2)),
        partial(nn.ConvTranspose.init, KEY, 4, 6, (3, 4), stride=(3, 2), dilation=(1, 2)), (4, 3),
    ),
    "ConvTranspose, valid": (
        "ConvTranspose", dict(kernel_size=(3,), strides=(2,), padding="VALID", use_bias=False),
        partial(nn.ConvTranspose.init, KEY, 4, 6, (3,), stride=2, padding="VALID", bias=False), (5,),
    ),
    "ConvTranspose, pairs": (  # (extent - 1 - low, extent - 1 - high)
        "ConvTranspose", dict(kernel_size=(3, 2), strides=(2, 1), padding=((2, 1), (0, 3)), kernel_dilation=(1, 2)),
        partial(nn.ConvTranspose.init, KEY, 4, 6, (3, 2), stride=(2, 1), padding=((0, 1), (2, -1)), dilation=(1, 2)),
        (4, 3),
    ),
    "ConvTranspose, transposed kernel": (
        "ConvTranspose", dict(kernel_size=(3, 2), strides=(2, 2), transpose_kernel=True),
        partial(nn.ConvTranspose.init, KEY, 4, 6, (3, 2), stride=2), (4, 3),
    ),
    "ConvLocal": (
        "ConvLocal", dict(kernel_size=(3, 2), strides=(2, 1), padding="VALID", kernel_dilation=(1, 2)),
        partial(nn.ConvLocal.init, KEY, 4, 6, (3, 2), (7, 6), stride=(2, 1), padding="VALID", dilation=(1, 2)), (7, 6),
    ),
    "ConvLocal, circular": (
        "ConvLocal", dict(kernel_size=(3,), padding="CIRCULAR", use_bias=False),
        partial(nn.ConvLocal.init, KEY, 4, 6, (3,), (9,), padding_mode="circular", bias=False), (9,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind, arguments, init, spatial", FLAX.values(), ids=FLAX)
def test_flax(kind, arguments, init, spatial):
    linen = pytest.importorskip("flax.linen")
    module = getattr(linen, kind)(**{"features": 6, "param_dtype": "float64", **arguments})
    x = random((2, *spatial, 4))
    shapes = jax.eval_shape(module.init, KEY, x)["params"]
    params = {name: random(array.shape, seed) for seed, (name, array) in enumerate(sorted(shapes.items()))}
    magnitudes = jax.tree.map(abs, params)
    convention = {"transpose_kernel": True} if arguments.get("transpose_kernel") else {}
    layer = nn.load_flax(init(), params, **convention)
    first = nn.load_flax(init(layout=f"NC{'DHW'[3 - len(spatial) :]}"), params, **convention)

    @jax.jit
    def all_of_them(x):
        theirs, most = module.apply({"params": params}, x), module.apply({"params": magnitudes}, abs(x))
        return layer(x), jnp.moveaxis(first(jnp.moveaxis(x, -1, 1)), 1, -1), theirs, most

    *ours, expected, magnitude = all_of_them(x)
    for out in ours:
        agree(out, expected, magnitude, terms=params["kernel"].size)
    for one in (layer, first):
        exported = nn.to_flax(one, **convention)
        jax.tree.map(np.testing.assert_array_equal, exported, params)


STATE = {"weight": np.ones((4, 3, 5)), "bias": np.ones(4)}
PARAMS = {"kernel": np.ones((5, 3, 4)), "bias": np.ones(4)}
CONV, TRANSPOSED = nn.Conv.init(KEY, 3, 4, (5,)), nn.ConvTranspose.init(KEY, 3, 4, (5,))
SEPARABLE: Any = nn.SeparableConv.init(KEY, 3, 4, (5,))
NO_LAYER: Any = "x"


WRONG = {
    "'bias': (4,)}, got {'weight': (4, 3, 5)}": lambda: nn.load_torch(CONV, {**STATE, "bias": None}),
    "got {'0.weight': (4, 3, 5)}": lambda: nn.load_torch(CONV, {"0.weight": STATE["weight"]}),
    "takes arrays of the shapes {'weight': (4, 3, 5), ": lambda: nn.load_torch(CONV, {"weight": np.ones((3, 4, 5))}),
    "load_torch for ConvTranspose(kernel=float32[5,3,4], ": lambda: nn.load_torch(TRANSPOSED, STATE),
    "load_torch takes a Conv, DepthwiseConv or ConvTranspose, got Sep": lambda: nn.load_torch(SEPARABLE, STATE),
    "load_torch takes a Conv, DepthwiseConv or ConvTranspose, got 'x'": lambda: nn.load_torch(NO_LAYER, {}),
    "to_torch takes a Conv, DepthwiseConv or ConvTranspose, got 'x'": lambda: nn.to_torch(NO_LAYER),
    "to_torch takes a Conv, DepthwiseConv or ConvTranspose, got Sep": lambda: nn.to_torch(SEPARABLE),
    "from_torch takes a Conv or ConvTranspose of PyTorch, got namespace(": lambda: nn.from_torch(SimpleNamespace(a=3)),
    "{'kernel': (5, 3, 4), 'bias': (4,)}, got {'weight'": lambda: nn.load_flax(CONV, STATE),
    "{'kernel': (5, 4, 3), ": lambda: nn.load_flax(TRANSPOSED, PARAMS, transpose_kernel=True),
    "transpose_kernel is for ConvTranspose, got Conv(": lambda: nn.load_flax(CONV, PARAMS, transpose_kernel=True),
    "to_flax takes a Conv, DepthwiseConv, ConvTranspose or ConvLocal, got Sep": lambda: nn.to_flax(SEPARABLE),
    "load_flax takes a Conv, DepthwiseConv, ConvTranspose or ConvLocal, got Sep": lambda: nn.load_flax(SEPARABLE, {}),
    "load_flax takes a Conv, DepthwiseConv, ConvTranspose or ConvLocal, got 'x'": lambda: nn.load_flax(NO_LAYER, {}),
}


@pytest.mark.parametrize("message", WRONG)
def test_weights_that_do_not_fit(message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        WRONG[message]()


def test_settings_that_pytorch_has_and_we_have_not():
    module = SimpleNamespace(
        in_channels=3, out_channels=4, kernel_size=(5,), stride=(1,), padding=(0,), dilation=(1,), groups=1,
        padding_mode="wrapped", transposed=False, weight=STATE["weight"], bias=None,
    )  # fmt: skip
    with pytest.raises(ValueError, match="Conv padding_mode must be one of .*, got 'wrapped'"):
        nn.from_torch(module)
