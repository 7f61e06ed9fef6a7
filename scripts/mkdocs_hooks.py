"""Hooks of `make docs`: what the site shows differently from a code host."""

import re

_LINK_OUT_OF_DOCS = re.compile(r"\[([^]]*)\]\((\.\./[^)#]*)(?:#[^)]*)?\)")
_LINK_TO_AUDIO = re.compile(r'<a href="([^"]+\.mp3)">.*?</a>', re.DOTALL)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Turn a link to a file outside docs/, which the site lacks, into the text and its path."""
    return _LINK_OUT_OF_DOCS.sub(
        lambda link: f"{link[1]} (`{link[2].removeprefix('../')}` in the repository)", markdown
    )


def on_page_content(html: str, **_: object) -> str:
    """Turn a link to audio into a player; code hosts show no players, so the pages have links."""
    return _LINK_TO_AUDIO.sub(
        lambda link: (
            f'<audio controls preload="none" style="width: 192px" src="{link[1]}">{link[0]}</audio>'
        ),
        html,
    )
