"""The command line, `event-pipeline`. A wrong word, setting or query is one line and exit 2."""

import csv
import json
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer
from rich.console import Console

from event_pipeline import aws
from event_pipeline.contracts import EVENTS, SILVER, TABLES, Contract
from event_pipeline.errors import UsageError
from event_pipeline.settings import Settings, read_settings
from event_pipeline.terminal import print_records, stdout

if TYPE_CHECKING:
    from event_pipeline.lake.tables import Lake

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Events and orders to tables that analysts trust.",
)
out = stdout()
err = Console(stderr=True)

USAGE = 2
STACK = "event-pipeline"


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class LedgerFormat(StrEnum):
    """How the ledger is printed."""

    TABLE = "table"
    JSON = "json"


P = ParamSpec("P")


def _clear_errors(command: Callable[P, None]) -> Callable[P, None]:
    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except Exception as error:
            said = str(error) if isinstance(error, UsageError) else aws.complaint(error)
            if said is None:
                raise
            err.print(f"event-pipeline: {said}", style="red", markup=False, soft_wrap=True)
            raise typer.Exit(USAGE) from None

    return run


@app.command()
@_clear_errors
def demo(
    hours: Annotated[int, typer.Option(min=1, max=24, help="Whole hours to make.")] = 3,
) -> None:
    """Runs the main job: ingest, arrivals, Silver, Gold; shows the five answers and the ledger."""
    from event_pipeline.demo import run_demo

    if not run_demo(read_settings(), hours, out):
        raise typer.Exit(1)


@app.command()
@_clear_errors
def query(
    text: Annotated[str, typer.Argument(metavar="NAME-or-SQL", help="A table, or Athena SQL.")],
    format: Annotated[Format, typer.Option(help="table, json or csv.")] = Format.TABLE,
) -> None:
    """Prints a table, or the rows of a SELECT over silver.*, gold.* and quarantine.*."""
    from event_pipeline.resources import resources

    names, rows = resources(read_settings()).querier.fetch(_statement(text))
    _print_rows(names, rows, format, title=text if _is_name(text) else None)


@app.command()
@_clear_errors
def ledger(
    format: Annotated[LedgerFormat, typer.Option(help="table or json.")] = LedgerFormat.TABLE,
) -> None:
    """Prints every Silver partition's ledger: lines = rows + duplicates + quarantined."""
    from event_pipeline.lake.damage import damages
    from event_pipeline.report import ledger_records

    lake = _lake(read_settings())
    records = ledger_records(lake)
    if format is LedgerFormat.JSON:
        print(json.dumps(records, indent=1))
    else:
        print_records(records, "Ledger: lines = rows + duplicates + quarantined", out)
    if damaged := damages(lake):
        for each in damaged:
            err.print(f"damaged: {each}", style="red", markup=False, soft_wrap=True)
        err.print("event-pipeline repair makes it anew")
        raise typer.Exit(1)


@app.command()
@_clear_errors
def load(
    file: Annotated[Path, typer.Argument(help="CSV, JSON, JSON Lines or Parquet; may be gzipped.")],
    sql: Annotated[Path, typer.Option(help="One SELECT FROM input that gives a record's fields.")],
    dataset: Annotated[str, typer.Option(help="events, or commerce_users and so on.")] = "events",
    arrival_hour: Annotated[
        str | None, typer.Option(help="Write all events to this hour: 2019-10-01-02:00.")
    ] = None,
    drop: Annotated[
        str | None, typer.Option(help="Day of a commerce dataset's drop: 2019-10-01.")
    ] = None,
    replace: Annotated[bool, typer.Option(help="Replace the drop's file by another.")] = False,
) -> None:
    """Brings your own file to Bronze, mapped by one SELECT. The same file again changes nothing."""
    from event_pipeline.ingest.load import load_drop, load_events

    contract = _dataset(dataset)
    if contract is EVENTS:
        if drop:
            raise UsageError("--drop is for commerce datasets; events have an --arrival-hour")
        loaded = load_events(read_settings(), file, sql, arrival_hour)
    else:
        if not drop or arrival_hour:
            raise UsageError(f"{dataset} needs a --drop, and has no --arrival-hour")
        loaded = load_drop(
            read_settings(), file, sql, contract=contract, drop=drop, replace=replace
        )
    out.print(
        f"{loaded.rows:,} rows read, {loaded.objects_written} objects written, "
        f"{loaded.objects_there} there already, partitions {loaded.span}"
    )
    for number, text, why in loaded.unreadable[:20]:
        err.print(f"line {number} cannot be read ({why}): {text}", markup=False, soft_wrap=True)
    if loaded.unreadable:
        err.print(f"{len(loaded.unreadable):,} lines cannot be read and were not loaded")
    out.print("Next: the sensors pick it up (make dev), or run: event-pipeline sync")


@app.command()
@_clear_errors
def sample_drop(
    drop: Annotated[str, typer.Argument(metavar="DATE", help="Day of the drop: 2026-11-24.")],
    records: Annotated[int, typer.Option(min=1, help="Records of each file.")] = 1_000_000,
) -> None:
    """Uploads a made-up commerce drop: users.json, events.json and orders.json."""
    from event_pipeline.ingest.drops import DropProfile, write_drop
    from event_pipeline.ingest.handler import open_store
    from event_pipeline.ingest.load import given_drop

    settings = read_settings()
    day = given_drop(settings, drop).date()
    profile = DropProfile(records, settings.seed, settings.fault_share, settings.unknown_share)
    for name, lines in write_drop(open_store(settings.root, aws.client), day, profile).items():
        out.print(f"{name}.json: {lines:,} records")


@app.command()
@_clear_errors
def sync() -> None:
    """Does now what the sensors would: compares all of Bronze, and runs what changed."""
    from event_pipeline.demo import run_sync

    if not run_sync(read_settings(), out):
        raise typer.Exit(1)


@app.command()
@_clear_errors
def status() -> None:
    """Says what is where: Bronze, what waits to be built, tables, runs that failed."""
    from event_pipeline.status import status_records

    for title, records in status_records(read_settings()).items():
        print_records(records, title, out)


@app.command()
@_clear_errors
def rollback(
    table: Annotated[str, typer.Argument(help="Table, as gold.hourly_revenue.")],
    snapshot: Annotated[int | None, typer.Argument(help="Snapshot id; none: lists them.")] = None,
) -> None:
    """Lists the states that a table can go back to, or goes back to one."""
    lake, contract = _lake(read_settings()), _contract(table)
    if snapshot is None:
        records = [
            {
                "snapshot": str(v.snapshot_id),
                "published": f"{v.at:%Y-%m-%d %H:%M:%S}",
                "partition": v.partition,
                "rows of the table": v.rows,
                "current": v.current,
            }
            for v in lake.versions(contract)
        ]
        print_records(records, f"{contract.table}: states, latest first", out)
        return
    try:
        lake.rollback(contract, snapshot)
    except ValueError as error:
        raise UsageError(str(error)) from None
    out.print(f"{contract.table} is back at snapshot {snapshot}")


@app.command()
@_clear_errors
def repair(
    verify: Annotated[bool, typer.Option("--verify", help="Read every file to its end.")] = False,
) -> None:
    """Names what is lost or damaged in the lake, and makes it anew; then does as sync."""
    from event_pipeline.repair import run_repair

    if not run_repair(read_settings(), out, verify=verify):
        raise typer.Exit(1)


@app.command()
@_clear_errors
def maintenance() -> None:
    """Removes files of killed and replaced runs, to which no state of a table refers any more."""
    from event_pipeline.lake.leftovers import remove_leftovers
    from event_pipeline.maintenance import in_words

    found = remove_leftovers(_lake(read_settings()))
    for each in found:
        out.print(in_words(each), highlight=False)
    if not found:
        out.print("nothing to remove")


@app.command()
@_clear_errors
def env() -> None:
    """Makes the home and prints what a shell needs to use it: eval "$(event-pipeline env)"."""
    from event_pipeline.home import check_for_dagster, ensure_home

    settings = read_settings()
    check_for_dagster(settings)
    ensure_home(settings)
    print(f"export EVENT_PIPELINE_HOME={shlex.quote(str(settings.home.absolute()))}")
    print(f"export DAGSTER_HOME={shlex.quote(str(settings.dagster_home))}")


@app.command()
@_clear_errors
def deploy(
    stack: Annotated[str, typer.Argument(help="Name of the CloudFormation stack.")] = STACK,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="Name=value, of the template.")
    ] = None,
    template: Annotated[Path | None, typer.Option(help="Another template.")] = None,
    env_file: Annotated[
        Path, typer.Option(help="Where the settings of the target aws are written.")
    ] = Path(".env.aws"),
    replace_data: Annotated[
        bool, typer.Option("--replace-data", help="Allow losing a bucket, database or key.")
    ] = False,
) -> None:
    """Makes the stack in the AWS account at hand, or brings it up to date; shows each change."""
    from event_pipeline.deploy import data_plane

    data_plane.deploy(
        stack,
        data_plane.given_parameters(parameter or ()),
        template=template,
        env_file=env_file,
        replace_data=replace_data,
        console=out,
    )


@app.command()
@_clear_errors
def destroy(
    stack: Annotated[str, typer.Argument(help="Name of the CloudFormation stack.")] = STACK,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Also the lake, its databases and its key.")
    ] = False,
) -> None:
    """Deletes the stack, after asking. The lake stays, unless --delete-data says otherwise."""
    from event_pipeline.deploy import data_plane

    def typed(question: str, words: str) -> str:
        # Enter alone is a no, not a question asked again.
        return str(typer.prompt(question, default="", show_default=False))

    data_plane.destroy(stack, confirm=typed, with_data=delete_data, console=out)


def _lake(settings: Settings) -> "Lake":
    from event_pipeline.resources import lake_of

    return lake_of(settings)


def _contract(name: str) -> Contract:
    matches = [c for c in TABLES.values() if name in (c.table, c.asset, c.identifier[1])]
    if not matches:
        raise UsageError(f"there is no table {name}; there are: {', '.join(sorted(TABLES))}")
    return matches[0]


def _dataset(name: str) -> Contract:
    """The Silver contract that a person calls by its table's last name."""
    names = {contract.identifier[1]: contract for contract in SILVER}
    if name not in names:
        raise UsageError(f"there is no dataset {name}; there are: {', '.join(names)}")
    return names[name]


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[\w./]+", text.strip()) is not None


def _statement(text: str) -> str:
    return _contract(text.strip()).select_all if _is_name(text) else text


def _print_rows(
    names: Sequence[str], rows: Sequence[Sequence[Any]], format: Format, title: str | None
) -> None:
    if format is Format.JSON:
        print(json.dumps([dict(zip(names, map(_plain, row), strict=True)) for row in rows]))
    elif format is Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    else:
        print_records([dict(zip(names, row, strict=True)) for row in rows], title, out, names)


def _plain(value: Any) -> Any:
    """A value as JSON has it; a decimal stays a number where that keeps every digit."""
    if isinstance(value, Decimal):
        number = float(value)
        return number if Decimal(repr(number)) == value else str(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return value if isinstance(value, int | float | str | bool | None) else str(value)


def main() -> None:
    """Entry point of `event-pipeline`."""
    app()
