"""mkdocs' hooks: files of the repository at their own paths, generated pages, and markers within pages."""

import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files  # pyright: ignore[reportMissingImports] (optional)

from website import maths, navigation, reference
from website.markers import expanded


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
    """Markers are replaced; prompts are coloured as prompts."""
    text = expanded(markdown, posixpath.dirname(page.file.src_uri))
    return re.sub(r"^```python\n(?=>>> )", "```pycon\n", text, flags=re.MULTILINE)


def on_page_content(html: str, page: Any, **kwargs: Any) -> str:
    """Formulas of notebooks, which browsers draw by themselves."""
    return maths.drawn(html) if page.file.src_uri.endswith(".ipynb") else html
