"""What the demo prints: headlines, progress, tables, and whether each claim held.

Plain text within 96 columns. Colour only on a terminal (and not with NO_COLOR); box characters only where the encoding
of the stream has them.
"""

import os
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

WIDTH = 96
_BOLD, _DIM, _RED, _GREEN = "1", "2", "31", "32"
_PLAIN = str.maketrans({"├": "|", "└": "`", "─": "-", "│": "|"})


class Screen:
    """Writes to one stream and keeps the claims that did not hold."""

    def __init__(self, stream: TextIO) -> None:
        self.claims = 0
        self.not_held: list[str] = []
        self._stream = stream
        self._colour = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def say(self, text: str = "") -> None:
        """Text as it is."""
        self._write(f"{text}\n")

    def headline(self, title: str, about: str) -> None:
        """Begin a step: its title, and a sentence or two about what is done."""
        self.say(f"\n{self._painted(_BOLD, title)}")
        self.say(textwrap.indent(textwrap.fill(about, WIDTH - 3), "   "))

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Say what is being done, and that it is done."""
        self._write(f"   {what} ... ")
        started = time.monotonic()
        try:
            yield
        except BaseException:
            self._write("\n")
            raise
        self._write(f"{self._painted(_DIM, f'{time.monotonic() - started:.1f} s')}\n")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table; a column whose header starts with `>` is aligned to the right."""
        right = [name.startswith(">") for name in header]
        cells = [[name.removeprefix(">") for name in header], *([str(cell) for cell in row] for row in rows)]
        widths = [max(len(row[at]) for row in cells) for at in range(len(header))]
        for number, row in enumerate(cells):
            sized = zip(row, widths, right, strict=True)
            line = "   ".join(cell.rjust(width) if end else cell.ljust(width) for cell, width, end in sized).rstrip()
            self.say(f"   {line if number else self._painted(_DIM, line)}")

    def claim(self, text: str, held: bool) -> None:
        """Say of a claim whether it held."""
        self.claims += 1
        if not held:
            self.not_held.append(text)
        mark = self._painted(_GREEN, "ok      ") if held else self._painted(_RED, "NOT HELD")
        self.say(f"   {mark}  {text}")

    def _painted(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour else text

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            text = text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
        self._stream.write(text)
        self._stream.flush()
