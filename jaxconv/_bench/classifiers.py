"""Every convolution of some networks that say what is in an image: see `networks`."""

from collections.abc import Iterator

from .layer import Layer

Places = Iterator[tuple[str, Layer]]


def _bottleneck(
    batch: int, place: str, channels: int, inner: int, out: int, size: int, stride: int, groups: int, is_first: bool
) -> Places:
    """1x1, 3x3 with the stride and the groups, 1x1; beside the first of a stage, a 1x1 that makes the sizes equal."""
    yield f"{place} conv1", Layer(batch, channels, (size, size), inner, 1)
    yield f"{place} conv2", Layer(batch, inner, (size, size), inner, 3, stride, 1, groups=groups)
    if is_first:
        yield f"{place} downsample", Layer(batch, channels, (size, size), out, 1, stride)
    yield f"{place} conv3", Layer(batch, inner, (size // stride, size // stride), out, 1)


def _residual(batch: int, width: int, groups: int) -> Places:
    """ResNet with bottlenecks, the stride on the 3x3, whose blocks of `planes` channels are `planes * width` wide."""
    yield "stem", Layer(batch, 3, (224, 224), 64, 7, stride=2, padding=3)
    channels, size = 64, 56
    for stage, (planes, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            inner, out, place = planes * width, planes * 4, f"layer{stage}.{block}"
            yield from _bottleneck(batch, place, channels, inner, out, size, stride, groups, block == 0)
            channels, size = out, size // stride


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


def dcgan_discriminator(batch: int) -> Places:
    """The other half of it: each input-gradient is such a transposed convolution."""
    for i, (channels, out) in enumerate(((3, 64), (64, 128), (128, 256), (256, 512)), start=1):
        size = 2 ** (7 - i)
        yield f"halve{i}", Layer(batch, channels, (size, size), out, 4, stride=2, padding=1)
    yield "judge", Layer(batch, 512, (4, 4), 1, 4)


def alexnet(batch: int) -> Places:
    """Krizhevsky et al. 2012: three of its layers are in two groups, one for each GPU."""
    yield "conv1", Layer(batch, 3, (224, 224), 96, 11, stride=4, padding=2)
    yield "conv2", Layer(batch, 96, (27, 27), 256, 5, padding=2, groups=2)
    yield "conv3", Layer(batch, 256, (13, 13), 384, 3, padding=1)
    yield "conv4", Layer(batch, 384, (13, 13), 384, 3, padding=1, groups=2)
    yield "conv5", Layer(batch, 384, (13, 13), 256, 3, padding=1, groups=2)


def densenet121(batch: int) -> Places:
    """Huang et al. 2017, table 1: each layer sees the results of all before it in its block."""
    yield "stem", Layer(batch, 3, (224, 224), 64, 7, stride=2, padding=3)
    channels, size = 64, 56
    for block, layers in enumerate((6, 12, 24, 16), start=1):
        if block > 1:
            yield f"transition{block - 1}", Layer(batch, channels, (2 * size, 2 * size), channels // 2, 1)
            channels //= 2
        for place in range(1, layers + 1):
            yield f"block{block}.{place} conv1", Layer(batch, channels, (size, size), 128, 1)
            yield f"block{block}.{place} conv2", Layer(batch, 128, (size, size), 32, 3, padding=1)
            channels += 32
        size //= 2


def squeezenet(batch: int) -> Places:
    """Iandola et al. 2016, version 1.1."""
    yield "stem", Layer(batch, 3, (224, 224), 64, 3, stride=2)
    channels, sizes = 64, (55, 55, 27, 27, 13, 13, 13, 13)
    for place, size in enumerate(sizes, start=2):
        squeezed = 16 * (place // 2)
        yield f"fire{place} squeeze", Layer(batch, channels, (size, size), squeezed, 1)
        yield f"fire{place} expand", Layer(batch, squeezed, (size, size), 4 * squeezed, 1)
        yield f"fire{place} expand", Layer(batch, squeezed, (size, size), 4 * squeezed, 3, padding=1)
        channels = 8 * squeezed
    yield "classify", Layer(batch, channels, (13, 13), 1000, 1)


def regnetx_3_2gf(batch: int) -> Places:
    """Radosavovic et al. 2020: groups of 48 channels."""
    yield "stem", Layer(batch, 3, (224, 224), 32, 3, stride=2, padding=1)
    channels, size = 32, 112
    for stage, (out, blocks) in enumerate(((96, 2), (192, 6), (432, 15), (1008, 2)), start=1):
        for block in range(blocks):
            stride, place = 1 if block else 2, f"stage{stage}.{block}"
            yield from _bottleneck(batch, place, channels, out, out, size, stride, out // 48, block == 0)
            channels, size = out, size // stride


def replknet31b(batch: int) -> Places:
    """Ding et al. 2022: depthwise kernels of 27x27 to 31x31 taps, 13x13 where the image is small; each has one of 5x5
    beside it."""
    yield "stem1", Layer(batch, 3, (224, 224), 128, 3, stride=2, padding=1)
    yield "stem2", Layer(batch, 128, (112, 112), 128, 3, padding=1, groups=128)
    yield "stem3", Layer(batch, 128, (112, 112), 128, 1)
    yield "stem4", Layer(batch, 128, (112, 112), 128, 3, stride=2, padding=1, groups=128)
    size = 56
    for stage, (channels, taps, blocks) in enumerate(((128, 31, 2), (256, 29, 2), (512, 27, 18), (1024, 13, 2)), 1):
        if stage > 1:
            yield f"transition{stage - 1} widen", Layer(batch, channels // 2, (size, size), channels, 1)
            halve = Layer(batch, channels, (size, size), channels, 3, stride=2, padding=1, groups=channels)
            yield f"transition{stage - 1} halve", halve
            size //= 2
        for block in range(blocks):
            place, pixels = f"stage{stage}.{block}", (size, size)
            yield f"{place} conv1", Layer(batch, channels, pixels, channels, 1)
            for side in (taps, 5):
                large = Layer(batch, channels, pixels, channels, side, padding=side // 2, groups=channels)
                yield f"{place} large", large
            yield f"{place} conv2", Layer(batch, channels, pixels, channels, 1)
            yield f"{place} expand", Layer(batch, channels, pixels, 4 * channels, 1)
            yield f"{place} project", Layer(batch, 4 * channels, pixels, channels, 1)
