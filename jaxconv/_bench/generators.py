"""Every convolution of some networks whose results are images: see `networks`."""

from .classifiers import Places
from .layer import Layer


def deeplabv3_head(batch: int) -> Places:
    """Chen et al. 2017: atrous pyramid over ResNet's features of a 513x513 crop at a sixteenth, 21 classes."""
    size = (33, 33)
    yield "pyramid", Layer(batch, 2048, size, 256, 1)
    for rate in (6, 12, 18):
        yield "pyramid", Layer(batch, 2048, size, 256, 3, padding=rate, dilation=rate)
    yield "pyramid pooled", Layer(batch, 2048, (1, 1), 256, 1)
    yield "project", Layer(batch, 1280, size, 256, 1)
    yield "refine", Layer(batch, 256, size, 256, 3, padding=1)
    yield "classify", Layer(batch, 256, size, 21, 1)


def dcgan_generator(batch: int) -> Places:
    """Radford et al. 2015, for 64x64 images, with the widths and 4x4 kernels of PyTorch's example."""
    yield "from noise", Layer(batch, 100, (1, 1), 512, 4, up=1)
    for i, (channels, out) in enumerate(((512, 256), (256, 128), (128, 64), (64, 3)), start=1):
        size = 2 ** (i + 1)
        yield f"double{i}", Layer(batch, channels, (size, size), out, 4, padding=1, up=2)


def pix2pix_generator(batch: int) -> Places:
    """Isola et al. 2016, the U-Net for 256x256 images: eight times half the size, and back with what was on the way."""
    widths = (64, 128, 256, 512, 512, 512, 512, 512)
    channels, size = 3, 256
    for i, out in enumerate(widths, start=1):
        yield f"halve{i}", Layer(batch, channels, (size, size), out, 4, stride=2, padding=1)
        channels, size = out, size // 2
    for i in range(len(widths), 0, -1):
        out = widths[i - 2] if i > 1 else 3
        yield f"double{i}", Layer(batch, channels, (size, size), out, 4, padding=1, up=2)
        channels, size = 2 * out, 2 * size


def srcnn(batch: int) -> Places:
    """Dong et al. 2014, the variant 9-5-5 for three colours, without padding, for images of 96x96 pixels."""
    channels, size = 3, 96
    for i, (out, taps) in enumerate(((64, 9), (32, 5), (3, 5)), start=1):
        yield f"conv{i}", Layer(batch, channels, (size, size), out, taps)
        channels, size = out, size - taps + 1


def unet(batch: int) -> Places:
    """Ronneberger et al. 2015, without padding, for tiles of 380x380 pixels and two classes."""
    channels, size = 1, 380
    for level, out in enumerate((64, 128, 256, 512, 1024), start=1):
        yield f"down{level} a", Layer(batch, channels, (size, size), out, 3)
        yield f"down{level} b", Layer(batch, out, (size - 2, size - 2), out, 3)
        channels, size = out, (size - 4) // 2 if level < 5 else size - 4
    for level, out in zip((4, 3, 2, 1), (512, 256, 128, 64), strict=True):
        yield f"enlarge{level}", Layer(batch, channels, (size, size), out, 2, up=2)
        size *= 2
        yield f"up{level} a", Layer(batch, channels, (size, size), out, 3)
        yield f"up{level} b", Layer(batch, out, (size - 2, size - 2), out, 3)
        channels, size = out, size - 4
    yield "classify", Layer(batch, channels, (size, size), 2, 1)


def cyclegan_generator(batch: int) -> Places:
    """Zhu et al. 2017, with nine residual blocks, for 256x256 images."""
    yield "first", Layer(batch, 3, (262, 262), 64, 7)
    yield "halve1", Layer(batch, 64, (256, 256), 128, 3, stride=2, padding=1)
    yield "halve2", Layer(batch, 128, (128, 128), 256, 3, stride=2, padding=1)
    for block in range(9):
        for place in ("a", "b"):  # padded by reflection
            yield f"residual{block} {place}", Layer(batch, 256, (66, 66), 256, 3)
    yield "double2", Layer(batch, 256, (64, 64), 128, 3, padding=(1, 0), up=2)
    yield "double1", Layer(batch, 128, (128, 128), 64, 3, padding=(1, 0), up=2)
    yield "last", Layer(batch, 64, (262, 262), 3, 7)


def fsrcnn(batch: int) -> Places:
    """Dong et al. 2016, FSRCNN(56, 12, 4), three times as large, for images of 96x96 pixels."""
    size = (96, 96)
    yield "features", Layer(batch, 1, size, 56, 5, padding=2)
    yield "shrink", Layer(batch, 56, size, 12, 1)
    for i in range(1, 5):
        yield f"map{i}", Layer(batch, 12, size, 12, 3, padding=1)
    yield "expand", Layer(batch, 12, size, 56, 1)
    yield "enlarge", Layer(batch, 56, size, 1, 9, padding=3, up=3)
