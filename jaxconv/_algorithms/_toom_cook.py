"""The transforms of minimal filtering algorithms: multiplication of polynomials by Toom and Cook, transposed.

F(m, r) computes m neighbouring outputs y[i] = sum over k of d[i + k] g[k] of an r-tap kernel with n = m + r - 1
products instead of m * r:

    y = A^T [ (G g) * (B^T d) ]

Evaluate at n - 1 points p and at infinity, multiply, interpolate. With f(x) the product of all x - p_l, f_j the same
without p_j:

    A^T[i, j] = p_j^i           G[j, k] = p_j^k / f_j(p_j)      B^T[j] = coefficients of f_j
    A^T[i, n] = (i = m - 1)     G[n, k] = (k = r - 1)           B^T[n] = coefficients of f

Points 0, 1, -1 make F(2, 3) and F(3, 2) as exact as the direct sum. F(4, 3) and F(3, 4) need 2 and -2 as well.
(Winograd 1980, Arithmetic Complexity of Computations.)
"""

from fractions import Fraction
from functools import cache
from math import prod

from ._bilinear import Matrix

TAPS = 3  # of the kernels, or outputs of their gradients, that there are algorithms for
POINTS = (0, 1, -1, 2, -2)  # the first of them, and infinity


@cache
def transforms(outputs: int, taps: int) -> tuple[Matrix, Matrix, Matrix]:
    """A^T, G, B^T of F(outputs, taps).

    >>> transforms(2, 3)[2]
    [[-1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, -1.0, 0.0, 1.0]]
    """
    points = [Fraction(p) for p in POINTS[: outputs + taps - 2]]

    def polynomial(roots: list[Fraction]) -> list[Fraction]:
        """Coefficients of the product of x - root, lowest power first."""
        coefficients = [Fraction(1)]
        for root in roots:
            shifted = [Fraction(0), *coefficients]
            coefficients = [a - root * b for a, b in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
        return coefficients

    evaluate = [[p**i for p in points] + [Fraction(i == outputs - 1)] for i in range(outputs)]
    of_taps, of_inputs = [], []
    for p in points:
        others = [q for q in points if q != p]
        of_taps.append([p**k / prod(p - q for q in others) for k in range(taps)])
        of_inputs.append([*polynomial(others), Fraction(0)])
    of_taps.append([Fraction(k == taps - 1) for k in range(taps)])
    of_inputs.append(polynomial(points))
    evaluate, of_taps, of_inputs = [
        [[float(x) for x in row] for row in matrix] for matrix in (evaluate, of_taps, of_inputs)
    ]
    return evaluate, of_taps, of_inputs
