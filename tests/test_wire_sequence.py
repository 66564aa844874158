"""Hold-back: messages may come in any order, and are handed on once each and in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forkchat.wire.sequence import Sequence


def items(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[int, int, list[int]]:
    """Draw (start, last, numbers in the order of arrival).

    Some of the numbers may be old, some may come twice, and some may be missing.
    """
    start = draw(st.integers(0, 2**62))
    last = start + draw(st.integers(0, 20))
    return start, last, draw(st.lists(st.integers(max(1, start - 3), max(1, last))))


@given(arrivals())
def test_each_once_and_in_order(arrived: tuple[int, int, list[int]]) -> None:
    start, _, numbers = arrived
    sequence: Sequence[int] = Sequence(start)
    shown: list[int] = []
    for seq in numbers:
        shown += sequence.feed(seq, seq)
        assert shown == items(start + 1, sequence.last)
    while (gap := sequence.gap()) is not None:  # fetch missing messages, one at a time
        shown += sequence.feed(gap[0] + 1, gap[0] + 1)
    assert shown == items(start + 1, max([start, *numbers]))
    assert sequence.held == 0


@given(st.integers(1, 30).flatmap(lambda n: st.permutations(range(1, n + 1))))
def test_any_order(numbers: list[int]) -> None:
    sequence: Sequence[str] = Sequence(0)
    shown = [item for seq in numbers for item in sequence.feed(seq, f"m{seq}")]
    assert shown == [f"m{seq}" for seq in sorted(numbers)]
    assert (sequence.last, sequence.known, sequence.held, sequence.gap()) == (len(numbers),) * 2 + (0, None)


@given(arrivals())
def test_gap_is_the_first_run_of_missing_numbers(arrived: tuple[int, int, list[int]]) -> None:
    start, last, numbers = arrived
    sequence: Sequence[int] = Sequence(start)
    for seq in numbers:
        sequence.feed(seq, seq)
    sequence.note(last)
    missing = [seq for seq in items(start + 1, last) if seq not in numbers]
    gap = sequence.gap()
    if not missing:
        assert gap is None
    else:
        assert gap is not None
        after, upto = gap
        assert after + 1 == missing[0]
        assert set(items(after + 1, upto)) <= set(missing)
        assert upto + 1 not in missing


def test_first_of_two_doubles_counts() -> None:
    sequence: Sequence[str] = Sequence(0)
    assert sequence.feed(2, "first") == []
    assert sequence.feed(2, "second") == []
    assert sequence.feed(1, "one") == ["one", "first"]
    assert sequence.feed(1, "again") == []


def test_note_knows_without_content_and_never_forgets() -> None:
    sequence: Sequence[str] = Sequence(5)
    sequence.note(8)
    sequence.note(6)
    assert sequence.gap() == (5, 8)
    assert sequence.last == 5


@given(arrivals(), st.integers(0, 25))
def test_skip_to_gives_up_what_is_gone(arrived: tuple[int, int, list[int]], ahead: int) -> None:
    start, _, numbers = arrived
    sequence: Sequence[int] = Sequence(start)
    shown = [item for seq in numbers for item in sequence.feed(seq, seq)]
    before, first = sequence.last, start + ahead
    after = sequence.skip_to(first)
    expected = max(before, first - 1)
    while expected + 1 in numbers:
        expected += 1
    assert sequence.last == expected
    assert shown + after == items(start + 1, before) + items(max(before + 1, first), expected)
    assert sequence.known >= sequence.last
