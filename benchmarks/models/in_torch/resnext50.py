"""ResNeXt-50, with the stride on the 3x3."""

from torch import Tensor, nn  # pyright: ignore[reportMissingImports] (optional)
from torch.nn.functional import max_pool2d, relu  # pyright: ignore[reportMissingImports] (optional)

from ..architectures import Bottleneck, Model, resnext50
from .layers import ConvNorm


class Block(nn.Module):
    """A residual bottleneck, the 3x3 in groups."""

    def __init__(self, block: Bottleneck):
        super().__init__()
        same = block.stride == 1 and block.inputs == block.outputs
        self.reduce = ConvNorm(block.inputs, block.inner, 1)
        self.grouped = ConvNorm(block.inner, block.inner, 3, stride=block.stride, groups=block.groups)
        self.project = ConvNorm(block.inner, block.outputs, 1)
        self.shortcut = None if same else ConvNorm(block.inputs, block.outputs, 1, stride=block.stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(relu(self.grouped(relu(self.reduce(x)))))
        return relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNeXt50(nn.Module):
    """[N, channels, height, width] -> [N, classes]."""

    def __init__(self, model: Model):
        super().__init__()
        stem, blocks = resnext50(model)
        self.stem = ConvNorm(model.image[-1], stem, 7, stride=2)
        self.blocks = nn.ModuleList([Block(block) for block in blocks])
        self.classify = nn.Linear(blocks[-1].outputs, model.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = max_pool2d(relu(self.stem(x)), 3, 2, 1)
        for block in self.blocks:
            x = block(x)
        return self.classify(x.mean((2, 3)))
