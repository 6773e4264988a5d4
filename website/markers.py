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
    """The page, which is in this folder of docs/ and of the site, with every marker replaced and its links made to hold
    there. ValueError for an unknown marker."""

    def replacement(match: re.Match[str]) -> str:
        name, argument = match.groups()
        if name not in MARKERS:
            raise ValueError(f"no marker is named {name!r}; there are {', '.join(MARKERS)}")
        return relinked(MARKERS[name](*filter(None, [argument])), "", folder)

    return MARKER.sub(replacement, relinked(text, posixpath.join("docs", folder), folder))


def relinked(text: str, there: str, folder: str) -> str:
    """What is in the folder `there` of the repository, with its links as they are in this folder of the site.

    Pages of docs/ are at the site's root, beside what is mirrored, so links from one to another stay as they are.
    """

    def on_site(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(there, match[2]))
        if there and target.startswith("docs/"):
            return match[0]
        return match[1] + posixpath.relpath(target.removeprefix("docs/"), folder or ".")

    return LINK.sub(on_site, text)
