"""Dictionaries of Structured Fields (RFC 8941 §4.2.2), as far as targeted cache control needs them. Pure.

Strict as the RFC: the smallest mistake, and the whole field counts as absent. Parameters are read and thrown away.
"""

import re
from typing import TypeAlias

_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_INTEGER = re.compile(r"-?\d{1,15}(?![\d.])")
_DECIMAL = re.compile(r"-?\d{1,12}\.\d{1,3}(?!\d)")
_STRING = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
_BYTES = re.compile(r":[A-Za-z0-9+/=]*:")
_BOOLEAN = re.compile(r"\?([01])")
_OWS = re.compile(r"[ \t]*")
_SPACES = re.compile(r" *")


class Token(str):
    """A token, apart from a string."""

    __slots__ = ()


Bare: TypeAlias = "int | float | str | Token | bool | bytes | tuple[object, ...]"


class _BrokenError(ValueError):
    """The text is no dictionary."""


def parse_dictionary(text: str) -> dict[str, Bare] | None:
    """The members, the last of each key, without parameters; None where it does not parse, {} where it is empty."""
    scanner = _Scanner(text.strip(" "))
    try:
        return scanner.dictionary()
    except _BrokenError:
        return None


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def dictionary(self) -> dict[str, Bare]:
        members: dict[str, Bare] = {}
        while self.at < len(self.text):
            key = self._need(_KEY)
            value: Bare = self._member() if self._skip("=") else True
            self._parameters()
            members.pop(key, None)
            members[key] = value
            self._take(_OWS)
            if self.at == len(self.text):
                return members
            if not self._skip(","):
                raise _BrokenError
            self._take(_OWS)
            if self.at == len(self.text):
                raise _BrokenError  # a trailing comma
        return members

    def _member(self) -> Bare:
        if not self._skip("("):
            return self._bare()
        items: list[object] = []
        while True:
            spaces = self._take(_SPACES)
            if self._skip(")"):
                return tuple(items)
            if items and not spaces:
                raise _BrokenError
            items.append(self._bare())
            self._parameters()

    def _bare(self) -> Bare:
        for form, make in _ITEMS:
            match = form.match(self.text, self.at)
            if match is not None:
                self.at = match.end()
                return make(match)
        raise _BrokenError

    def _parameters(self) -> None:
        while self._skip(";"):
            self._take(_SPACES)
            self._need(_KEY)
            if self._skip("="):
                self._bare()

    def _skip(self, char: str) -> bool:
        found = self.text.startswith(char, self.at)
        self.at += found
        return found

    def _take(self, form: re.Pattern[str]) -> str:
        match = form.match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match[0]

    def _need(self, form: re.Pattern[str]) -> str:
        found = self._take(form)
        if not found:
            raise _BrokenError
        return found


def _unescaped(match: re.Match[str]) -> Bare:
    return re.sub(r"\\(.)", r"\1", match[1])


_ITEMS = (
    (_DECIMAL, lambda match: float(match[0])),
    (_INTEGER, lambda match: int(match[0])),
    (_STRING, _unescaped),
    (_TOKEN, lambda match: Token(match[0])),
    (_BYTES, lambda match: match[0].encode()),
    (_BOOLEAN, lambda match: match[1] == "1"),
)
