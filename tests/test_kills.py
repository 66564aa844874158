"""A small part of `make kills`, which ends chatcli after each key of fifty lines. Nothing typed is lost."""

from __future__ import annotations

from itertools import cycle

from tests.kills.lines import Line, line
from tests.kills.typist import ENDINGS, Typist
from tests.pane import Tmux


def test_each_line_comes_once(tmux: Tmux) -> None:
    """Each line comes once if chatcli is killed after its keys, or at steps after Enter.

    The keys are typed with a server and without.
    """
    endings = cycle(ENDINGS)
    with Typist(tmux) as typist:
        typist.walk(Line("bo", "é\n漢", "bo", "é\n漢"), endings)
        typist.go_offline()
        typist.walk(Line("mei", "a", "mei", "a"), endings)
        typist.go_online()
        for number, steps in enumerate((1, 3, 8, 20)):
            assert typist.step(line(5 * number % 13, steps, typist.bo), steps, ENDINGS[number % 2])
        report = typist.finish()
    assert not report.breaches, report
    assert (report.lines, report.once) == (6, 6)
