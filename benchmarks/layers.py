"""Named convolutional layers of real networks, as data."""

from typing import NamedTuple

import jax
from jax import lax


class Layer(NamedTuple):
    """A convolution in channels-last layout: images, channels, taps."""

    images: int
    inputs: int
    spatial: tuple[int, ...]
    outputs: int
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of lhs and rhs."""
        lhs = (self.images, *self.spatial, self.inputs)
        return lhs, (*(self.kernel,) * len(self.spatial), self.inputs // self.groups, self.outputs)

    def arguments(self) -> dict:
        """For `conv_general_dilated`, beside the operands."""
        rank = len(self.spatial)
        space = "DHW"[3 - rank :]
        return {
            "window_strides": (self.stride,) * rank,
            "padding": ((self.padding, self.padding),) * rank,
            "rhs_dilation": (self.dilation,) * rank,
            "dimension_numbers": (f"N{space}C", f"{space}IO", f"N{space}C"),
            "feature_group_count": self.groups,
        }

    def out_shape(self) -> tuple[int, ...]:
        """Of the result."""
        shapes = [jax.ShapeDtypeStruct(shape, "float32") for shape in self.shapes()]
        return jax.eval_shape(lambda lhs, rhs: lax.conv_general_dilated(lhs, rhs, **self.arguments()), *shapes).shape


LAYERS = {
    "notebook": Layer(32, 32, (128, 128), 64, 3),
    "ResNet-50 conv1": Layer(8, 3, (224, 224), 64, 7, stride=2, padding=3),
    "ResNet-50 2b": Layer(8, 64, (56, 56), 64, 3, padding=1),
    "ResNet-50 2c": Layer(8, 64, (56, 56), 256, 1),
    "ResNet-50 3b": Layer(8, 128, (28, 28), 128, 3, padding=1),
    "ResNet-50 4b": Layer(8, 256, (14, 14), 256, 3, padding=1),
    "ResNet-50 5b": Layer(8, 512, (7, 7), 512, 3, padding=1),
    "ResNet-50 3a": Layer(8, 128, (56, 56), 128, 3, stride=2, padding=1),
    "ResNet-50 downsample": Layer(8, 256, (56, 56), 512, 1, stride=2),
    "VGG-16": Layer(2, 64, (224, 224), 64, 3, padding=1),
    "MobileNetV2 depthwise": Layer(8, 144, (56, 56), 144, 3, padding=1, groups=144),
    "MobileNetV2 depthwise, strided": Layer(8, 144, (56, 56), 144, 3, stride=2, padding=1, groups=144),
    "ConvNeXt depthwise": Layer(8, 96, (56, 56), 96, 7, padding=3, groups=96),
    "ResNeXt": Layer(8, 128, (56, 56), 128, 3, padding=1, groups=32),
    "DeepLab": Layer(4, 256, (28, 28), 256, 3, padding=2, dilation=2),
    "WaveNet": Layer(8, 64, (4096,), 128, 2, dilation=4),
    "audio": Layer(8, 1, (16000,), 64, 80, stride=4, padding=38),
    "3-D U-Net": Layer(1, 32, (32, 64, 64), 32, 3, padding=1),
    "RepLK depthwise": Layer(4, 64, (64, 64), 64, 31, padding=15, groups=64),
    "large kernel": Layer(2, 16, (128, 128), 16, 15, padding=7),
}
