"""Adds the statements of Gold to the template as named queries, for Athena's console."""

import json
import re
import textwrap
from collections.abc import Sequence

from event_pipeline.contracts import GOLD, GoldContract
from event_pipeline.deploy.account import DeployError

# The comment line of the template after which they are put.
MARK = (
    "  # Here event-pipeline deploy puts the statements of event_pipeline/sql/gold, word for word."
)
_QUERY = """\
  {resource}:
    Type: AWS::Athena::NamedQuery
    Condition: OnAws
    Properties:
      Name: {name}
      Description: {description}
      Database: !Ref SilverDatabase
      WorkGroup: !Ref Workgroup
      QueryString:
        Fn::Sub: |
{statement}
"""


def with_named_queries(template: str, contracts: Sequence[GoldContract] = GOLD) -> str:
    """The template with a named query for each Gold table that Athena makes, if it has MARK.

    Raises DeployError if it has MARK more than once.
    """
    if (found := template.count(MARK)) > 1:
        raise DeployError(f"the template has the line {MARK.strip()!r} {found} times")
    queries = [_query(contract) for contract in contracts if contract.dialect == "athena"]
    return template.replace(MARK, "\n".join([MARK, "", *queries]).rstrip())


def _query(contract: GoldContract) -> str:
    name = contract.identifier[1]
    return _QUERY.format(
        resource="".join(part.capitalize() for part in name.split("_")) + "Query",
        name=name,
        description=json.dumps(contract.description),
        statement=textwrap.indent(_statement(contract), 10 * " ").rstrip(),
    )


def _statement(contract: GoldContract) -> str:
    """The statement as it is, but with the database that the stack names."""
    text = contract.sql.replace("${", "${!")  # which Fn::Sub leaves as it is
    for each in contract.inputs:
        database, table = each.identifier
        text = re.sub(rf"\b{database}\.{table}\b", f"${{SilverDatabase}}.{table}", text)
    return text
