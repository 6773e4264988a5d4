"""WaveNet."""

from functools import reduce
from operator import add

import torch  # pyright: ignore[reportMissingImports] (optional)
from torch import Tensor, nn  # pyright: ignore[reportMissingImports] (optional)
from torch.nn.functional import pad, relu  # pyright: ignore[reportMissingImports] (optional)

from ..architectures import Model, wavenet


class Causal(nn.Conv1d):
    """Of two taps: this sample and the one `dilation` before it."""

    def __init__(self, inputs: int, outputs: int, dilation: int):
        super().__init__(inputs, outputs, 2, dilation=dilation)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(pad(input, (*self.dilation, 0)))


class Block(nn.Module):
    """[N, residual, samples] -> the same for the next block, and [N, skip, samples]."""

    def __init__(self, residual: int, skip: int, dilation: int):
        super().__init__()
        self.gated = Causal(residual, 2 * residual, dilation)
        self.residual = nn.Conv1d(residual, residual, 1)
        self.skip = nn.Conv1d(residual, skip, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        signal, gate = torch.chunk(self.gated(x), 2, dim=1)
        gated = torch.tanh(signal) * torch.sigmoid(gate)
        return x + self.residual(gated), self.skip(gated)


class WaveNet(nn.Module):
    """[N, channels, samples] -> [N, classes, samples]."""

    def __init__(self, model: Model):
        super().__init__()
        residual, skip, dilations = wavenet(model)
        self.input = Causal(model.image[-1], residual, 1)
        self.blocks = nn.ModuleList([Block(residual, skip, dilation) for dilation in dilations])
        self.head = nn.Conv1d(skip, skip, 1)
        self.classify = nn.Conv1d(skip, model.classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, skips = self.input(x), []
        for block in self.blocks:
            x, skip = block(x)
            skips.append(skip)
        return self.classify(relu(self.head(relu(reduce(add, skips)))))
