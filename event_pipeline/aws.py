"""Clients of AWS, made when they are used, all with the same patience.

Region, credentials and endpoint are boto3's: its environment variables, profiles and roles.
"""

import os
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from event_pipeline.errors import first_line

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

# Throttled calls slow this process down instead of failing a run.
RETRIES = {"mode": "adaptive", "max_attempts": 10}
# How services say that credentials were good once.
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")


@cache
def client(service: str, read_timeout: int = 60) -> Any:
    """The process's boto3 client of a service; `read_timeout` in seconds."""
    import boto3
    from botocore.config import Config

    config = Config(retries=RETRIES, read_timeout=read_timeout, tcp_keepalive=True)
    return boto3.client(service, config=config)


def once(service: str, read_timeout: int) -> Any:
    """A client that makes each call once, for calls that must not be repeated unseen."""
    import boto3
    from botocore.config import Config

    never = {"mode": "standard", "total_max_attempts": 1}
    return boto3.client(service, config=Config(retries=never, read_timeout=read_timeout))


def connection_errors() -> tuple[type[Exception], ...]:
    """What is raised where no answer came, so that nobody knows what became of the call."""
    from botocore.exceptions import ConnectionError, HTTPClientError

    return ConnectionError, HTTPClientError


def status(error: Any) -> int:
    """The HTTP status of a ClientError."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def complaint(error: BaseException) -> str | None:
    """What AWS says against a call, or why it cannot be asked, in a line; None of other errors.

    The packages that call AWS for us hide it: it may be the cause of what they raise.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        NoRegionError,
        PartialCredentialsError,
    )
    from obstore.exceptions import BaseError

    for each in _causes(error):
        match each:
            case NoRegionError():
                return "no region is set: set AWS_REGION, as AWS_REGION=eu-west-1"
            case NoCredentialsError() | PartialCredentialsError():
                return f"{each}: set AWS_PROFILE, or sign in with aws sso login or aws configure"
            case ClientError(response={"Error": {"Code": code, "Message": message}}):
                if code in EXPIRED:
                    return (
                        "the AWS credentials have expired: sign in again and give the same command"
                        " once more; what it has begun goes on meanwhile"
                    )
                return f"{each.operation_name}: {code}: {message}"
            case BotoCoreError() | BaseError():
                return first_line(each)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def log_end(group: str, stream: str, lines: int) -> list[str]:
    """The last lines of a log's stream in CloudWatch; none if there is no such stream."""
    logs, page = client("logs"), {"startFromHead": False}
    while True:
        try:
            answer = logs.get_log_events(
                logGroupName=group, logStreamName=stream, limit=lines, **page
            )
        except logs.exceptions.ResourceNotFoundException:
            return []
        # A page may be empty and not the last.
        if answer["events"] or answer["nextBackwardToken"] == page.get("nextToken"):
            return [event["message"].rstrip("\n") for event in answer["events"]]
        page["nextToken"] = answer["nextBackwardToken"]


def in_s3(root: str) -> bool:
    """Whether a lake's root is a bucket, s3://bucket, and no folder."""
    return root.startswith("s3://")


def keys(bucket: str, prefix: str) -> list[str]:
    """The keys of a bucket's objects under a prefix, sorted."""
    pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def object_store(bucket: str) -> "S3Store":
    """A bucket by obstore, with boto3's credentials."""
    import boto3
    from botocore.exceptions import NoCredentialsError, NoRegionError
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store

    session, endpoint = boto3.Session(), s3_endpoint()
    if session.get_credentials() is None:
        raise NoCredentialsError
    if session.region_name is None:
        raise NoRegionError
    config: S3Config = {"region": session.region_name}
    if endpoint:
        config["endpoint"] = endpoint
    return S3Store(
        bucket,
        config=config,
        credential_provider=Boto3CredentialProvider(session),
        client_options={"allow_http": (endpoint or "").startswith("http:")},
    )


def s3_endpoint() -> str | None:
    """Another endpoint than AWS's own, if the environment names one."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
