"""The file of results: written whole after each job, taken up again where it ended."""

import json
from pathlib import Path
from typing import Any

from .._files import write_rows
from .job import Job

Row = dict[str, Any]
IDENTITY = ("suite", "batch", "name", "layer", "direction", "dtype", "layout")
MOST = 1e100  # of anything that was measured


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
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = content.pop("rows")
        return Results(path, content, rows)
    except FileNotFoundError:
        raise ResultsError(f"there is no {path}: run without --report-only first") from None
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ResultsError(f"{path} has no results of a benchmark in it") from None


def checked(results: Results) -> Results:
    """The same, or ResultsError if a row is none that a report can be made of: other benchmarks have others."""
    for row in results.rows.values():
        try:
            readable = _is_readable(row)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
            readable = False
        if not readable:
            raise ResultsError(f"{results.path} has a row in it that `jaxconv bench` did not make: {str(row)[:200]}")
    return results


def _is_readable(row: Row) -> bool:
    """Whether it has the words and amounts of a job and its times; of much else this raises errors."""
    words = [row[name] for name in ("suite", "name", "direction", "dtype", "layout")]
    amounts = [row["macs"], row["matmul"] or 0, row.get("elementwise") or 0, row["layer"]["occurs"]]
    for entry in row["backends"].values():
        amounts += [entry.get("compile") or 0, entry.get("workspace") or 0]
        if "median" in entry:
            low, high = entry["quartiles"]
            amounts += [low, high, entry["samples"], entry["median"], 1 / entry["median"]]
    return all(isinstance(each, str) for each in words) and all(0 <= each <= MOST for each in amounts)


def open_or_resume(path: Path, header: dict[str, Any], fresh: bool) -> Results:
    """New results, or the old ones if they were measured under the same conditions."""
    if fresh or not path.exists():
        return Results(path, header)
    old = load(path)
    before, now = flat(old.header), flat(header)
    apart = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if apart:
        words = "; ".join(f"{name} is {now.get(name)!r}, there it is {before.get(name)!r}" for name in apart)
        raise ResultsError(
            f"{path} was measured under other conditions: {words}. "
            "Choose another file, or --fresh to measure everything again"
        )
    return old


def flat(header: dict[str, Any]) -> dict[str, Any]:
    """Conditions by name, whichever part of the header they are in."""
    parts = (value.items() if isinstance(value, dict) else [(name, value)] for name, value in header.items())
    return {name: value for part in parts for name, value in part}
