"""Replaces functions of ministack, which has no interface for it."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

VERSION = "1.5.33"


def service(name: str) -> Any:
    """A module of ministack, such as `services.glue`; it reads the environment when imported."""
    return import_module(f"ministack.{name}")


def replace(module: Any, name: str, new: Callable[..., Any]) -> Any:
    """Puts `new` in the place of a function, and returns the old one.

    Raises RuntimeError if there is none with the same parameters: another ministack may call it
    otherwise, and a hook that is not called would go unnoticed.
    """
    old = getattr(module, name, None)
    wanted = list(inspect.signature(new).parameters)
    found = list(inspect.signature(old).parameters) if callable(old) else None
    if found != wanted:
        raise RuntimeError(
            f"{module.__name__}.{name} takes {found} and not {wanted}: install ministack=={VERSION}"
        )
    setattr(module, name, new)
    return old


def when_loaded(module: str, then: Callable[[], None]) -> None:
    """Calls `then` when ministack loads a service: the loading of some takes a second."""
    waiting = [then]

    def get_module(name: str) -> Any:
        found = load(name)
        if name == module and waiting:
            waiting.pop()()
        return found

    load = replace(service("app"), "_get_module", get_module)
