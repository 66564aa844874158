"""Colours: the terminal's own sixteen, which its user has made readable. NO_COLOR leaves bold and reverse."""

from __future__ import annotations

from prompt_toolkit.styles import Style

#: Stable colours of names. None is black or white, which a background may be, or red, which means an error.
NICKS = (
    *("ansigreen", "ansiblue", "ansimagenta", "ansicyan", "ansiyellow", "ansibrightgreen"),
    *("ansibrightblue", "ansibrightmagenta", "ansibrightcyan", "bold ansigreen", "bold ansiblue"),
    "bold ansimagenta",
)

STYLE = Style.from_dict(
    {f"nick{number}": colour for number, colour in enumerate(NICKS)}
    | {
        "own": "bold",
        "time": "ansibrightblack",
        "line": "ansibrightblack",
        "mark": "ansibrightblack",
        "note": "ansibrightblack",
        "gap": "ansibrightblack",
        "day": "ansibrightblack",
        "divider": "ansired bold",
        "error": "ansired",
        "unsent": "ansibrightblack",
        "link": "underline",
        "match": "reverse",
        "title": "bold",
        "status": "reverse",
        "status.trouble": "reverse bold ansired",
        "prompt": "bold",
        "list.current": "reverse",
        "list.unread": "bold",
        "list.urgent": "bold ansired",
        "list.offline": "ansibrightblack",
    }
)
