"""ConvNeXt-T, its 1x1 layers as products of matrices, as in the authors' code."""

import torch  # pyright: ignore[reportMissingImports] (optional)
from torch import Tensor, nn  # pyright: ignore[reportMissingImports] (optional)
from torch.nn.functional import gelu  # pyright: ignore[reportMissingImports] (optional)

from ..architectures import Model, convnext_t


class LayerNorm(nn.LayerNorm):
    """[N, channels, height, width], over the channels."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """7x7 in each channel by itself, a layer of four times the width, a scale for each channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, 4 * channels)
        self.project = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))
        return x + (self.gamma * self.project(gelu(y))).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Half the size, then blocks."""

    def __init__(self, inputs: int, channels: int, blocks: int):
        super().__init__()
        self.norm = LayerNorm(inputs, eps=1e-6)
        self.halve = nn.Conv2d(inputs, channels, 2, stride=2)
        self.blocks = nn.ModuleList([Block(channels) for _ in range(blocks)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.halve(self.norm(x))
        for block in self.blocks:
            x = block(x)
        return x


class ConvNeXtT(nn.Module):
    """[N, channels, height, width] -> [N, classes]."""

    def __init__(self, model: Model):
        super().__init__()
        (channels, blocks), *rest = convnext_t(model)
        self.stem = nn.Conv2d(model.image[-1], channels, 4, stride=4)
        self.norm = LayerNorm(channels, eps=1e-6)
        self.blocks = nn.ModuleList([Block(channels) for _ in range(blocks)])
        self.stages = nn.ModuleList()
        for more, blocks in rest:
            self.stages.append(Stage(channels, more, blocks))
            channels = more
        self.last = nn.LayerNorm(channels, eps=1e-6)
        self.classify = nn.Linear(channels, model.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        for part in (*self.blocks, *self.stages):
            x = part(x)
        return self.classify(self.last(x.mean((2, 3))))
