"""The compiler in a process of its own, which it may end: `python -m benchmarks.scaling.worker`.

Reads one JSON object a line and answers each with one:

    {"do": "start"}                                                         {"kind": of the chips}
    {"do": "compile", "contestant": name, "network": name, "slice": "4x4", "data": 1, "space": [rows, columns],
     "effort": 0.0}
                                                                            `programs.estimate`

and {"error": message} to whatever went wrong. It ends where its input ends.
"""

from typing import Any

import jax

from benchmarks.ahead_of_time.programs import device
from jaxconv._bench.worker import serve

from .layouts import Layout
from .networks import NETWORKS
from .programs import estimate


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """To one question."""
    if message["do"] == "start":
        return {"kind": device().device_kind}
    layout = Layout(message["data"], tuple(message["space"]))
    network = NETWORKS[message["network"]]
    return estimate(message["contestant"], network, message["slice"], layout, message["effort"])


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")  # nothing is run, so no device is taken
    serve(answer)
