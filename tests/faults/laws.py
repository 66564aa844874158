"""The laws of a round. Each yields what breaks it in a history.

They state the promises of design §4 from the clients' point of view; nothing here looks into the server.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise

from tests.faults.bot_laws import (
    bots_are_left_alone,
    bots_get_it_in_order,
    lost_to_bots,
    sent_tells_once,
    what_was_confirmed_comes_no_more,
    what_was_not_done_comes_again,
)
from tests.faults.history import QUIET, History, Message, Place, Shown, Span, by_conv

#: Seconds in which a loss must be noticed.
_NOTICED = 10.0
#: Seconds in which a message must be shown in a quiet time.
#: The share of messages for which that must hold.
_SOON, _MOST = 0.5, 0.99
_NOT_MEMBER = 10

Breaches = Iterator[str]


def one_cid_one_message(history: History) -> Breaches:
    """Yield each `cid` with more than one place, and each place with more than one `cid`.

    It does not matter how often a message was sent, and who was shown it.
    """
    by_cid: dict[str, set[tuple[str, int]]] = defaultdict(set)
    by_place: dict[tuple[str, int], set[str]] = defaultdict(set)
    for (conv, seq, cid), epoch in _places(history):
        if history.is_lost(Place(conv, seq, cid), epoch):
            continue
        by_cid[cid].add((conv, seq))
        by_place[conv, seq].add(cid)
    for cid, places in by_cid.items():
        if len(places) > 1:
            yield f"{cid} has {sorted(places)}"
    for place, cids in by_place.items():
        if len(cids) > 1:
            yield f"{place} has {sorted(cids)}"


def dense(history: History) -> Breaches:
    """Yield conversations whose numbers have gaps."""
    known: dict[str, set[int]] = defaultdict(set)
    for (conv, seq, _), _ in _places(history):
        known[conv].add(seq)
    for conv, seqs in known.items():
        if holes := set(range(1, max(seqs) + 1)) - seqs:
            yield f"{conv} lacks {sorted(holes)[:5]} of {max(seqs)}"


def once_and_in_order(history: History) -> Breaches:
    """Yield messages that a modern client showed out of order, twice or with a gap.

    A client shows a conversation from where it joined, and all of it again in a new epoch.
    """
    for user, shown in _people(history):
        for (conv, number, _), some in by_conv(shown):
            first = history.spans[user, conv][number].first if conv[0] == "g" else 1
            seqs = [each.seq for each in some]
            if seqs != list(range(first, first + len(seqs))):
                at = next(n for n, seq in enumerate(seqs) if seq != first + n)
                yield f"user {user} showed {conv} from {first}, then {seqs[max(0, at - 2) : at + 3]}"


def what_was_acknowledged_is_kept(history: History) -> Breaches:
    """Yield acknowledged messages that are not stored, at the end, at the place of their acknowledgement."""
    for message in history.messages.values():
        for ack in history.acks(message):
            if (kept := history.kept.get((ack.conv, ack.seq))) != message.cid:
                yield f"{message.cid} was to be {ack.conv} {ack.seq}, which is {kept}"


def nothing_is_lost(history: History) -> Breaches:
    """Yield acknowledged messages that were not shown to a member who stayed in the conversation."""
    newest: dict[str, int] = defaultdict(int)
    for message in history.messages.values():
        acks = history.acks(message)
        for ack in acks:
            newest[ack.conv] = max(newest[ack.conv], ack.seq)
        if acks and message.cid not in history.classic.get(message.recipient, [message.cid]):
            yield f"classic user {message.recipient} was not shown {message.cid}, {acks[0][1:3]}"
    yield from lost_to_bots(history)
    for user, shown in _people(history):
        epoch = (history.epochs[user] or [""])[-1]
        reached = {(conv, number): some[-1].seq for (conv, number, of), some in by_conv(shown) if of == epoch}
        for conv, last in newest.items():
            number = history.open_span(user, conv)
            if number is None:
                continue
            first = history.spans[user, conv][number].first if conv[0] == "g" else 1
            if reached.get((conv, number), first - 1) < last:
                yield f"user {user} has {conv} up to {reached.get((conv, number), 0)} of {last}"


def what_is_shown_was_said(history: History) -> Breaches:
    for user, shown in history.shown.items():
        for each in shown:
            message = history.messages.get(each.text)
            if message is None or message.sender != each.sender:
                yield f"user {user} was shown {each}, which was not said"
            elif message.acks and message.cid != each.cid:
                yield f"user {user} was shown {each} under another cid"
    for user, texts in history.classic.items():
        for text in texts:
            message = history.messages.get(text)
            if message is None or message.recipient != user:
                yield f"classic user {user} was shown {text!r}, which was not said to them"


def members_alone_read(history: History) -> Breaches:
    """Yield messages shown to users who were not members.

    A message is legal if it was sent before the membership ended, and acknowledged after its request to join.
    """
    for user in history.shown:
        for each in history.shown[user] + history.strays.get(user, []):
            message = history.messages.get(each.cid)
            if each.conv[0] != "g" or message is None:
                continue
            spans = history.spans.get((user, each.conv))
            if not spans:
                yield f"user {user} never was in {each.conv}, and was shown {each.seq}"
                continue
            span = spans[each.span]
            if span.left and message.begun > span.left:
                yield f"user {user} was out of {each.conv}, and was shown {each.seq}"
            if message.acks and message.acks[0].at < span.begun:
                yield f"user {user} was not yet in {each.conv}, and was shown {each.seq}"


def members_alone_write(history: History) -> Breaches:
    """Yield messages accepted from users who were not members, and messages refused to members."""
    for message in history.messages.values():
        if not message.group:
            continue
        spans = history.spans[message.sender, message.group]
        for ack in message.acks:
            if not any(_may_write(span, message, ack.at) for span in spans):
                yield f"{message.cid} of user {message.sender}, who was out, is {message.group} {ack.seq}"
        for at, errno in message.refusals:
            if errno == _NOT_MEMBER and any(_must_write(span, message, at) for span in spans):
                yield f"{message.cid} was refused to user {message.sender}, who was in {message.group}"
            if errno != _NOT_MEMBER:
                yield f"{message.cid} was refused with errno {errno}"


def friends_are_seen_right(history: History) -> Breaches:
    for (watcher, friend), state in history.seen.items():
        truth = "online" if history.online.get(friend) else "offline"
        if history.online.get(watcher) and state != truth:
            yield f"user {watcher} sees {friend} {state}, who is {truth}"


def soon(history: History) -> Breaches:
    """Yield delays in quiet times that are too long.

    An acknowledged message must be shown at once to users who are online, without waiting for the next check.
    The law holds for pairs and for groups. In groups the next message soon reveals a missing one.
    """
    delays: dict[str, list[float]] = defaultdict(list)
    for user, shown in history.shown.items():
        for each in [] if user in history.slow else shown:
            message = history.messages.get(each.cid)
            if message is None or not message.acks or message.sender == user:
                continue
            if history.was_quiet(message.begun, each.at, QUIET):
                since = history.available(user, message.acks[0].at, each.at)
                delays[each.conv[0]].append(each.at - since)
    for kind, some in delays.items():
        some.sort()
        if (late := some[int(_MOST * (len(some) - 1))]) > _SOON:
            yield f"of {len(some)} showings in quiet times ({kind}), one in 100 took over {late:.2f} s"


def classic_clients_get_it_in_order(history: History) -> Breaches:
    """Yield new messages that a classic client was shown out of order.

    It may be shown messages again after a reconnect. A message that was lost with a primary and sent again is
    not new.
    """
    lost = {place.cid for loss in history.losses for place in loss.places}
    for user, texts in history.classic.items():
        newest: dict[str, int] = defaultdict(int)
        for text in dict.fromkeys(texts):
            message = history.messages.get(text)
            if message is None or not message.acks or text in lost:
                continue
            conv, seq = message.acks[0].conv, message.acks[0].seq
            if seq < newest[conv]:
                yield f"classic user {user} was shown {conv} {seq} after {newest[conv]}"
            newest[conv] = seq


def a_loss_is_noticed(history: History) -> Breaches:
    """Yield losses after which the epoch did not change in time.

    A loss counts only if a client was told of a message that the promoted replica lacked.
    """
    told: dict[str, set[Place]] = defaultdict(set)
    for place, epoch in _places(history):
        told[epoch].add(place)
    for loss in history.losses:
        lost = told[loss.epoch] & loss.places
        if lost and loss.noticed > _NOTICED:
            yield f"{len(lost)} that were told of were lost in epoch {loss.epoch}, noticed {loss.noticed:.1f}"


def an_epoch_lasts(history: History) -> Breaches:
    """Yield changes of the epoch without a loss."""
    lost = {loss.epoch for loss in history.losses if loss.places}
    for user, epochs in history.epochs.items():
        for before, after in pairwise(epochs):
            if before not in lost:
                yield f"user {user} was told of epoch {after} after {before}, in which nothing was lost"


LAWS: tuple[Callable[[History], Breaches], ...] = (
    one_cid_one_message,
    dense,
    once_and_in_order,
    what_was_acknowledged_is_kept,
    nothing_is_lost,
    what_is_shown_was_said,
    members_alone_read,
    members_alone_write,
    friends_are_seen_right,
    soon,
    classic_clients_get_it_in_order,
    a_loss_is_noticed,
    an_epoch_lasts,
    bots_get_it_in_order,
    what_was_confirmed_comes_no_more,
    what_was_not_done_comes_again,
    sent_tells_once,
    bots_are_left_alone,
)


def breaches(history: History) -> dict[str, list[str]]:
    """Return the breaches by the name of the law."""
    found = {law.__name__: list(law(history)) for law in LAWS}
    return {name: texts for name, texts in found.items() if texts}


def _places(history: History) -> Iterator[tuple[Place, str]]:
    """Yield every place that a client was told of, with its epoch."""
    for message in history.messages.values():
        for ack in message.acks:
            yield Place(ack.conv, ack.seq, message.cid), ack.epoch
    for shown in history.shown.values():
        for each in shown:
            yield each.place, each.epoch


def _may_write(span: Span, message: Message, acked: float) -> bool:
    """Return True if the membership and the sending of the message overlapped at all."""
    return span.begun < acked and not (span.left and message.begun > span.left)


def _must_write(span: Span, message: Message, refused: float) -> bool:
    """Return True if the membership held from the first sending to the refusal."""
    return bool(span.joined) and span.joined < message.begun and not (span.leaving and span.leaving < refused)


def _people(history: History) -> Iterator[tuple[int, list[Shown]]]:
    """Yield the modern users that are no bots, and the messages that they were shown."""
    return ((user, shown) for user, shown in history.shown.items() if user not in history.lives)
