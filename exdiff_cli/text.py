"""Text that any terminal can show."""

from __future__ import annotations


def printable(text: str) -> str:
    """One line that any terminal can show: control characters and undecodable bytes of file names escaped."""
    if text.isprintable():  # which surrogates are not
        return text
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
