"""Tests of a server that comes back with another database, in which the ids are other people's."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest

from forkchat.wire import msgid as m
from tests.pane import Pane, Tmux
from tests.server import Server, is_alive, until
from tests.talk import PASSWORD, Modern


def others_come_first(port: int, with_bo: bool) -> tuple[Modern, Modern | None]:
    """Register users in the new database, and return eve, who has bo's old id, and bo.

    bo is None without `with_bo`. Li comes last, because the old client logs in at once.
    """
    Modern(port).join_in("zed")
    eve = Modern(port).join_in("eve")
    bo = Modern(port).join_in("bo") if with_bo else None
    Modern(port).register("li")
    return eve, bo


def texts_for(person: Modern) -> list[str]:
    """Return all texts that `person` was ever sent."""
    convs = person.done(m.SYNC)["convs"]
    pages = [person.done(m.FETCH, conv=conv["conv"], after=0)["msgs"] for conv in convs]
    return [each["msg"] for page in pages for each in page]


def log_in(pane: Pane) -> None:
    """Log the client in again, with a typed password where it needs one.

    It needs one if there was no li yet, or if the client was started again. Otherwise it has the password.
    """
    refused = re.compile("could not log in again|has expired")
    pane.shows(lambda screen: refused.search(screen) or is_in_again(screen), "it tries to log in")
    if refused.search(pane.screen()):
        pane.press("C-u")
        pane.type("/login li")
        pane.sees("assword: ")
        pane.type(PASSWORD)
        pane.shows(is_in_again, "it has logged in")


def is_in_again(screen: str) -> bool:
    """Return True if the client has logged in since the connection was last lost.

    Earlier lines do not count.
    """
    latest = screen.rsplit("the connection is lost", maxsplit=1)[-1]
    return re.search("logged in as li|connected again", latest) is not None


@pytest.mark.parametrize("with_bo", [True, False], ids=["bo is there", "bo is not there"])
@pytest.mark.parametrize("is_killed", [False, True], ids=["runs on", "killed and started again"])
def test_what_waits_is_for_a_person(tmux: Tmux, with_bo: bool, is_killed: bool) -> None:
    """A waiting message reaches the user who has the name, or is shown to its writer again.

    It never reaches the user who has the id.
    """
    with Server("-w", "1") as server:
        port = server.port
        pane = Pane(tmux, port)
        pane.enter("register", "li")
        with Modern(port).join_in("bo") as bo:
            pane.type("/msg bo")
            pane.sees("bo> ")
            pane.type("said before")
            bo.push(m.ONE_CHAT)
        server.kill()
    pane.sees("offline: ")
    pane.type("SECRET for bo alone")
    pane.sees("SECRET for bo alone …")
    pane.write("begun for bo")
    until(lambda: "begun for bo" in pane.home.file("typed.jsonl").read_text(), "the draft is kept")
    if is_killed:
        os.kill(pid := pane.pid(), signal.SIGKILL)
        until(lambda: not is_alive(pid), "the client is dead")
    with Server("-w", "1", "-p", str(port)) as server:
        eve, bo_again = others_come_first(port, with_bo)
        if is_killed:
            pane = Pane(tmux, port, home=pane.home)
        log_in(pane)
        if bo_again:
            assert bo_again.push(m.ONE_CHAT)["msg"] == "SECRET for bo alone"
            pane.shows(lambda screen: re.search("bo +✎", screen), "the draft is bo's")
        else:
            pane.sees("to bo: SECRET for bo alone", "✗ the server has another database")
            pane.sees("begun to bo, who is not on this server now: begun for bo")
        assert texts_for(eve) == []
        pane.type("/msg bo and now")
        if bo_again:
            assert bo_again.push(m.ONE_CHAT)["msg"] == "and now"
        else:
            pane.sees("no such user")
        assert texts_for(eve) == []
        if not bo_again:
            Modern(port).join_in("bo")
            pane.type("/msg bo")
            pane.sees("bo> ")
            pane.write("and more")
            (worker,) = server.workers().values()
            os.kill(worker, signal.SIGKILL)
            pane.sees("bo> begun for bo\nand more")


def test_what_names_an_id_is_for_nobody_else(tmux: Tmux) -> None:
    """A command that names an id is not done in the new database.

    It may wait when the server comes back, or be left over from before.
    """
    with Server("-w", "1") as server:
        port = server.port
        pane = Pane(tmux, port)
        pane.enter("register", "li")
        bo = Modern(port).join_in("bo").id
        pane.type("/who bo")
        pane.sees(f"bo, id {bo}")
        server.kill()
    pane.sees("offline: ")
    pane.type("/add bo")  # bo's id is known, so no name is looked up
    pane.type(f"/msg {bo} SECRET")
    pane.sees("1 line waits for an answer")
    with Server("-w", "1", "-p", str(port)):
        eve, _ = others_come_first(port, with_bo=False)
        assert eve.id == bo
        log_in(pane)
        for text in ("/add bo", f"/msg {bo} SECRET"):
            pane.sees(f"not done, because the server has another database now: {text}")
        until(lambda: f'"id": {eve.id + 1}' in pane.home.file("accounts.json").read_text(), "it is kept")
        pane.press("C-u")
        pane.write("half a line")
        pane.leave()
        left_over = {"/msg d1-2 SECRET": "", f"/msg {bo} SECRET": "", "SECRET for bo": "d1-2"}
        with pane.home.file("typed.jsonl").open("a") as journal:
            for number, (text, conv) in enumerate(left_over.items()):
                line = {"entered": f"k{number}", "text": text, "conv": conv, "epoch": "of old"}
                journal.write(json.dumps(line) + "\n")
        pane = Pane(tmux, port, home=pane.home)
        pane.sees("3 lines were entered and not done", "logged in as li")
        pane.type("y")
        for text in left_over:
            pane.sees(f"not done, because the server has another database now: {text}")
        pane.sees("\n> half a line")
        pane.press("Up")
        pane.sees("\n> SECRET for bo")
        pane.leave()
        assert eve.done(m.FRIENDS, op="list")["friends"] == []
        assert texts_for(eve) == []
