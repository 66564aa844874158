"""Tests of the screen's parts that need no terminal: rows, scrolling, the list, mentions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.utils import get_cwidth

from client.commands.directory import Directory
from client.commands.table import COMMANDS, parse_line
from client.local.accounts import Account, Accounts
from client.local.history import Stand
from client.local.journal import Journal
from client.local.lane import HistoryLane
from client.local.quiet import Quiet
from client.local.settings import Settings
from client.protocol.events import Friend, Group, LoggedIn, Message
from client.protocol.outbox import Pending
from client.screen.completion import InputCompleter, Titles
from client.screen.conversations import Conversation, Conversations
from client.screen.desk import Desk
from client.screen.failures import Failures
from client.screen.listing import window
from client.screen.notify import Notifier
from client.screen.rows import Row, message_rows, nick_style, shortened
from client.screen.transcript import Transcript
from client.screen.window import Window
from client.text import wrapped

NOBODY = Accounts(Path("/nonexistent"), "nowhere")
TEXT = st.text(alphabet=st.sampled_from("ab 你👋é\u0301/:. "), max_size=80)


def plain(row: Row) -> str:
    return "".join(text for _, text in row)


def message(seq: int, text: str, sender: int = 2, ts: int = 0) -> Message:
    return Message("g1", seq, sender, "bo", text, ts or 1_700_000_000_000 + seq, is_own=sender == 1)


class TestRows:
    @example(line=": :你", first=3, room=2)
    @example(line=":: :你:", first=6, room=2)
    @given(line=TEXT, first=st.integers(2, 30), room=st.integers(2, 30))
    def test_wrapping_loses_nothing_and_fits(self, line: str, first: int, room: int) -> None:
        rows = wrapped(line, first, room)
        assert "".join(rows) == line
        assert get_cwidth(rows[0]) <= first
        assert all(get_cwidth(row) <= room for row in rows[1:])

    @given(text=st.text(max_size=60), width=st.integers(20, 120))
    def test_a_row_is_never_too_wide(self, text: str, width: int) -> None:
        for row in message_rows(message(1, text), width, "✓✓", "", ""):
            assert get_cwidth(plain(row)) <= width
            assert not any(ord(character) < 32 for character in plain(row))

    def test_links_are_left_whole(self) -> None:
        link = "https://example.org/a?b=c"
        assert wrapped(f"see {link} there", 20, 30) == ["see ", f"{link} ", "there"]
        assert (
            "".join(wrapped("https://example.org/" + "x" * 50, 20, 20)) == "https://example.org/" + "x" * 50
        )

    def test_what_someone_does(self) -> None:
        """An action (`/me`) cannot pass for a message, nor a message for an action, for any sender's name."""
        (row,) = message_rows(message(1, "/me waves"), 100, "", "", "")
        assert plain(row).endswith("     * │ bo waves")
        (row,) = message_rows(message(1, "/me waves"), 40, "", "", "")
        assert plain(row).endswith(" * bo waves")
        for text in ("/me", "/me ", "/meow", "* bo waves"):
            (row,) = message_rows(message(1, text), 100, "", "", "")
            assert plain(row).endswith(f"bo │ {text}")

    def test_what_terminals_disagree_on_is_drawn_plainly(self) -> None:
        text = "👨\u200d👩\u200d👧 👍🏽 ❤\ufe0f 🇩🇪 ह\u093fन a\u3164\uffa0b \U0001d300 \U0003fffd"
        (row,) = message_rows(message(1, text), 100, "", "", "")
        assert plain(row).endswith("│ 👨👩👧 👍 ❤ DE ह◌न ab \ufffd \ufffd")

    def test_what_was_searched_for_is_marked(self) -> None:
        (row,) = message_rows(message(1, "a Needle (here)"), 100, "", "", "needle (")
        assert [text for style, text in row if "match" in style] == ["Needle ("]

    def test_names_have_colours_for_good(self) -> None:
        assert nick_style(57) == nick_style(57)
        assert len({nick_style(user) for user in range(100)}) == 12

    def test_shortened(self) -> None:
        assert [shortened("你好世界", width) for width in (8, 7, 4, 1, 0)] == [
            "你好世界",
            "你好世…",
            "你…",
            "…",
            "",
        ]


def transcript(*messages: Message) -> Transcript:
    """Return a transcript of `messages`, which are all that is kept."""
    return Transcript(around(*messages), Journal(None), (1, "li"), Quiet(None))


def around(*messages: Message) -> Window:
    found = Window(HistoryLane(None, 1, print), Quiet(None), lambda _job: None, lambda: None)
    found.put("g1", list(messages))
    return found


class TestTranscript:
    @given(
        texts=st.lists(st.text(alphabet="ab \n", min_size=1, max_size=70), min_size=1, max_size=30),
        width=st.integers(20, 60),
        height=st.integers(1, 25),
        step=st.integers(1, 24),
    )
    def test_scrolling_shows_every_row_once(
        self, texts: list[str], width: int, height: int, step: int
    ) -> None:
        chat = Conversation(_stand(len(texts)))
        shown = transcript(*(message(seq, text) for seq, text in enumerate(texts, 1)))
        everything, gaps = shown.draw(chat, width, 10_000)
        assert not gaps
        step = min(step, height)
        seen, _ = shown.draw(chat, width, height)
        assert seen == everything[-height:]
        for up in range(step, len(everything) + step, step):
            shown.scroll(chat, width, height, step)
            rows, _ = shown.draw(chat, width, height)
            end = max(len(everything) - up, min(height, len(everything)))
            assert rows == everything[max(0, end - height) : end]
        for _ in range(0, len(everything) + step, step):
            shown.scroll(chat, width, height, -step)
        assert chat.bottom is None
        assert shown.draw(chat, width, height)[0] == seen

    def test_gaps_are_seen_and_told(self) -> None:
        shown = transcript(*(message(seq, f"text {seq}") for seq in (5, 6, 7, 20, 21)))
        chat = Conversation(_stand(30))
        rows, gaps = shown.draw(chat, 60, 50)
        assert gaps == [(21, 31), (7, 20), (0, 5)]
        assert sum("not here yet" in plain(row) for row in rows) == 3
        chat.stand.first = 5
        chat.void.add((7, 20))
        assert shown.draw(chat, 60, 50)[1] == [(21, 31)]

    def test_days_the_divider_and_marks(self) -> None:
        day = 86_400_000
        said = message(1, "one"), message(2, "two", ts=1_700_000_000_000 + day), message(3, "mine", 1)
        journal = Journal(None)
        journal.send(Pending("c1", "g1", "waits"))
        journal.send(Pending("c2", "g1", "failed"))
        journal.send(Pending("c3", "g2", "elsewhere"))
        journal.fail("c2", "because")
        chat = Conversation(_stand(3))
        chat.divider = 1
        chat.note("a note", "note")
        rows, _ = Transcript(around(*said), journal, (1, "li"), Quiet(None)).draw(chat, 60, 50)
        texts = [plain(row).split("│ ")[-1] for row in rows]
        assert [text.strip("─ ") for text in texts if "──" in text][1:2] == ["Wed, 2023-11-15"]
        kept = [text for text in texts if "──" not in text or "unread" in text]
        assert [text.strip("─ ") for text in kept] == [
            *("one", "unread", "two", "mine ✓", "-- a note", "failed ✗ because", "waits …"),
        ]


def _stand(last: int) -> Stand:

    return Stand("g1", 0, last)


class TestConversations:
    @pytest.fixture
    def found(self) -> Conversations:
        directory = Directory()
        friends = [Friend(57, "bo", "online"), Friend(58, "Al", "offline")]
        groups = [Group(9, "tea", ""), Group(8, "ops", "")]
        directory.note(LoggedIn(12, "li", friends, groups, False))
        return Conversations(directory)

    def test_order(self, found: Conversations) -> None:
        assert found.listed() == ["", "g8", "g9", "d12-58", "d12-57"]
        found["d12-60"].stand.last = 1
        assert found.listed()[-1] == "d12-57"
        assert "d12-60" in found.listed()

    def test_natural_order(self) -> None:
        """Names are listed in natural order: numbers by value, no case or accents, Chinese by sound."""
        names = [
            *(
                "éclair",
                "Zoe",
                "eclipse",
                "team-19",
                "Team-2",
                "team-1",
                "team-30",
                "team-002b",
                "team",
                "ops",
            ),
            *(
                "ops-2",
                "李",
                "王",
                "阿明",
                "安",
                "9",
                "10",
                "зоя",
                "ёж",
                "x" + "1" * 5000,
                "my team",
                "ops_10",
            ),
        ]
        for shuffled in (names, names[::-1], sorted(names)):
            directory = Directory()
            groups = [Group(number, name, "") for number, name in enumerate(shuffled, 1)]
            directory.note(LoggedIn(12, "li", [], groups, False))
            listed = [directory.group(int(conv[1:])) for conv in Conversations(directory).listed()[1:]]
            assert listed == [
                *("9", "10", "éclair", "eclipse", "my team", "ops", "ops-2", "ops_10"),
                *("team", "team-1", "Team-2", "team-002b", "team-19", "team-30"),
                *("x" + "1" * 5000, "Zoe", "ёж", "зоя", "阿明", "安", "李", "王"),
            ]
            typed = InputCompleter(COMMANDS, directory, NOBODY).get_completions(
                Document("/members team-"), CompleteEvent()
            )
            assert [each.text for each in typed] == [
                *("#team-1 ", "#Team-2 ", "#team-002b ", "#team-19 ", "#team-30 ")
            ]

    @given(
        unread=st.sets(st.integers(1, 30)),
        current=st.integers(0, 30),
        height=st.integers(3, 40),
        row=st.data(),
    )
    def test_what_is_unread_is_in_sight(
        self, unread: set[int], current: int, height: int, row: st.DataObject
    ) -> None:
        """Every unread conversation is on the screen, or in the count at the edge that it is beyond.

        The current one is on the screen.
        """
        directory = Directory()
        groups = [Group(number, f"team-{number}", "") for number in range(1, 31)]
        directory.note(LoggedIn(12, "li", [], groups, False))
        found = Conversations(directory)
        listed = found.listed()
        for number in unread:
            found[f"g{number}"].stand.last = 1
        found.switch(listed[current])
        seen = window(found, height)
        assert len(seen.shown) == min(height, 31)
        drawn = seen.shown[bool(seen.above) : len(seen.shown) - bool(seen.below)]
        assert found.current in drawn
        news = {f"g{number}" for number in unread}
        assert {*drawn, *seen.above, *seen.below} >= news
        assert not {*drawn} & {*seen.above, *seen.below}
        first, last = listed.index(drawn[0]), listed.index(drawn[-1])
        assert seen.above == [conv for conv in listed[:first][::-1] if conv in news]
        assert seen.below == [conv for conv in listed[last + 1 :] if conv in news]
        at = seen.at(row.draw(st.integers(0, height - 1)))
        assert at is None or at in {*drawn, *seen.above, *seen.below}

    def test_next_unread(self, found: Conversations) -> None:
        assert found.next_unread() is None
        found["g8"].stand.last = 3
        found["g9"].stand.last = 3
        found["d12-57"].stand.last = 1
        order = []
        found["g9"].has_mention = True
        while (conv := found.next_unread()) is not None:
            order.append(conv)
            found.switch(conv)
            found[conv].stand.read = found[conv].stand.last
        assert order == ["g9", "d12-57", "g8"]

    def test_the_divider_stays_while_one_is_there(self, found: Conversations) -> None:
        found["g8"].stand.last, found["g8"].stand.read = 5, 2
        found.switch("g8")
        assert found["g8"].divider == 2
        found["g8"].stand.read = 5
        assert found["g8"].divider == 2
        found.switch("g9")
        assert (found["g8"].divider, found["g9"].divider, found.previous) == (None, None, "g8")


@pytest.mark.parametrize(
    ("name", "text", "is_mention"),
    [
        ("li", "LI: look", True),
        ("li", "@li, look", True),
        ("li", "alive", False),
        ("li", "li_2", False),
        ("李明", "请李明看一下", True),
        ("a.b", "axb", False),
        ("", "anything", False),
    ],
)
def test_mentions(tmp_path: Path, name: str, text: str, is_mention: bool) -> None:
    desk = Desk(
        tmp_path,
        Directory(),
        Settings(tmp_path / "chatcli.toml"),
        on_news=lambda _chat, _message: None,
        on_change=lambda: None,
        on_other_epoch=lambda: None,
        on_inputs=lambda _typed: None,
        on_stray=lambda _conv, _text: None,
    )
    desk.directory.me = 1, name
    assert desk.mentions(text) is is_mention
    desk.close()


class TestCompletion:
    @pytest.mark.parametrize(
        ("text", "completed"),
        [
            ("/msg #ou", '"#our ops" '),
            ("/msg #te", "#tea "),
            ("/msg my", '"my name" '),
            ("my", '"my name": '),
            ("/msg evil", "evilgnp "),
            ("/msg #evil", "#evilgnp "),
        ],
    )
    def test_names_as_they_can_be_typed(self, text: str, completed: str) -> None:
        directory = Directory()
        evil = "evil\x1b[31m\u202egnp"
        friends = [Friend(57, "my name", ""), Friend(58, evil, "")]
        groups = [Group(8, "our ops", ""), Group(9, "tea", ""), Group(10, evil, "")]
        directory.note(LoggedIn(12, "li", friends, groups, False))
        (found,) = InputCompleter(COMMANDS, directory, NOBODY).get_completions(
            Document(text), CompleteEvent()
        )
        assert found.text == completed
        assert found.display_text == completed.rstrip(": ")
        if text.startswith("/"):
            command, (name,) = parse_line("/msg " + found.text)
            assert (command.name, name) == ("msg", completed.strip(' "'))

    @pytest.mark.parametrize(
        ("text", "completed"),
        [
            ("/msg ", ['"#our ops" ', "#tea ", "bo ", "carol ", '"my name" ']),
            ("/msg my na", ['"my name" ']),
            ("thanks, my na", ['"my name" ']),
            ('/msg "ca', ["carol "]),
            ("look, @ca", ["@carol "]),
            ("/msg @my", ['"@my name" ']),
            ("/members ", ['"#our ops" ', "#tea "]),
            ("/members te", ["#tea "]),
            ("/members #te", ["#tea "]),
            ("/remove #tea ca", ["carol "]),
            ("/set la", ["lang "]),
            ("/help ms", ["msg "]),
            ("hello ", []),
            ("", []),
        ],
    )
    def test_arguments(self, text: str, completed: list[str]) -> None:
        directory = Directory()
        friends = [Friend(57, "my name", ""), Friend(58, "carol", ""), Friend(59, "bo", "")]
        directory.note(LoggedIn(12, "bo", friends, [Group(8, "our ops", ""), Group(9, "tea", "")], False))
        found = InputCompleter(COMMANDS, directory, NOBODY).get_completions(Document(text), CompleteEvent())
        assert [completion.text for completion in found] == completed

    def test_accounts_that_are_known(self, tmp_path: Path) -> None:
        accounts = Accounts(tmp_path / "accounts.json", "here")
        for user, name in enumerate(("li", "my name", "bo"), 1):
            accounts.save(Account(user, name))
        completer = InputCompleter(COMMANDS, Directory(), accounts)
        found = completer.get_completions(Document("/login "), CompleteEvent())
        assert [each.text for each in found] == ["bo ", '"my name" ', "li "]

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("o", ["[ops]", "forkchat", '"my o"', "bob"]),
            ("op", ["[ops]"]),
            ("MY", ['"my o"']),
            ("bb", ["bob"]),
            ("(", []),
            ("", ["forkchat", "[ops]", '"my o"', "bob"]),
        ],
    )
    def test_titles_best_first(self, text: str, found: list[str]) -> None:
        completer = Titles({title: title for title in ("forkchat", "[ops]", '"my o"', "bob")}, lambda _: 0)
        titles = completer.get_completions(Document(text), CompleteEvent())
        assert [completion.text for completion in titles] == found


class TestNotifier:
    @pytest.mark.parametrize(
        ("bell", "notify", "tmux", "expected"),
        [
            ("on", "osc9", False, "\a\x1b]9;bo: up, now\x07"),
            ("off", "osc777", False, "\x1b]777;notify;bo;up, now\x07"),
            ("off", "osc777", True, "\x1bPtmux;\x1b\x1b]777;notify;bo;up, now\x07\x1b\\"),
            ("on", "off", True, "\a"),
            ("off", "off", False, ""),
        ],
    )
    def test_as_set(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        bell: str,
        notify: str,
        tmux: bool,
        expected: str,
    ) -> None:
        monkeypatch.setenv("TMUX", "there") if tmux else monkeypatch.delenv("TMUX", raising=False)
        settings = Settings(tmp_path / "chatcli.toml")
        settings.set("bell", bell)
        settings.set("notify", notify)
        notifier = Notifier(settings)
        assert notifier.notice("bo", "up;\x07 now") == expected
        assert notifier.notice("bo", "and again, at once") == ""


def test_a_failure_is_told_of_once(tmp_path: Path) -> None:
    """A failure is reported once, because a report in every drawing would fill the disk."""
    failures = Failures(tmp_path / "a/failures.log")

    def fail(number: int) -> str:
        try:
            raise ValueError(f"number {number}")
        except ValueError as error:
            return failures.note(error)

    assert "failures.log" in fail(1)
    assert fail(2) == ""
    try:
        int("nosuch")
    except ValueError as error:
        assert "failures.log" in failures.note(error)
    assert (tmp_path / "a/failures.log").read_text().count("Traceback") == 2
