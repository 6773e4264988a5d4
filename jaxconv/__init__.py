"""Convolution algorithms for JAX behind `lax.conv_general_dilated`'s own signature."""

from . import nn as nn
from ._algorithms import ALGORITHMS as ALGORITHMS
from ._autotune import autotune as autotune
from ._conv import accelerate as accelerate
from ._conv import conv_general_dilated as conv_general_dilated
from ._conv2d import Conv2d as Conv2d
from ._conv2d import get_patches as get_patches
from ._conv2d import matmul_conv2d as matmul_conv2d
from ._conv2d import naive_conv2d as naive_conv2d
from ._default_plan import load_default_plan as load_default_plan
from ._default_plan import save_default_plan as save_default_plan
from ._explain import explain as explain
from ._functions.depthwise import depthwise_conv as depthwise_conv
from ._functions.depthwise import separable_conv as separable_conv
from ._functions.forms import conv1d as conv1d
from ._functions.forms import conv2d as conv2d
from ._functions.forms import conv3d as conv3d
from ._functions.local import conv_general_dilated_local as conv_general_dilated_local
from ._functions.padding_modes import conv_with_padding_mode as conv_with_padding_mode
from ._functions.patches import conv_general_dilated_patches as conv_general_dilated_patches
from ._functions.patches import fold as fold
from ._functions.signals import convolve as convolve
from ._functions.signals import correlate as correlate
from ._functions.transposed import conv_transpose as conv_transpose
from ._install import install as install
from ._install import uninstall as uninstall
from ._machine import version as _version
from ._memory import keep_memory as keep_memory
from ._plan import Plan as Plan
from ._plan_file import PlanError as PlanError
from ._settings import policy as policy
from ._sharding.halo import halo_exchange as halo_exchange

__version__ = _version("jaxconv") or "0+unknown"  # not installed
