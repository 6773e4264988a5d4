"""Convolution layers as pytrees, for programs without a framework.

`Conv`, `ConvTranspose`, `DepthwiseConv`, `SeparableConv` and `ConvLocal` are made by `init` from a PRNG key, called as
`layer(x)`, and are their own parameters: `jax.jit`, `jax.grad`, `jax.vmap`, `jax.tree.map` and optimisers take them as
they are. `from_torch`, `load_torch` and `load_flax` bring weights from PyTorch and flax, `to_torch` and `to_flax` bring
them back. A layer may name its algorithm; accuracy and workspace are those of `jaxconv.policy`, precision is that of
`jax.default_matmul_precision`.

There are no modules of modules here and no state. Who uses flax, Equinox or Keras keeps their layers and puts
`jaxconv.accelerate` around the training step.

>>> import jax, jax.numpy as jnp
>>> from jaxconv.nn import Conv, SeparableConv
>>> def init(key):
...     keys = jax.random.split(key)
...     return [Conv.init(keys[0], 3, 16, (3, 3), stride=2), SeparableConv.init(keys[1], 16, 10, (3, 3))]
>>> def loss(layers, x):
...     return (layers[1](jax.nn.relu(layers[0](x))) ** 2).mean()
>>> layers, x = init(jax.random.key(0)), jnp.ones((8, 32, 32, 3))
>>> gradients = jax.jit(jax.grad(loss))(layers, x)
>>> layers = jax.tree.map(lambda weight, slope: weight - 0.1 * slope, layers, gradients)
"""

from ._conv import Conv as Conv
from ._conv_local import ConvLocal as ConvLocal
from ._conv_transpose import ConvTranspose as ConvTranspose
from ._depthwise_conv import DepthwiseConv as DepthwiseConv
from ._flax import load_flax as load_flax
from ._flax import to_flax as to_flax
from ._separable_conv import SeparableConv as SeparableConv
from ._torch import from_torch as from_torch
from ._torch import load_torch as load_torch
from ._torch import to_torch as to_torch
