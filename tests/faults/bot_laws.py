"""The laws for bots, which are killed and start again in a round: see `laws`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, groupby, pairwise

from tests.faults.history import QUIET, TOLD, Given, History, Life, Place, Span, by_conv

_PAIR = Span(0.0)

Breaches = Iterator[str]


def lost_to_bots(history: History) -> Breaches:
    """Yield acknowledged messages of others that a bot was given in none of its lives."""
    for user in history.lives:
        given = {each.place for each in history.shown[user]}
        convs = {ack.conv for message in history.messages.values() for ack in message.acks}
        spans = {
            conv: history.spans.get((user, conv), [_PAIR])
            for conv in convs
            if history.open_span(user, conv) is not None
        }
        for message in history.messages.values():
            for ack in [] if message.sender == user else history.acks(message):
                if ack.conv not in spans or ack.seq < spans[ack.conv][-1].first:
                    continue
                if Place(ack.conv, ack.seq, message.cid) not in given:
                    yield f"bot {user} was not given {message.cid}, {ack.conv} {ack.seq}"


def bots_get_it_in_order(history: History) -> Breaches:
    """Yield messages that a bot was given out of order, in any of its lives.

    A life must not leave a gap after the life before it. A bot's own messages may be missing.
    """
    for user, lives in history.lives.items():
        own = {
            (ack.conv, ack.seq)
            for message in history.messages.values()
            for ack in message.acks
            if message.sender == user
        }
        newest: dict[tuple[str, str], int] = {}
        for number, life in enumerate(lives):
            for (conv, _, epoch), some in by_conv([given.shown for given in life.given]):
                seqs = [each.seq for each in some]
                if seqs != list(range(seqs[0], seqs[0] + len(seqs))):
                    at = next(n for n, seq in enumerate(seqs) if seq != seqs[0] + n)
                    yield f"bot {user} was given in life {number} of {conv} {seqs[max(0, at - 2) : at + 3]}"
                before = newest.get((conv, epoch), seqs[0])
                if any((conv, seq) not in own for seq in range(before + 1, seqs[0])):
                    yield f"bot {user} was given {conv} up to {before}, and from {seqs[0]} in life {number}"
                newest[conv, epoch] = max(before, seqs[-1])


def what_was_confirmed_comes_no_more(history: History) -> Breaches:
    """Yield conversations in which a life began earlier than the life before it.

    Where nothing was broken, also yield handled messages that the next life was given again.
    """
    for user, life, after in _pairs_of_lives(history):
        if history.lost_a_tail(life.begun, after.begun):
            continue
        starts, again = _starts(life), _starts(after)
        for at in starts.keys() & again.keys():
            if again[at] < starts[at]:
                yield f"bot {user} was given {at[0]} from {starts[at]}, and in its next life from {again[at]}"
        came = {(each.shown.place, each.shown.epoch) for each in after.given}
        for given in confirmed(history, life, after):
            if (given.shown.place, given.shown.epoch) in came:
                when = f"{life.ended - given.done:.1f} s before it {'closed' if life.closing else 'died'}"
                yield f"bot {user} was done with {given.shown.place} {when}, and was given it again"


def what_was_not_done_comes_again(history: History) -> Breaches:
    """Yield messages that a bot had not handled, and that did not come again in a later life or epoch.

    All later messages of the same conversation must come again, too. Messages that an earlier life handled
    are excused, because their confirmation may have been stored late. A bot's own messages need no
    confirmation.
    """
    for user, lives in history.lives.items():
        parts = [
            (number, list(some))
            for number, life in enumerate(lives)
            for _, some in groupby(life.given, lambda each: each.shown.epoch)
        ]
        latest = {each.shown.place: at for at, (_, some) in enumerate(parts) for each in some}
        done: set[tuple[Place, str]] = set()
        for at, (number, some) in enumerate(parts):
            held: set[str] = set()  # conversations with an unhandled message
            for each in some if number < len(lives) - 1 else []:
                place, epoch = each.shown.place, each.shown.epoch
                if not each.done:
                    held.add(place.conv)
                is_excused = (
                    each.shown.sender == user or history.is_lost(place, epoch) or (place, epoch) in done
                )
                if place.conv in held and latest[place] == at and not is_excused:
                    yield f"bot {user} was not done with {place} in life {number}, and was not given it again"
            done |= {(each.shown.place, each.shown.epoch) for each in some if each.done}


def sent_tells_once(history: History) -> Breaches:
    """Yield messages of a bot that `Sent` reported too often.

    The limit is once in each life. It is once in all lives for messages other than answers, which a later
    life may send again. In a new epoch a number may belong to another message, whose answer has the same cid.
    """
    for user, lives in history.lives.items():
        for number, life in enumerate(lives):
            epochs = len({each.shown.epoch for each in life.given})
            for cid, times in life.sent.items():
                if times > (epochs if cid.startswith("re-") else 1):
                    yield f"bot {user} was told {times} times in life {number} that {cid} is stored"
        for message in history.messages.values():
            times = sum(life.sent[message.cid] for life in lives)
            is_answer = message.cid.startswith("re-")
            if message.sender == user and message.acks and not is_answer and times > 1:
                yield f"bot {user} was told {times} times that {message.cid} is stored"


def bots_are_left_alone(history: History) -> Breaches:
    """Yield logouts of bots, because nobody else logs in as one, and unexpected exceptions in them."""
    for user, lives in history.lives.items():
        for number, life in enumerate(lives):
            if life.logged_out:
                yield f"bot {user} was logged out in life {number}: {life.logged_out}"
    yield from history.failures


def _pairs_of_lives(history: History) -> Iterator[tuple[int, Life, Life]]:
    return chain.from_iterable(
        ((user, life, after) for life, after in pairwise(lives)) for user, lives in history.lives.items()
    )


def _starts(life: Life) -> dict[tuple[str, str], int]:
    """Return the first number that was given, by conversation and epoch."""
    found: dict[tuple[str, str], int] = {}
    for each in life.given:
        found.setdefault((each.shown.conv, each.shown.epoch), each.shown.seq)
    return found


def confirmed(history: History, life: Life, after: Life) -> list[Given]:
    """Return the messages that the server knew to be handled when the next life began.

    Nothing was broken since the bot had handled them.
    """
    told = life.closing or life.ended - TOLD
    return [
        each
        for each in life.given
        if 0 < each.done <= told and (life.is_calm or history.was_quiet(each.done, after.begun, QUIET))
    ]
