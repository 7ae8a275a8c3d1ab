"""Digests: short names for what a text says."""

import hashlib

LETTERS = 16


def short_digest(text: str) -> str:
    """Letters by which a text is told from any other: 64 bits of its SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()[:LETTERS]
