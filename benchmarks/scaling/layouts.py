"""How a training step is laid out on the chips of a slice."""

from math import prod
from typing import NamedTuple

KIND = "v5e"
SLICES = ("2x2", "4x4", "8x8", "16x16")  # squares of chips that the compiler knows; a pod has 16x16


class Layout(NamedTuple):
    """Images are shared out `data` ways, one image to each part, and each along its first axes `space` ways."""

    data: int
    space: tuple[int, int]

    @property
    def chips(self) -> int:
        """Of the slice."""
        return self.data * prod(self.space)

    def __str__(self) -> str:
        """As reports have it: 4 x 2x2."""
        return f"{self.data} x {'x'.join(map(str, self.space))}"


def layouts(slice_: str) -> list[Layout]:
    """One image over the whole slice; and, where that is more than 2x2, an image on each 2x2 of it."""
    rows, columns = map(int, slice_.split("x"))
    whole, squares = Layout(1, (rows, columns)), Layout(rows * columns // 4, (2, 2))
    return [whole] if whole == squares else [whole, squares]
