"""Every convolution of some networks of volumes, and of frames: see `networks`."""

from .._geometry import ceil_div
from .classifiers import Places
from .layer import Layer


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


def c3d(batch: int) -> Places:
    """Tran et al. 2014: 16 frames of 112x112 pixels."""
    channels, size, frames = 3, 112, 16
    for stage, (out, blocks) in enumerate(((64, 1), (128, 1), (256, 2), (512, 2), (512, 2)), start=1):
        for block in range(1, blocks + 1):
            yield f"conv{stage}_{block}", Layer(batch, channels, (frames, size, size), out, 3, padding=1)
            channels = out
        size, frames = ceil_div(size, 2), frames if stage == 1 else ceil_div(frames, 2)
