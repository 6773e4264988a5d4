"""Pages for every public name, from the packages themselves: a new name is on its page without further ado.

A package's public names are those that its `__init__.py` imports as themselves (`from ._conv import accelerate as
accelerate`). They are grouped by the module that they come from, under the first line of its docstring.
"""

import ast
import importlib
import pkgutil
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jaxconv

from .docstrings import for_markdown

FIRST = ("_conv", "_settings", "_explain", "_autotune", "_plan")  # modules that open the page; others follow in order


class Group(NamedTuple):
    """Names that come from one module, and what it says of itself."""

    module: str
    title: str
    names: tuple[str, ...]


def packages() -> list[str]:
    """jaxconv and what is public in it."""
    inside = [info.name for info in pkgutil.iter_modules(jaxconv.__path__) if not info.name.startswith("_")]
    return ["jaxconv", *(f"jaxconv.{name}" for name in sorted(inside))]


def groups(package: str) -> list[Group]:
    """The public names of the package."""
    path = Path(importlib.import_module(package).__file__ or "")
    found: dict[str, list[str]] = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            names = [alias.name for alias in statement.names if alias.asname == alias.name]
            found.setdefault("." * statement.level + statement.module, []).extend(names)

    def place(module: str) -> tuple[int, str]:
        name = module.removeprefix(".")
        return (FIRST.index(name) if name in FIRST else len(FIRST), name)

    return [Group(module, _title(module, package), tuple(found[module])) for module in sorted(found, key=place)]


def _title(module: str, package: str) -> str:
    docstring = importlib.import_module(module, package).__doc__ or module
    return for_markdown(docstring).split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".")


def page(package: str) -> str:
    """Markdown: a heading for each group, mkdocstrings' directive for each name."""
    parts = [f"# {package}", f"::: {package}\n    options:\n      members: false\n      show_root_heading: false"]
    for group in groups(package):
        parts.append(f"## {group.title}")
        parts.extend(f"::: {package}.{name}" for name in group.names)
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """Path below docs/ -> Markdown."""
    return {f"reference/{package}.md": page(package) for package in packages()}


def index() -> str:
    """A table of all names, with the first line of what each says of itself."""
    lines = []
    for package in packages():
        lines += [f"## {package}", "", "| name | |", "| --- | --- |"]
        for group in groups(package):
            for name in group.names:
                lines.append(f"| [`{name}`][{package}.{name}] | {_summary(package, group, name)} |")
        lines.append("")
    return "\n".join(lines)


def _summary(package: str, group: Group, name: str) -> str:
    """The first line of the name's docstring; of a constant, of the string below it."""
    value = getattr(importlib.import_module(package), name)
    docstring = value.__doc__ if callable(value) else _constant_docstring(group.module, package, name)
    return for_markdown(docstring or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _constant_docstring(module: str, package: str, name: str) -> str:
    path = Path(importlib.import_module(module, package).__file__ or "")
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for statement, below in pairwise(body):
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        if name in [getattr(target, "id", None) for target in targets] and isinstance(below, ast.Expr):
            return str(ast.literal_eval(below.value))
    return ""
