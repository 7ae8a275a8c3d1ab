"""What holds of both templates."""

import re
from pathlib import Path

import pytest
from cfnlint.api import ManualArgs, lint  # type: ignore[import-untyped]

from event_pipeline_tests.infra import control_plane
from event_pipeline_tests.infra.template import (
    CONTROL_PLANE,
    DATA_PLANE,
    INFRA,
    WILDCARD_RESOURCES,
    Stack,
)

STACKS = {
    DATA_PLANE: Stack(Release="r1", DagsterPrincipal="arn:aws:iam::ACCOUNT:role/ops"),
    CONTROL_PLANE: control_plane.STACK,
}
each_template = pytest.mark.parametrize("path", STACKS, ids=lambda path: path.stem)


@each_template
def test_cfn_lint_finds_nothing(path: Path) -> None:
    # I4010 wants the reasons, which stand in comments, as metadata that would be deployed.
    checks = ManualArgs(include_checks=["I"], ignore_checks=["I4010"])
    assert lint(path.read_text(), config=checks) == []


def test_cfn_lint_would_find_something() -> None:
    wrong = DATA_PLANE.read_text().replace("Runtime: python3.13", "Runtime: python2.7")
    assert lint(wrong) != []


@each_template
def test_it_fits_into_a_request(path: Path) -> None:
    # The most that CloudFormation takes without a bucket, and the first time there is none.
    assert len(path.read_bytes()) <= 51_200


def test_no_file_names_an_account_or_holds_a_credential() -> None:
    files = [path for path in INFRA.rglob("*") if path.is_file()]
    assert len(files) > 6
    for path in files:
        text = path.read_text()
        assert re.findall(r"\b\d{12}\b", text) == [], path
        assert re.findall(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b", text) == [], path


@each_template
def test_every_statement_has_a_name_of_its_own(path: Path) -> None:
    sids = [each.sid for each in STACKS[path].statements()]
    assert len(sids) > {DATA_PLANE: 30, CONTROL_PLANE: 20}[path]
    assert all(re.fullmatch("[A-Za-z0-9]+", sid) for sid in sids)
    assert sorted(sids) == sorted(set(sids))


@each_template
def test_nothing_is_allowed_by_a_wildcard_action_or_by_exception(path: Path) -> None:
    for each in STACKS[path].statements():
        assert not {"NotAction", "NotResource", "NotPrincipal"} & set(each.body), each.sid
        if each.effect == "Allow":
            assert not [action for action in each.actions if "*" in action], each.sid
            assert each.body.get("Principal") != "*", each.sid


@each_template
def test_wildcard_resources_are_those_that_have_a_reason(path: Path) -> None:
    found = {each.sid for each in STACKS[path].statements() if "*" in each.resources}
    assert found == set(WILDCARD_RESOURCES[path])
