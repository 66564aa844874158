"""The settings of chatcli.toml, in one table. The user changes them in the file or with /set."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.i18n import LANGUAGES, N_, _
from client.local.files import write_private


class BadSettings(ValueError):
    """The file cannot be read or has wrong settings. The text says where, or names every wrong setting."""


@dataclass(frozen=True)
class Setting:
    """One setting. `choices`: the values that are allowed. Without them every text is allowed."""

    name: str
    default: str | bool
    help: str
    choices: tuple[str, ...] = ()
    in_file_only: bool = False

    def parse(self, text: str) -> str | bool:
        """Return the value of a typed text. Raises BadSettings if it is not allowed."""
        if isinstance(self.default, bool):
            if text not in ("on", "off"):
                raise BadSettings(_("{name} is on or off").format(name=self.name))
            return text == "on"
        self.check(text)
        return text

    def check(self, value: object) -> None:
        """Check the type and the choices. Raises BadSettings if the value is not allowed."""
        if type(value) is not type(self.default):
            kind = _("true or false") if isinstance(self.default, bool) else _("a text in quotes")
            raise BadSettings(_("{name} must be {kind}").format(name=self.name, kind=kind))
        if self.choices and value not in self.choices:
            choices = ", ".join(choice or '""' for choice in self.choices)
            raise BadSettings(_("{name} is one of {choices}").format(name=self.name, choices=choices))


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("server", "localhost", N_("the server, HOST or HOST:PORT"), in_file_only=True),
        Setting("user", "", N_("who logs in; empty: the only one known here"), in_file_only=True),
        Setting("tls", False, N_("connect with TLS"), in_file_only=True),
        Setting("ca", "", N_("with TLS: a PEM file with the authorities to trust"), in_file_only=True),
        Setting("lang", "", N_("the language; empty: as the system has it"), ("", *LANGUAGES)),
        Setting("presence", True, N_("say when friends come and go")),
        Setting("membership", True, N_("say who joins and leaves groups")),
        Setting("mouse", False, N_("the wheel scrolls, a click opens; selecting then needs Shift")),
        Setting("links", True, N_("make links of addresses, where the terminal has them (OSC 8)")),
        Setting("bell", True, N_("ring for direct messages and mentions")),
        Setting(
            "notify",
            "osc9",
            N_("desktop notices, by the terminal's escape sequence"),
            ("osc9", "osc777", "off"),
        ),
    )
}


class Settings:
    """The values by name. Settings that the file lacks have their defaults."""

    def __init__(self, path: Path):
        """Read the file. Raises BadSettings, which names everything that is wrong in it."""
        self._path = path
        self._values: dict[str, str | bool] = {name: setting.default for name, setting in SETTINGS.items()}
        problems = []
        for name, value in _read(path).items():
            if name not in SETTINGS:
                problems.append(_("{name} is unknown").format(name=name))
                continue
            try:
                SETTINGS[name].check(value)
            except BadSettings as error:
                problems.append(str(error))
            self._values[name] = value
        if problems:
            raise BadSettings(f"{path}: {'; '.join(problems)}")

    def text(self, name: str) -> str:
        return str(self._values[name])

    def is_on(self, name: str) -> bool:
        return self._values[name] is True

    def shown(self, name: str) -> str:
        """Return the value as a text that `set` takes."""
        value = self._values[name]
        return ("on" if value else "off") if isinstance(value, bool) else value

    def set(self, name: str, text: str) -> None:
        """Store a value in the file, whose comments stay.

        Raises BadSettings if the value or the file is wrong, OSError if the file cannot be written.
        """
        import tomlkit  # imported only here, because reading works without it and the client starts sooner

        value = SETTINGS[name].parse(text)
        _read(self._path)  # a check, because the file may have been edited meanwhile
        document = tomlkit.parse(self._path.read_text("utf-8")) if self._path.exists() else tomlkit.document()
        document[name] = value
        self._values[name] = value
        write_private(self._path, tomlkit.dumps(document))


def _read(path: Path) -> dict[str, Any]:
    """Return the content of the file. Raises BadSettings, which says where the file is wrong."""
    try:
        content = path.read_bytes()
        return tomllib.loads(content.decode())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadSettings(f"{path}: not UTF-8 (at {_end(content[: error.start])})") from None
    except (ValueError, RecursionError) as error:  # ValueError: not TOML, or a number too long for `int`
        where = str(error).replace("end of document", _end(content))
        raise BadSettings(f"{path}: {where}") from None


def _end(content: bytes) -> str:
    """Return the position of the end, in tomllib's words."""
    *lines, last = content.decode().split("\n")
    return f"line {len(lines) + 1}, column {len(last) + 1}"
