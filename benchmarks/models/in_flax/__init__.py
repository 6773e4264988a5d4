"""The networks in flax.nnx, channels last. Their parameters have the names that they have in `in_torch`."""

from flax import nnx

from ..architectures import Model
from .convnext_t import ConvNeXtT
from .dcgan import Discriminator, Generator
from .mobilenetv2 import MobileNetV2
from .resnext50 import ResNeXt50
from .unet3d import UNet3d
from .wavenet import WaveNet

CLASSES: dict[str, dict[str, type[nnx.Module]]] = {
    "MobileNetV2": {"net": MobileNetV2},
    "ResNeXt-50 32x4d": {"net": ResNeXt50},
    "ConvNeXt-T": {"net": ConvNeXtT},
    "3-D U-Net": {"net": UNet3d},
    "DCGAN": {"generator": Generator, "discriminator": Discriminator},
    "WaveNet": {"net": WaveNet},
}


def build(model: Model) -> dict[str, nnx.Module]:
    """Its parts, without values: each array is a `jax.ShapeDtypeStruct`."""
    classes = CLASSES[model.name]
    return {part: nnx.eval_shape(lambda make=make: make(model, nnx.Rngs(0))) for part, make in classes.items()}
