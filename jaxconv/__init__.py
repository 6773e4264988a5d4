"""Convolution algorithms for JAX behind `lax.conv_general_dilated`'s own signature."""

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
from ._install import install as install
from ._install import uninstall as uninstall
from ._plan import Plan as Plan
from ._plan import PlanError as PlanError
from ._settings import policy as policy
