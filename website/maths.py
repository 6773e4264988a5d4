"""Formulas of notebooks as MathML, made when the site is built: nothing is fetched when it is read."""

import html
import re

from latex2mathml.converter import convert  # pyright: ignore[reportMissingImports] (optional)

# mkdocs-jupyter's way to draw them, which needs a script from elsewhere.
MATHJAX = re.compile(r"<!-- Load mathjax -->.*?<!-- End of mathjax configuration -->", re.DOTALL | re.IGNORECASE)
# Code is left alone: whatever is in it, a dollar is a dollar there.
PARTS = re.compile(r"(<(pre|code|script|style)\b.*?</\2>)|\$\$(.+?)\$\$|\$([^$<>\n]+?)\$", re.DOTALL)


def drawn(page: str) -> str:
    """The page with `$...$` and `$$...$$` as MathML."""

    def formula(match: re.Match[str]) -> str:
        kept, _, display, inline = match.groups()
        if kept:
            return kept
        return convert(html.unescape(display or inline), display="block" if display else "inline")

    return PARTS.sub(formula, MATHJAX.sub("", page))
