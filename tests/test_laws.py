"""Each law of the fault rounds notices its own breakages, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.history import Ack, Given, History, Life, Loss, Message, Place, Shown, Span
from tests.faults.laws import LAWS, breaches

LI, BO, OLD, BOT = 1, 2, 3, 4


def said(history: History, cid: str, conv: str, seq: int, sender: int = LI, begun: float = 100.0) -> Message:
    """Add and return an acknowledged message from li to bo, or to a group."""
    group = conv if conv[0] == "g" else ""
    message = Message(cid, sender, 0 if group else BO, group, begun, [Ack(begun + 0.01, conv, seq)])
    history.messages[cid] = message
    return message


def shown(
    history: History, user: int, cid: str, conv: str, seq: int, span: int = 0, at: float = 100.02
) -> None:
    message = history.messages[cid]
    history.shown[user].append(Shown(at, conv, span, seq, cid, message.sender, cid))


def a_good_round() -> History:
    """Return a history that breaks no law.

    Li and bo talk in a pair and in a group, which bo left and joined again. There are also a classic client
    and a bot.
    """
    history = History(shown={LI: [], BO: []}, classic={OLD: []})
    for n, cid in enumerate(("a", "b", "c"), 1):
        said(history, cid, "d1-2", n, begun=100 + n)
        for user in (LI, BO):
            shown(history, user, cid, "d1-2", n, at=100.02 + n)
    history.spans[LI, "g9"] = [Span(90, 91)]
    history.spans[BO, "g9"] = [Span(90, 91, leaving=110, left=111), Span(120, 121, first=3)]
    for n, (cid, begun) in enumerate((("g1", 100), ("g2", 115), ("g3", 125)), 1):
        said(history, cid, "g9", n, begun=begun)
        shown(history, LI, cid, "g9", n, at=begun + 0.02)
    shown(history, BO, "g1", "g9", 1)
    shown(history, BO, "g3", "g9", 3, span=1, at=125.02)
    history.messages["old"] = Message("old", LI, OLD, "", 100, [Ack(100.01, "d1-3", 1)])
    history.shown[LI].append(Shown(100.01, "d1-3", 0, 1, "old", LI, "old"))
    history.classic[OLD].append("old")
    a_bot(history)
    history.kept = {
        (ack.conv, ack.seq): cid for cid, message in history.messages.items() for ack in message.acks
    }
    history.online = {LI: True, BO: True}
    history.seen = {(LI, BO): "online", (BO, LI): "online"}
    return history


def a_bot(history: History) -> None:
    """Add a bot to which li sends four messages.

    The bot is killed at the third message. Its next life begins with that message, and answers the last.
    """
    history.shown[BOT] = []
    for n, cid in enumerate(("p1", "p2", "p3", "p4", "re-p4"), 1):
        message = said(history, cid, "d1-4", n, LI if n < 5 else BOT, begun=100 + n)
        message.recipient = BOT if n < 5 else LI
        for user in (LI, BOT):
            shown(history, user, cid, "d1-4", n, at=100.02 + n)
    one, two, three, four, answer = history.shown[BOT]
    first = Life(100.5, 105.0, is_calm=True, given=[Given(one, 101.1), Given(two, 102.1), Given(three)])
    second = Life(105.1, given=[Given(three, 105.2), Given(four, 105.3), Given(answer, 105.4)])
    second.sent["re-p4"] = 1
    history.lives[BOT] = [first, second]


def lost_by_a_bot(history: History) -> None:
    history.shown[BOT] = [each for each in history.shown[BOT] if each.cid != "p4"]


def left_out_by_a_bot(history: History) -> None:
    del history.lives[BOT][0].given[1]


def left_out_between_lives(history: History) -> None:
    del history.lives[BOT][0].given[1:]
    history.lives[BOT][0].given[0].done = 0.0


def given_twice_in_a_life(history: History) -> None:
    history.lives[BOT][1].given.insert(0, history.lives[BOT][1].given[0])


def confirmed_and_given_again(history: History) -> None:
    history.lives[BOT][1].given.insert(0, Given(history.lives[BOT][0].given[1].shown))


def begun_before_the_last_life(history: History) -> None:
    """Begin the second life with earlier messages than the first. None was confirmed for certain."""
    one, two, three = history.lives[BOT][0].given
    history.lives[BOT][0].given[:] = [three]
    history.lives[BOT][1].given[:0] = [Given(one.shown), Given(two.shown)]


def undone_and_gone(history: History) -> None:
    del history.lives[BOT][1].given[0]


def told_twice(history: History) -> None:
    history.lives[BOT][1].sent["re-p4"] = 2


def told_in_two_lives(history: History) -> None:
    history.messages["own"] = Message("own", BOT, LI, "", 104, [Ack(104.1, "d1-4", 6)])
    for life in history.lives[BOT]:
        life.sent["own"] = 1


def sent_away(history: History) -> None:
    history.lives[BOT][0].logged_out = "replaced"


def two_places(history: History) -> None:
    history.messages["a"].acks.append(Ack(101, "d1-2", 4))
    history.shown[LI].append(Shown(101, "d1-2", 0, 4, "a", LI, "a"))
    history.shown[BO].append(Shown(101, "d1-2", 0, 4, "a", LI, "a"))


def a_hole(history: History) -> None:
    del history.messages["b"]
    for user in (LI, BO):
        history.shown[user] = [each for each in history.shown[user] if each.cid != "b"]


def twice(history: History) -> None:
    history.shown[BO].append(history.shown[BO][0])


def undone(history: History) -> None:
    del history.kept["d1-2", 3]


def lost(history: History) -> None:
    history.shown[BO] = [each for each in history.shown[BO] if each.cid != "c"]


def lost_by_an_old_client(history: History) -> None:
    history.classic[OLD].clear()


def lost_by_a_member(history: History) -> None:
    history.shown[BO] = [each for each in history.shown[BO] if each.cid != "g3"]


def another_text(history: History) -> None:
    history.shown[BO][0].text = "b"


def another_sender(history: History) -> None:
    history.shown[BO][0].sender = BO


def read_from_outside(history: History) -> None:
    history.strays[BO] = [Shown(115.1, "g9", 0, 2, "g2", LI, "g2")]


def read_from_before(history: History) -> None:
    shown(history, BO, "g1", "g9", 1, span=1)


def written_from_outside(history: History) -> None:
    history.messages["g2"].sender = BO


def refused_inside(history: History) -> None:
    history.messages["x"] = Message("x", LI, 0, "g9", 100, refusals=[(100.1, 10)])


def seen_wrong(history: History) -> None:
    history.seen[LI, BO] = "offline"


def late(history: History) -> None:
    for each in history.shown[BO]:
        each.at += 1.0


def out_of_order_at_an_old_client(history: History) -> None:
    history.messages["old2"] = Message("old2", LI, OLD, "", 101, [Ack(101.01, "d1-3", 2)])
    history.shown[LI].append(Shown(101.01, "d1-3", 0, 2, "old2", LI, "old2"))
    history.classic[OLD][:] = ["old2", "old"]


def a_tail_that_was_lost(history: History) -> None:
    """Lose the pair's last message, which the promoted replica lacked. Another message has its number now."""
    for message in history.messages.values():
        message.acks = [ack._replace(epoch="e1") for ack in message.acks]
    for each in (*history.shown[LI], *history.shown[BO]):
        each.epoch = "e1"
    history.losses.append(Loss("e1", frozenset({Place("d1-2", 3, "c")}), 0.5))
    del history.messages["c"].acks[1:]
    history.messages["d"] = Message("d", LI, BO, "", 130, [Ack(130.1, "d1-2", 3, "e2")])
    history.kept["d1-2", 3] = "d"
    for user in (LI, BO):
        history.epochs[user] = ["e1", "e2"]
        held = [
            each
            for each in history.shown[user]
            if each.cid != "c" and each.span == len(history.spans.get((user, each.conv), [0])) - 1
        ]
        history.shown[user] += [replace(each, epoch="e2", at=131) for each in held]
        history.shown[user].append(Shown(131, "d1-2", 0, 3, "d", LI, "d", "e2"))
    history.faults.append((126, 129, "mysql loses its tail"))


def a_loss_unnoticed(history: History) -> None:
    a_tail_that_was_lost(history)
    history.losses[0].noticed = math.inf


def an_epoch_for_nothing(history: History) -> None:
    history.epochs[LI] = ["e1", "e2"]


@pytest.mark.parametrize(
    ("law", "breakage"),
    [
        ("one_cid_one_message", two_places),
        ("dense", a_hole),
        ("once_and_in_order", twice),
        ("what_was_acknowledged_is_kept", undone),
        ("nothing_is_lost", lost),
        ("nothing_is_lost", lost_by_an_old_client),
        ("nothing_is_lost", lost_by_a_member),
        ("what_is_shown_was_said", another_text),
        ("what_is_shown_was_said", another_sender),
        ("members_alone_read", read_from_outside),
        ("members_alone_read", read_from_before),
        ("members_alone_write", written_from_outside),
        ("members_alone_write", refused_inside),
        ("friends_are_seen_right", seen_wrong),
        ("soon", late),
        ("classic_clients_get_it_in_order", out_of_order_at_an_old_client),
        ("a_loss_is_noticed", a_loss_unnoticed),
        ("an_epoch_lasts", an_epoch_for_nothing),
        ("nothing_is_lost", lost_by_a_bot),
        ("bots_get_it_in_order", left_out_by_a_bot),
        ("bots_get_it_in_order", left_out_between_lives),
        ("bots_get_it_in_order", given_twice_in_a_life),
        ("what_was_confirmed_comes_no_more", confirmed_and_given_again),
        ("what_was_confirmed_comes_no_more", begun_before_the_last_life),
        ("what_was_not_done_comes_again", undone_and_gone),
        ("sent_tells_once", told_twice),
        ("sent_tells_once", told_in_two_lives),
        ("bots_are_left_alone", sent_away),
    ],
)
def test_a_law_notices(law: str, breakage: Callable[[History], None]) -> None:
    history = a_good_round()
    breakage(history)
    assert law in breaches(history)


def test_a_good_round_breaks_none() -> None:
    assert breaches(a_good_round()) == {}


def test_what_a_replica_lacked_is_excused() -> None:
    history = a_good_round()
    a_tail_that_was_lost(history)
    assert breaches(history) == {}


@pytest.mark.parametrize("place", [Place("d1-2", 2, "b"), Place("g9", 3, "g3")])
def test_nothing_else_is_excused(place: Place) -> None:
    history = a_good_round()
    a_tail_that_was_lost(history)
    del history.kept[place.conv, place.seq]
    assert "what_was_acknowledged_is_kept" in breaches(history)


def test_late_is_only_what_is_late_in_quiet_times() -> None:
    history = a_good_round()
    late(history)
    history.faults.append((95, 101, "redis killed"))
    history.faults.append((122, 124, "redis killed"))
    assert breaches(history) == {}


def test_who_comes_online_later_is_not_shown_late() -> None:
    history = a_good_round()
    late(history)
    history.logins[BO] += [each.at - 0.1 for each in history.shown[BO]]
    assert breaches(history) == {}


def test_every_law_is_tested() -> None:
    tested = {law for law, _ in test_a_law_notices.pytestmark[0].args[1]}  # type: ignore[attr-defined]
    assert tested == {law.__name__ for law in LAWS}
