"""What a person is told when AWS refuses, or cannot be asked."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import botocore.credentials
import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoRegionError,
    ParamValidationError,
    SSLError,
)
from botocore.utils import JSONFileCache
from obstore.exceptions import BaseError
from typer.testing import CliRunner

from event_pipeline import aws
from event_pipeline.aws import error_message
from event_pipeline.cli import app
from event_pipeline.errors import UsageError
from event_pipeline.settings import OF_AWS, PREFIX
from event_pipeline_tests.twin.graph import environment


def refusal(code: str, message: str, operation: str = "GetTable") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


DENIED = refusal("AccessDenied", "not you")
# What obstore raises is a text, S3's XML in it.
S3_SAYS = """Generic S3 error: Error performing GET http://aws: 403 Forbidden:
<?xml version="1.0"?>
<Error><Code>{}</Code><Message>{}</Message></Error>

Debug source: ..."""


def hidden(cause: Exception) -> Exception:
    """What a package raises that calls AWS for us."""
    try:
        raise RuntimeError("failed") from cause
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DENIED, "GetTable: AccessDenied: not you"),
        (hidden(DENIED), "GetTable: AccessDenied: not you"),
        (refusal("ExpiredToken", "-"), "the AWS credentials have expired: sign in again"),
        (BaseError(S3_SAYS.format("ExpiredToken", "-")), "the AWS credentials have expired"),
        (BaseError(S3_SAYS.format("AccessDenied", "not you")), "S3: AccessDenied: not you"),
        (BaseError("Generic S3 error: no route\n\nDebug source"), "Generic S3 error: no route"),
        (OSError("AWS Error ACCESS_DENIED during HeadObject"), "AWS Error ACCESS_DENIED"),
        (
            refusal("AccessDenied", "not you", "AssumeRole"),
            "AssumeRole: AccessDenied: not you: check the role, its trust policy",
        ),
        (
            refusal("ExpiredTokenException", "old", "AssumeRoleWithWebIdentity"),
            "AssumeRoleWithWebIdentity: ExpiredTokenException: old: check the role",
        ),
        (
            refusal("InvalidClientTokenId", "The token is invalid."),
            "GetTable: InvalidClientTokenId: The token is invalid: the credentials are invalid",
        ),
        (
            refusal("RequestTimeTooSkewed", "too far"),
            "GetTable: RequestTimeTooSkewed: too far: set this machine's clock, which says 20",
        ),
        (
            refusal("SignatureDoesNotMatch", "Signature expired: 1 is now earlier than 2"),
            "GetTable: SignatureDoesNotMatch: Signature expired: 1 is now earlier than 2: set this",
        ),
        (
            RuntimeError(
                "Credentials were refreshed, but the refreshed credentials are still expired."
            ),
            "Credentials were refreshed, but the refreshed credentials are still expired. Check",
        ),
        (NoRegionError(), "no region is set: set AWS_REGION"),
        (EndpointConnectionError(endpoint_url="http://aws"), "Could not connect to the endpoint"),
        (
            SSLError(endpoint_url="http://aws", error=ValueError("bad")),
            "SSL validation failed for http://aws bad",
        ),
        (
            ParamValidationError(report="Invalid bucket"),
            "Parameter validation failed: Invalid bucket",
        ),
    ],
)
def test_what_aws_says_is_a_line(error: Exception, said: str) -> None:
    found = error_message(error)
    assert found is not None
    assert found.startswith(said)
    assert len(found.splitlines()) == 1


def test_other_errors_are_not_aws_s() -> None:
    assert error_message(hidden(ValueError("bug"))) is None


WRONG = "the AWS configuration cannot be used: "
KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "eu-west-1",
}
SSO_PROFILE = """[profile mine]
sso_start_url = https://sign-in.example
sso_region = eu-west-1
sso_account_id = 000000000000
sso_role_name = reader
"""


@contextmanager
def machine(home: Path, config: str, values: dict[str, str]) -> Iterator[None]:
    """This process as if on a machine with such a configuration, which reaches nothing."""
    (home / "config").write_bytes(config.encode(errors="surrogatepass"))
    nowhere = {
        "AWS_CONFIG_FILE": str(home / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }
    with environment({**nowhere, **values}):
        yield


@pytest.mark.parametrize(
    ("config", "values", "said"),
    [
        ("", {"AWS_PROFILE": "nope"}, "The config profile (nope) could not be found: set AWS_PROF"),
        ("no section\n", {}, "Unable to parse config file: {home}/config: fix that file"),
        ("\xe9 \ud800", {}, "Unable to parse config file: {home}/config: fix that file"),
        ("[profile mine]\nrole_arn = r\nsource_profile = other\n", {}, "The source_profile "),
        ("[profile mine]\nrole_arn = r\nsource_profile = mine\n", {}, "Infinite loop in cred"),
        ("[profile mine]\nrole_arn = r\n", {}, "Partial credentials found in assume-role"),
        (SSO_PROFILE, {}, "Error loading SSO Token: "),
        (
            "[profile mine]\nsso_session = ours\nsso_account_id = 0\nsso_role_name = r\n",
            {},
            "The sp",
        ),
        (
            "[profile mine]\ncredential_process = {home}/none\n",
            {},
            f"{WRONG}[Errno 2] No such file",
        ),
        ("[profile mine]\ncredential_process = echo hello\n", {}, f"{WRONG}its credential_process"),
        ("[profile mine]\ncredential_process = false\n", {}, "Error when retrieving credentials"),
        ("[profile mine]\nlogin_session = me\n", {}, "Missing Dependency: Using the login"),
        ("", {"AWS_WEB_IDENTITY_TOKEN_FILE": "none", "AWS_ROLE_ARN": "r"}, f"{WRONG}[Errno 2] No"),
        ("", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://aws/"}, f"{WRONG}Unsupported host"),
        ("", {**KEYS, "AWS_ENDPOINT_URL": "aws"}, f"{WRONG}Invalid endpoint: aws"),
        ("", {**KEYS, "AWS_REGION": "eu west"}, "Provided region_name 'eu west' doesn't match"),
        ("", {**KEYS, "AWS_CA_BUNDLE": "none"}, f"{WRONG}[Errno 2] No such file or directory: 'no"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_a_line(
    config: str, values: dict[str, str], said: str, tmp_path: Path
) -> None:
    region = {"AWS_DEFAULT_REGION": "eu-west-1"}
    profile = {"AWS_PROFILE": "mine"} if "mine" in config else {}
    with machine(
        tmp_path, config.replace("{home}", str(tmp_path)), {**region, **profile, **values}
    ):
        with pytest.raises((BotoCoreError, UsageError, OSError)) as caught:
            aws.object_store("lake")
        found = str(caught.value) if caught.type is UsageError else error_message(caught.value)
    assert found is not None
    assert found.startswith(said.replace("{home}", str(tmp_path)))
    assert len(found.splitlines()) == 1


@pytest.mark.parametrize(
    ("config", "values", "endpoint"),
    [
        ("", {}, "https://s3.eu-west-1.amazonaws.com"),
        ("", {"AWS_REGION": "cn-north-1"}, "https://s3.cn-north-1.amazonaws.com.cn"),
        ("", {"AWS_ENDPOINT_URL": "http://all:1"}, "http://all:1"),
        (
            "",
            {"AWS_ENDPOINT_URL": "http://all:1", "AWS_ENDPOINT_URL_S3": "http://s3:1"},
            "http://s3:1",
        ),
        ("", {"AWS_ENDPOINT_URL_GLUE": "http://glue:1"}, "https://s3.eu-west-1.amazonaws.com"),
        (
            "[default]\nservices = near\n[services near]\ns3 =\n  endpoint_url = http://near:1\n",
            {},
            "http://near:1",
        ),
        (
            "[default]\nregion = us-east-2\nuse_fips_endpoint = true\n",
            {},
            "https://s3-fips.us-east-2.amazonaws.com",
        ),
    ],
)
def test_obstore_and_pyarrow_go_where_boto3_goes(
    config: str,
    values: dict[str, str],
    endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: dict[str, str] = {}
    monkeypatch.setattr("pyarrow.fs.S3FileSystem", lambda **options: given.update(options))
    keys = {name: value for name, value in KEYS.items() if "region" not in config or "KEY" in name}
    with machine(tmp_path, config, {"AWS_ENDPOINT_URL": "", **keys, **values}):
        assert aws.object_store("lake").config["endpoint"] == endpoint
        aws.filesystem()
    assert given["endpoint_override"] == endpoint


def test_who_has_signed_in_again_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sso, refreshed = botocore.credentials.SSOProvider, botocore.credentials.SSOCredentialFetcher
    monkeypatch.setattr(sso, "_SSO_TOKEN_CACHE_DIR", str(tmp_path))
    tokens = JSONFileCache(str(tmp_path))
    key = hashlib.sha1(b"https://sign-in.example").hexdigest()
    tokens[key] = {"accessToken": "t", "expiresAt": "2020-01-01T00:00:00Z"}
    with machine(tmp_path, SSO_PROFILE, {"AWS_PROFILE": "mine", "AWS_REGION": "eu-west-1"}):
        with pytest.raises(BotoCoreError) as caught:
            aws.session()
        found = error_message(caught.value) or ""
        assert "expired" in found
        assert found.endswith("(sign in again: aws sso login --profile mine)")
        later = f"{datetime.now(UTC).year + 1}-01-01T00:00:00Z"
        given = {"AccessKeyId": "k", "SecretAccessKey": "s", "SessionToken": "t"}
        monkeypatch.setattr(
            refreshed, "_get_credentials", lambda _: {"Credentials": {**given, "Expiration": later}}
        )
        assert aws.credentials().access_key == "k"


@pytest.mark.parametrize(
    "command", ["status", "ledger", "query daily_user_activity", "sync", "sample-drop 2026-01-02"]
)
@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("AWS_SECRET_ACCESS_KEY", "event-pipeline: Partial credentials found in env"),
        ("AWS_ACCESS_KEY_ID", "event-pipeline: Unable to locate credentials"),
        ("AWS_DEFAULT_REGION", "event-pipeline: no region is set"),
    ],
)
def test_a_command_that_cannot_ask_aws_says_what_to_do(
    command: str, missing: str, said: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    values = {
        **KEYS,
        f"{PREFIX}HOME": str(home),
        f"{PREFIX}TARGET": "aws",
        **{PREFIX + name.upper(): "x" for name in OF_AWS},
    }
    del values[missing]
    with machine(home, "", values):
        result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(said)
    assert len(result.stderr.splitlines()) == 1
