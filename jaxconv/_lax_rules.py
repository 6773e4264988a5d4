"""The rules by which lax lowers its own convolution: replaced by another, put back, and followed within that one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from jax.extend.core.primitives import conv_general_dilated_p as lax_conv_p
from jax.interpreters import mlir

kept: dict[str | None, Callable] = {}  # platform (None: all others) -> lax's rule, once another has taken its place


def lower_by(lower: Callable | None) -> None:
    """From now on lax's convolutions are lowered by this rule on all platforms; None: by lax's own again. Programs that
    are compiled stay as they are. For one thread at a time."""
    if not kept:
        tables = {None: mlir._lowerings, **mlir._platform_specific_lowerings}
        kept.update({platform: table[lax_conv_p].rule for platform, table in tables.items() if lax_conv_p in table})
    for platform, rule in kept.items():
        mlir.register_lowering(lax_conv_p, lower or rule, platform)


def followed(context: Any, platform: str) -> Any:
    """The context with lax's convolutions lowered by lax's own rule: those that our algorithms end in, and the real
    ones that lax makes of complex ones.

    What is lowered in it goes to caches of its own: in those of the module an equal convolution is the caller's.
    """
    if not kept:
        return context
    module = context.module_context
    rule = kept.get(platform, kept[None])  # "several" are some that have none of their own
    others = module.lowering_parameters.override_lowering_rules or ()
    parameters = replace(module.lowering_parameters, override_lowering_rules=((lax_conv_p, rule), *others))
    module = module.replace(lowering_parameters=parameters, lowering_cache={}, cached_primitive_lowerings={})
    return context.replace(module_context=module)
