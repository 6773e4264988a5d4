"""Training steps as users of flax write them, which know nothing of jaxconv: (state, data) -> (state, loss)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from . import in_flax
from .architectures import Model
from .start import SEPARATOR, Arrays, names
from .training import MOMENTUM


class State(NamedTuple):
    """Parameters, their velocities and the running averages of normalization, each {part: state}."""

    parameters: dict[str, nnx.State]
    velocity: dict[str, nnx.State]
    statistics: dict[str, nnx.State]


Step = Callable[[State, dict[str, jax.Array]], tuple[State, jax.Array]]


def training_step(model: Model, parameters: Arrays) -> tuple[Step, Callable[[], State]]:
    """The step, and a function that makes the state it starts from."""
    split = {part: nnx.split(net, nnx.Param, nnx.BatchStat) for part, net in in_flax.build(model).items()}
    graphs = {part: graph for part, (graph, _, _) in split.items()}

    def start() -> State:
        filled, still, averages = {}, {}, {}
        for part, (_, shapes, statistics) in split.items():
            values = [jnp.array(parameters[f"{part}{SEPARATOR}{name}"]) for name in names(shapes)]
            filled[part] = jax.tree.unflatten(jax.tree.structure(shapes), values)
            still[part] = jax.tree.map(jnp.zeros_like, shapes)
            ones = [(jnp.ones if name.endswith("var") else jnp.zeros) for name in names(statistics)]
            leaves = [
                make(leaf.shape, leaf.dtype) for make, leaf in zip(ones, jax.tree.leaves(statistics), strict=True)
            ]
            averages[part] = jax.tree.unflatten(jax.tree.structure(statistics), leaves)
        return State(filled, still, averages)

    return (supervised(graphs["net"], model.rate) if model.classes else adversarial(graphs, model.rate)), start


def supervised(graph: nnx.GraphDef, rate: float) -> Step:
    """Cross-entropy of each label."""

    def step(state: State, data: dict[str, jax.Array]) -> tuple[State, jax.Array]:
        def loss(parameters):
            logits, statistics = applied(graph, parameters, state.statistics["net"], data["images"])
            scores = jax.nn.log_softmax(logits)
            return -jnp.take_along_axis(scores, data["labels"][..., None], axis=-1).mean(), statistics

        (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(state.parameters["net"])
        parameters, velocity = descend(state.parameters["net"], state.velocity["net"], gradient, rate)
        return State({"net": parameters}, {"net": velocity}, {"net": statistics}), value

    return step


def adversarial(graphs: dict[str, nnx.GraphDef], rate: float) -> Step:
    """The discriminator's step on real and false images, then the generator's on the same false ones."""

    def step(state: State, data: dict[str, jax.Array]) -> tuple[State, jax.Array]:
        def generate(parameters):
            return applied(graphs["generator"], parameters, state.statistics["generator"], data["noise"])

        def judge(parameters, statistics, images):
            return applied(graphs["discriminator"], parameters, statistics, images)

        def discriminators_loss(parameters):
            real, statistics = judge(parameters, state.statistics["discriminator"], data["images"])
            false, statistics = judge(parameters, statistics, images)
            return jax.nn.softplus(-real).mean() + jax.nn.softplus(false).mean(), statistics

        def generators_loss(images):
            false, judged = judge(discriminator, statistics, images)
            return jax.nn.softplus(-false).mean(), judged

        images, pull_back, generated = jax.vjp(generate, state.parameters["generator"], has_aux=True)
        before = state.parameters["discriminator"]
        (first, statistics), gradient = jax.value_and_grad(discriminators_loss, has_aux=True)(before)
        discriminator, judging = descend(before, state.velocity["discriminator"], gradient, rate)
        (second, statistics), gradient = jax.value_and_grad(generators_loss, has_aux=True)(images)
        (gradient,) = pull_back(gradient)
        generator, making = descend(state.parameters["generator"], state.velocity["generator"], gradient, rate)
        return State(
            {"generator": generator, "discriminator": discriminator},
            {"generator": making, "discriminator": judging},
            {"generator": generated, "discriminator": statistics},
        ), first + second

    return step


def applied(graph: nnx.GraphDef, parameters: nnx.State, statistics: nnx.State, x: jax.Array) -> tuple[Any, nnx.State]:
    """What the network makes of x, and its running averages after that."""
    net = nnx.merge(graph, parameters, statistics, copy=True)
    return net(x), nnx.state(net, nnx.BatchStat)


def descend(parameters: Any, velocity: Any, gradient: Any, rate: float) -> tuple[Any, Any]:
    """Stochastic gradient descent with momentum, as `torch.optim.SGD` has it: parameters and velocities."""
    velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
    return jax.tree.map(lambda p, v: p - rate * v, parameters, velocity), velocity
