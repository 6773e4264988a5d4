"""What the site has beside docs/, and where it is in the navigation."""

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import reference

ROOT = Path(__file__).parent.parent
# They are in the site at the paths that they have here, so the links between them hold in both places. Links to them
# from pages of docs/, which are at the site's root, are rewritten (`markers.relinked`).
MIRRORED = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/*.md",
    "benchmarks/*.json",
    "benchmarks/charts/*.png",
    "examples/*.py",
    "notebooks/*.ipynb",
)


def mirrored() -> list[str]:
    """Paths below the root."""
    return [path for pattern in MIRRORED for path in sorted(glob.glob(pattern, root_dir=ROOT))]


def unfolded(nav: list[Any]) -> list[Any]:
    """The navigation of mkdocs.yml, a pattern in it replaced by the pages that match and have no entry of their own."""
    named = set(pages(nav))
    return _unfolded(nav, [path for path in (*mirrored(), *reference.pages()) if path not in named])


def pages(nav: list[Any]) -> Iterator[str]:
    """All that the entries point to, in order."""
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        if isinstance(value, list):
            yield from pages(value)
        else:
            yield value


def _unfolded(nav: list[Any], paths: list[str]) -> list[Any]:
    found: list[Any] = []
    for entry in nav:
        if isinstance(entry, dict) and isinstance(value := next(iter(entry.values())), list):
            found.append({next(iter(entry)): _unfolded(value, paths)})
        elif isinstance(entry, str) and "*" in entry:
            found += [path for path in paths if Path(path).match(entry)]
        else:
            found.append(entry)
    return found
