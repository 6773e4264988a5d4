"""The table of algorithms, their derivations and what accuracy allows which, from the library's own tables."""

import importlib
import inspect
import pkgutil
from types import ModuleType

import jaxconv._algorithms as package
from jaxconv import ALGORITHMS
from jaxconv._accuracy import ACCURACIES, ERROR_FACTOR, NORMWISE
from jaxconv._algorithm import Algorithm

from .docstrings import for_markdown

SHARED = ("jaxconv._phases",)  # derivations that several algorithms refer to, outside of the package


def homes() -> dict[str, ModuleType]:
    """Name -> the module that defines the algorithm, in the order of the table."""
    found = {}
    for name, algorithm in ALGORITHMS.items():
        for module in _modules():
            mine = [value for value in vars(module).values() if isinstance(value, Algorithm)]
            if any(value.convolve is algorithm.convolve for value in mine):
                found[name] = module
    return found


def _modules() -> list[ModuleType]:
    names = [info.name for info in pkgutil.iter_modules(package.__path__)]
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]


def derivations() -> str:
    """A section for each module that has algorithms, then one for each that those share."""
    mine: dict[ModuleType, list[str]] = {}
    for name, module in homes().items():
        mine.setdefault(module, []).append(name)
    parts = []
    for module, names in mine.items():
        parts += [f"## {', '.join(names)}", *map(_promise, names), _docstring(module)]
    parts.append("## What they share")
    shared = [module for module in _modules() if module not in mine] + list(map(importlib.import_module, SHARED))
    for module in shared:
        parts += [f"### {module.__name__.rpartition('.')[2].strip('_')}", _docstring(module)]
    return "\n\n".join(parts)


def _docstring(module: ModuleType) -> str:
    return for_markdown(inspect.getdoc(module) or "")


def _promise(name: str) -> str:
    factor = f"{ERROR_FACTOR[name]:g} times that" if ERROR_FACTOR[name] > 1 else "that"
    norm = ", by the norm" if name in NORMWISE else ""
    taken = ", ".join(f'"{accuracy}"' for accuracy, names in ACCURACIES.items() if name in names)
    return f'`algorithm="{name}"`: error at most {factor} of a direct sum{norm}; taken under {taken}.'


def accuracies() -> str:
    """A table: what may be taken under which accuracy."""
    lines = ["| accuracy | algorithms |", "| --- | --- |"]
    for accuracy, names in ACCURACIES.items():
        allowed = ", ".join(f"`{name}`" for name in ALGORITHMS if name in names)
        lines.append(f'| `"{accuracy}"` | {allowed} |')
    return "\n".join(lines)
