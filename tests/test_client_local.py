"""Tests of the data kept on this machine: settings, accounts, the journal of typed text, the history."""

from __future__ import annotations

import json
import os
import random
import resource
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.local.accounts import Account, Accounts
from client.local.files import write_private
from client.local.history import MAX_UNWRITTEN, Busy, Changes, History, Stand
from client.local.journal import Journal, Line
from client.local.settings import BadSettings, Settings
from client.protocol.events import Message
from client.protocol.outbox import Pending


@contextmanager
def full_disk() -> Iterator[None]:
    """Forbid the growth of any file, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


class TestSettings:
    def test_set_keeps_comments(self, tmp_path: Path) -> None:
        file = tmp_path / "forkchat/chatcli.toml"
        file.parent.mkdir()
        file.write_text('# mine\nserver = "chat.example.org"  # the office\n')
        settings = Settings(file)
        settings.set("lang", "zh")
        settings.set("mouse", "on")
        assert file.read_text() == (
            '# mine\nserver = "chat.example.org"  # the office\nlang = "zh"\nmouse = true\n'
        )
        again = Settings(file)
        assert (again.text("server"), again.text("lang"), again.is_on("mouse")) == (
            *("chat.example.org", "zh"),
            True,
        )

    def test_defaults_without_a_file(self, tmp_path: Path) -> None:
        settings = Settings(tmp_path / "none")
        assert (settings.text("server"), settings.is_on("bell"), settings.shown("bell")) == (
            *("localhost", True),
            "on",
        )

    @pytest.mark.parametrize(("name", "value"), [("lang", "de"), ("mouse", "yes"), ("notify", "")])
    def test_bad_values(self, tmp_path: Path, name: str, value: str) -> None:
        with pytest.raises(BadSettings):
            Settings(tmp_path / "none").set(name, value)
        assert not (tmp_path / "none").exists()

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"lang = 7\nnosuch = 1", "lang must be a text in quotes; nosuch is unknown"),
            (b"no toml", "Expected '=' after a key in a key/value pair (at line 1, column 4)"),
            (b"# mine\nlang =", "Invalid value (at line 2, column 7)"),
            (
                b"x = " + b"9" * 5000,
                "Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits; use"
                " sys.set_int_max_str_digits() to increase the limit",
            ),
            (b"# mine\nlang = \xff", "not UTF-8 (at line 2, column 8)"),
        ],
    )
    def test_bad_files(self, tmp_path: Path, content: bytes, problem: str) -> None:
        file = tmp_path / "file"
        settings = Settings(file)
        file.write_bytes(content)
        with pytest.raises(BadSettings) as caught:
            Settings(file)
        assert str(caught.value) == f"{file}: {problem}"
        if "(at" in problem:
            with pytest.raises(BadSettings):
                settings.set("mouse", "on")
        assert file.read_bytes() == content


class TestAccounts:
    def test_the_last_one_of_each_server(self, tmp_path: Path) -> None:
        file = tmp_path / "data/accounts.json"
        here, there = Accounts(file, "here:6000"), Accounts(file, "there:6000")
        assert here.known() == []
        here.save(Account(1, "li", "t1"))
        here.save(Account(2, "bo", "t2"))
        there.save(Account(1, "mei", "t3"))
        here.save(Account(1, "li", "t4"))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        last = here.known()[0]
        assert last
        assert (last.name, here.token(last)) == ("li", "t4")
        here.renew(2, "")
        here.renew(2, "of someone who has none")
        here.renew(3, "of someone unknown")
        assert [here.named(who) for who in ("bo", 2, "2", "nobody", 3)] == [
            *(Account(2, "bo"), Account(2, "bo")),
            *(None, None, None),
        ]
        assert here.known()[0] == last

    def test_what_was_used_over_tls_stays_so(self, tmp_path: Path) -> None:
        accounts = Accounts(tmp_path / "file", "here:6000")
        accounts.save(Account(1, "li", "t1"))
        assert not accounts.need_tls()
        accounts.is_tls = True
        accounts.save(Account(1, "li", "t2"))
        accounts.is_tls = False
        accounts.save(Account(1, "li", "t3"))
        accounts.renew(1, "t4")
        accounts.renew(1, "")
        accounts.save(Account(2, "bo", "t"))
        assert accounts.need_tls()
        assert [accounts.named(who) for who in (1, 2)] == [
            Account(1, "li", is_tls=True),
            Account(2, "bo", "t"),
        ]
        assert not Accounts(tmp_path / "file", "there:6000").need_tls()

    @pytest.mark.parametrize(
        "content",
        [
            *("", "no json", "[]", '{"here:6000": 7}', "[" * 100_000, "\udcff"),
            *('{"here:6000": [{"nosuch": 1}]}', '{"here:6000": [{"id": 1, "name": 7}]}'),
        ],
    )
    def test_a_damaged_file_is_put_aside(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "file").write_text(content, errors="surrogateescape")
        accounts = Accounts(tmp_path / "file", "here:6000")
        assert accounts.known() == []
        assert accounts.damaged == tmp_path / "file.damaged"
        assert accounts.damaged.read_text(errors="surrogateescape") == content
        accounts.save(Account(1, "li", "t"))
        assert accounts.known()[0] == Account(1, "li", "t")

    def test_a_file_that_cannot_be_read_is_left_as_it_is(self, tmp_path: Path) -> None:
        (file := tmp_path / "file").symlink_to(file)
        accounts = Accounts(file, "here:6000")
        for use in (accounts.need_tls, accounts.known, lambda: accounts.save(Account(1, "li", "t"))):
            with pytest.raises(OSError, match="symbolic links"):
                use()
        assert file.is_symlink()

    def test_a_keyring_keeps_the_token(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import keyring
        from keyring.backend import KeyringBackend

        class Ring(KeyringBackend):
            priority = 5
            kept: dict[tuple[str, str], str] = {}  # noqa: RUF012

            def set_password(self, service: str, username: str, password: str) -> None:
                self.kept[service, username] = password

            def get_password(self, service: str, username: str) -> str | None:
                return self.kept.get((service, username))

            def delete_password(self, service: str, username: str) -> None:
                del self.kept[service, username]

        before = keyring.get_keyring()
        keyring.set_keyring(Ring())
        try:
            accounts = Accounts(tmp_path / "file", "here:6000")
            accounts.save(Account(1, "li", "the token"))
            assert "the token" not in (tmp_path / "file").read_text()
            account = accounts.known()[0]
            assert account
            assert accounts.token(account) == "the token"
            accounts.renew(1, "the next")
            assert list(Ring.kept.values()) == ["the next"]
            Ring.kept = {("chatcli 127.0.0.1:6000", "li"): "of another spelling"}
            assert Accounts(tmp_path / "none", "localhost:6000").token(account) == "of another spelling"
            Ring.kept = {("chatcli here:6000", "li"): "the next"}
            accounts.renew(1, "")
            assert not Ring.kept
        finally:
            keyring.set_keyring(before)

    def test_without_the_extra(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "keyring", None)
        accounts = Accounts(tmp_path / "file", "here:6000")
        accounts.save(Account(1, "li", "t"))
        assert accounts.known()[0] == Account(1, "li", "t")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "fail", "done", "begin", "found", "draft", "enter", "over"]),
        st.integers(0, 5),
        st.text(max_size=5),
    )
)


def vars_of(journal: Journal) -> dict[str, object]:
    names = ("unsent", "failed", "drafts", "strays", "entered", "epoch")
    return {name: getattr(journal, name) for name in names}


class TestJournal:
    @given(steps=STEPS)
    def test_it_is_the_same_after_a_kill(self, steps: list[tuple[str, int, str]]) -> None:
        """A new start finds what the old journal had in the same order, after any series of steps."""
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "typed.jsonl"
            journal = Journal(path)
            for number, (step, which, text) in enumerate(steps):
                cid = f"c{which}"
                if step == "send":
                    journal.send(Pending(f"{cid}.{number}", "g1", text, "ops", journal.epoch))
                elif step == "begin":
                    journal.begin(f"e{which}")
                elif step == "found":
                    journal.found("#ops")
                elif step == "draft":
                    journal.draft(f"g{which}", text.encode("utf-8", "ignore").decode(), "ops")
                elif step == "enter":
                    journal.enter(cid, Line(text, f"g{which}", journal.epoch))
                elif step == "over":
                    journal.over(cid)
                elif journal.unsent:
                    first = next(iter(journal.unsent))
                    journal.fail(first, text) if step == "fail" else journal.done(first)
            had = vars_of(journal)
            journal.close()
            for _ in ("as it was written", "written anew"):
                again = Journal(path)
                assert vars_of(again) == had
                assert again.damaged is None
                again.tidy()
                again.close()
            assert list(again.unsent) == sorted(journal.unsent, key=lambda cid: int(cid.split(".")[1]))

    def test_what_is_sent_or_entered_is_no_draft(self, tmp_path: Path) -> None:
        """A text stops being a draft by the same journal line that sends or enters it.

        A kill in between cannot leave both.
        """
        path = tmp_path / "typed.jsonl"
        journal = Journal(path)
        drafts = {"g1": "said", "g2": "said", "": "/query bo", "g3": "/query bo", "g4": "begun"}
        for conv, text in drafts.items():
            journal.draft(conv, text, "ops")
        journal.send(Pending("c1", "g1", "said"))
        journal.enter("k1", Line("/query bo", "", ""))
        journal.close()
        kept = {"g2": "said", "g3": "/query bo", "g4": "begun"}
        for found in (journal, Journal(path)):
            assert {conv: draft.text for conv, draft in found.drafts.items()} == kept

    def test_any_cut_loses_the_last_line_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "typed.jsonl"
        journal = Journal(path)
        for number in range(3):
            journal.send(Pending(f"c{number}", "g1", f"text {number}"))
        journal.close()
        whole = path.read_bytes()
        last = whole.rindex(b"\n", 0, -1) + 1
        for cut in range(last, len(whole) - 1):
            path.write_bytes(whole[:cut])
            journal = Journal(path)
            assert list(journal.unsent) == ["c0", "c1"], cut
            journal.close()

    def test_garbage_at_the_beginning(self, tmp_path: Path) -> None:
        """Garbage is found even in the first line, where an empty dict takes anything for a missing key."""
        path = tmp_path / "typed.jsonl"
        path.write_text('{"done": []}\n')
        journal = Journal(path)
        journal.tidy()
        assert journal.damaged
        journal.close()

    def test_garbage_anywhere(self, tmp_path: Path) -> None:
        seed = random.randrange(2**32)
        generator = random.Random(seed)
        path = tmp_path / "typed.jsonl"
        journal = Journal(path)
        for number in range(20):
            journal.send(Pending(f"c{number}", "g1", f"text {number}"))
        journal.close()
        lines = path.read_bytes().splitlines()
        bad = generator.sample(range(20), 5)
        for number in bad:
            lines[number] = generator.choice(
                [b"\xff", b"[]", b"7", b"null", b"{}", b'{"done": []}', b'{"send":']
            )
        path.write_bytes(b"\n".join(lines) + b"\n")
        again = Journal(path)
        again.tidy()
        assert list(again.unsent) == [f"c{number}" for number in range(20) if number not in bad], seed
        assert again.damaged
        assert len(again.damaged.read_bytes().splitlines()) == 5
        again.close()

    def test_it_does_not_grow(self, tmp_path: Path) -> None:
        path = tmp_path / "typed.jsonl"
        journal = Journal(path)
        for number in range(1200):
            journal.draft("g1", f"{number:01000}", "ops")
        assert path.stat().st_size < 1_001_100
        journal.close()

    def test_a_start_on_a_full_disk(self, tmp_path: Path) -> None:
        """A start on a full disk finds the lines of the journal.

        The unreadable lines stay, and are put aside at the end.
        """
        path = tmp_path / "typed.jsonl"
        path.write_text('{"send": "c1", "conv": "g1", "text": "old"}\ngarbage\n')
        journal = Journal(path)
        with full_disk(), pytest.raises(OSError, match="too large"):
            journal.tidy()
        assert (list(journal.unsent), journal.damaged, journal.unkept) == (["c1"], None, 1)
        assert path.read_text().endswith("garbage\n")
        journal.close()
        assert journal.damaged
        assert journal.damaged.read_text() == "garbage\n"
        assert "garbage" not in path.read_text()

    def test_what_did_not_fit_is_written_at_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "typed.jsonl"
        journal = Journal(path)
        journal.tidy()
        with full_disk():
            for change in (
                lambda: journal.send(Pending("c1", "g1", "text")),
                lambda: journal.draft("g1", "a draft", "ops"),
            ):
                with pytest.raises(OSError, match="too large"):
                    change()
            assert journal.unkept == 2
            with pytest.raises(OSError, match="too large"):
                journal.close()
        Journal(path).close()  # no journal holds the lock now
        journal = Journal(path)
        with full_disk(), pytest.raises(OSError, match="too large"):
            journal.send(Pending("c2", "g1", "text"))
        journal.close()
        assert journal.unkept == 0
        again = Journal(path)
        assert list(again.unsent) == ["c2"]
        again.close()

    def test_in_memory_nothing_is_kept(self) -> None:
        journal = Journal(None)
        journal.draft("", "what is typed on the home page is no message", "")
        assert journal.unkept == 0
        journal.draft("g1", "a draft", "ops")
        journal.send(Pending("c1", "g1", "text"))
        assert journal.unkept == 2

    def test_one_at_a_time(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path / "typed.jsonl")
        with pytest.raises(BlockingIOError):
            Journal(tmp_path / "typed.jsonl")
        journal.close()
        Journal(tmp_path / "typed.jsonl").close()


def message(seq: int, text: str = "", conv: str = "g1", sender: int = 2) -> Message:
    return Message(conv, seq, sender, "bo", text or f"text {seq}", seq * 1000, is_own=sender == 1)


def changes(*messages: Message, stand: Stand | None = None) -> Changes:
    found = Changes()
    found.add(messages)
    if stand:
        found.save(stand)
    return found


class TestHistory:
    def test_pages_and_search(self, tmp_path: Path) -> None:
        problems: list[str] = []
        history = History(tmp_path / "a/history.sqlite", 1, problems.append)
        some = [message(seq, "a 针 Needle" if seq in (3, 50) else "") for seq in range(1, 101)]
        history.write(changes(*some))
        history.write(changes(message(1, "another text"), message(101)))
        assert [each.seq for each in history.before("g1", 50, 3)] == [47, 48, 49]
        assert [each.seq for each in history.after("g1", 99, 3)] == [100, 101]
        assert history.find("g1", "nEEdle", 1 << 60, 200) == (some[49], 50)
        assert history.find("g1", "针", 50, 200) == (some[2], 3)
        assert history.find("g1", "针", 50, 10) == (None, 40)
        assert history.find("g1", "%", 1 << 60, 200) == history.find("g2", "text", 1 << 60, 200) == (None, 0)
        more = changes(stand=Stand("g1", 1, 101, 40, 0))
        more.facts["epoch"] = "e"
        for number in range(1010):
            more.add_input(f"input {number}")
        history.write(more)
        history.close()
        again = History(tmp_path / "a/history.sqlite", 1, problems.append)
        assert again.before("g1", 101, 100) == some
        assert again.stands() == [Stand("g1", 1, 101, 40, 0)]
        assert (again.fact("epoch"), again.fact("nosuch")) == ("e", "")
        assert (len(again.inputs()), again.inputs()[0]) == (1000, "input 1009")
        gone = changes(message(7), stand=Stand("g1", last=7))
        gone.forget()
        gone.add([message(8)])
        again.write(gone)
        assert (again.stands(), again.before("g1", 101, 5)) == ([], [message(8)])
        assert not problems
        again.close()

    def test_a_damaged_page_in_the_middle(self, tmp_path: Path) -> None:
        """A damaged page in the middle is found only when it is read.

        The messages before it are used, and the file is put aside.
        """
        path = tmp_path / "history.sqlite"
        history = History(path, 1, print)
        history.write(changes(*(message(seq, "x" * 500) for seq in range(1, 1001))))
        history.close()
        content = bytearray(path.read_bytes())
        assert len(content) > 100 * 4096
        content[60 * 4096 : 64 * 4096] = b"\xff" * 4 * 4096
        path.write_bytes(content)
        problems: list[str] = []
        again = History(path, 1, problems.append)
        assert not problems
        kept = len(again.before("g1", 1 << 60, 2000))
        assert 0 < kept < 1000
        assert len(problems) == 1
        assert "malformed" in problems[0]
        again.write(changes(message(1001)))
        assert len(again.before("g1", 1 << 60, 2000)) == kept + 1
        again.close()
        assert (tmp_path / "history.damaged").read_bytes() == content
        new = History(path, 1, problems.append)
        assert (len(problems), new.before("g1", 5, 5)) == (1, [])
        new.close()

    def test_no_database(self, tmp_path: Path) -> None:
        """A file that is no database is put aside. New messages are kept in a new file."""
        path = tmp_path / "history.sqlite"
        path.write_bytes(b"this is no database" * 1000)
        problems: list[str] = []
        history = History(path, 1, problems.append)
        assert history.damaged == tmp_path / "history.damaged"
        history.write(changes(message(1)))
        history.close()
        again = History(path, 1, problems.append)
        assert (again.damaged, again.before("g1", 5, 5), problems) == (None, [message(1)], [])
        again.close()

    def test_of_another_version(self, tmp_path: Path) -> None:
        problems: list[str] = []
        history = History(tmp_path / "history.sqlite", 1, problems.append)
        history.write(changes(message(1)))
        history._database.execute("PRAGMA user_version = 99")
        history.close()
        again = History(tmp_path / "history.sqlite", 1, problems.append)
        assert again.before("g1", 5, 5) == []
        assert again.damaged == tmp_path / "history.damaged"
        assert not problems
        assert (tmp_path / "history.damaged").exists()
        again.close()

    def test_a_start_on_a_full_disk(self, tmp_path: Path) -> None:
        """A history opens on a full disk with its messages. They are still in the file at the next start."""
        path = tmp_path / "history.sqlite"
        problems: list[str] = []
        history = History(path, 1, problems.append)
        history.write(changes(message(1)))
        history.close()
        with full_disk():
            full = History(path, 1, problems.append)
            assert len(problems) == 1
            full.write(changes(message(2)))
            assert full.before("g1", 5, 5) == [message(1), message(2)]
            assert full.find("g1", "TEXT 1", 5, 9) == (message(1), 1)
            full.close()
        again = History(path, 1, problems.append)
        assert again.before("g1", 5, 5) == [message(1)]
        assert len(problems) == 1
        again.close()

    def test_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        problems: list[str] = []
        history = History(tmp_path / "file/history.sqlite", 1, problems.append)
        assert len(problems) == 1
        history.write(changes(message(1)))
        assert history.before("g1", 5, 5) == [message(1)]
        history.close()

    def test_locked(self, tmp_path: Path) -> None:
        """A locked history raises Busy without a wait, and counts as undamaged.

        Nothing is written meanwhile.
        """
        path = tmp_path / "history.sqlite"
        problems: list[str] = []
        history = History(path, 1, problems.append)
        history.write(changes(message(1)))
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Busy):
                history.write(changes(message(2)))
            assert history.before("g1", 5, 5) == [message(1)]
            other.rollback()
            history.write(changes(message(2)))
        history.close()
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Busy):
                History(path, 1, problems.append)
            other.rollback()
        again = History(path, 1, problems.append)
        assert again.before("g1", 5, 5) == [message(1), message(2)]
        again.close()
        assert not problems

    def test_what_waits_to_be_written_is_bounded(self) -> None:
        waiting = changes(*(message(seq) for seq in range(1, MAX_UNWRITTEN + 11)))
        assert len(waiting.messages) == MAX_UNWRITTEN
        assert min(waiting.messages)[1] == 11


def test_nothing_of_these_is_for_others(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a/typed.jsonl")
    journal.send(Pending("c", "g1", "text"))
    History(tmp_path / "a/history.sqlite", 1, print).close()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert json.loads((tmp_path / "a/typed.jsonl").read_text())["text"] == "text"
    journal.close()


def test_whatever_the_locale(tmp_path: Path) -> None:
    """Texts are UTF-8 on disk, also if the locale's encoding has no Chinese."""
    script = """
import locale, pathlib, sys
from client.local.accounts import Account, Accounts
from client.local.journal import Journal
from client.local.settings import Settings
from client.protocol.outbox import Pending

assert locale.getpreferredencoding(False) != "UTF-8"
folder = pathlib.Path(sys.argv[1])
journal = Journal(folder / "typed.jsonl")
journal.send(Pending("c1", "g1", "\\u4f60\\u597d"))
settings = Settings(folder / "chatcli.toml")
settings.set("bell", "off")
accounts = Accounts(folder / "accounts.json", "here:6000")
accounts.save(Account(1, accounts.known()[0].name, "t"))
"""
    (tmp_path / "chatcli.toml").write_text("# 我的\n", encoding="utf-8")
    (tmp_path / "accounts.json").write_text('{"here:6000": [{"id": 1, "name": "李"}]}', encoding="utf-8")
    env = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=env, check=True)
    assert json.loads((tmp_path / "typed.jsonl").read_text("utf-8"))["text"] == "你好"
    assert (tmp_path / "chatcli.toml").read_text("utf-8") == "# 我的\nbell = false\n"
    assert json.loads((tmp_path / "accounts.json").read_text("utf-8"))["here:6000"][0]["name"] == "李"


def test_a_new_file_is_there_after_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file's content is on disk before its name, and its name before the call returns."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def syncs(file: int) -> None:
        done.append(os.readlink(f"/proc/self/fd/{file}"))
        fsync(file)

    def renames(path: Path, target: Path) -> Path:
        done.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", syncs)
    monkeypatch.setattr(Path, "rename", renames)
    write_private(tmp_path / "file", "text")
    assert done == [str(tmp_path / f"file.{os.getpid()}"), "rename", str(tmp_path)]
