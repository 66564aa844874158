"""Tests of different spellings of one server.

They share one account and one folder, also with data kept under another spelling.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from client.local.accounts import Account, Accounts
from client.local.journal import Journal
from client.local.servers import canonical, folder
from client.protocol.outbox import Pending

SPELLINGS = {
    "localhost:6000": ["127.0.0.1:6000", "[::1]:6000", "LOCALHOST:6000", "localhost.:6000", "[0:0::1]:6000"],
    "chat.example.org:7": ["Chat.Example.ORG:7", "chat.example.org.:7"],
    "xn--bcher-kva.example:7": ["b\xfccher.example:7", "B\xdcCHER.example.:7", "XN--Bcher-kva.example:7"],
    "[2001:db8::a]:7": ["[2001:DB8:0:0::A]:7"],
    "192.0.2.1:7": ["[::ffff:192.0.2.1]:7"],
}
DIFFERENT = [
    *SPELLINGS,
    "localhost:6001",
    "localhost.example.org:6000",
    "127.0.0.2:6000",
    "chat:7",
    ".:7",
    "-:7",
]


def test_spellings() -> None:
    for server, others in SPELLINGS.items():
        assert {canonical(other) for other in [server, *others]} == {server}
    assert len({canonical(server) for server in DIFFERENT}) == len(DIFFERENT)


@pytest.mark.parametrize(
    ("server", "other"), [(server, other) for server, others in SPELLINGS.items() for other in others]
)
def test_files_under_another_spelling_are_found(tmp_path: Path, server: str, other: str) -> None:
    old = tmp_path / re.sub(r"[^A-Za-z0-9.-]", "_", other)
    for user in (1, 2):
        journal = Journal(old / str(user) / "typed.jsonl")
        journal.send(Pending(f"c{user}", "g1", f"of {user}"))
        journal.close()
    (tmp_path / "other_6000/1").mkdir(parents=True)
    found = folder(tmp_path, other)
    assert found == folder(tmp_path, server)
    assert {path.name for path in found.iterdir()} == {"1", "2"}
    assert list(Journal(found / "2/typed.jsonl").unsent) == ["c2"]
    assert sorted(tmp_path.iterdir()) == sorted([found, tmp_path / "other_6000"])


def test_what_is_unsent_under_both_is_sent_in_order(tmp_path: Path) -> None:
    for name, cid in (("127.0.0.1_6000", "a"), ("localhost_6000", "b")):
        journal = Journal(tmp_path / name / "1/typed.jsonl")
        journal.begin("e")
        journal.send(Pending(cid, "g1", "a line\u2028and\x85another", "ops", "e"))
        journal.draft("g1", f"a draft under {name}", "ops")
        journal.close()
    (tmp_path / "127.0.0.1_6000/1/history.sqlite").write_text("the only copy perhaps")
    for _ in range(2):
        journal = Journal(folder(tmp_path, "127.0.0.1:6000") / "1/typed.jsonl")
        journal.begin("e")
        assert list(journal.unsent) == ["a", "b"]
        assert {pending.epoch for pending in journal.unsent.values()} == {"e"}
        assert journal.text("g1") == "a draft under localhost_6000"
        assert journal.strays == {"#ops": "a draft under 127.0.0.1_6000"}
        assert not journal.damaged
        journal.tidy()
        assert not journal.damaged
        journal.close()
    assert (tmp_path / "127.0.0.1_6000/1/history.sqlite").exists()


def test_what_another_chatcli_has_open_is_left_to_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "127.0.0.1_6000/1/typed.jsonl")
    assert not (folder(tmp_path, "localhost:6000") / "1").exists()
    journal.send(Pending("a", "g1", "hi"))
    journal.close()
    assert (folder(tmp_path, "localhost:6000") / "1/typed.jsonl").exists()


def test_accounts_under_another_spelling_are_found(tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    li = {"id": 1, "name": "li", "token": "of li"}
    bo = {"id": 2, "name": "bo", "token": "of bo"}
    old = {"127.0.0.1:6000": [li], "LOCALHOST:6000": [bo], "localhost:6000": [li | {"token": ""}]}
    file.write_text(json.dumps(old | {"127.0.0.1:7000": [li]}))
    accounts = Accounts(file, "[::1]:6000")
    assert accounts.named("li") == Account(1, "li", "of li")
    assert accounts.named("bo") == Account(2, "bo", "of bo")
    accounts.save(Account(2, "bo", "next"))
    assert accounts.known()[0] == Account(2, "bo", "next")
    assert list(json.loads(file.read_text())) == ["localhost:6000", "localhost:7000"]
    assert Accounts(file, "localhost:7000").known()[0] == Account(1, "li", "of li")
