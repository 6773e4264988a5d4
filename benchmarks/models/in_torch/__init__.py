"""The networks in PyTorch, channels first. Their parameters have the names that they have in `in_flax`."""

from torch import nn  # pyright: ignore[reportMissingImports] (optional)

from ..architectures import Model
from .convnext_t import ConvNeXtT
from .dcgan import Discriminator, Generator
from .mobilenetv2 import MobileNetV2
from .resnext50 import ResNeXt50
from .unet3d import UNet3d
from .wavenet import WaveNet

CLASSES = {
    "MobileNetV2": {"net": MobileNetV2},
    "ResNeXt-50 32x4d": {"net": ResNeXt50},
    "ConvNeXt-T": {"net": ConvNeXtT},
    "3-D U-Net": {"net": UNet3d},
    "DCGAN": {"generator": Generator, "discriminator": Discriminator},
    "WaveNet": {"net": WaveNet},
}


def build(model: Model) -> dict[str, nn.Module]:
    """Its parts, with values that are yet to be replaced."""
    return {part: make(model) for part, make in CLASSES[model.name].items()}
