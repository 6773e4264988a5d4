"""What several of the networks are made of."""

from torch import Tensor, nn  # pyright: ignore[reportMissingImports] (optional)

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ConvNorm(nn.Module):
    """[N, inputs, *size] -> [N, outputs, *size / stride]: a convolution without bias and batch normalization."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        taps: int,
        *,
        stride: int = 1,
        groups: int = 1,
        padding: int | None = None,
        rank: int = 2,
    ):
        super().__init__()
        sides = taps // 2 if padding is None else padding
        self.conv = CONVOLUTIONS[rank](inputs, outputs, taps, stride, sides, groups=groups, bias=False)
        self.norm = NORMS[rank](outputs, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))
