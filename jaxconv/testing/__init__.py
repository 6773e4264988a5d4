"""For whoever writes a convolution: random problems, an exact reference and a judge.

Needs hypothesis (`pip install hypothesis`). Nothing else in jaxconv imports this module.
"""

try:
    import hypothesis as _  # noqa: F401
except ImportError:
    raise ImportError("jaxconv.testing needs hypothesis: pip install hypothesis") from None

from .._accuracy import error_bound as error_bound
from .._oracle import in_dtype as in_dtype
from .._oracle import oracle as oracle
from ._check import CHECKS as CHECKS
from ._check import check as check
from ._check import disagreement as disagreement
from ._problem import Problem as Problem
from ._strategy import DTYPES as DTYPES
from ._strategy import WIDER as WIDER
from ._strategy import problems as problems
