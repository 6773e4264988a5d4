"""MobileNetV2."""

from torch import Tensor, nn  # pyright: ignore[reportMissingImports] (optional)
from torch.nn.functional import relu6  # pyright: ignore[reportMissingImports] (optional)

from ..architectures import Bottleneck, Model, mobilenetv2
from .layers import ConvNorm


class Block(nn.Module):
    """An inverted residual: wide inside, each channel convolved by itself."""

    def __init__(self, block: Bottleneck):
        super().__init__()
        self.residual = block.stride == 1 and block.inputs == block.outputs
        self.expand = None if block.inner == block.inputs else ConvNorm(block.inputs, block.inner, 1)
        self.depthwise = ConvNorm(block.inner, block.inner, 3, stride=block.stride, groups=block.groups)
        self.project = ConvNorm(block.inner, block.outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else relu6(self.expand(x))
        y = self.project(relu6(self.depthwise(y)))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """[N, channels, height, width] -> [N, classes]."""

    def __init__(self, model: Model):
        super().__init__()
        stem, blocks, head = mobilenetv2(model)
        self.stem = ConvNorm(model.image[-1], stem, 3, stride=2)
        self.blocks = nn.ModuleList([Block(block) for block in blocks])
        self.head = ConvNorm(blocks[-1].outputs, head, 1)
        self.classify = nn.Linear(head, model.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.classify(relu6(self.head(x)).mean((2, 3)))
