"""Convolution algorithms for JAX behind `lax.conv_general_dilated`'s own signature."""

from ._algorithms import ALGORITHMS as ALGORITHMS
from ._conv import conv_general_dilated as conv_general_dilated
