"""The plan that a user keeps: one file for each device and version, in the platform's cache directory."""

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryFile

from ._machine import conditions
from ._plan import Plan
from ._plan_file import SCHEMA, read


def default_plan_path() -> Path:
    """Where the plan of this device, these versions and this number of threads is kept."""
    try:
        from platformdirs import user_cache_path
    except ImportError:
        raise ImportError("the default plan needs platformdirs: pip install 'jaxconv[tools]'") from None
    holds_for = {**conditions(), "schema": SCHEMA}
    key = hashlib.sha256(json.dumps(holds_for, sort_keys=True).encode()).hexdigest()[:16]
    return user_cache_path("jaxconv", appauthor=False) / f"plan-{key}.json"


def load_default_plan() -> Plan:
    """The plan that `save_default_plan` kept for this device, versions and number of threads, or an empty one.

    Raises:
      PlanError: if the file is damaged; the message names it.
      OSError: if it cannot be read.
      ImportError: without `platformdirs` and `filelock`.

    >>> import jaxconv
    >>> with jaxconv.load_default_plan():
    ...     pass  # convolutions that were tuned earlier take what was fastest
    """
    path = default_plan_path()
    return Plan.load(path) if path.exists() else Plan(conditions(), {})


def save_default_plan(plan: Plan) -> Path:
    """Merge the plan into the one that is kept, its choices before those there, and return the file's path.

    The file is read, merged and replaced under a lock: processes that tune at once lose nothing of each other's.

    Raises:
      PlanError: if the file there is damaged, or of another version of the format. It is left as it is.
      ValueError: if the plan was made under other conditions than the one there.
      ImportError: without `platformdirs` and `filelock`.
    """
    path = default_plan_path()
    merge_into(path, plan)
    return path


def merge_into(path: Path, plan: Plan) -> Plan:
    """Do so with the file of this path, if there is one, and return what it has then. Errors as above."""
    try:
        from filelock import FileLock
    except ImportError:
        raise ImportError("the default plan needs filelock: pip install 'jaxconv[tools]'") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    # OSError where no file can be made: there, as in /proc, a lock would be waited for for ever.
    with TemporaryFile(dir=path.parent):
        pass
    with FileLock(path.with_name(f".{path.name}.lock")):  # a name that nobody's own files have
        there = Plan(*read(path)) if path.exists() else Plan(plan.conditions, {})
        try:
            kept = there | plan
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        kept.save(path)
    return kept
