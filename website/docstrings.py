"""Docstrings, which are written to be read in a terminal, as Markdown."""

import re

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
CODE = re.compile(r"(`[^`]*`)")
SEVERAL = re.compile(r"^ +\w+(?:, \w+)+:", re.MULTILINE)  # "  strides, dilation: of each axis"


def for_markdown(docstring: str) -> str:
    """The docstring, its indentation removed, with doctests in fences and every asterisk as a character.

    An indented block after a blank line is code to Markdown and to us. The asterisks of `[N, *S, G, C]` emphasise
    nothing. Names that are described together are kept together: what follows a space would be read as a type.
    """
    blocks = []
    for block in docstring.strip().split("\n\n"):
        if EXAMPLE.match(block):
            blocks.append(f"```pycon\n{block}\n```")
        elif block.startswith("    "):
            blocks.append(block)
        else:
            block = SEVERAL.sub(lambda match: match[0].replace(", ", ",\N{NO-BREAK SPACE}"), block)
            parts = (part if part.startswith("`") else part.replace("*", r"\*") for part in CODE.split(block))
            blocks.append("".join(parts))
    return "\n\n".join(blocks)
