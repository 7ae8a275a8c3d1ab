"""Files as the table `input`: every value is the text that stands in the file, whatever it is."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
import zstandard

from event_pipeline.errors import LoadError
from event_pipeline.ingest.load.reading import BATCH, ReadSummary, Spelling, read
from event_pipeline.ingest.load.sources import fetch, find_sources

Rows = list[dict[str, Any]]
NOTHING = r"none of 2 records can be read.*--encoding windows-1252"


class Reader:
    """Reads files of a folder as `load` does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found = ReadSummary()
        self._read = 0

    def rows(self, content: str | bytes, name: str = "orders.csv", **spelling: Any) -> Rows:
        """What stands in a file of this content and name."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return self.rows_of(path, **spelling)

    def rows_of(self, path: Path, **spelling: Any) -> Rows:
        (source,) = find_sources([str(path)])
        self._read += 1
        scratch = self.folder / f"scratch-{self._read}"
        scratch.mkdir()
        files, self.found = read(
            fetch(source, scratch),
            source.file_name,
            Spelling(**spelling),
            table="input",
            scratch=scratch,
            watch=lambda done: None,
        )
        with duckdb.connect() as connection:
            table = connection.read_parquet(files, union_by_name=True, hive_partitioning=False)
            return [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]

    @property
    def named(self) -> list[tuple[int, str]]:
        """The numbers of the records that cannot be read, and why."""
        return [(number, why) for number, _, why in self.found.unreadable]


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def lines(*records: object) -> str:
    return "".join(f"{json.dumps(record)}\n" for record in records)


# --- JSON ---------------------------------------------------------------------------------------


def test_a_key_that_first_shows_late_is_a_column(reader: Reader) -> None:
    views = [{"id": n} for n in range(BATCH + 500)]
    rows = reader.rows(lines(*views, {"id": "last", "price": 10.0}), "events.jsonl")
    assert len(rows) == BATCH + 501
    assert rows[0] == {"id": "0", "price": None}
    assert rows[-1] == {"id": "last", "price": "10.0"}


@pytest.mark.parametrize(
    "number",
    [
        "19.49",
        "10.0",
        "1.10",
        "81912345678901234567",
        "123456789012345678901234567890.123456789",
        "-0",
        "1e400",
        "1E-7",
        "9" * 5_000,
    ],
)
@pytest.mark.parametrize("form", ['{{"n": {}}}', '[{{"n": {}}}]', '{{\n  "n": {}\n}}'])
def test_numbers_keep_their_digits(reader: Reader, number: str, form: str) -> None:
    assert reader.rows(form.format(number), "events.json") == [{"n": number}]


def test_numbers_in_nested_values_keep_their_digits(reader: Reader) -> None:
    text = '{"cart": {"items": [1.10, 81912345678901234567, null, true, "x"]}, "e": {}}\n'
    [row] = reader.rows(text, "events.jsonl")
    assert row == {"cart": '{"items":[1.10,81912345678901234567,null,true,"x"]}', "e": "{}"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("form", ["[{}, {}]", "{}\n{}\n"])
def test_unicode_in_all_its_forms_is_read(reader: Reader, encoding: str, form: str) -> None:
    text = form.format('{"a": "é"}', '{"a": "☃"}')
    assert reader.rows(text.encode(encoding), "events.json") == [{"a": "é"}, {"a": "☃"}]


def test_what_is_no_number_is_null_and_counted(reader: Reader) -> None:
    text = '{"a": NaN, "b": {"c": [Infinity]}}\n{"a": -Infinity, "b": "NaN"}\n'
    rows = reader.rows(text, "events.jsonl")
    assert rows == [{"a": None, "b": '{"c":[null]}'}, {"a": None, "b": "NaN"}]
    assert (reader.found.nulls, reader.found.lost) == (3, 0)


@pytest.mark.parametrize("between", ["", " ", ",", "\n", "\r\n", "\r"])
def test_objects_follow_each_other_in_any_way(reader: Reader, between: str) -> None:
    records = [json.dumps({"n": n, "text": "}{"}) for n in range(50)]
    rows = reader.rows(between.join(records), "events.json")
    assert [row["n"] for row in rows] == [str(n) for n in range(50)]
    assert reader.found.lost == 0


def test_objects_that_are_laid_out_for_people_are_read(reader: Reader) -> None:
    text = "\n".join(json.dumps({"n": n, "in": {"x": n}}, indent=2) for n in range(3))
    assert [row["n"] for row in reader.rows(text, "events.json")] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b'{"n": "caf\xe9"}', r"the byte \xe9 is not UTF-8"),
        (b'{"n": 1, "n": 2}', "names n twice"),
        (b'{"n": 1', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"n": "\\ud83d"}', "half of a surrogate pair"),
        (b'{"n": ' + b"[" * 200 + b"]" * 200 + b"}", "nested deeper than 100"),
        (b'{"n": "' + b"x" * 3_000_000 + b'"}', "not JSON"),
    ],
)
def test_a_bad_line_costs_itself(reader: Reader, bad: bytes, why: str) -> None:
    good = [lines({"n": n}).encode() for n in range(20)]
    rows = reader.rows(b"".join([*good[:10], bad + b"\n", *good[10:]]), "events.jsonl")
    assert [row["n"] for row in rows] == [str(n) for n in range(20)]
    [(number, said)] = reader.named
    assert number == 11
    assert why in said


def test_a_file_of_which_nothing_can_be_read_says_how_it_could_be(reader: Reader) -> None:
    with pytest.raises(LoadError, match=NOTHING):
        reader.rows(b'{"n": "caf\xe9"}\n{"n": "na\xefve"}\n', "events.jsonl")
    with pytest.raises(LoadError, match=NOTHING):
        reader.rows(b"a,b\ncaf\xe9,1\nna\xefve,2\n")


def test_keys_that_differ_in_case_are_two_columns(reader: Reader) -> None:
    rows = reader.rows(lines({"id": 1, "ID": 2, "": 3}), "events.jsonl")
    assert rows == [{"id": "1", "ID_1": "2", "column2": "3"}]


# --- CSV ----------------------------------------------------------------------------------------


def test_values_are_the_texts_that_stand_in_the_file(reader: Reader) -> None:
    text = 'a,b,c\n007,1.50,"x ""y"", z"\r\n,  two ,"line\nend"\n'
    assert reader.rows(text) == [
        {"a": "007", "b": "1.50", "c": 'x "y", z'},
        {"a": None, "b": "  two ", "c": "line\nend"},
    ]


@pytest.mark.parametrize(
    "bad",
    [
        'x,"Mug" XL,1',
        'x,"Mug XL,1',
        'x,Mug,"XL',
        "x,Mug",
        "x,Mug,1,2",
        'x,"Mug "XL"",1',
        '"',
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_bad_row_costs_itself(reader: Reader, bad: str, end: str) -> None:
    """Even where its quote is never closed, among rows with quotes and line ends of their own."""
    good = [f'{n},"Mug, {n}",1' if n % 10 == 0 else f"{n},Mug,1" for n in range(1_000)]
    good[500] = f'500,"Mug{end}of two lines",1'
    rows = reader.rows(end.join(["id,name,n", *good[:501], bad, *good[501:], ""]))
    assert [row["id"] for row in rows] == [str(n) for n in range(1_000)]
    assert rows[990]["name"] == "Mug, 990"
    [(number, text, _)] = reader.found.unreadable
    assert (number, text) == (504, bad)


def test_a_byte_that_is_no_text_costs_its_row(reader: Reader) -> None:
    good = [f"{n},Mug" for n in range(100)]
    text = "\n".join(["id,name", *good[:50], "x,caf\xe9", *good[50:]]).encode("latin-1")
    assert len(reader.rows(text)) == 100
    [(number, why)] = reader.named
    assert number == 52
    assert why.startswith(r"the byte \xe9 is not UTF-8")


@pytest.mark.parametrize(
    ("encoding", "given"),
    [
        ("latin-1", "latin-1"),
        ("cp1252", "windows-1252"),
        ("utf-16", None),
        ("utf-16-le", None),
        ("utf-8-sig", None),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "UTF-16"),
    ],
)
@pytest.mark.parametrize("header", ['"id","name"', "id,name"])
def test_an_encoding_is_read(reader: Reader, encoding: str, given: str | None, header: str) -> None:
    text = f"{header}\n1,café\n".encode(encoding)
    assert reader.rows(text, encoding=given) == [{"id": "1", "name": "café"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_may_be_mixed(reader: Reader, end: str) -> None:
    assert len(reader.rows(f"id,name{end}1,a\n2,b\r\n3,c\r4,d{end}{end}")) == 4
    assert reader.found.lost == 0


@pytest.mark.parametrize(
    ("above", "count"),
    [
        ("Orders of October 2019\n", 1),
        ('"Orders, of October",,\n', 1),
        ("# exported 2019-10-01\n", 1),
        ("# id,name,n: exported, by hand\n# again\n", 2),
        ("Orders\n\nof October\n\n", 3),
        ("sep=,\n", 1),
    ],
)
def test_lines_above_the_header_are_passed_over_and_told(
    reader: Reader, above: str, count: int
) -> None:
    rows = reader.rows(above + "id,name,n\n" + "".join(f"{n},Mug,1\n" for n in range(200)))
    assert (len(rows), list(rows[0])) == (200, ["id", "name", "n"])
    assert reader.found.notes == [] or f"{count} lines above the header" in reader.found.notes[0]
    assert reader.found.notes


def test_lines_to_skip_can_be_given(reader: Reader) -> None:
    text = "report,of,orders\nid,name,n\n1,Mug,2\n"
    assert reader.rows(text, skip=1) == [{"id": "1", "name": "Mug", "n": "2"}]
    assert [row["report"] for row in reader.rows(text, skip=0)] == ["id", "1"]
    with pytest.raises(LoadError, match="--skip 7 leaves no line"):
        reader.rows(text, skip=7)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_by_the_file(reader: Reader, delimiter: str) -> None:
    text = "id;name;price\n1;Mug, i;1,50\n2;Cup;2,50\n".replace(";", delimiter)
    if delimiter != ",":
        assert reader.rows(text)[0] == {"id": "1", "name": "Mug, i", "price": "1,50"}
    assert reader.rows(text.replace(", i", "").replace(",50", ""), "x.CSV")[1]["name"] == "Cup"


def test_the_delimiter_and_the_quote_can_be_given(reader: Reader) -> None:
    assert reader.rows("a:b\n1:'x:y'\n", delimiter=":", quote="'") == [{"a": "1", "b": "x:y"}]
    assert reader.rows('a,b\n1,"x\n', quote="") == [{"a": "1", "b": '"x'}]
    assert reader.rows("a\tb\n1\t2\n", delimiter="tab") == [{"a": "1", "b": "2"}]


def test_a_file_without_a_header(reader: Reader) -> None:
    text = "2019-10-01,u1,5\n2019-10-02,u2,6\n"
    assert reader.rows(text, header=False) == [
        {"column0": "2019-10-01", "column1": "u1", "column2": "5"},
        {"column0": "2019-10-02", "column1": "u2", "column2": "6"},
    ]
    assert reader.found.notes == []
    assert len(reader.rows(text)) == 1
    assert "look like values (2019-10-01, 5)" in reader.found.notes[0]
    assert "--no-header" in reader.found.notes[0]


def test_names_of_columns_are_made_unique(reader: Reader) -> None:
    assert reader.rows("a, A ,,b\n1,2,3,4\n") == [{"a": "1", "A_1": "2", "column2": "3", "b": "4"}]


def test_a_delimiter_at_the_end_of_each_row_is_no_column(reader: Reader) -> None:
    assert reader.rows("a,b\n1,2,\n3,4,\n") == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def test_a_column_alone_and_a_header_alone(reader: Reader) -> None:
    assert reader.rows("user_id\nu1\n\nu2\n") == [{"user_id": "u1"}, {"user_id": "u2"}]
    assert reader.rows("a,b\n") == []
    with pytest.raises(LoadError, match=r"orders\.csv: holds no records"):
        reader.rows("")


@pytest.mark.parametrize(
    ("spelling", "said"),
    [
        ({"delimiter": ",,"}, "--delimiter ',,': must be one character"),
        ({"quote": "''"}, "--quote"),
        ({"encoding": "klingon"}, "--encoding klingon: there is no such encoding"),
    ],
)
def test_a_spelling_that_cannot_be_is_one_clear_line(spelling: dict[str, str], said: str) -> None:
    with pytest.raises(LoadError, match=said):
        Spelling(**spelling)  # type: ignore[arg-type]


def test_a_binary_file_is_named(reader: Reader) -> None:
    with pytest.raises(LoadError, match="holds zero bytes"):
        reader.rows(b"\x7fELF\x01\x02\x00\x00\x00\x00\x00", "tool")


# --- Containers and types -----------------------------------------------------------------------

CSV = b"id,name\n01,Mug\n02,Cup\n"
MUGS = [{"id": "01", "name": "Mug"}, {"id": "02", "name": "Cup"}]
PACKED = {
    "gz": gzip.compress(CSV[:12]) + gzip.compress(CSV[12:]),
    "zst": zstandard.compress(CSV[:12]) + zstandard.compress(CSV[12:]),
    "bz2": bz2.compress(CSV),
    "xz": lzma.compress(CSV),
}


def zipped(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return data.getvalue()


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("name", ["orders.csv.{}", "ORDERS.CSV.{}", "orders", "orders.json"])
def test_a_file_is_unpacked_by_its_content(reader: Reader, packed: str, name: str) -> None:
    upper = packed.upper() if name.isupper() else packed
    if name != "orders.json":  # a name that says otherwise
        assert reader.rows(PACKED[packed], name.format(upper)) == MUGS
    else:
        text = gzip.compress(lines(*MUGS).encode())
        assert reader.rows(text, "orders.csv") == MUGS


def test_a_zip_is_all_its_files(reader: Reader) -> None:
    data = zipped(a__csv=CSV, b__csv__gz=PACKED["gz"], c__jsonl=lines({"id": "3"}).encode())
    rows = reader.rows(data, "orders.zip")
    assert [row["id"] for row in rows] == ["01", "02", "01", "02", "3"]
    with pytest.raises(LoadError, match="holds no files"):
        reader.rows(zipped(), "empty.zip")
    with pytest.raises(LoadError, match="cannot be unzipped"):
        reader.rows(data[:50], "cut.zip")


@pytest.mark.parametrize("packed", PACKED)
def test_a_damaged_file_is_named(reader: Reader, packed: str) -> None:
    with pytest.raises(LoadError, match=r"orders\.csv: damaged|can be read|no records"):
        reader.rows(PACKED[packed][:-12])


def test_parquet_values_are_texts(reader: Reader) -> None:
    path = reader.folder / "user_id=FROM_PATH"
    path.mkdir()
    file = path / "orders [2].parquet"
    duckdb.execute(
        "COPY (SELECT 12345678901234567890.10::DECIMAL(38, 2) AS amount, 10.0::DOUBLE AS price,"
        " TIMESTAMP '2019-10-01 01:02:03' AS at, TIMESTAMPTZ '2019-10-01 01:02:03+02' AS instant,"
        " DATE '2019-10-01' AS day, [1, 2] AS list, {'a': 'x'} AS struct, true AS yes,"
        ' \'NaN\'::DOUBLE AS nan, NULL::INT AS nothing, \'u1\' AS "User ""Id""")'
        f" TO '{reader.folder / 'plain'}' (FORMAT parquet)"
    )
    (reader.folder / "plain").rename(file)
    (path / "orders 2.parquet").write_bytes(b"another")
    [row] = reader.rows_of(file)
    assert row == {
        "amount": "12345678901234567890.10",
        "price": "10.0",
        "at": "2019-10-01 01:02:03",
        "instant": "2019-09-30 23:02:03+00",
        "day": "2019-10-01",
        "list": "[1,2]",
        "struct": '{"a":"x"}',
        "yes": "true",
        "nan": None,
        "nothing": None,
        'User "Id"': "u1",
    }
    assert reader.found.nulls == 1


def test_a_file_with_the_letters_of_a_pattern_is_that_file(reader: Reader) -> None:
    folder = reader.folder / "user_id=FROM_PATH"
    folder.mkdir()
    for name, user in (("orders [2].csv", "theirs"), ("orders 2.csv", "other"), ("a?*.csv", "x")):
        (folder / name).write_text(f"user_id,n\n{user},1\n")
    assert reader.rows_of(folder / "orders [2].csv") == [{"user_id": "theirs", "n": "1"}]
    assert reader.rows_of(folder / "a?*.csv") == [{"user_id": "x", "n": "1"}]


def workbook(**sheets: list[list[object]]) -> bytes:
    """A workbook as programs write it, with the texts in the cells."""

    def cell(value: object) -> str:
        if value is None:
            return "<c/>"
        if isinstance(value, int | float):
            return f"<c><v>{value}</v></c>"
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>'

    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    names = list(sheets)
    entries = "".join(
        f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(names, 1)
    )
    targets = "".join(
        f'<Relationship Id="r{n}" Type="{office}/worksheet" Target="worksheets/{n}.xml"/>'
        for n in range(1, len(names) + 1)
    )
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types">'
            '<Default Extension="xml" ContentType="application/xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r0"'
            f' Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{entries}</sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}/relationships">{targets}</Relationships>',
        )
        for n, name in enumerate(names, 1):
            rows = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in sheets[name])
            archive.writestr(
                f"xl/worksheets/{n}.xml",
                f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>',
            )
    return data.getvalue()


def test_a_workbook_is_read_sheet_by_sheet(reader: Reader) -> None:
    data = workbook(
        Orders=[
            ["Report", None, None],
            ["id", "name", "price"],
            ["007", "Mug", 19.49],
            [8, None, 2],
        ],
        More=[["id", "name", "price"], ["9", "Cup", 3]],
    )
    rows = reader.rows(data, "Orders.XLSX")
    assert rows == [
        {"id": "007", "name": "Mug", "price": "19.49"},
        {"id": "8", "name": None, "price": "2"},
    ]
    assert any("there are also More: give --sheet" in note for note in reader.found.notes)
    assert [r["id"] for r in reader.rows(data, "orders", sheet="*")] == ["007", "8", "9"]
    assert [r["id"] for r in reader.rows(data, "orders", sheet="More")] == ["9"]
    with pytest.raises(LoadError, match="has no sheet Less; there are: Orders, More"):
        reader.rows(data, "orders", sheet="Less")
