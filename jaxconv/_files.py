"""Files that whoever reads them has whole: the old one or the new one."""

import json
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_atomically(path: Path, text: str) -> None:
    """Put the text there, with the folders above it; by a link where that leads, and the link stays."""
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")  # other threads may write here, too
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_rows(path: Path, header: dict[str, Any], name: str, rows: Iterable[Any]) -> None:
    """JSON: the header, and after it the rows under their name, a line each."""
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
    start = json.dumps(header, indent=1, allow_nan=False).removesuffix("\n}")
    write_atomically(path, f'{start},\n "{name}": [\n{lines}\n]}}\n')
