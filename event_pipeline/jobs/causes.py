"""Why Spark failed, in one line."""

import re

_CAUSED_BY = re.compile(r"^Caused by: (.*)$", re.M)
_LOST_TASK = re.compile(r"Lost task .*?: (.*)")
_CLASS = re.compile(r"^(?:[\w$]+\.)+[\w$]*?(\w+)(?::\s*|$)")


def cause(error: BaseException) -> str:
    """The innermost cause of an error, without Java's stack."""
    text = str(error)
    found = _CAUSED_BY.findall(text) or _LOST_TASK.findall(text) or text.strip().splitlines()
    line = found[-1 if _CAUSED_BY.search(text) else 0].strip() if found else ""
    return _CLASS.sub(r"\1: ", line).removesuffix(": ") or type(error).__name__
