"""A template as CloudFormation would see it: conditions decided, parameters put in.

What a resource is asked for is written by its name: `<Key>`, `<LakeBucket.Arn>`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from cfnlint.decode import decode_str  # type: ignore[import-untyped]

from event_pipeline.deploy.named_queries import with_named_queries

INFRA = Path(__file__).parents[2] / "infra"
DATA_PLANE, CONTROL_PLANE = INFRA / "data_plane.yaml", INFRA / "control_plane.yaml"

# What may name everything, and why.
WILDCARD_RESOURCES = {
    DATA_PLANE: {
        "AccountThroughIam": "in a key's policy it is the key",
        "LogsAreEncrypted": "in a key's policy it is the key",
        "AlarmsReachTheTopic": "in a key's policy it is the key",
        "EventsReachTheTopic": "in a key's policy it is the key",
        "JobReportsMetrics": "PutMetricData has no resources; the namespace holds it",
    },
    CONTROL_PLANE: {
        "AccountThroughIam": "in a key's policy it is the key",
        "LogsAreEncrypted": "in a key's policy it is the key",
        "EcsEntersTheRegistry": "GetAuthorizationToken has no resources",
        "LauncherReadsDefinitions": "DescribeTaskDefinition has no resources",
        "LauncherFindsItsNetwork": "DescribeNetworkInterfaces has no resources",
    },
}

PSEUDO = {
    "AWS::AccountId": "ACCOUNT",
    "AWS::Partition": "aws",
    "AWS::Region": "REGION",
    "AWS::StackName": "STACK",
}
_NO_VALUE = object()

Json = Any


@dataclass(frozen=True)
class Statement:
    """One statement of a policy, and the resource that has it; actions and resources as lists."""

    owner: str
    sid: str
    effect: str
    actions: list[str]
    resources: list[str]
    body: Json

    @property
    def is_policy_of_a_role(self) -> bool:
        """Whether it says what somebody may do, and not what may be done with something."""
        return "Principal" not in self.body


class Stack:
    """A template with these parameters, the others at their defaults."""

    def __init__(self, path: Path = DATA_PLANE, **given: str) -> None:
        self.template = template(path)
        self.parameters = {
            name: given.pop(name, str(each.get("Default", "")))
            for name, each in self.template["Parameters"].items()
        }
        assert not given, f"no such parameter: {given}"
        found = self.template["Resources"]
        self._made = {name for name, each in found.items() if self._is_made(each)}
        self.resources = {name: self._value(found[name]) for name in sorted(self._made)}
        self.outputs = {
            name: self._value(each)
            for name, each in self.template["Outputs"].items()
            if self._is_made(each)
        }

    def of_type(self, kind: str) -> dict[str, Json]:
        """Properties of the resources of a type, by name."""
        return {
            name: each.get("Properties", {})
            for name, each in self.resources.items()
            if each["Type"] == f"AWS::{kind}"
        }

    def statements(self) -> Iterator[Statement]:
        """Every statement of every policy."""
        for name, each in self.resources.items():
            # A policy that is a resource of its own is its role's.
            [owner] = each["Properties"].get("Roles", [f"<{name}>"])
            for found in _statements(each):
                yield Statement(
                    owner.strip("<>"),
                    found.get("Sid", ""),
                    found["Effect"],
                    _list(found.get("Action", [])),
                    _list(found.get("Resource", [])),
                    found,
                )

    def allows(self, role: str, action: str, resource: str, **context: str) -> bool:
        """Whether a role's own policies let it do that; `context` is what a call tells of itself.

        In its names a colon is two underscores: `s3__prefix`.
        """
        return any(
            each.owner == role
            and each.is_policy_of_a_role
            and action in each.actions
            and any(fnmatchcase(resource, pattern) for pattern in each.resources)
            and _holds(each.body.get("Condition", {}), context)
            for each in self.statements()
        )

    def _is_made(self, each: Mapping[str, Json]) -> bool:
        return "Condition" not in each or self._decide({"Condition": each["Condition"]})

    def _decide(self, condition: Json) -> bool:
        [(function, of)] = condition.items()
        match function:
            case "Condition":
                return self._decide(self.template["Conditions"][of])
            case "Fn::And":
                return all(map(self._decide, of))
            case "Fn::Not":
                return not self._decide(of[0])
            case "Fn::Equals":
                left, right = map(self._value, of)
                return bool(left == right)
        raise AssertionError(f"unknown condition {function}")

    def _value(self, node: Json) -> Json:
        if isinstance(node, list):
            return [value for value in map(self._value, node) if value is not _NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(function, of)] = node.items()
            if known := self._functions.get(function):
                return known(of)
        values = {name: self._value(each) for name, each in node.items()}
        return {name: value for name, value in values.items() if value is not _NO_VALUE}

    @property
    def _functions(self) -> dict[str, Callable[[Json], Json]]:
        return {
            "Ref": self._ref,
            "Fn::GetAtt": self._attribute,
            "Fn::If": self._if,
            "Fn::Select": lambda of: self._value(of[1])[int(of[0])],
            "Fn::Split": lambda of: self._value(of[1]).split(of[0]),
            "Fn::Sub": self._filled,
        }

    def _filled(self, of: Json) -> str:
        text, names = (of, {}) if isinstance(of, str) else of
        for name, value in names.items():
            text = text.replace(f"${{{name}}}", self._value(value))
        return re.sub(r"\$\{(!?)([\w.:]+)\}", self._sub, text)

    def _if(self, of: Json) -> Json:
        condition, yes, no = of
        return self._value(yes if self._decide({"Condition": condition}) else no)

    def _attribute(self, of: Json) -> str:
        name, attribute = of if isinstance(of, list) else of.split(".", 1)
        return self._made_name(name, f"{name}.{attribute}")

    def _ref(self, name: str) -> Json:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in self.parameters or name in PSEUDO:
            return self.parameters.get(name) or PSEUDO.get(name, "")
        # What is asked for is a database's name, and it has been given one.
        named = self.template["Resources"][name].get("Properties", {}).get("DatabaseInput", {})
        return self._value(named["Name"]) if named else self._made_name(name, name)

    def _made_name(self, name: str, text: str) -> str:
        assert name in self._made, f"{name} is referred to and not made"
        return f"<{text}>"

    def _sub(self, found: re.Match[str]) -> str:
        literal, name = found.groups()
        if literal:
            return f"${{{name}}}"
        return str(self._attribute(name) if "." in name else self._ref(name))


@cache
def template(path: Path = DATA_PLANE) -> Json:
    """A template as it is written, functions in their long form."""
    found, errors = decode_str(with_named_queries(path.read_text()))
    assert not errors
    return found


def _statements(node: Json) -> Iterator[Json]:
    if isinstance(node, list):
        for each in node:
            yield from _statements(each)
    elif isinstance(node, dict):
        yield from node.get("Statement", [])
        for each in node.values():
            yield from _statements(each)


def _list(found: Json) -> list[str]:
    return [found] if isinstance(found, str) else list(found)


def _holds(conditions: Json, context: Mapping[str, str]) -> bool:
    """Whether a call that tells this of itself meets a policy's conditions."""
    told = {name.replace("__", ":"): value for name, value in context.items()}
    for operator, of in conditions.items():
        assert operator in {"StringEquals", "StringLike"}, f"unknown operator {operator}"
        for name, patterns in of.items():
            if not any(fnmatchcase(told.get(name, ""), each) for each in _list(patterns)):
                return False
    return True
