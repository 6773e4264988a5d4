"""Every convolution of some networks, from the tables in their papers, at the batch size one asks for.

Each function yields (place in the network, layer) in the order of the network, repetitions included. Dense layers at
the end are left out; those that act on each pixel alone (ConvNeXt) are 1x1 convolutions and are in.
"""

from collections.abc import Iterator

from .layer import Layer

Places = Iterator[tuple[str, Layer]]


def _residual(batch: int, width: int, groups: int) -> Places:
    """ResNet with bottlenecks, the stride on the 3x3, whose blocks of `planes` channels are `planes * width` wide."""
    yield "stem", Layer(batch, 3, (224, 224), 64, 7, stride=2, padding=3)
    channels, size = 64, 56
    for stage, (planes, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            inner, out, place = planes * width, planes * 4, f"layer{stage}.{block}"
            yield f"{place} conv1", Layer(batch, channels, (size, size), inner, 1)
            yield f"{place} conv2", Layer(batch, inner, (size, size), inner, 3, stride, 1, groups=groups)
            if block == 0:
                yield f"{place} downsample", Layer(batch, channels, (size, size), out, 1, stride)
            size //= stride
            yield f"{place} conv3", Layer(batch, inner, (size, size), out, 1)
            channels = out


def resnet50(batch: int) -> Places:
    """He et al. 2015, in the variant that has the stride on the 3x3."""
    return _residual(batch, width=1, groups=1)


def resnext50(batch: int) -> Places:
    """Xie et al. 2016, 32x4d."""
    return _residual(batch, width=2, groups=32)


def mobilenetv2(batch: int) -> Places:
    """Sandler et al. 2018, table 2."""
    yield "stem", Layer(batch, 3, (224, 224), 32, 3, stride=2, padding=1)
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    channels, size, place = 32, 112, 0
    for expansion, out, blocks, first_stride in table:
        for block in range(blocks):
            stride, place = first_stride if block == 0 else 1, place + 1
            inner = channels * expansion
            if expansion > 1:
                yield f"block{place} expand", Layer(batch, channels, (size, size), inner, 1)
            yield f"block{place} depthwise", Layer(batch, inner, (size, size), inner, 3, stride, 1, groups=inner)
            size //= stride
            yield f"block{place} project", Layer(batch, inner, (size, size), out, 1)
            channels = out
    yield "head", Layer(batch, channels, (size, size), 1280, 1)


def efficientnet_b0(batch: int) -> Places:
    """Tan and Le 2019, table 1. Squeezing and exciting are 1x1 convolutions of one pixel."""
    yield "stem", Layer(batch, 3, (224, 224), 32, 3, stride=2, padding=1)
    table = (
        (1, 3, 16, 1, 1),
        (6, 3, 24, 2, 2),
        (6, 5, 40, 2, 2),
        (6, 3, 80, 3, 2),
        (6, 5, 112, 3, 1),
        (6, 5, 192, 4, 2),
        (6, 3, 320, 1, 1),
    )
    channels, size, place = 32, 112, 0
    for expansion, taps, out, blocks, first_stride in table:
        for block in range(blocks):
            stride, place = first_stride if block == 0 else 1, place + 1
            inner, squeezed = channels * expansion, channels // 4
            if expansion > 1:
                yield f"block{place} expand", Layer(batch, channels, (size, size), inner, 1)
            depthwise = Layer(batch, inner, (size, size), inner, taps, stride, taps // 2, groups=inner)
            yield f"block{place} depthwise", depthwise
            size //= stride
            yield f"block{place} squeeze", Layer(batch, inner, (1, 1), squeezed, 1)
            yield f"block{place} excite", Layer(batch, squeezed, (1, 1), inner, 1)
            yield f"block{place} project", Layer(batch, inner, (size, size), out, 1)
            channels = out
    yield "head", Layer(batch, channels, (size, size), 1280, 1)


def convnext_t(batch: int) -> Places:
    """Liu et al. 2022."""
    yield "stem", Layer(batch, 3, (224, 224), 96, 4, stride=4)
    size = 56
    for stage, (channels, blocks) in enumerate(((96, 3), (192, 3), (384, 9), (768, 3)), start=1):
        if stage > 1:
            yield f"downsample{stage}", Layer(batch, channels // 2, (size, size), channels, 2, stride=2)
            size //= 2
        for block in range(blocks):
            place, pixels = f"stage{stage}.{block}", (size, size)
            yield f"{place} depthwise", Layer(batch, channels, pixels, channels, 7, padding=3, groups=channels)
            yield f"{place} expand", Layer(batch, channels, pixels, 4 * channels, 1)
            yield f"{place} project", Layer(batch, 4 * channels, pixels, channels, 1)


def vgg16(batch: int) -> Places:
    """Simonyan and Zisserman 2014, configuration D."""
    channels, size = 3, 224
    for stage, (out, blocks) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), start=1):
        for block in range(1, blocks + 1):
            yield f"conv{stage}_{block}", Layer(batch, channels, (size, size), out, 3, padding=1)
            channels = out
        size //= 2


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


def dcgan_discriminator(batch: int) -> Places:
    """The other half of it: each input-gradient is such a transposed convolution."""
    for i, (channels, out) in enumerate(((3, 64), (64, 128), (128, 256), (256, 512)), start=1):
        size = 2 ** (7 - i)
        yield f"halve{i}", Layer(batch, channels, (size, size), out, 4, stride=2, padding=1)
    yield "judge", Layer(batch, 512, (4, 4), 1, 4)


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


def c3d(batch: int) -> Places:
    """Tran et al. 2014: 16 frames of 112x112 pixels."""
    channels, size, frames = 3, 112, 16
    for stage, (out, blocks) in enumerate(((64, 1), (128, 1), (256, 2), (512, 2), (512, 2)), start=1):
        for block in range(1, blocks + 1):
            yield f"conv{stage}_{block}", Layer(batch, channels, (frames, size, size), out, 3, padding=1)
            channels = out
        size, frames = -(-size // 2), frames if stage == 1 else -(-frames // 2)


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


NETWORKS = {
    "resnet50": resnet50,
    "resnext50": resnext50,
    "mobilenetv2": mobilenetv2,
    "efficientnet-b0": efficientnet_b0,
    "convnext-t": convnext_t,
    "vgg16": vgg16,
    "deeplabv3-head": deeplabv3_head,
    "dcgan-generator": dcgan_generator,
    "dcgan-discriminator": dcgan_discriminator,
    "pix2pix-generator": pix2pix_generator,
    "c3d": c3d,
    "unet3d": unet3d,
    "wavenet": wavenet,
    "hifigan": hifigan,
}
