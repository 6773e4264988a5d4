"""What mkdocstrings makes of every docstring before it looks for sections."""

from typing import Any

import griffe  # pyright: ignore[reportMissingImports] (optional)

from website.docstrings import for_markdown


class ForMarkdown(griffe.Extension):
    """Puts docstrings into Markdown."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        """Of packages, modules, classes, functions and constants."""
        if obj.docstring:
            obj.docstring.value = for_markdown(obj.docstring.value)
