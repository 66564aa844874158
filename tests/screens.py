"""`make screens`: makes docs/screens.md from a real run of the client against a real server."""

from __future__ import annotations

import re
import time

from forkchat.wire import msgid as m
from tests.pane import Pane, Tmux, tmux_server
from tests.server import ROOT, Server, make_data_dir
from tests.talk import Modern

FILE = ROOT / "docs/screens.md"
_HEAD = """# chatcli's screens

Text captured from terminals of 80×24 (tmux), from one run of `make screens`, which makes this page.
"""
_CONFIG = "[limits]\nmessage_rate = 0\nregister_rate = 0\n"


class Page:
    def __init__(self) -> None:
        self.text = _HEAD

    def add(self, title: str, words: str, pane: Pane) -> None:
        self.text += f"\n## {title}\n\n{words}\n\n```text\n{pane.screen()}\n```\n"


def talk(tmux: Tmux, page: Page) -> None:
    data_dir = make_data_dir()
    with Server("-w", "2", data_dir=data_dir, config=_CONFIG) as server:
        li, bo = Pane(tmux, server.port, size=(80, 24)), Pane(tmux, server.port, size=(80, 24))
        li.sees("> /register")
        page.add("First start", "Nobody has been here before, so it offers to register.", li)
        li.enter("register", "li")
        bo.enter("register", "bo")
        li.type("/add bo")
        bo.type("/add li")
        bo.sees("● li")
        li.press("M-1")
        bo.press("M-1")
        for pane, text in (
            (li, "are you there?"),
            (bo, "yes 👋 在的！"),
            (li, "看这个：https://example.org/forkchat 很快，也不会丢消息 🎉"),
            (bo, "café, naïve, 日本語, 한국어: all in line"),
        ):
            pane.type(text)
            pane.sees(f"{text[:12]}")
        bo.write("and n")
        li.sees("bo types …")
        li.sees("✓✓", times=2)
        li.shows(lambda screen: "bo         1" not in screen, "it is read")
        page.add("A conversation", "✓ is stored for good, ✓✓ is read by the other side.", li)
        li.press("M-o")
        li.sees("https://example.org/forkchat", times=2)
        page.add("Its links", "Alt+o, then Enter opens the marked one, or the latest.", li)
        li.press("C-c")
        li.press("F1")
        li.sees("PgUp and PgDn scroll")
        page.add("Help", "F1 for the keys, /help for the commands: a view of its own.", li)
        li.press("q")
        li.sees("bo> ")
        bo.press("C-u")
        with Modern(server.port).join_in("mei") as mei:
            groups = [
                mei.done(m.CREATE_GROUP, groupname=name, groupdesc="")["groupid"] for name in ("ops", "tea")
            ]
            for group in groups:
                li.type(f"/join {group}")
                li.sees(f"you are in [{'ops' if group == groups[0] else 'tea'}]")
            li.press("M-0")
            li.press("C-g")
            li.sees("go to: ")
            li.type("forkchat")
            for number in range(4):
                mei.done(m.GROUP_CHAT, groupid=groups[1], cid=f"t{number}", msg=f"tea at {number + 3}?")
            mei.done(m.GROUP_CHAT, groupid=groups[0], cid="o", msg="li: the backup is done")
            bo.type("and you?")
            li.sees("3 unread conversations, Alt+a")
            page.add("Three conversations with something unread", "Alt+a goes to the mention first.", li)
            li.press("M-a")
            li.sees("── unread ──")
            page.add("The mention", "What is new begins at the divider.", li)
            for number in range(5200):
                mei.done(
                    m.GROUP_CHAT, groupid=groups[0], cid=f"h{number}", msg=f"entry {number:04} of the log"
                )
            mei.done(m.LOOKUP, name="li")
        li.sees("entry 5199 of the log")
        li.press("C-s")
        li.sees("search: ")
        li.write("entry 5123")
        li.sees("entry 5123 of the log")
        page.add("Search", "Ctrl+s, then the words; Ctrl+s again goes further back.", li)
        li.press("C-c")
        li.sees("entry 5199 of the log")
        li.leave()
        li = Pane(tmux, server.port, size=(80, 24))  # another computer, without any data
        li.enter("login", "li")
        li.press("M-1")
        li.sees("entry 5199 of the log")
        while int(re.findall(r"entry (\d+)", li.screen())[-1]) > 199:
            li.press("PPage")
            time.sleep(0.02)
        page.add(
            "5,000 messages further up",
            "On another computer, where nothing was: PgUp, and what is missing is fetched on the way.",
            li,
        )
        li.press("M-End")
        li.press("M-3")
        li.sees("bo> ")
        server.kill()
    li.sees("offline: ")
    for text in ("is it me?", "还在吗", "anyway: tea at four"):
        li.type(text)
        li.sees(f"{text} …")
    page.add("The connection is lost", "… is not sent yet: it is on disk, and goes out by itself.", li)
    with Server("-w", "2", "-p", str(server.port), data_dir=data_dir, config=_CONFIG):
        li.sees("tea at four ✓", "li ●")
        page.add("It is back", "All three arrived, once and in order.", li)


def main() -> None:
    page = Page()
    with tmux_server() as tmux:
        talk(tmux, page)
    FILE.write_text(page.text)
    print(f"{FILE} is made")


if __name__ == "__main__":
    main()
