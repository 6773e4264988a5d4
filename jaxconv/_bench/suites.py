"""Named layers: a mixture that is quick to go through, and every distinct convolution of each network."""

from .layer import Layer
from .networks import NETWORKS

CORE = {
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
# One layer of each kind, for what takes too long to do with all: dense, of one tap, strided, depthwise, grouped, dilated,
# in one and in three dimensions, transposed, of many taps.
KINDS = {
    name: CORE[name]
    for name in (
        "ResNet-50 3b",
        "ResNet-50 2c",
        "ResNet-50 3a",
        "MobileNetV2 depthwise",
        "ConvNeXt depthwise",
        "ResNeXt",
        "DeepLab",
        "WaveNet",
        "3-D U-Net",
        "large kernel",
        "RepLK depthwise",
    )
} | {"DCGAN transposed": Layer(8, 256, (8, 8), 128, 4, padding=1, up=2)}
FIXED = {"core": CORE, "kinds": KINDS}  # suites whose layers have batch sizes of their own


def suite(name: str, batch: int = 8) -> dict[str, Layer]:
    """Layers by name. A network's repeated layers are there once, with their number in `occurs`."""
    if name in FIXED:
        return FIXED[name]
    named: dict[Layer, str] = {}
    occurs: dict[Layer, int] = {}
    for place, layer in NETWORKS[name](batch):
        named.setdefault(layer, f"{place} {layer.describe()}")
        occurs[layer] = occurs.get(layer, 0) + 1
    layers = {label: layer._replace(occurs=occurs[layer]) for layer, label in named.items()}
    assert len(layers) == len(named), "two layers of one name"
    return layers


SUITES: dict[str, dict[str, Layer]] = {name: suite(name) for name in (*FIXED, *NETWORKS)}  # networks at batch 8
