"""The figures of all benchmarks, in one file."""

import json
from pathlib import Path
from typing import Any

OUT = Path("build/bench.json")


def record(**figures: Any) -> None:
    """Writes figures into the file, in place of those of the same names; the others stay."""
    OUT.parent.mkdir(exist_ok=True)
    written = json.loads(OUT.read_text()) if OUT.exists() else {}
    OUT.write_text(json.dumps({**written, **figures}, indent=1) + "\n")
    print(f"written to {OUT}")
