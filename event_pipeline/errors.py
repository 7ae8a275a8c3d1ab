"""Errors whose message is for the person who asked: what was wrong, and what can be done."""

import traceback
from collections.abc import Sequence

# How many things one line names, since the UI shows a tick's reason in full.
MAX_NAMED = 10


def in_short(texts: Sequence[str]) -> str:
    """The first of some texts in one line, with the number of the others."""
    more = [f"and {len(texts) - MAX_NAMED} more"] if len(texts) > MAX_NAMED else []
    return "; ".join([*texts[:MAX_NAMED], *more])


def first_line(error: BaseException | str) -> str:
    """The first line of an error or of its message, which says what is wrong."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


class UsageError(ValueError):
    """What was asked for cannot be done."""


class SettingsError(UsageError):
    """A setting has a value that cannot be used; the message names it and the choices."""


class ContractError(UsageError):
    """A contract is wrong; the message says which one, what is wrong, and where to mend it.

    `where` is the file to mend; by default, the file and line that made the contract.
    """

    def __init__(self, asset: str, mistake: str, where: str = "") -> None:
        super().__init__(f"contract {asset}: {mistake} ({where or _made_at()})")


def _made_at() -> str:
    """The file and line that is making a contract."""
    frames = (frame for frame, _ in traceback.walk_stack(None))
    own = ("errors.py", "contract.py", "consistency.py", "dataclasses.py", "<string>")
    frame = next(f for f in frames if not f.f_code.co_filename.endswith(own))
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class LakeError(UsageError):
    """A lake that cannot be read or written as it is; the message says what mends it."""


class DamagedError(LakeError):
    """A part of a lake is lost or unreadable: `where` names it, `damage` says what is wrong."""

    def __init__(self, where: str, damage: str) -> None:
        super().__init__(f"{where}: {damage}; to rebuild it: event-pipeline repair")
        self.damage = damage


class QueryError(UsageError):
    """A query that cannot be run."""


class LoadError(UsageError):
    """A file or mapping that cannot be loaded."""
