"""The command line, `event-pipeline`. A wrong word, setting or query is one line and exit 2.

Each command imports what it needs, so that none waits for what only another one needs.
"""

import json
import re
import shlex
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from event_pipeline.errors import UsageError
from event_pipeline.interrupts import quitting
from event_pipeline.terminal import (
    print_records,
    print_rows,
    stderr,
    stdout,
    write,
)

if TYPE_CHECKING:
    from event_pipeline.contracts import Contract, SilverContract
    from event_pipeline.lake.tables import Lake
    from event_pipeline.settings import Settings

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Events and orders to tables that analysts trust.",
)
feed = typer.Typer(no_args_is_help=True, help="Events as other systems write them.")
app.add_typer(feed, name="feed")
out = stdout()
err = stderr()

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


class BuildEngine(StrEnum):
    """What makes Silver and Gold on AWS."""

    GLUE = "glue"
    EMBEDDED = "embedded"


Since = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], metavar="DAY", help="Only this day and later ones."),
]

P = ParamSpec("P")


def _print_errors(command: Callable[P, None]) -> Callable[P, None]:
    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except typer.Exit:
            raise
        except Exception as error:
            message = str(error) if isinstance(error, UsageError) else _error_message(error)
            if message is None:
                raise
            err.print(f"event-pipeline: {message}", style="red", markup=False, soft_wrap=True)
            raise typer.Exit(USAGE) from None

    return run


def _error_message(error: Exception) -> str | None:
    from event_pipeline import aws

    return aws.error_message(error)


@app.command()
@_print_errors
def demo(
    hours: Annotated[int, typer.Option(min=1, max=24, help="Whole hours to generate.")] = 3,
) -> None:
    """Generates hours of events, builds Silver and Gold from them, and shows the results."""
    with quitting():
        from event_pipeline.demo import run_demo

        ok = run_demo(_settings(), hours, out)
    if not ok:
        raise typer.Exit(1)


@app.command()
@_print_errors
def query(
    text: Annotated[str, typer.Argument(metavar="NAME-or-SQL", help="A table, or Athena SQL.")],
    format: Annotated[Format, typer.Option(help="table, json or csv.")] = Format.TABLE,
) -> None:
    """Prints a table, or the rows of a SELECT over silver.*, gold.* and quarantine.*.

    SHOW TABLES and DESCRIBE silver.events list what there is.
    """
    from event_pipeline.answers import as_csv, as_json
    from event_pipeline.engines.statement import described
    from event_pipeline.resources import resources

    names, rows = described(text) or resources(_settings()).querier.fetch(_statement(text))
    match format:
        case Format.JSON:
            write(as_json(names, rows))
        case Format.CSV:
            write(as_csv(names, rows))
        case Format.TABLE:
            print_rows(rows, text if _is_name(text) else None, out, names)


@app.command()
@_print_errors
def ledger(
    since: Since = None,
    format: Annotated[LedgerFormat, typer.Option(help="table or json.")] = LedgerFormat.TABLE,
) -> None:
    """Prints every Silver partition's ledger: lines = rows + duplicates + quarantined."""
    from event_pipeline.lake.damage import damages
    from event_pipeline.report import ledger_records

    settings = _settings()
    lake = _lake(settings)
    first = f"{since:%Y-%m-%d}" if since else ""
    records = ledger_records(lake, settings, first)
    if format is LedgerFormat.JSON:
        write(json.dumps(records, indent=1))
    else:
        print_records(records, "Ledger: lines = rows + duplicates + quarantined", out)
    if damaged := damages(lake, since=first):
        for each in damaged:
            err.print(f"damaged: {each}", style="red", markup=False, soft_wrap=True)
        err.print("to rebuild it: event-pipeline repair")
        raise typer.Exit(1)


@app.command()
@_print_errors
def load(
    files: Annotated[
        list[str],
        typer.Argument(help="Files, folders, quoted patterns, s3://, https://, or - for a pipe."),
    ],
    sql: Annotated[Path, typer.Option(help="One SELECT FROM input that gives a record's fields.")],
    dataset: Annotated[
        str, typer.Option(help="Dataset: events, commerce_users and so on.")
    ] = "events",
    arrival_hour: Annotated[
        str | None, typer.Option(help="Write all events to this hour: 2019-10-01-02:00.")
    ] = None,
    drop: Annotated[
        str | None, typer.Option(help="Day of a commerce dataset's drop: 2019-10-01.")
    ] = None,
    drop_from: Annotated[
        str | None, typer.Option(help="Column of the mapping that holds each row's day.")
    ] = None,
    drop_from_name: Annotated[
        str | None, typer.Option(help="How the file's name spells the day, such as %d%m%Y.")
    ] = None,
    replace: Annotated[
        bool, typer.Option(help="Remove what other loads wrote to the drop.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Only report what Silver would refuse.")] = False,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", "--force", help="Write even if Silver would refuse most rows."),
    ] = False,
    delimiter: Annotated[
        str | None, typer.Option(help="Delimiter of a CSV: one character, or tab.")
    ] = None,
    no_header: Annotated[
        bool, typer.Option(help="The CSV has no header; columns are column0, column1 and so on.")
    ] = False,
    skip: Annotated[int | None, typer.Option(min=0, help="Lines above a CSV's header.")] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding, such as windows-1252; default: utf-8.")
    ] = None,
    quote: Annotated[str, typer.Option(help="Quote character of a CSV; '' for none.")] = '"',
    sheet: Annotated[str | None, typer.Option(help="A workbook's sheet, or * for all.")] = None,
    also: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: another table for the mapping.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the load; default: the file's.")] = None,
) -> None:
    """Loads your own files into Bronze, mapped by one SELECT. Repeating a load changes nothing."""
    from event_pipeline.ingest.load.commands import run_loads
    from event_pipeline.ingest.load.loading import Order
    from event_pipeline.ingest.load.reading import Spelling

    order = Order(
        _dataset(dataset),
        spelling=Spelling(delimiter, not no_header, skip, encoding, quote, sheet),
        arrival_hour=arrival_hour,
        drop=drop,
        drop_from=drop_from,
        drop_from_name=drop_from_name,
        name=name,
        anyway=anyway,
        dry_run=dry_run,
        replace=replace,
    )
    if not run_loads(_settings(), files, sql, also or (), order, out=out, err=err):
        raise typer.Exit(1)


@app.command()
@_print_errors
def loads(
    format: Annotated[LedgerFormat, typer.Option(help="table or json.")] = LedgerFormat.TABLE,
) -> None:
    """Lists what was loaded, the latest first."""
    from event_pipeline.ingest.load.ledger import Loads, loads_records

    records = loads_records(Loads(_settings().root))
    if format is LedgerFormat.JSON:
        write(json.dumps(records, indent=1))
        return
    print_records(records, "Loads (to remove one: event-pipeline unload)", out)


@app.command()
@_print_errors
def unload(
    load: Annotated[str, typer.Argument(help="A load's id, as event-pipeline loads shows it.")],
) -> None:
    """Removes the objects that a load wrote, and nothing else."""
    from event_pipeline.ingest.load.ledger import Loads, take_back

    found = take_back(Loads(_settings().root), load)
    out.print(
        f"{found.id} ({found.source}) is removed: {found.rows:,} rows in"
        f" {len(found.objects):,} objects",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    out.print("Next: the sensors pick it up (make dev), or run: event-pipeline sync")


@app.command()
@_print_errors
def sample_drop(
    drop: Annotated[str, typer.Argument(metavar="DATE", help="Day of the drop: 2026-11-24.")],
    records: Annotated[int, typer.Option(min=1, help="Records per file.")] = 1_000_000,
) -> None:
    """Uploads a made-up commerce drop: users.json, events.json and orders.json."""
    from event_pipeline import aws
    from event_pipeline.ingest.drops import DropProfile, write_drop
    from event_pipeline.ingest.handler import open_store
    from event_pipeline.ingest.load.places import given_drop

    settings = _settings()
    day = given_drop(settings, drop).date()
    profile = DropProfile(records, settings.seed, settings.fault_share, settings.unknown_share)
    for name, lines in write_drop(open_store(settings.root, aws.client), day, profile).items():
        out.print(f"{name}.json: {lines:,} records")


@app.command()
@_print_errors
def sync(
    rebuild_changed: Annotated[
        bool,
        typer.Option("--rebuild-changed", help="Also rebuild what an older statement built."),
    ] = False,
    since: Since = None,
) -> None:
    """Does at once what the sensors would do: compares all of Bronze and builds what changed.

    With --since, compares only partitions of this day and later ones, which takes no longer however
    much there is before. Exits 1 if a run failed, something is left unbuilt, or what is built needs
    attention; 130 at Ctrl-C, 143 at SIGTERM.
    """
    with quitting():
        from event_pipeline.sync import run_sync

        first = since.date() if since else None
        ok = run_sync(_settings(), out, rebuild_changed=rebuild_changed, since=first)
    if not ok:
        raise typer.Exit(1)


@app.command()
@_print_errors
def status(
    since: Since = None,
    format: Annotated[
        LedgerFormat, typer.Option(help="table, or json: every record of every section.")
    ] = LedgerFormat.TABLE,
) -> None:
    """Shows what is built, what waits, and what is wrong. Exits 1 if something needs attention.

    These need attention: partitions that were given up, damage in the lake, objects under Bronze
    that no partition reads, objects that cannot be used or differ from their manifests, partitions
    with too many refused lines or built by an older statement, and what cannot be determined. What
    waits, runs, failed once, lies outside Gold or was rolled back does not.
    """
    from event_pipeline.status import as_json, as_tables, needing_attention, survey

    sections = survey(_settings(), since=since.date() if since else None)
    needed = needing_attention(sections)
    if format is LedgerFormat.JSON:
        write(json.dumps(as_json(sections), indent=1))
    else:
        for title, records in as_tables(sections):
            print_records(records, title, out)
        out.print("\nNeeds attention:" if needed else "\nNothing needs attention.")
        for line in needed:
            out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    if needed:
        raise typer.Exit(1)


@feed.command()
@_print_errors
def check(
    prefix: Annotated[
        str, typer.Argument(help="Prefix in the lake, s3://bucket/prefix/, or a folder.")
    ],
    dataset: Annotated[
        str, typer.Option(help="Dataset: events, commerce_users and so on.")
    ] = "events",
    layout: Annotated[
        str | None, typer.Option(help="Layout of paths under the prefix: {yyyy}/{MM}/{dd}/{HH}/.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="One SELECT FROM raw that gives the dataset's fields.")
    ] = None,
    each: Annotated[
        str | None, typer.Option(help="Path of an array; each element becomes a row.")
    ] = None,
    objects: Annotated[int, typer.Option(min=1, help="Number of objects to read.")] = 10,
) -> None:
    """Shows what a feed would read and refuse, before anything is built. It writes nothing.

    Options replace what the dataset declares. Exits 1 if nothing would be read, or more than half
    would be refused.
    """
    from event_pipeline.feed_check import as_declared, check_feed, place

    settings = _settings()
    root, under = place(settings, prefix)
    given = {"layout": layout, "mapping": str(mapping.absolute()) if mapping else None}
    report = check_feed(
        settings, root, as_declared(_dataset(dataset), under, {**given, "each": each}), objects
    )
    for title, records in report.as_tables():
        print_records(records, title, out)
    if not report.ok:
        err.print("most of it would not be read, or would be refused", style="red")
        raise typer.Exit(1)


@app.command()
@_print_errors
def rollback(
    table: Annotated[str, typer.Argument(help="Table, such as gold.hourly_revenue.")],
    snapshot: Annotated[
        int | None, typer.Argument(help="Snapshot id; without one, the command lists them.")
    ] = None,
) -> None:
    """Lists the snapshots of a table, or rolls the table back to one."""
    lake, contract = _lake(_settings()), _contract(table)
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
        print_records(records, f"{contract.table}: snapshots, latest first", out)
        return
    try:
        lake.rollback(contract, snapshot)
    except ValueError as error:
        raise UsageError(str(error)) from None
    out.print(f"{contract.table} is rolled back to snapshot {snapshot}")


@app.command()
@_print_errors
def repair(
    verify: Annotated[bool, typer.Option("--verify", help="Read every file to its end.")] = False,
) -> None:
    """Names and rebuilds what is lost or damaged in the lake, then does what sync does."""
    from event_pipeline.repair import run_repair

    if not run_repair(_settings(), out, verify=verify):
        raise typer.Exit(1)


@app.command()
@_print_errors
def maintain(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    format: Annotated[LedgerFormat, typer.Option(help="table or json.")] = LedgerFormat.TABLE,
) -> None:
    """Forgets old states of tables, rewrites manifests, and removes files that nobody needs.

    EVENT_PIPELINE_SNAPSHOT_DAYS, _SNAPSHOTS_LEAST and _GRACE_HOURS say what is kept.
    """
    from event_pipeline.maintenance import maintain

    settings = _settings()
    records = [done.record for done in maintain(settings, _lake(settings), dry_run=dry_run)]
    if format is LedgerFormat.JSON:
        write(json.dumps(records, indent=1))
    elif records:
        print_records(records, "What would be done" if dry_run else "What was done", out)
    else:
        out.print("nothing to do")


@app.command()
@_print_errors
def env() -> None:
    """Creates the home and prints the shell variables for it: eval "$(event-pipeline env)"."""
    from event_pipeline.home import check_for_dagster, ensure_home

    settings = _settings()
    check_for_dagster(settings)
    ensure_home(settings)
    write(f"export EVENT_PIPELINE_HOME={shlex.quote(str(settings.home.absolute()))}")
    write(f"export DAGSTER_HOME={shlex.quote(str(settings.dagster_home))}")


@app.command()
@_print_errors
def deploy(
    stack: Annotated[str, typer.Argument(help="Name of the CloudFormation stack.")] = STACK,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="Parameter of the template: Name=value."),
    ] = None,
    template: Annotated[
        Path | None, typer.Option(help="Template file; default: the project's.")
    ] = None,
    env_file: Annotated[Path, typer.Option(help="File for the settings of the target aws.")] = Path(
        ".env.aws"
    ),
    replace_data: Annotated[
        bool, typer.Option("--replace-data", help="Allow the loss of a bucket, database or key.")
    ] = False,
) -> None:
    """Creates or updates the stack in the current AWS account, and shows each change."""
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
@_print_errors
def destroy(
    stack: Annotated[str, typer.Argument(help="Name of the CloudFormation stack.")] = STACK,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Also delete the lake, its databases and its key.")
    ] = False,
) -> None:
    """Deletes the stack, after asking. It keeps the lake, unless --delete-data is given."""
    from event_pipeline.deploy import data_plane

    def typed(question: str, words: str) -> str:
        # Enter alone is a no, not a question asked again.
        return str(typer.prompt(question, default="", show_default=False))

    data_plane.destroy(stack, confirm=typed, with_data=delete_data, console=out)


@app.command()
@_print_errors
def cost(
    events_per_day: Annotated[
        float, typer.Option(min=1, help="Events a day, such as 5e6.")
    ] = 180_000_000,
    freshness_minutes: Annotated[
        float, typer.Option(min=5, max=60, help="Minutes between two builds of an hour.")
    ] = 60,
    engine: Annotated[
        BuildEngine, typer.Option(help="What makes Silver and Gold: glue (and Athena) or embedded.")
    ] = BuildEngine.GLUE,
    format: Annotated[LedgerFormat, typer.Option(help="table or json.")] = LedgerFormat.TABLE,
) -> None:
    """Shows what the data plane on AWS would cost a day, by a model. It asks AWS nothing."""
    from event_pipeline.deploy.cost import Feed

    feed = Feed(events_per_day, freshness_minutes, engine.value)
    if format is LedgerFormat.JSON:
        write(json.dumps(feed.records, indent=1))
    else:
        print_records(feed.records, "USD a day, a model (see infra/README.md)", out)
    if not feed.keeps_up:
        err.print(
            f"the embedded engine takes {feed.embedded_seconds:,.0f} seconds for an hour of events,"
            " and would fall behind",
            style="red",
            soft_wrap=True,
        )
        raise typer.Exit(1)


def _settings() -> "Settings":
    from event_pipeline.settings import read_settings

    return read_settings()


def _lake(settings: "Settings") -> "Lake":
    from event_pipeline.lake.tables import Lake

    return Lake.of(settings)


def _contract(name: str) -> "Contract":
    from event_pipeline.contracts import TABLES

    called = name.lower()
    matches = [c for c in TABLES.values() if called in (c.table, c.asset, c.identifier[1])]
    if not matches:
        raise UsageError(f"there is no table {name}; there are: {', '.join(sorted(TABLES))}")
    return matches[0]


def _dataset(name: str) -> "SilverContract":
    """The Silver contract that a person calls by its table's last name."""
    from event_pipeline.contracts import SILVER

    names = {contract.identifier[1]: contract for contract in SILVER}
    if name not in names:
        raise UsageError(f"there is no dataset {name}; there are: {', '.join(names)}")
    return names[name]


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[\w./]+", text.strip()) is not None


def _statement(text: str) -> str:
    return _contract(text.strip()).select_all if _is_name(text) else text
