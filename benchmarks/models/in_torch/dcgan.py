"""DCGAN."""

import torch  # pyright: ignore[reportMissingImports] (optional)
from torch import Tensor, nn  # pyright: ignore[reportMissingImports] (optional)
from torch.nn.functional import leaky_relu, relu  # pyright: ignore[reportMissingImports] (optional)

from ..architectures import NOISE, Model, dcgan, halved
from .layers import ConvNorm


class Doubling(nn.Module):
    """[N, inputs, *size] -> [N, outputs, *larger]: a transposed convolution without bias and batch normalization."""

    def __init__(self, inputs: int, outputs: int, taps: int, stride: int, padding: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, taps, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.norm(self.conv(x)))


class Generator(nn.Module):
    """Noise [N, NOISE] -> images [N, channels, height, width]."""

    def __init__(self, model: Model):
        super().__init__()
        widths = dcgan(model)[::-1]
        self.first = Doubling(NOISE, widths[0], halved(model, len(widths)), 1, 0)
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.blocks = nn.ModuleList([Doubling(inputs, outputs, 4, 2, 1) for inputs, outputs in pairs])
        self.last = nn.ConvTranspose2d(widths[-1], model.image[-1], 4, 2, 1, bias=False)

    def forward(self, noise: Tensor) -> Tensor:
        x = self.first(noise[:, :, None, None])
        for block in self.blocks:
            x = block(x)
        return torch.tanh(self.last(x))


class Discriminator(nn.Module):
    """[N, channels, height, width] -> [N], how much more likely real than not."""

    def __init__(self, model: Model):
        super().__init__()
        widths = dcgan(model)
        self.first = nn.Conv2d(model.image[-1], widths[0], 4, 2, 1, bias=False)
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.blocks = nn.ModuleList([ConvNorm(*pair, 4, stride=2, padding=1) for pair in pairs])
        self.judge = nn.Conv2d(widths[-1], 1, halved(model, len(widths)), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = leaky_relu(self.first(x), 0.2)
        for block in self.blocks:
            x = leaky_relu(block(x), 0.2)
        return self.judge(x).reshape(-1)
