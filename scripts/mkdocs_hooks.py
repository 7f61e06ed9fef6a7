"""Hooks of `make docs`: links from docs/ to other files of the repository, which the site lacks."""

import re

_LINK_OUT_OF_DOCS = re.compile(r"\[([^]]*)\]\((\.\./[^)#]*)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Turn a link to a file outside docs/ into the text and the file's path."""
    return _LINK_OUT_OF_DOCS.sub(
        lambda link: f"{link[1]} (`{link[2].removeprefix('../')}` in the repository)", markdown
    )
