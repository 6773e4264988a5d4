"""One convolutional layer of a network, as data."""

from math import prod
from typing import Any, NamedTuple

import numpy as np

LAYOUTS = ("NHWC", "NCHW")  # channels last and channels first, whatever the number of spatial axes


class Layer(NamedTuple):
    """A convolution whose taps, strides and dilations are the same along each spatial axis.

    Attributes:
      padding: on both sides, or (low, high).
      up: 0, or the stride of a transposed convolution, whose `padding` then takes away from the result.
      occurs: how often a network has this layer.
    """

    images: int
    inputs: int
    spatial: tuple[int, ...]
    outputs: int
    kernel: int
    stride: int = 1
    padding: int | tuple[int, int] = 0
    dilation: int = 1
    groups: int = 1
    up: int = 0
    occurs: int = 1

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Layer":
        """From `_asdict()` that went through JSON."""
        values: dict[str, Any] = {
            name: tuple(part) if isinstance(part, list) else part for name, part in fields.items()
        }
        return cls(**values)

    @property
    def sides(self) -> tuple[int, int]:
        """Padding (low, high), as the layer has it."""
        return self.padding if isinstance(self.padding, tuple) else (self.padding, self.padding)

    @property
    def padded(self) -> tuple[int, int]:
        """Padding (low, high) of the convolution that computes it, counted on the dilated input."""
        low, high = self.sides
        reach = self.dilation * (self.kernel - 1)
        return (reach - low, reach - high) if self.up else (low, high)

    @property
    def out_spatial(self) -> tuple[int, ...]:
        """Output extent along each spatial axis."""
        extra = sum(self.padded) - self.dilation * (self.kernel - 1)
        return tuple(((size - 1) * (self.up or 1) + extra) // self.stride + 1 for size in self.spatial)

    @property
    def macs(self) -> int:
        """Multiply-adds in each direction, as published counts have them: those with padding, not those with gaps."""
        positions = prod(self.spatial if self.up else self.out_spatial)
        taps = self.kernel ** len(self.spatial)
        return self.images * positions * taps * self.inputs // self.groups * self.outputs

    @property
    def products(self) -> int:
        """Multiply-adds in each direction, those with padding and those with gaps left out: what has to be done."""
        low, up, per_axis = self.padded[0], self.up or 1, []
        for size, count in zip(self.spatial, self.out_spatial, strict=True):
            at = self.stride * np.arange(count)[:, None] + self.dilation * np.arange(self.kernel) - low
            per_axis.append(int(((at >= 0) & (at < (size - 1) * up + 1) & (at % up == 0)).sum()))
        return self.images * prod(per_axis) * self.inputs // self.groups * self.outputs

    def numbers(self, layout: str = "NHWC") -> tuple[str, str, str]:
        """Dimension numbers of lhs, rhs and the result."""
        space = "DHW"[3 - len(self.spatial) :]
        if layout == "NCHW":
            return f"NC{space}", f"OI{space}", f"NC{space}"
        return f"N{space}C", f"{space}IO", f"N{space}C"

    def shapes(self, layout: str = "NHWC") -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of lhs and rhs."""
        taps = (self.kernel,) * len(self.spatial)
        if layout == "NCHW":
            return (self.images, self.inputs, *self.spatial), (self.outputs, self.inputs // self.groups, *taps)
        return (self.images, *self.spatial, self.inputs), (*taps, self.inputs // self.groups, self.outputs)

    def out_shape(self, layout: str = "NHWC") -> tuple[int, ...]:
        """Of the result."""
        if layout == "NCHW":
            return (self.images, self.outputs, *self.out_spatial)
        return (self.images, *self.out_spatial, self.outputs)

    def arguments(self, layout: str = "NHWC") -> dict[str, Any]:
        """For `conv_general_dilated`, beside the operands."""
        rank = len(self.spatial)
        return {
            "window_strides": (self.stride,) * rank,
            "padding": (self.padded,) * rank,
            "lhs_dilation": (self.up or 1,) * rank,
            "rhs_dilation": (self.dilation,) * rank,
            "dimension_numbers": self.numbers(layout),
            "feature_group_count": self.groups,
        }

    def describe(self) -> str:
        """Taps, stride, channels and input extent: "3x3/2 128->128 56", or "3x3 144 56" for each channel by itself."""
        depthwise = 1 < self.groups == self.inputs == self.outputs
        words = [
            "x".join([str(self.kernel)] * len(self.spatial)) + (f"/{self.stride}" if self.stride > 1 else ""),
            f"{self.inputs}" if depthwise else f"{self.inputs}->{self.outputs}",
            f"groups {self.groups}" if self.groups > 1 and not depthwise else "",
            f"dilated {self.dilation}" if self.dilation > 1 else "",
            f"up {self.up}" if self.up else "",
            f"{self.spatial[0]}" if len(set(self.spatial)) == 1 else "x".join(map(str, self.spatial)),
        ]
        return " ".join(filter(None, words))
