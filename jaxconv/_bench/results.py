"""The file of results: written whole after each job, taken up again where it ended."""

import json
from pathlib import Path
from typing import Any

from .._files import write_rows
from .job import Job

Row = dict[str, Any]
IDENTITY = ("suite", "batch", "name", "layer", "direction", "dtype", "layout")


class ResultsError(Exception):
    """A file cannot be used, and why."""


class Results:
    """Header and rows. `header` says under which conditions all rows were measured."""

    def __init__(self, path: Path, header: dict[str, Any], rows: list[Row] | None = None):
        self.path, self.header = path, header
        self.rows = {identity(row): row for row in rows or ()}

    def put(self, row: Row) -> None:
        """Add the row, or replace the one of the same job, and write the file."""
        self.rows[identity(row)] = row
        self.write()

    def get(self, job: Job) -> Row | None:
        """The job's row, if it was measured."""
        return self.rows.get(identity(job.to_json()))

    def write(self) -> None:
        """A row a line. Whoever reads the file meanwhile, or stops this, has the old one or the new one."""
        write_rows(self.path, self.header, "rows", self.rows.values())


def identity(row: Row) -> str:
    """What tells a row from the others."""
    return json.dumps([row[name] for name in IDENTITY])


def load(path: Path) -> Results:
    """What was measured earlier."""
    try:
        content = json.loads(path.read_text())
        rows = content.pop("rows")
        return Results(path, content, rows)
    except FileNotFoundError:
        raise ResultsError(f"there is no {path}: run without --report-only first") from None
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise ResultsError(f"{path} has no results of a benchmark in it") from None


def open_or_resume(path: Path, header: dict[str, Any], fresh: bool) -> Results:
    """New results, or the old ones if they were measured under the same conditions."""
    if fresh or not path.exists():
        return Results(path, header)
    old = load(path)
    before, now = _flat(old.header), _flat(header)
    apart = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if apart:
        words = "; ".join(f"{name} is {now.get(name)!r}, there it is {before.get(name)!r}" for name in apart)
        raise ResultsError(
            f"{path} was measured under other conditions: {words}. "
            "Choose another --out, or --fresh to measure everything again"
        )
    return old


def _flat(header: dict[str, Any]) -> dict[str, Any]:
    parts = (value.items() if isinstance(value, dict) else [(name, value)] for name, value in header.items())
    return {name: value for part in parts for name, value in part}
