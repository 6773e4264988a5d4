"""Every convolution of some networks of sounds: see `networks`."""

from .classifiers import Places
from .layer import Layer


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


def conv_tasnet(batch: int) -> Places:
    """Luo and Mesgarani 2019, with N = 512, B = 128, H = 512, P = 3, X = 8, R = 3, two speakers, for 8000 samples."""
    yield "encoder", Layer(batch, 1, (8000,), 512, 16, stride=8)
    frames = (999,)
    yield "bottleneck", Layer(batch, 512, frames, 128, 1)
    for repeat in range(1, 4):
        for dilation in (2**power for power in range(8)):
            place = f"repeat{repeat}"
            yield f"{place} widen", Layer(batch, 128, frames, 512, 1)
            depthwise = Layer(batch, 512, frames, 512, 3, padding=dilation, dilation=dilation, groups=512)
            yield f"{place} depthwise", depthwise
            yield f"{place} residual and skip", Layer(batch, 512, frames, 128, 1)
    yield "masks", Layer(batch, 128, frames, 1024, 1)
    yield "decoder", Layer(batch, 512, frames, 1, 16, up=8)


def wav2vec2(batch: int) -> Places:
    """Baevski et al. 2020, the base model, for two seconds of 16 kHz: the encoder's 512 channels, and positions."""
    inputs, samples = 1, 32000
    for i, (taps, stride) in enumerate(((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)), start=1):
        yield f"encoder{i}", Layer(batch, inputs, (samples,), 512, taps, stride=stride)
        inputs, samples = 512, (samples - taps) // stride + 1
    yield "positions", Layer(batch, 768, (samples,), 768, 128, padding=64, groups=16)


def conformer_m(batch: int) -> Places:
    """Gulati et al. 2020, the model of medium size, for 1024 frames of 80 mel bands: 255 after halving them twice."""
    frames, bands, inputs = 1024, 80, 1
    for i in (1, 2):
        yield f"halve{i}", Layer(batch, inputs, (frames, bands), 256, 3, stride=2)
        frames, bands, inputs = (frames - 1) // 2, (bands - 1) // 2, 256
    for block in range(1, 17):
        yield f"block{block} widen", Layer(batch, 256, (frames,), 512, 1)
        yield f"block{block} depthwise", Layer(batch, 256, (frames,), 256, 32, padding=(15, 16), groups=256)
        yield f"block{block} mix", Layer(batch, 256, (frames,), 256, 1)


def mamba_130m(batch: int) -> Places:
    """Gu and Dao 2023, 24 blocks with 1536 channels inside, 2048 tokens; its linear layers are left out."""
    for block in range(1, 25):
        yield f"block{block}", Layer(batch, 1536, (2048,), 1536, 4, padding=(3, 0), groups=1536)
