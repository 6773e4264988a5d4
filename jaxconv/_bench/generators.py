"""Every convolution of some networks whose results are images, volumes or sounds: see `networks`."""

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


def unet3d(batch: int) -> Places:
    """Cicek et al. 2016, with zero padding, for volumes of 32x64x64 voxels and 3 channels, 3 classes."""
    channels, size, kept = 3, (32, 64, 64), []
    for level, out in enumerate((64, 128, 256, 512), start=1):
        yield f"down{level} a", Layer(batch, channels, size, out // 2, 3, padding=1)
        yield f"down{level} b", Layer(batch, out // 2, size, out, 3, padding=1)
        kept.append((out, size))
        channels, size = out, tuple(extent // 2 for extent in size)
    size = kept.pop()[1]
    for level, (skipped, larger) in zip((3, 2, 1), reversed(kept), strict=True):
        yield f"enlarge{level}", Layer(batch, channels, size, channels, 2, up=2)
        size = larger
        yield f"up{level} a", Layer(batch, channels + skipped, size, skipped, 3, padding=1)
        yield f"up{level} b", Layer(batch, skipped, size, skipped, 3, padding=1)
        channels = skipped
    yield "classify", Layer(batch, channels, size, 3, 1)


def wavenet(batch: int) -> Places:
    """van den Oord et al. 2016: three stacks of ten causal layers, 64 residual and 256 skip channels, 4096 samples."""
    samples = (4096,)
    yield "input", Layer(batch, 256, samples, 64, 2, padding=(1, 0))
    for stack in range(1, 4):
        for dilation in (2**power for power in range(10)):
            gated = Layer(batch, 64, samples, 128, 2, padding=(dilation, 0), dilation=dilation)
            yield f"stack{stack}", gated
            yield f"stack{stack} residual", Layer(batch, 64, samples, 64, 1)
            yield f"stack{stack} skip", Layer(batch, 64, samples, 256, 1)
    yield "head1", Layer(batch, 256, samples, 256, 1)
    yield "head2", Layer(batch, 256, samples, 256, 1)


def hifigan(batch: int) -> Places:
    """Kong et al. 2020, the generator V1, for 32 frames of 80 mel bands: 8192 samples."""
    yield "input", Layer(batch, 80, (32,), 512, 7, padding=3)
    channels, samples = 512, 32
    for i, (up, taps) in enumerate(((8, 16), (8, 16), (2, 4), (2, 4)), start=1):
        yield f"up{i}", Layer(batch, channels, (samples,), channels // 2, taps, padding=(taps - up) // 2, up=up)
        channels, samples = channels // 2, samples * up
        for taps in (3, 7, 11):
            for dilation in (1, 3, 5):
                reach = dilation * (taps // 2)
                dilated = Layer(batch, channels, (samples,), channels, taps, padding=reach, dilation=dilation)
                yield f"fusion{i}", dilated
                yield f"fusion{i}", Layer(batch, channels, (samples,), channels, taps, padding=taps // 2)
    yield "output", Layer(batch, channels, (samples,), 1, 7, padding=3)
