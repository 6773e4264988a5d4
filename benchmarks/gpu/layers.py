"""What is measured: suites of layers. Each has four times as many images there, unless asked for otherwise."""

from jaxconv._bench.layer import Layer
from jaxconv._bench.suites import CORE, KINDS, SUITES

# Between those that cuDNN was found to be slow at and the usual ones.
NEARBY = {
    **{
        f"depthwise {taps}x{taps}": Layer(4, 64, (64, 64), 64, taps, padding=taps // 2, groups=64)
        for taps in (13, 21, 9, 17, 25, 5)
    },
    "depthwise 13x13, 28x28": Layer(8, 256, (28, 28), 256, 13, padding=6, groups=256),
    "depthwise 7x7, 14x14": Layer(8, 384, (14, 14), 384, 7, padding=3, groups=384),
    "1-D, 2 taps": Layer(8, 64, (4096,), 128, 2),
    "1-D, 2 taps, dilated 64": Layer(8, 64, (4096,), 128, 2, dilation=64),
    "1-D, 3 taps": Layer(8, 128, (4096,), 128, 3, padding=1),
    "1-D depthwise, 7 taps": Layer(2, 512, (1024,), 512, 7, padding=3, groups=512),
    "1-D depthwise, 15 taps": Layer(2, 512, (1024,), 512, 15, padding=7, groups=512),
    "Conv-TasNet depthwise": Layer(4, 512, (1024,), 512, 3, padding=4, dilation=4, groups=512),
    "Conformer depthwise": Layer(2, 512, (1024,), 512, 31, padding=15, groups=512),
    "Mamba depthwise": Layer(2, 1536, (2048,), 1536, 4, padding=(3, 0), groups=1536),
    "X3D depthwise": Layer(1, 108, (16, 56, 56), 108, 3, padding=1, groups=108),
    "depthwise 3x3, dilated 2": Layer(2, 144, (56, 56), 144, 3, padding=2, dilation=2, groups=144),
    "long depthwise": Layer(2, 128, (4096,), 128, 1024, padding=(1023, 0), groups=128),
    "depthwise 5x5, strided": Layer(2, 240, (56, 56), 240, 5, stride=2, padding=2, groups=240),
    "depthwise 3x3, two each": Layer(2, 64, (56, 56), 128, 3, padding=1, groups=64),
    "3-D grouped": Layer(1, 128, (8, 28, 28), 128, 3, padding=1, groups=32),
}
# With dilation, for weight gradients above all, whose stride it is; and with large kernels of dense layers.
DILATED = {
    "dilated 2": CORE["DeepLab"],
    "dilated 8": Layer(4, 64, (64, 64), 64, 3, padding=8, dilation=8),
    "dilated 12": Layer(2, 256, (32, 32), 256, 3, padding=12, dilation=12),
    "dilated 12, of 2048 channels": Layer(2, 2048, (33, 33), 256, 3, padding=12, dilation=12),
    "1-D, 3 taps, dilated 3": Layer(8, 128, (4096,), 128, 3, padding=3, dilation=3),
    "1-D, 11 taps, dilated 5": Layer(2, 32, (16384,), 32, 11, padding=25, dilation=5),
    "1-D, 7 taps, dilated 3": Layer(2, 256, (1024,), 256, 7, padding=9, dilation=3),
    "3-D, dilated 2": Layer(1, 32, (16, 32, 32), 32, 3, padding=2, dilation=2),
    "groups of 4, dilated 2": Layer(4, 128, (28, 28), 128, 3, padding=2, dilation=2, groups=32),
    "strided, dilated 2": Layer(4, 128, (56, 56), 128, 3, stride=2, padding=2, dilation=2),
    "large kernel": CORE["large kernel"],
    "31x31": Layer(2, 16, (64, 64), 16, 31, padding=15),
    "9x9": Layer(4, 64, (64, 64), 64, 9, padding=4),
    "1-D, 31 taps": Layer(2, 128, (4096,), 128, 31, padding=15),
    "1-D, 251 taps": Layer(8, 1, (8000,), 80, 251),
    "positions of wav2vec 2.0": Layer(2, 768, (512,), 768, 128, padding=64, groups=16),
    "1-D transposed": Layer(2, 256, (1024,), 128, 16, padding=4, up=8),
    "1-D, 3 taps, strided": Layer(2, 512, (4096,), 512, 3, stride=2),
}
# Depthwise layers of two and three axes and of many taps, in which cuDNN's own kernels may not do.
DEPTHWISE = {
    "7x7, dilated 3": Layer(4, 64, (56, 56), 64, 7, padding=9, dilation=3, groups=64),
    "11x11, dilated 3": Layer(4, 64, (56, 56), 64, 11, padding=15, dilation=3, groups=64),
    "5x5, dilated 2": Layer(4, 64, (32, 32), 64, 5, padding=4, dilation=2, groups=64),
    "1-D, 5 taps, strided": Layer(2, 512, (2048,), 512, 5, stride=2, padding=2, groups=512),
    "3-D, strided": Layer(1, 108, (16, 56, 56), 108, 3, stride=2, padding=1, groups=108),
    "1-D, 128 taps": Layer(2, 256, (2048,), 256, 128, padding=(127, 0), groups=256),
    "3x3x3, dilated 2": Layer(1, 64, (16, 28, 28), 64, 3, padding=2, dilation=2, groups=64),
    "5x5x5": Layer(1, 64, (16, 28, 28), 64, 5, padding=2, groups=64),
    "3x3, strided": CORE["MobileNetV2 depthwise, strided"],
    "5x5, strided": NEARBY["depthwise 5x5, strided"],
    "transposed": Layer(4, 64, (28, 28), 64, 4, padding=1, up=2, groups=64),
    "3x3, dilated 2, strided": Layer(4, 144, (56, 56), 144, 3, stride=2, padding=2, dilation=2, groups=144),
}
LAYERS = {
    "kinds": KINDS,
    "core": CORE,
    "nearby": NEARBY,
    "dilated": DILATED,
    "depthwise": DEPTHWISE,
    "hifigan": SUITES["hifigan"],
}
