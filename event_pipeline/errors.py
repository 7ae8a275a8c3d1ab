"""Errors whose message is for the person who asked: what was wrong, and what can be done."""


class UsageError(ValueError):
    """What was asked for cannot be done."""


class SettingsError(UsageError):
    """A setting has a value that cannot be used; the message names it and the choices."""


class QueryError(UsageError):
    """A query that cannot be run."""


class LoadError(UsageError):
    """A file or mapping that cannot be loaded."""
