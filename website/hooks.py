"""mkdocs' hooks: files of the repository at their own paths, generated pages, and markers within pages."""

import logging
import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files  # pyright: ignore[reportMissingImports] (optional)

from website import maths, navigation, reference
from website.markers import expanded

LOG = logging.getLogger("mkdocs.website")  # with --strict, a warning below "mkdocs" is an error
LINK = re.compile(r'<a href="(?!\w+:|#)([^"#]+)')  # within the repository


def on_config(config: Any) -> Any:
    """Completes the navigation."""
    config.nav = navigation.unfolded(config.nav)
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds what is not in docs/."""
    for path in navigation.mirrored():
        files.append(File(path, str(navigation.ROOT), config.site_dir, config.use_directory_urls))
    for path, text in reference.pages().items():
        files.append(File.generated(config, path, content=text))
    return files


on_files.mkdocs_priority = 100  # pyright: ignore[reportFunctionMemberAccess] (before mkdocs-jupyter looks for notebooks)


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Markers are replaced; links that leave docs/ are made to hold; prompts are coloured as prompts."""
    text = expanded(markdown, posixpath.dirname(page.file.src_uri))
    return re.sub(r"^```python\n(?=>>> )", "```pycon\n", text, flags=re.MULTILINE)


def on_page_content(html: str, page: Any, files: Files, **kwargs: Any) -> str:
    """Notebooks, which mkdocs takes as they come: their formulas are drawn, their links checked and made to hold."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html

    def linked(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), match[1]))
        target = files.get_file_from_path(path)
        if target is None:
            LOG.warning(f"Notebook '{page.file.src_uri}' contains a link '{match[1]}', but the target is not found.")
            return match[0]
        return f'<a href="{target.url_relative_to(page.file)}'

    return LINK.sub(linked, maths.drawn(html))
