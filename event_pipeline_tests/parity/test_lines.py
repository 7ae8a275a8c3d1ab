"""Lines spelled in every odd way: both engines read and judge each of them alike."""

import gzip
import os
from collections.abc import Callable, Iterable

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from event_pipeline.contracts import COMMERCE_ORDERS, EVENTS, SILVER, SilverContract
from event_pipeline.lake.text import is_joined
from event_pipeline_tests.parity import strategies
from event_pipeline_tests.parity.conftest import Outcome, Pair

EXAMPLES = os.environ.get("PARITY_EXAMPLES")
contracts = pytest.mark.parametrize("contract", SILVER, ids=lambda each: each.identifier[1])
# Enough for a test of every day, as the others' statements are much like these.
TWO = (EVENTS, COMMERCE_ORDERS)
by_chance = settings(
    phases=(Phase.explicit, Phase.generate),
    max_examples=int(EXAMPLES or 1),
    derandomize=EXAMPLES is None,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def made(pair: Pair, contract: SilverContract, objects: Iterable[bytes]) -> Outcome:
    """What becomes of a partition of these texts, which is the same by both engines."""
    name = contract.bronze.expected.partition(".")[0]
    for n, (end, data) in enumerate(zip(("json", "jsonl.gz", "jsonl"), objects, strict=False)):
        zipped = gzip.compress(data, 1)
        if contract == EVENTS:
            pair.deliver(zipped, minute=5 * n)
        elif contract.bronze.uploaded:
            pair.put(contract, f"{name}.{end}", zipped if end.endswith("gz") else data)
        else:
            pair.put(contract, contract.bronze.expected.replace(name, f"{name}{n}", 1), zipped)
    found = pair.build(contract)
    assert found.status == "published", found.error
    return found


def text(contract: SilverContract, lines: Iterable[str]) -> bytes:
    """An object of these lines, the first of which is good: else an upload may be refused."""
    first = strategies.plain(strategies.base(contract, "first"))
    return "".join(f"{line}\n" for line in (first, *lines)).encode()


@contracts
def test_every_value_in_every_field(pair: Pair, contract: SilverContract) -> None:
    lines = list(strategies.every_value(contract))
    # Each engine reads lines that are there twice in another way.
    found = made(pair, contract, [text(contract, lines), text(contract, lines[::2])])
    assert found.receipt.rows > len(lines) // 10
    assert {*contract.rules} <= found.receipt.rejected.keys()


def test_lines_of_every_shape_and_depth(pair: Pair) -> None:
    lines = (*strategies.every_shape(EVENTS), *strategies.every_depth(EVENTS))
    # One that holds several objects makes its object another matter to both engines.
    found = made(pair, EVENTS, [text(EVENTS, (line for line in lines if not is_joined(line)))])
    assert found.receipt.rows > 100
    assert found.receipt.rejected["malformed_json"] > 500


def test_lines_that_hold_several_objects(pair: Pair) -> None:
    joined = [line for line in strategies.every_shape(EVENTS) if is_joined(line)]
    good = [strategies.plain(strategies.base(EVENTS, f"joined{n}")) for n in range(50)]
    bad = f"{good[0]}{{bad}}{good[1]}{{bad{good[2]}"
    objects = [text(EVENTS, [*joined, bad]), "".join(good).encode(), text(EVENTS, good[:3])]
    found = made(pair, EVENTS, objects)
    assert len(joined) > 10
    assert found.receipt.rows >= len(good)
    assert found.receipt.lines > len(joined) * 2 + len(good)


@pytest.mark.parametrize(
    "contract", SILVER if EXAMPLES else TWO, ids=lambda each: each.identifier[1]
)
@by_chance
@given(data=st.data())
def test_lines_by_chance(
    new_pair: Callable[[], Pair], contract: SilverContract, data: st.DataObject
) -> None:
    found = made(new_pair(), contract, data.draw(strategies.objects(contract)))
    assert found.receipt.rows > 100
