"""Tests of logins and logouts on the screen: what is offered, what is asked for, the status line."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from client.local.accounts import Accounts
from tests.pane import Home, Pane, Tmux
from tests.server import Server, make_data_dir, until
from tests.talk import PASSWORD, UNLIMITED


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server("-w", "1", config=UNLIMITED) as found:
        yield found


def unique(name: str) -> str:
    return f"{name}{uuid.uuid4().hex[:5]}"


def accounts_of(home: Home, server: Server) -> Accounts:
    return Accounts(home.file("accounts.json"), f"127.0.0.1:{server.port}")


class TestStatus:
    def test_it_contradicts_nothing_above_it(self, tmux: Tmux) -> None:
        """The status line contradicts no message above it.

        The test begins with a stranger's connection that ends. It goes on with a login that is lost, comes
        back, and is ended.
        """
        data_dir = make_data_dir()
        with Server("-w", "1", data_dir=data_dir) as server:
            pane = Pane(tmux, server.port)
            pane.sees("connected to 127.0.0.1", "no account is known here yet", "not logged in")
            ended = pane.connections()
            server.kill()
            until(lambda: pane.connections() < ended, "the connection has ended")
            pane.press("C-l")
            pane.sees("not logged in")
            pane.sees("not connected", "connecting", times=0)
        with Server("-w", "1", "-p", str(server.port), data_dir=data_dir) as server:
            pane.enter("register", "li")
            pane.sees("li ●")
            pane.sees("not logged in", times=0)
            server.kill()
            pane.sees("the connection is lost; trying again", "offline: ")
        with Server("-w", "1", "-p", str(server.port), data_dir=data_dir) as server:
            pane.sees("connected again", "li ●")
            pane.sees("offline: ", times=0)
            pane.type("/logout")
            pane.sees("logged out", "not logged in")
            server.kill()
            until(lambda: pane.connections() < ended, "the connection has ended")
            pane.press("C-l")
            pane.sees("not logged in")
            pane.sees("not connected", "offline: ", times=0)
            pane.leave()

    def test_nothing_answers_and_then_something_does(self, tmux: Tmux) -> None:
        with Server("-w", "1") as server:
            port = server.port
        pane = Pane(tmux, port)
        pane.sees("to start a server there: ", "not logged in")
        with Server("-w", "1", "-p", str(port)):
            pane.press("C-u")
            pane.type("/register li")
            pane.write(f"{PASSWORD}\r{PASSWORD}\r")
            pane.sees("logged in as li", "li ●")
            pane.leave()


class TestOffers:
    def test_the_account_that_was_used_last(self, server: Server, tmux: Tmux) -> None:
        """The last account is offered after a logout, and the others are named.

        The offer is not kept as a draft.
        """
        li, bo = unique("li"), unique("bo")
        pane = Pane(tmux, server.port)
        pane.enter("register", li)
        pane.type("/logout")
        pane.sees("logged out", f"> /login {li}", f"/login {li} logs in")
        pane.sees("also known here", times=0)
        pane.type(f"/register {bo}")
        pane.sees(f"password for {bo}")
        pane.write(f"{PASSWORD}\r{PASSWORD}\r")
        pane.sees(f"logged in as {bo}")
        pane.type("/group create one")
        pane.sees("[one]> ")
        pane.type("/logout")
        pane.sees(f"> /login {bo}", f"also known here: {li}")
        pane.press("Enter")
        pane.sees("password: ")
        pane.type(PASSWORD)
        pane.sees(f"logged in as {bo}", times=2)
        pane.shows(lambda screen: screen.splitlines()[-1:] == [">"], "nothing is in the line")
        pane.leave()
        drafts = [file.read_text() for file in pane.home.data.rglob("typed.jsonl")]
        assert not any(re.search('"draft".*/login', text) for text in drafts)

    def test_the_token_is_used_while_it_is_good(self, server: Server, tmux: Tmux) -> None:
        li = unique("li")
        pane = Pane(tmux, server.port)
        pane.enter("register", li)
        pane.leave()
        again = Pane(tmux, server.port, home=pane.home, FORKCHAT_USER=unique("yu"))
        again.sees(f"also known here: {li}")
        again.press("C-u")
        again.type(f"/login {li}")
        again.sees(f"logged in as {li}")
        again.sees("password", times=0)
        again.leave()
        accounts = accounts_of(pane.home, server)
        account = accounts.known()[0]
        accounts.save(replace(account, token="no such token"))
        third = Pane(tmux, server.port, home=pane.home, FORKCHAT_USER=unique("yu"))
        third.sees(f"also known here: {li}")
        third.press("C-u")
        third.type(f"/login {li}")
        third.sees("the last login has expired; log in with the password", f"> /login {li}")
        third.press("Enter")
        third.sees("password: ")
        third.type(PASSWORD)
        third.sees(f"logged in as {li}")
        third.leave()
        kept = accounts.known()[0]
        assert kept.token not in ("", "no such token")
