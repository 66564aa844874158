"""The laws of a round: each finds what in a history breaks it.

They say what design §4 promises, from the clients' side alone: nothing here looks into the server.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise

from tests.faults.history import History, Message, Place, Shown, Span

#: Seconds in which a loss is noticed.
_NOTICED = 10.0
#: A quiet time begins so long after a fault, and most of what is sent in it is shown so soon.
_QUIET, _SOON, _MOST = 6.0, 0.5, 0.99
_NOT_MEMBER = 10

Breaches = Iterator[str]


def one_cid_one_message(history: History) -> Breaches:
    """Whatever is sent again, and to whomever it is shown: a `cid` is one place in one conversation."""
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
    """Numbers have no holes."""
    known: dict[str, set[int]] = defaultdict(set)
    for (conv, seq, _), _ in _places(history):
        known[conv].add(seq)
    for conv, seqs in known.items():
        if holes := set(range(1, max(seqs) + 1)) - seqs:
            yield f"{conv} lacks {sorted(holes)[:5]} of {max(seqs)}"


def once_and_in_order(history: History) -> Breaches:
    """A modern client shows a conversation's messages one after the other, from where it came in; all of
    them again in a new epoch."""
    for user, shown in history.shown.items():
        for (conv, number, _), some in _by_conv(shown):
            first = history.spans[user, conv][number].first if conv[0] == "g" else 1
            seqs = [each.seq for each in some]
            if seqs != list(range(first, first + len(seqs))):
                at = next(n for n, seq in enumerate(seqs) if seq != first + n)
                yield f"user {user} showed {conv} from {first}, then {seqs[max(0, at - 2) : at + 3]}"


def what_was_acknowledged_is_kept(history: History) -> Breaches:
    """Whoever was shown it meanwhile: it is read at the end where its acknowledgement said."""
    for message in history.messages.values():
        for ack in history.acks(message):
            if (kept := history.kept.get((ack.conv, ack.seq))) != message.cid:
                yield f"{message.cid} was to be {ack.conv} {ack.seq}, which is {kept}"


def nothing_is_lost(history: History) -> Breaches:
    """What was acknowledged is shown to everyone who was, and stayed, in the conversation."""
    newest: dict[str, int] = defaultdict(int)
    for message in history.messages.values():
        acks = history.acks(message)
        for ack in acks:
            newest[ack.conv] = max(newest[ack.conv], ack.seq)
        if acks and message.cid not in history.classic.get(message.recipient, [message.cid]):
            yield f"classic user {message.recipient} was not shown {message.cid}, {acks[0][1:3]}"
    for user, shown in history.shown.items():
        epoch = (history.epochs[user] or [""])[-1]
        reached = {
            (conv, number): some[-1].seq for (conv, number, of), some in _by_conv(shown) if of == epoch
        }
        for conv, last in newest.items():
            number = _open_span(history, user, conv)
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
    """Nothing that was said before someone asked to come in, or after they were out, is shown to them."""
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
    """Whoever is out is refused; whoever is in is not."""
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
    """With nothing broken, what is acknowledged is shown at once to who is online, not when someone looks
    again. Pairs are held to it, and groups: in these so much is said that what is missing is soon missed."""
    delays: dict[str, list[float]] = defaultdict(list)
    for user, shown in history.shown.items():
        for each in shown:
            message = history.messages.get(each.cid)
            if message is None or not message.acks or message.sender == user:
                continue
            if history.was_quiet(message.begun, each.at, _QUIET):
                since = history.available(user, message.acks[0].at, each.at)
                delays[each.conv[0]].append(each.at - since)
    for kind, some in delays.items():
        some.sort()
        if (late := some[int(_MOST * (len(some) - 1))]) > _SOON:
            yield f"of {len(some)} showings in quiet times ({kind}), one in 100 took over {late:.2f} s"


def classic_clients_get_it_in_order(history: History) -> Breaches:
    """They may be shown something again after a break, but nothing new out of order. What was lost with a
    primary and sent again is not new."""
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
    """Where anybody was told of what a promoted replica lacked, the epoch moves."""
    for loss in history.losses:
        told = {place for place, epoch in _places(history) if epoch == loss.epoch and place in loss.places}
        if told and loss.noticed > _NOTICED:
            yield f"{len(told)} that were told of were lost in epoch {loss.epoch}, noticed {loss.noticed:.1f}"


def an_epoch_lasts(history: History) -> Breaches:
    """It ends only where something was lost."""
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
)


def breaches(history: History) -> dict[str, list[str]]:
    """What is broken, by the law's name."""
    found = {law.__name__: list(law(history)) for law in LAWS}
    return {name: texts for name, texts in found.items() if texts}


def _places(history: History) -> Iterator[tuple[Place, str]]:
    """Every place that anyone was told of, and in which epoch."""
    for message in history.messages.values():
        for ack in message.acks:
            yield Place(ack.conv, ack.seq, message.cid), ack.epoch
    for shown in history.shown.values():
        for each in shown:
            yield each.place, each.epoch


def _by_conv(shown: list[Shown]) -> list[tuple[tuple[str, int, str], list[Shown]]]:
    """What was shown of each (conversation, span, epoch), in the order in which it was."""

    def key(each: Shown) -> tuple[str, int, str]:
        return each.conv, each.span, each.epoch

    return [(at, list(some)) for at, some in groupby(sorted(shown, key=key), key)]


def _open_span(history: History, user: int, conv: str) -> int | None:
    """The span in which a user must be shown a conversation to its end; None: in none."""
    if conv[0] == "d":
        return 0 if str(user) in conv[1:].split("-") else None
    spans = history.spans.get((user, conv), [])
    return len(spans) - 1 if spans and spans[-1].is_open and spans[-1].joined else None


def _may_write(span: Span, message: Message, acked: float) -> bool:
    """Whether the two overlapped at all."""
    return span.begun < acked and not (span.left and message.begun > span.left)


def _must_write(span: Span, message: Message, refused: float) -> bool:
    """Whether the membership held from the first sending to the refusal."""
    return bool(span.joined) and span.joined < message.begun and not (span.leaving and span.leaving < refused)
