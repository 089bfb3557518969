"""Texts from elsewhere, in the log and in errors."""

from __future__ import annotations

import re

# How much of a text is shown: enough for request ids, reasons and names.
LONGEST = 200


def printable(text: str) -> str:
    """Return a text as a part of one line, without characters that a terminal obeys."""
    return re.sub(r"[^ -~]", "?", text[:LONGEST])
