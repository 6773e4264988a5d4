"""Convolution layers as pytrees, for programs without a framework.

`Conv`, `ConvTranspose`, `DepthwiseConv`, `SeparableConv` and `ConvLocal` are made by `init` from a PRNG key, called as
`layer(x)`, and are their own parameters: `jax.jit`, `jax.grad`, `jax.vmap`, `jax.tree.map` and optimisers take them as
they are. `from_torch`, `load_torch` and `load_flax` bring weights from PyTorch and flax, `to_torch` and `to_flax` bring
them back.

That is all there will be: no modules of modules, no state. Who uses flax, Equinox or Keras keeps their layers and puts
`jaxconv.accelerate` around the training step.
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
