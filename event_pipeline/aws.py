"""Access to AWS: one boto3 session, whose region, credentials and endpoints all clients use.

Credentials are whatever that session finds (keys in the environment, profiles, roles, SSO, web
identity, containers, instances, a credential process), and are renewed before they end. PyArrow
and obstore get them from the session at each use, because they find fewer kinds by themselves.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from event_pipeline.errors import UsageError, first_line

if TYPE_CHECKING:
    from botocore.config import _RetryDict
    from obstore.store import ClientConfig, S3Credential, S3Store

# Throttled calls slow this process down instead of failing a run.
RETRIES: "_RetryDict" = {"mode": "adaptive", "max_attempts": 10}
# The codes by which services say that credentials have expired, are unknown, or that clocks differ.
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
UNKNOWN = (
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
)
SKEWED = ("RequestTimeTooSkewed", "RequestInTheFuture")
# Advice on botocore's errors, by the names of their classes.
ADVICE = {
    "NoCredentialsError": ": set AWS_PROFILE, or sign in with aws sso login or aws configure",
    "PartialCredentialsError": ": set AWS_PROFILE, or sign in with aws sso login or aws configure",
    "ProfileNotFound": ": set AWS_PROFILE to one that aws configure list-profiles names",
    "ConfigParseError": ": fix that file",
    "SSOError": " (sign in again: aws sso login{option})",
    "TokenRetrievalError": " (sign in again: aws sso login{option})",
    "EndpointConnectionError": ": check the region and the network connection",
    "ConnectTimeoutError": ": check the region and the network connection",
    "SSLError": ": set AWS_CA_BUNDLE to the file of certificates to trust",
}
# obstore is told that credentials live for this long. It asks for new ones five minutes before they
# end, and so at each call; boto3 alone decides when they are renewed.
CREDENTIALS_LIFETIME = timedelta(minutes=1)

# Only one thread at a time may make boto3's sessions and clients.
_lock = RLock()


def session() -> Any:
    """The process's boto3 session: it finds credentials once, and renews them for all clients.

    Raises botocore's NoRegionError or NoCredentialsError if it finds none, and UsageError if the
    configuration cannot be used.
    """
    with _lock:
        return _session()


def client(service: str, read_timeout: int = 60) -> Any:
    """The process's boto3 client of a service; `read_timeout` in seconds."""
    with _lock:
        return _client(service, read_timeout)


def client_without_retries(service: str, read_timeout: int) -> Any:
    """A client that never retries, for calls that must not be repeated unnoticed.

    `read_timeout` is in seconds.
    """
    never = {"mode": "standard", "total_max_attempts": 1}
    return _new_client(service, retries=never, read_timeout=read_timeout)


def clear_caches() -> None:
    """Drops all that is cached, so that the next call finds everything anew."""
    for found in (_session, _client, _filesystem):
        found.cache_clear()


@cache
def _session() -> Any:
    import boto3
    from botocore.exceptions import NoCredentialsError, NoRegionError

    with _configuration_errors():
        # AWS's other tools read AWS_REGION by themselves; boto3 does not.
        found = boto3.Session(region_name=os.environ.get("AWS_REGION") or None)
        if found.region_name is None:
            raise NoRegionError
        resolved = found.get_credentials()
        if resolved is None:
            raise NoCredentialsError
        # Asks for a role's credentials now, so that a refusal is raised here.
        resolved.get_frozen_credentials()
    return found


@cache
def _client(service: str, read_timeout: int) -> Any:
    return _new_client(service, retries=RETRIES, read_timeout=read_timeout, tcp_keepalive=True)


def _new_client(service: str, **options: Any) -> Any:
    from botocore.config import Config

    with _lock, _configuration_errors():
        return session().client(service, config=Config(**options))


@contextmanager
def _configuration_errors() -> Iterator[None]:
    """Raises UsageError for the errors of Python that a wrong configuration causes in botocore.

    Examples are a token's file that is missing, a credential process that is missing or prints
    something else than JSON, and an endpoint that is not a URL.
    """
    from botocore.exceptions import BotoCoreError

    try:
        yield
    except (BotoCoreError, UsageError):
        raise
    except (OSError, ValueError) as error:
        junk = isinstance(error, json.JSONDecodeError)
        text = "its credential_process does not print JSON" if junk else first_line(error)
        raise UsageError(f"the AWS configuration cannot be used: {text}") from error


def credentials() -> Any:
    """The current credentials, which boto3 renews first if they end soon.

    They have `access_key`, `secret_key` and `token`.
    """
    with _configuration_errors():
        return session().get_credentials().get_frozen_credentials()


def connection_errors() -> tuple[type[Exception], ...]:
    """The exceptions that are raised if no answer came, so that the call's outcome is unknown."""
    from botocore.exceptions import ConnectionError, HTTPClientError

    return ConnectionError, HTTPClientError


def http_status(error: Any) -> int:
    """The HTTP status of a ClientError."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def error_message(error: BaseException) -> str | None:
    """One-line message for an AWS error; None if AWS did not cause it.

    The packages that call AWS for us hide its error, so the causes of an error are looked at too.
    """
    return next(filter(None, map(_message_of, _causes(error))), None)


def _message_of(error: BaseException) -> str | None:
    from botocore.exceptions import BotoCoreError, ClientError, NoRegionError
    from obstore.exceptions import BaseError

    match error:
        case ClientError(response={"Error": {"Code": code, "Message": message}}):
            text = _service_message(error.operation_name, code, message)
        case NoRegionError():
            text = "no region is set: set AWS_REGION, for example AWS_REGION=eu-west-1"
        case BotoCoreError():
            text = f"{_one_line(error)}{_advice(error)}"
        case BaseError():
            text = _obstore_message(error)
        case OSError() if "AWS Error" in str(error):  # PyArrow's
            text = first_line(error)
        case RuntimeError() if "refreshed credentials are still expired" in str(error):
            text = f"{error} Check this machine's clock, which says {_now()}"
        case _:
            return None
    return text


def _obstore_message(error: BaseException) -> str:
    """The message in an error of obstore: what S3 answered, or why there are no credentials.

    obstore's error is only a text, which holds S3's answer in XML.
    """
    if "credential provider" in str(error):
        try:
            credentials()
        except Exception as again:
            return error_message(again) or first_line(again)
    text = re.search(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", str(error), re.DOTALL)
    return _service_message("S3", *text.groups()) if text else first_line(error)


def _advice(error: BaseException) -> str:
    """What can be done about an error that botocore raised by itself."""
    kinds = (kind.__name__ for kind in type(error).__mro__)
    advice = next((ADVICE[kind] for kind in kinds if kind in ADVICE), "")
    name = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    return advice.format(option=f" --profile {name}" if name else "")


def _service_message(operation: str, code: str, message: str) -> str:
    """What a service said, and what can be done about it."""
    text = f"{operation}: {code}: {' '.join(message.split()).rstrip('.')}"
    if code in SKEWED or "Signature expired" in message or "not yet current" in message:
        return f"{text}: set this machine's clock, which says {_now()}"
    if operation.startswith("AssumeRole"):
        return f"{text}: check the role, its trust policy, and the rights of AWS_PROFILE"
    if code in EXPIRED:
        return (
            "the AWS credentials have expired: sign in again and repeat the"
            " command; what it started continues"
        )
    if code in UNKNOWN:
        return f"{text}: the credentials are invalid or expired: check AWS_PROFILE, or sign in"
    return text


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


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
        # A page may be empty although it is not the last.
        if answer["events"] or answer["nextBackwardToken"] == page.get("nextToken"):
            return [event["message"].rstrip("\n") for event in answer["events"]]
        page["nextToken"] = answer["nextBackwardToken"]


def in_s3(root: str) -> bool:
    """Whether a lake's root is in a bucket (s3://...) and not a folder."""
    return root.startswith("s3://")


def keys(bucket: str, prefix: str) -> list[str]:
    """The keys of a bucket's objects under a prefix, sorted."""
    pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def object_store(bucket: str) -> "S3Store":
    """An obstore store for a bucket."""
    from obstore.store import S3Store

    s3 = client("s3")
    endpoint = s3.meta.endpoint_url
    options: ClientConfig = {"allow_http": endpoint.startswith("http:")}
    if proxy := _proxy(endpoint):
        options["proxy_url"] = proxy
    if bundle := _ca_bundle():
        with _configuration_errors():
            options["root_certificate"] = Path(bundle).read_bytes()
    return S3Store(
        bucket,
        config={"region": s3.meta.region_name, "endpoint": endpoint},
        credential_provider=_short_lived_credentials,
        client_options=options,
    )


def _short_lived_credentials() -> "S3Credential":
    found = credentials()
    return {
        "access_key_id": found.access_key,
        "secret_access_key": found.secret_key,
        "token": found.token,
        "expires_at": datetime.now(UTC) + CREDENTIALS_LIFETIME,
    }


def filesystem() -> Any:
    """PyArrow's S3 filesystem. It keeps the current credentials, so ask for it at each use."""
    return _filesystem(credentials())


@lru_cache(maxsize=1)
def _filesystem(found: Any) -> Any:
    from pyarrow.fs import S3FileSystem

    s3 = client("s3")
    endpoint = s3.meta.endpoint_url
    options = {"proxy_options": _proxy(endpoint), "tls_ca_file_path": _ca_bundle()}
    return S3FileSystem(
        access_key=found.access_key,
        secret_key=found.secret_key,
        session_token=found.token,
        region=s3.meta.region_name,
        endpoint_override=endpoint,
        # A small file is then one request. It would be three, those of an upload in parts.
        allow_delayed_open=True,
        **{name: value for name, value in options.items() if value},
    )


def _proxy(url: str) -> str | None:
    """The proxy through which boto3 reaches a URL; None if it needs none."""
    from botocore.httpsession import ProxyConfiguration
    from botocore.utils import get_environ_proxies

    found: str | None = ProxyConfiguration(get_environ_proxies(url)).proxy_url_for(url)
    return found


def _ca_bundle() -> str | None:
    """The file of certificates that boto3 trusts, if it is not boto3's own; else None."""
    configured: str | None = session()._session.get_config_variable("ca_bundle")
    return configured or os.environ.get("REQUESTS_CA_BUNDLE")
