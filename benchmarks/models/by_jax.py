"""Training by lax's convolutions, or by ours."""

import time
from contextlib import nullcontext

import jax

import jaxconv

from .architectures import Model
from .start import Arrays
from .steps import training_step
from .training import Training


def prepare(contestant: str, model: Model, parameters: Arrays, data: Arrays) -> Training:
    """Compiled: "lax", "jaxconv" or "jaxconv, plan". What a state was before a step gives its memory to the next."""
    step, start = training_step(model, parameters)
    batch = {name: jax.numpy.array(value) for name, value in data.items()}
    state, costs, plan = jax.block_until_ready(start()), {}, nullcontext()
    if contestant == "jaxconv, plan":
        begin = time.perf_counter()
        plan = jaxconv.autotune(step, state, batch)
        costs["tune"] = time.perf_counter() - begin
    begin = time.perf_counter()
    with plan:
        wrapped = step if contestant == "lax" else jaxconv.accelerate(step)
        compiled = jax.jit(wrapped, donate_argnums=0).lower(state, batch).compile()
    costs["compile"] = time.perf_counter() - begin

    def restarted():
        state = start()

        def call():
            nonlocal state
            state, loss = compiled(state, batch)
            return jax.block_until_ready((state, loss))[1]

        return call

    return Training({"": restarted}, costs)
