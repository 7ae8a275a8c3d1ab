"""Rows that share a key: both engines keep the same one and tell the same line of the others."""

import itertools
import json
import random

from event_pipeline.contracts import COMMERCE_ORDERS, COMMERCE_USERS, SilverContract
from event_pipeline_tests.parity.conftest import Pair
from event_pipeline_tests.parity.strategies import base, compact, good_of, plain, quoted

# In an order that not every comparison has: by bytes, by letters, by UTF-16, by number.
TEXTS = (
    "null", '""', '" "', '"\\u0000"', '"\\u0000a"', '"A"', '"a"', '"a "', '"B"', '"b"', '"é"',
    '"e\u0301"', '"É"', '"z"', '"ß"', '"ss"', '"\uffff"', '"😀"', '"\U0010ffff"', '"\ue000"',
    '"\\ufb01"', '"10"', '"9"', "9", "10", "1.50", "1.5", "1e1", "-0", "0", "true", '"true"',
    '["a"]', '[ "a" ]', '{"a": 1}', '"{\\"a\\":1}"', '"null"', '"\\t"', '"\\n"', '"a\\nb"',
    '"\u2028"',
)  # fmt: skip


def upload(pair: Pair, contract: SilverContract, lines: list[str]) -> None:
    """Puts the lines into two files, in a form each, so that both have lines of most keys."""
    name = contract.asset.removeprefix("silver/commerce_")
    first = plain(base(contract, "first"))
    pair.upload({
        f"{name}.json": "\n".join([first, *lines[::2]]).encode(),
        f"{name}.jsonl": f"[{', '.join([first, *lines[1::2]])}]".encode(),
    })  # fmt: skip


def test_every_two_texts_of_a_column(pair: Pair) -> None:
    """Of each two, in either order, the same is the greater."""
    same, lines = base(COMMERCE_USERS, "same")[1:-1], []
    for n, values in enumerate(itertools.permutations(TEXTS, 2)):
        for value in values:
            lines.append(plain([('"user_id"', f'"k{n}"'), *same, ('"marketing_source"', value)]))
    upload(pair, COMMERCE_USERS, lines)
    assert pair.build(COMMERCE_USERS).receipt.rejected["conflict"] > 1_000


def test_rows_of_a_few_keys_by_chance(pair: Pair) -> None:
    """Copies, other spellings, equal latest, no latest, refused ones: all there is of a key."""
    choices, contract = random.Random(3), COMMERCE_ORDERS
    lines = []
    for _ in range(2_500):
        values = {name: choices.choice(good_of(contract)[name]) for name in contract.source}
        values[contract.key[0]] = choices.choice(
            [
                f'"{choices.randrange(400)}"',
                f"{choices.randrange(400)}",
                f'" {choices.randrange(400)}"',
            ]
        )
        if choices.random() < 0.7:
            values[contract.latest] = good_of(contract)[contract.latest][0]
        elif choices.random() < 0.1:
            values[contract.latest] = '"never"'
        pairs = [(quoted(name), value) for name, value in values.items()]
        if choices.random() < 0.1:
            pairs.append(('"more"', f"{choices.randrange(3)}"))
        if choices.random() < 0.3:
            choices.shuffle(pairs)
        lines.append(choices.choice((plain, plain, compact))(pairs))
    upload(pair, contract, [*lines, *choices.choices(lines, k=500)])
    receipt = pair.build(contract).receipt
    assert receipt.rows <= 401
    assert receipt.duplicates > 300
    assert receipt.rejected["conflict"] > 500


def test_of_equal_rows_that_lose_the_least_line_of_the_first_file_is_told(pair: Pair) -> None:
    lost = [*base(COMMERCE_USERS, "1")[:2], ('"country"', '"AU"')]
    spellings = [
        plain(lost), compact(lost), f" {plain(lost)}", plain([*lost, ('"a"', "1")]),
        plain(lost[::-1]), plain([*lost, ('"\u00e9"', "1")]), plain([*lost, ('"\\u00e9"', "1")]),
        plain([*lost, ('"device_type"', "null")]), plain(lost).replace("AU", "\\u0041U"),
        plain([*lost, ('"a"', "[1]")]), f"\t{plain(lost)}",
        plain([*lost, ('"a"', '"\\ud83d\\ude00"')]),
    ]  # fmt: skip
    files: dict[str, list[str]] = {"user.json": [], "users.json": [], "users.jsonl": []}
    for n, (one, other) in enumerate(itertools.permutations(spellings, 2)):
        key = json.dumps(f"k{n}")
        these = [line.replace('"k1"', key) for line in (one, other, one)]
        won = plain([('"user_id"', key), ('"signup_date"', '"2026-01-02"')])
        for lines, line in zip(files.values(), these, strict=True):
            lines.append(line)
        lines.append(won)
    pair.upload({name: "\n".join(lines).encode() for name, lines in files.items()})
    receipt = pair.build(COMMERCE_USERS).receipt
    assert receipt.rejected == {"conflict": 132}
