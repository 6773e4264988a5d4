"""What ended the process, or might wait for ever, is not given to oneDNN: it computes by its good kernels alone."""

import os
import re
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
from jax import lax
from marks import needs_onednn
from onednn_calls import CHANNELS_LAST, ROOT

import jaxconv

# Convolutions that ended the process, or never ended, when oneDNN was given them: lhs, rhs, groups, and arguments
ENDED = {
    "depthwise, dilated": ((2, 9, 27, 40), (2, 2, 1, 40), 40, {"rhs_dilation": (2, 1)}),
    "bfloat16, groups": ((2, 30, 93, 112), (3, 5, 16, 112), 7, {"dtype": "bfloat16"}),
    "strides and dilation, one channel": (
        (1, 47, 67, 24, 1),
        (2, 16, 10, 1, 16),
        1,
        {"window_strides": (5, 1, 1), "rhs_dilation": (1, 4, 1)},
    ),
}
# and some that are given to it in another form
CHANGED = {
    "depthwise, along one axis": ((2, 60, 40), (53, 1, 40), 40, {"padding": [(0, 3)]}),
    "depthwise, no dilation": (
        (2, 9, 27, 40),
        (1, 2, 1, 40),
        40,
        {"rhs_dilation": (2, 1), "padding": [(1, 0), (1, 0)]},
    ),
    "tall, one channel": ((1, 601, 64, 1), (600, 1, 1, 64), 1, {}),
}


@needs_onednn
@pytest.mark.parametrize("name", [*ENDED, *CHANGED])
def test_what_ended_the_process(name):
    shape, taps, groups, more = {**ENDED, **CHANGED}[name]
    dtype = more.get("dtype", "float32")
    arguments = {"window_strides": (1,) * (len(shape) - 2), "padding": "VALID", "feature_group_count": groups, **more}
    arguments.pop("dtype", None)
    arguments["dimension_numbers"] = CHANNELS_LAST[len(shape)]
    lhs, rhs = (jax.random.normal(jax.random.key(seed), size, dtype) for seed, size in enumerate((shape, taps)))
    asked: Any = {"algorithm": "onednn"}
    if name in ENDED:
        asked = {}
        with pytest.raises(ValueError, match="'onednn' cannot do this convolution"):
            jaxconv.conv_general_dilated(lhs, rhs, **arguments, algorithm="onednn")
    got = jaxconv.conv_general_dilated(lhs, rhs, **arguments, **asked)
    want = lax.conv_general_dilated(lhs.astype("float64"), rhs.astype("float64"), **arguments)
    np.testing.assert_allclose(got.astype("float64"), want, *((1e-4, 1e-3) if dtype == "float32" else (2e-2, 1.0)))


@needs_onednn
def test_only_good_kernels_are_asked_for():
    """What oneDNN falls back on, products of matrices by its own threads, may wait for ever within XLA's."""
    environment = {**os.environ, "ONEDNN_VERBOSE": "2", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests" / "onednn_kernels.py"), "200"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stdout[-2000:] + done.stderr[-2000:]
    kernels = set(re.findall(r"create:cache_miss,cpu,convolution,([\w:]+)", done.stdout))
    assert {name.split(":")[0] for name in kernels} <= {"brg_conv_fwd", "brgconv_1x1", "brdgmm_dw", "jit", "ip"}
    assert done.stdout.count("{") > 100 and len(kernels) >= 4
