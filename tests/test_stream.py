"""One conversation on a worker: a repeated number is reported only if another message has it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forkchat.service.outgoing import Outgoing
from forkchat.service.stream import Stream


def out(seq: int, ts: int) -> Outgoing:
    return Outgoing("g1", seq, 12, b"{}\n", 0, ts)


@given(st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=12), max_size=20))
def test_the_same_messages_in_any_batches(batches: list[list[int]]) -> None:
    """A batch may repeat messages, because a read to fill a gap includes messages that came meanwhile."""
    others: list[int] = []
    stream = Stream("g1", lambda conv, seq: others.append(seq))
    stream.start(0)
    seen: set[int] = set()
    for batch in batches:
        stream.feed([out(seq, 1000 + seq) for seq in batch])
        seen.update(batch)
        last = next(seq for seq in range(32) if seq + 1 not in seen)
        assert stream.last == last
        assert all(stream.ts_of(seq) in (0, 1000 + seq) for seq in range(1, last + 1))
        assert not last or stream.ts_of(last) == 1000 + last
    assert others == []


def test_another_message_under_a_number_that_was_delivered() -> None:
    others: list[int] = []
    stream = Stream("g1", lambda conv, seq: others.append(seq))
    stream.start(0)
    stream.feed([out(seq, 1000 + seq) for seq in (1, 2, 3)])
    stream.feed([out(3, 2003), out(4, 2004)])
    assert others == [3]
