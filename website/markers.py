"""Lines `{{ name }}` or `{{ name: argument }}` in a page, and what comes in their place."""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

from website import algorithms, figures, reference

ROOT = Path(__file__).parent.parent
MARKER = re.compile(r"^\{\{ (\w+)(?:: (.+))? \}\}$", re.MULTILINE)
LINK = re.compile(r"(\]\()(?!\w+:|#)([^)]+\))")


def readme(heading: str) -> str:
    """What README.md has under a heading, up to the next one. ValueError unless there is one."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    parts = re.split(r"(?<=\n\n)#+ (.+)\n", text)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    if heading not in sections:
        raise ValueError(f"README.md has no heading {heading!r}, but {', '.join(sections)}")
    return sections[heading].strip().replace("<details>", "<details markdown>")


MARKERS: dict[str, Callable[..., str]] = {
    "readme": readme,
    "names": reference.index,
    "derivations": algorithms.derivations,
    "accuracies": algorithms.accuracies,
    "accuracy": figures.accuracy,
    "models": figures.models,
    "no_faster": figures.no_faster,
}


def expanded(text: str, folder: str = "") -> str:
    """The page, which is in this folder below the root, with every marker replaced. ValueError for an unknown one."""

    def replacement(match: re.Match[str]) -> str:
        name, argument = match.groups()
        if name not in MARKERS:
            raise ValueError(f"no marker is named {name!r}; there are {', '.join(MARKERS)}")
        return LINK.sub(relinked, MARKERS[name](*filter(None, [argument])))

    def relinked(match: re.Match[str]) -> str:
        there = match[2].removeprefix("docs/")  # whose pages are at the root of the site
        return match[1] + posixpath.relpath(there, folder or ".")

    return MARKER.sub(replacement, text)
