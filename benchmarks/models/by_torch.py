"""Training by PyTorch, on the kind of device that JAX uses, in each of its memory formats; sounds have one."""

from collections.abc import Callable

import torch  # pyright: ignore[reportMissingImports] (optional)
from numpy.typing import NDArray
from torch import Tensor, nn  # pyright: ignore[reportMissingImports] (optional)
from torch.nn.functional import cross_entropy, softplus  # pyright: ignore[reportMissingImports] (optional)

from . import in_torch
from .architectures import Model
from .start import SEPARATOR, Arrays
from .training import MOMENTUM, Training

FORMATS = {
    3: {"contiguous": torch.contiguous_format},
    4: {"contiguous": torch.contiguous_format, "channels last": torch.channels_last},
    5: {"contiguous": torch.contiguous_format, "channels last": torch.channels_last_3d},
}
Parts = dict[str, nn.Module]
Optimisers = dict[str, torch.optim.SGD]
Batch = dict[str, Tensor]
TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)


def prepare(model: Model, parameters: Arrays, data: Arrays, device: str = "cpu") -> Training:
    """With nothing to compile."""
    if device != "cpu":
        torch.backends.cudnn.benchmark = True  # it tries its algorithms, as XLA does

    def starting(memory_format):
        def restarted():
            parts = {part: net.train() for part, net in in_torch.build(model).items()}
            fill(parts, parameters)
            for net in parts.values():
                net.to(device, memory_format=memory_format)  # pyright: ignore[reportCallIssue]
            batch = {name: torch.from_numpy(value).to(device) for name, value in data.items()}
            batch["images"] = batch["images"].movedim(-1, 1).contiguous(memory_format=memory_format)
            if "labels" in batch:
                batch["labels"] = batch["labels"].long()
            optimisers = {part: torch.optim.SGD(net.parameters(), model.rate, MOMENTUM) for part, net in parts.items()}
            step = (supervised if model.classes else adversarial)(parts, optimisers, batch)
            return step if device == "cpu" else finished(step)

        return restarted

    formats = FORMATS[len(model.image) + 1]
    return Training({name: starting(memory_format) for name, memory_format in formats.items()}, {})


def finished(step: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The step with its work done: on a GPU a call only starts it."""

    def to_its_end() -> Tensor:
        loss = step()
        torch.cuda.synchronize()
        return loss

    return to_its_end


def supervised(parts: Parts, optimisers: Optimisers, batch: Batch):
    """As in `steps`."""
    net, optimiser = parts["net"], optimisers["net"]

    def step() -> Tensor:
        optimiser.zero_grad()
        loss = cross_entropy(net(batch["images"]), batch["labels"])
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def adversarial(parts: Parts, optimisers: Optimisers, batch: Batch):
    """As in `steps`: the second gradient stops at the false images, those of the discriminator are not taken again."""
    generator, discriminator = parts["generator"], parts["discriminator"]
    making, judging = optimisers["generator"], optimisers["discriminator"]

    def step() -> Tensor:
        images = generator(batch["noise"])
        judging.zero_grad()
        real, false = discriminator(batch["images"]), discriminator(images.detach())
        first = softplus(-real).mean() + softplus(false).mean()
        first.backward()
        judging.step()
        making.zero_grad()
        second = softplus(-discriminator(images)).mean()
        images.backward(torch.autograd.grad(second, images)[0])
        making.step()
        return (first + second).detach()

    return step


def fill(parts: Parts, parameters: Arrays) -> None:
    """Give each parameter the value that flax's of the same name has."""
    left = set(parameters)
    with torch.no_grad():
        for part, net in parts.items():
            for owner, module in net.named_modules(prefix=part):
                for kind, parameter in module.named_parameters(recurse=False):
                    theirs = kind
                    if kind == "weight":
                        theirs = "kernel" if parameter.ndim > 1 else "scale"
                    name = f"{owner}{SEPARATOR}{theirs}"
                    parameter.copy_(torch.from_numpy(converted(module, parameters[name])))
                    left.remove(name)
    assert not left, f"PyTorch has no {', '.join(sorted(left))}"


def converted(module: nn.Module, value: NDArray) -> NDArray:
    """flax's kernel [*taps, inputs, outputs] -> [outputs, inputs, *taps], or as a transposed layer has it,
    [inputs, outputs, *taps] with its taps reversed. The rest as it is."""
    if value.ndim < 2:
        return value
    taps = range(value.ndim - 2)
    if isinstance(module, TRANSPOSED):
        return value[(slice(None, None, -1),) * len(taps)].transpose(-2, -1, *taps).copy()
    return value.transpose(-1, -2, *taps).copy()
