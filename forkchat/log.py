"""Log lines as `time level event key=value …`, to standard error or to a file that can be reopened.

Passwords, tokens and message bodies are never passed here.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
from typing import Any

LEVELS = ("debug", "info", "warning", "error")
_logger = logging.getLogger("forkchat")


def setup(level: str, path: str | None, process: str) -> None:
    """Log from `level` on (one of LEVELS) to `path`, or to standard error if None.

    `process` ("master", "worker1", …) is on each line. Raises OSError if the file cannot be opened.
    """
    handler: logging.Handler
    if path is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        handler = logging.handlers.WatchedFileHandler(path, encoding="utf-8")
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s.%(msecs)03d %(levelname)s {process} %(message)s", "%Y-%m-%dT%H:%M:%S")
    )
    close()
    _logger.addHandler(handler)
    _logger.propagate = False
    set_level(level)


def set_level(level: str) -> None:
    _logger.setLevel(level.upper())


def close() -> None:
    """Let go of the log file; `setup` opens it anew (signal USR1, and a fork)."""
    for handler in list(_logger.handlers):
        _logger.removeHandler(handler)
        handler.close()


def _line(event: str, fields: dict[str, Any]) -> str:
    return " ".join([event, *(f"{key}={_value(value)}" for key, value in fields.items())])


def _value(value: Any) -> str:
    """One word: what has blanks, quotes or unprintable characters is quoted and escaped."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    if text and text.isprintable() and not any(c in text for c in ' "='):
        return text
    return '"' + "".join(_escape(c) for c in text) + '"'


def _escape(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    return c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()


def debug(event: str, **fields: Any) -> None:
    if _logger.isEnabledFor(logging.DEBUG):
        _logger.debug("%s", _line(event, fields))


def info(event: str, **fields: Any) -> None:
    _logger.info("%s", _line(event, fields))


def warning(event: str, **fields: Any) -> None:
    _logger.warning("%s", _line(event, fields))


def error(event: str, **fields: Any) -> None:
    _logger.error("%s", _line(event, fields))


def exception(event: str, error: BaseException, **fields: Any) -> None:
    """An error of ours, with its trace."""
    _logger.error("%s", _line(event, fields), exc_info=error)
