"""The tables of costs in infra/README.md.

`python -m event_pipeline_tests.infra.costs` rewrites them.
"""

import re
from collections.abc import Iterator, Sequence

from event_pipeline.deploy.cost import SILVER_BYTES, Feed
from event_pipeline_tests.infra.template import INFRA

README = INFRA / "README.md"
BLOCK = re.compile(r"(<!-- costs: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

FAST, EMBEDDED, HOURLY = Feed(), Feed(engine="embedded"), Feed(minutes=60)
WAYS = {
    "every five minutes, Glue and Athena": FAST,
    "every five minutes, embedded": EMBEDDED,
    "once an hour, Glue and Athena": HOURLY,
}


def written(text: str) -> str:
    """A text with its blocks as they should be. Raises KeyError if there is no such block."""
    blocks = {"bills": bills, "volumes": volumes}
    return BLOCK.sub(lambda found: f"{found[1]}{blocks[found[2]]()}{found[4]}", text)


def bills() -> str:
    """What is paid for, in each way: the amount a day and its dollars."""
    feeds = [FAST, EMBEDDED, HOURLY]
    lines = {i.name: i for feed in (HOURLY, EMBEDDED, FAST) for i in feed.items}
    found = [{i.name: i for i in feed.items} for feed in feeds]
    heads = ["a day", "USD"] * len(feeds)
    rows = []
    for name in sorted(lines, key=_order().index):
        cells = []
        for bill in found:
            item = bill.get(name)
            cells += [f"{item.amount:,.2f}", f"{item.dollars:.3f}"] if item else ["", ""]
        rows.append([name, lines[name].unit, lines[name].price_text, *cells])
    sums = [cell for feed in feeds for cell in ("", f"**{feed.dollars:.2f}**")]
    shares = [cell for f in feeds for cell in ("", f"**{1e6 * f.dollars / f.events:.4f}**")]
    ways = "| | | |" + "".join(f" {way} | |" for way in WAYS)
    table = _table(
        ["", "unit", "USD a unit", *heads],
        [*rows, ["**a day**", "", "", *sums], ["**a million events**", "", "", *shares]],
        text=2,
    ).splitlines()
    # Markdown has one line of heads; the ways stand in it, and what they count below.
    return "\n".join([ways, table[1], table[0], *table[2:]]) + "\n"


def _order() -> list[str]:
    """The names of all items, those of one engine before those of the other."""
    glue, embedded = ([i.name for i in feed.items] for feed in (FAST, EMBEDDED))
    own = [name for name in embedded if name not in glue]
    at = glue.index("Logs of Glue") + 1
    return [*glue[:at], *own, *glue[at:]]


def volumes() -> str:
    """What each way takes at one, ten and a hundred times the volume."""
    return _table(
        [
            "events a day",
            "how",
            "workers",
            "DPU-hours",
            "GB scanned",
            "files of Silver",
            "MB of Silver an hour",
            "USD a day",
        ],
        list(_volume_rows()),
        text=2,
    )


def _volume_rows() -> Iterator[list[str]]:
    for times in (1, 10, 100):
        for way, like in WAYS.items():
            feed = Feed(times * FAST.events, like.minutes, like.engine)
            silver = f"{feed.events / 24 * SILVER_BYTES / 1e6:,.0f}"
            glue = [f"{feed.workers}", f"{feed.dpu_hours:,.1f}", f"{feed.scanned_gb:,.0f}"]
            units = glue if feed.engine == "glue" else ["", "", ""]
            files = f"{feed.files}"
            dollars = f"{feed.dollars:,.2f}" if feed.keeps_up else "-"
            yield [f"{feed.events / 1e6:,.0f} million", way, *units, files, silver, dollars]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], text: int) -> str:
    """A table in Markdown. The first `text` columns are words, the others numbers."""
    rule = ["---"] * text + ["---:"] * (len(head) - text)
    return "".join("|" + "|".join(map(_cell, line)) + "|\n" for line in [head, rule, *rows])


def _cell(text: str) -> str:
    return f" {text} " if text else " "


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
