"""The part of a user's history that is read when the user comes, on the history's thread."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.local.history import History, Stand
from client.screen.weight import Scale, Weight


@dataclass(frozen=True)
class Kept:
    """A user's kept data.

    `weights`: of the unread messages, one for each of the `stands`. `inputs`: the lines typed, the latest
    first. `damaged`: see `History`.
    """

    stands: list[Stand]
    weights: list[Weight]
    directory: dict[str, Any]
    epoch: str
    inputs: list[str]
    damaged: Path | None


def kept_of(history: History, scale: Scale) -> Kept:
    stands = history.stands()
    return Kept(
        stands,
        scale.weigh_kept(history, stands),
        json.loads(history.fact("directory") or "{}"),
        history.fact("epoch"),
        history.inputs(),
        history.damaged,
    )
