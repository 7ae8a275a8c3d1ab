"""Who calls: the sessions of roles, and the credentials behind an access key."""

import json
import os
import secrets
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import boto3

from event_pipeline_tests.twin.hooks import replace, service

HOURS = 12
# The access key of the request that is being answered.
access_key: ContextVar[str] = ContextVar("access_key", default="test")


@dataclass(frozen=True)
class Credentials:
    """An access key with its secret, and the token of a session."""

    key: str
    secret: str
    token: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """As the AWS SDKs read them."""
        found = {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}
        return {**found, "AWS_SESSION_TOKEN": self.token} if self.token else found

    def client(self, name: str) -> Any:
        """A client of one service of this twin."""
        return boto3.client(  # type: ignore[call-overload]  # of any service
            name,
            endpoint_url=os.environ["AWS_ENDPOINT_URL"],
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            aws_session_token=self.token,
        )


def hook() -> None:
    """Gives the Lambda its role's session, not only where permissions are enforced."""
    runtime = service("core.lambda_runtime")

    def execution_credentials(config: dict[str, Any]) -> dict[str, str]:
        found = session(config["Role"], config["FunctionName"])
        return {"AWS_SESSION_TOKEN": "", **found.environment}

    replace(runtime, "execution_credentials", execution_credentials)


def session(role: str, name: str) -> Credentials:
    """A session of a role, given by name or ARN, as a service takes one that runs in its name."""
    sts = service("services.sts")
    responses = service("core.responses")
    account = role.split(":")[4] if role.startswith("arn:") else responses.get_account_id()
    short = role.rsplit("/", 1)[-1]
    made = Credentials(
        f"ASIA{secrets.token_hex(8).upper()}", secrets.token_hex(20), secrets.token_hex(32)
    )
    sts.register_session(
        made.key,
        {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{short}/{name[:64]}",
            "UserId": f"{short}:{name[:64]}",
            "SecretAccessKey": made.secret,
            "SessionToken": made.token,
            "Expiration": time.time() + HOURS * 3600,
            "AccountId": account,
            "PrincipalType": "AssumedRole",
        },
    )
    return made


def trusts(role: str, principal: str) -> bool:
    """Whether a service such as glue.amazonaws.com may take a role."""
    found = service("services.iam")._roles.get(role.rsplit("/", 1)[-1])
    if found is None:
        return False
    document = found["AssumeRolePolicyDocument"]
    trust = json.loads(document) if isinstance(document, str) else document
    statements = trust["Statement"]
    for statement in statements if isinstance(statements, list) else [statements]:
        names = statement.get("Principal", {}).get("Service", [])
        if principal in ([names] if isinstance(names, str) else names):
            return True
    return False


def credentials(key: str) -> Credentials:
    """The credentials with this access key; where nothing is enforced, any key is one."""
    found = service("core.iam_evaluator").resolve_credential(key)
    secret = getattr(found, "secret_access_key", None)
    if secret is None:
        return Credentials(key, "test")
    return Credentials(key, secret, found.session_token)


def principal(key: str) -> str:
    """ARN of who has this access key: a role without its session's name, a user or the root.

    A call that is not signed is nobody's.
    """
    if not key:
        return "nobody"
    found = service("core.iam_evaluator").resolve_credential(key)
    arn = str(getattr(found, "principal_arn", f"unknown/{key}"))
    head, assumed, rest = arn.partition(":assumed-role/")
    if not assumed:
        return arn
    return f"{head.replace(':sts:', ':iam:')}:role/{rest.split('/')[0]}"
