"""Clients of AWS, made when they are used, all with the same patience.

Region, credentials and endpoint are boto3's: its environment variables, profiles and roles.
"""

import os
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

# Throttled calls slow this process down instead of failing a run.
RETRIES = {"mode": "adaptive", "max_attempts": 10}


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


def keys(bucket: str, prefix: str) -> list[str]:
    """The keys of a bucket's objects under a prefix, sorted."""
    pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def object_store(bucket: str) -> "S3Store":
    """A bucket by obstore, with boto3's credentials."""
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import S3Store

    endpoint = s3_endpoint()
    config: S3Config = {"region": boto3.Session().region_name or ""}
    if endpoint:
        config["endpoint"] = endpoint
    return S3Store(
        bucket,
        config=config,
        credential_provider=Boto3CredentialProvider(),
        client_options={"allow_http": (endpoint or "").startswith("http:")},
    )


def s3_endpoint() -> str | None:
    """Another endpoint than AWS's own, if the environment names one."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
