"""Digests: short texts that stand for long ones."""

import hashlib

LETTERS = 16


def short_digest(text: str) -> str:
    """A short name for a text: the first 64 bits of its SHA-256, as 16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:LETTERS]
