"""3-D U-Net."""

import torch  # pyright: ignore[reportMissingImports] (optional)
from torch import Tensor, nn  # pyright: ignore[reportMissingImports] (optional)
from torch.nn.functional import max_pool3d, relu  # pyright: ignore[reportMissingImports] (optional)

from ..architectures import Model, unet3d
from .layers import ConvNorm


class Pair(nn.Module):
    """Two convolutions of 3x3x3."""

    def __init__(self, inputs: int, inner: int, outputs: int):
        super().__init__()
        self.first = ConvNorm(inputs, inner, 3, rank=3)
        self.second = ConvNorm(inner, outputs, 3, rank=3)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.second(relu(self.first(x))))


class UNet3d(nn.Module):
    """[N, channels, depth, height, width] -> [N, classes, depth, height, width]."""

    def __init__(self, model: Model):
        super().__init__()
        levels, channels = unet3d(model), model.image[-1]
        self.down, self.enlarge, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level in levels:
            self.down.append(Pair(channels, max(1, level // 2), level))
            channels = level
        for level in levels[-2::-1]:
            self.enlarge.append(nn.ConvTranspose3d(channels, channels, 2, 2))
            self.up.append(Pair(channels + level, level, level))
            channels = level
        self.classify = nn.Conv3d(channels, model.classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for pair in self.down:
            x = pair(max_pool3d(x, 2) if kept else x)
            kept.append(x)
        kept.pop()
        for enlarge, pair in zip(self.enlarge, self.up, strict=True):
            x = pair(torch.cat([kept.pop(), enlarge(x)], dim=1))
        return self.classify(x)
