"""The networks as tables, from their papers: what the versions in flax and in torch have in common."""

from typing import Any, NamedTuple

NOISE = 100  # numbers that a generator starts from


class Model(NamedTuple):
    """A network to train; `width`, `blocks` and `stages` make it smaller than it is in its paper.

    Attributes:
      name: one of MODELS.
      image: [*size, channels].
      classes: of a whole image, or of each voxel or sample; a DCGAN has none.
      width: factor to all numbers of channels.
      blocks: most blocks in a stage.
      stages: most stages.
      rate: to learn with: so small that five steps amplify no rounding errors to the size of what they are to show.
    """

    name: str
    image: tuple[int, ...]
    classes: int = 1000
    width: float = 1.0
    blocks: int | None = None
    stages: int | None = None
    rate: float = 1e-2

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Model":
        """From `_asdict()` that went through JSON."""
        return cls(**{**fields, "image": tuple(fields["image"])})

    def channels(self, paper: int) -> int:
        """How many there are for as many in the paper."""
        return max(1, round(paper * self.width))

    def depth(self, paper: int) -> int:
        """How many blocks there are in a stage for as many in the paper."""
        return paper if self.blocks is None else min(paper, self.blocks)


MODELS = {
    model.name: model
    for model in (
        Model("MobileNetV2", (64, 64, 3), rate=1e-5),
        Model("ResNeXt-50 32x4d", (64, 64, 3), rate=3e-4),
        Model("ConvNeXt-T", (64, 64, 3)),
        Model("3-D U-Net", (16, 32, 32, 3), classes=3, rate=1e-1),
        Model("DCGAN", (64, 64, 3), classes=0, rate=1e-3),
        Model("WaveNet", (4096, 256), classes=256, rate=1e-2),
    )
}


class Bottleneck(NamedTuple):
    """1x1 to `inner` channels, 3x3 with stride and groups, 1x1 to `outputs`."""

    inputs: int
    inner: int
    outputs: int
    stride: int
    groups: int


def mobilenetv2(model: Model) -> tuple[int, list[Bottleneck], int]:
    """Sandler et al. 2018, table 2: channels of the stem, blocks, channels of the head."""
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    channels, found = model.channels(32), []
    for expansion, paper, blocks, first in table[: model.stages]:
        for block in range(model.depth(blocks)):
            inner, outputs = channels * expansion, model.channels(paper)
            found.append(Bottleneck(channels, inner, outputs, 1 if block else first, inner))
            channels = outputs
    return model.channels(32), found, model.channels(1280)


def resnext50(model: Model) -> tuple[int, list[Bottleneck]]:
    """Xie et al. 2016, 32x4d: channels of the stem, blocks. Less width is fewer groups, not smaller ones."""
    channels, found = model.channels(64), []
    for stage, (paper, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))[: model.stages]):
        for block in range(model.depth(blocks)):
            planes, stride = model.channels(paper), 2 if stage and not block else 1
            found.append(Bottleneck(channels, 2 * planes, 4 * planes, stride, model.channels(32)))
            channels = 4 * planes
    return model.channels(64), found


def convnext_t(model: Model) -> list[tuple[int, int]]:
    """Liu et al. 2022: channels and number of blocks of each stage."""
    table = ((96, 3), (192, 3), (384, 9), (768, 3))[: model.stages]
    return [(model.channels(paper), model.depth(blocks)) for paper, blocks in table]


def unet3d(model: Model) -> list[int]:
    """Cicek et al. 2016, with zero padding: channels of each level, the largest volume first."""
    return [model.channels(paper) for paper in (64, 128, 256, 512)[: model.stages]]


def dcgan(model: Model) -> list[int]:
    """Radford et al. 2015, with the widths of PyTorch's example: channels of the discriminator, the largest images
    first. The generator has them the other way round."""
    return [model.channels(paper) for paper in (64, 128, 256, 512)[: model.stages]]


def wavenet(model: Model) -> tuple[int, int, list[int]]:
    """van den Oord et al. 2016, three stacks of ten layers: residual and skip channels, and all dilations."""
    dilations = [2**power for power in range(model.depth(10))]
    return model.channels(64), model.channels(256), dilations * (3 if model.stages is None else min(3, model.stages))


def halved(model: Model, times: int) -> int:
    """The side of its square images, halved so often."""
    return model.image[0] >> times
