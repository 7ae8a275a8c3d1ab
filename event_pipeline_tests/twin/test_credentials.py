"""Credentials of every kind reach every client of AWS, and are renewed before they end.

The twin enforces policies: it refuses what is not signed, or not with a key of a session that
lasts. What hands out credentials beside STS (SSO's portal, the agents of containers and instances,
a program) has a stand-in here, whose credentials are the twin's.
"""

import hashlib
import json
import sys
from base64 import urlsafe_b64encode as b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import botocore.credentials
import botocore.tokens
import pytest
from botocore.exceptions import ClientError
from botocore.loaders import JSONFileLoader
from botocore.utils import JSONFileCache
from pyarrow.fs import S3FileSystem

from event_pipeline import aws
from event_pipeline.bronze import object_key
from event_pipeline.contracts import EVENTS
from event_pipeline.engines.athena import AthenaQuerier
from event_pipeline.lake.objects import Objects
from event_pipeline.lake.tables import Lake
from event_pipeline.partitions import HOURLY
from event_pipeline_tests.conftest import receipt
from event_pipeline_tests.twin import wires
from event_pipeline_tests.twin.conftest import LAKE, RESULTS, allow
from event_pipeline_tests.twin.emulator import REGION
from event_pipeline_tests.twin.graph import environment
from event_pipeline_tests.twin.server import Call, Twin

Json = dict[str, Any]

HOUR = "2026-01-01-10:00"
KEY = object_key(HOURLY.start(HOUR))
ACCOUNT = "000000000000"
TOKEN = "a-token"
START_URL = "https://sign-in.example/start"
LONG_AGO = "2020-01-01T00:00:00Z"


def in_an_hour() -> str:
    """When credentials end that are given out now."""
    return f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"


def policy(*statements: Json) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


ALL = policy(allow("*", "*"))


@dataclass(frozen=True)
class Account:
    """The twin's: a user with keys, and a role for each kind of credentials, who may do all."""

    twin: Twin

    def keys(self) -> str:
        """Keys of the user `person`, as a profile's lines."""
        made = self.twin.client("iam").create_access_key(UserName="person")["AccessKey"]
        key, secret = made["AccessKeyId"], made["SecretAccessKey"]
        return f"aws_access_key_id = {key}\naws_secret_access_key = {secret}\n"

    def role(self, name: str) -> str:
        """ARN of a role, which anybody of the account and of Google's may take."""
        trust = [
            {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"},
            {
                "Effect": "Allow",
                "Principal": {"Federated": "accounts.google.com"},
                "Action": "sts:AssumeRoleWithWebIdentity",
            },
        ]
        iam = self.twin.client("iam")
        with suppress(iam.exceptions.EntityAlreadyExistsException):
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(*trust))
        iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=ALL)
        return f"arn:aws:iam::{ACCOUNT}:role/{name}"

    def session(self, role: str) -> Json:
        """New credentials of a role, as agents and programs tell them."""
        made = self.twin.acting_as(f"arn:aws:iam::{ACCOUNT}:role/{role}")
        return {
            "Code": "Success",
            "Version": 1,
            "AccessKeyId": made["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": made["AWS_SECRET_ACCESS_KEY"],
            "SessionToken": made["AWS_SESSION_TOKEN"],
            "Token": made["AWS_SESSION_TOKEN"],
            "Expiration": in_an_hour(),
        }

    def end(self, key: str) -> None:
        """Ends a session: what a reader needs is refused to its access key."""
        expired = {"code": "ExpiredToken", "status": 400, "key": key, "times": 1000}
        actions = ("s3:ListBucket", "s3:GetObject", "glue:GetTable")
        self.twin.order(faults=[{"action": action, **expired} for action in actions])


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    """That of a twin that enforces policies, with an object in Bronze and a database."""
    with Twin(auth=True) as twin:
        for bucket in (LAKE, RESULTS):
            twin.client("s3").create_bucket(Bucket=bucket)
        twin.client("s3").put_object(Bucket=LAKE, Key=KEY, Body=b"{}\n")
        twin.client("glue").create_database(DatabaseInput={"Name": "shop_silver"})
        location = {"ResultConfiguration": {"OutputLocation": f"s3://{RESULTS}/"}}
        twin.client("athena").create_work_group(Name="shop", Configuration=location)
        iam = twin.client("iam")
        iam.create_user(UserName="person")
        iam.put_user_policy(UserName="person", PolicyName="all", PolicyDocument=ALL)
        with environment(twin.environment):
            Work(Account(twin)).lake.table(EVENTS)
        yield Account(twin)


@pytest.fixture(scope="module", autouse=True)
def _models_are_read_once() -> Iterator[None]:
    """As each test has a session of its own, boto3 would read its models of services in each."""
    read = JSONFileLoader.load_file
    once = cache(lambda path: read(JSONFileLoader(), path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: once(path))
        yield


class Portal(BaseHTTPRequestHandler):
    """SSO's portal, and the agents that containers and instances ask."""

    account: Account

    def do_PUT(self) -> None:
        self._answer(TOKEN.encode())

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["refreshToken"] == "refreshes"
        self._answer({"accessToken": TOKEN, "expiresIn": 3600})

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        token, role = {
            "/federation/credentials": ("x-amz-sso_bearer_token", None),
            "/container": ("Authorization", "task"),
            "/process": ("", "process"),
            AGENT: ("x-aws-ec2-metadata-token", ""),
            f"{AGENT}instance": ("x-aws-ec2-metadata-token", "instance"),
        }[path]
        assert not token or self.headers[token] == TOKEN
        if role == "":
            self._answer(b"instance")
            return
        found = self.account.session(role or parse_qs(query)["role_name"][0])
        if role is None:
            names = ("accessKeyId", "secretAccessKey", "sessionToken")
            told = {name: found[name[0].upper() + name[1:]] for name in names}
            ends = datetime.fromisoformat(in_an_hour()).timestamp() * 1000
            found = {"roleCredentials": {**told, "expiration": int(ends)}}
        self._answer(found)

    def _answer(self, body: bytes | Json) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "60")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None: ...


AGENT = "/latest/meta-data/iam/security-credentials/"


@pytest.fixture(scope="module")
def portal(account: Account) -> Iterator[str]:
    """Address of the stand-ins."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("", (Portal,), {"account": account}))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@dataclass
class Place:
    """A machine: what it reaches, its folder, and the variables that are set there."""

    account: Account
    portal: str
    home: Path
    patch: pytest.MonkeyPatch
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.variables |= {
            "AWS_ENDPOINT_URL": self.account.twin.endpoint,
            "AWS_CONFIG_FILE": str(self.home / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.home / "credentials"),
        }

    def profile(self, lines: str, more: str = "") -> None:
        """Writes a profile `mine` with its region, and uses it."""
        text = f"[profile mine]\nregion = {REGION}\n{lines}\n{more}\n"
        (self.home / "config").write_text(text)
        self.variables["AWS_PROFILE"] = "mine"

    def credentials(self, profile: str) -> None:
        """Writes keys of `person` for a profile."""
        (self.home / "credentials").write_text(f"[{profile}]\n{self.account.keys()}")

    def sign_in(self, name: str, **token: str) -> None:
        """Has SSO's token of a start URL or session, as `aws sso login` leaves it."""
        for cls in (botocore.credentials.SSOProvider, botocore.tokens.SSOTokenProvider):
            self.patch.setattr(cls, "_SSO_TOKEN_CACHE_DIR", str(self.home / "sso"))
        file = hashlib.sha1(name.encode()).hexdigest()
        found = {"accessToken": TOKEN, "expiresAt": in_an_hour(), "startUrl": START_URL, **token}
        JSONFileCache(str(self.home / "sso"))[file] = found


def in_the_environment(place: Place) -> str:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    lines = place.account.keys().splitlines()
    place.variables |= dict(zip(names, (line.split(" = ")[1] for line in lines), strict=True))
    place.variables["AWS_REGION"] = REGION
    return "user/person"


def in_a_profile(place: Place) -> str:
    """With the endpoint in the profile, too."""
    place.profile(f"endpoint_url = {place.variables.pop('AWS_ENDPOINT_URL')}")
    place.credentials("mine")
    return "user/person"


def role_and_source_profile(place: Place) -> str:
    place.profile(f"role_arn = {place.account.role('chained')}\nsource_profile = base")
    place.credentials("base")
    return "role/chained"


def role_and_credential_source(place: Place) -> str:
    container(place)
    place.profile(f"role_arn = {place.account.role('sourced')}\ncredential_source = EcsContainer")
    return "role/sourced"


SSO = f"sso_start_url = {START_URL}\nsso_region = {REGION}\n"


def sso(place: Place) -> str:
    place.account.role("sso")
    place.profile(f"sso_account_id = {ACCOUNT}\nsso_role_name = sso\n{SSO}")
    place.sign_in(START_URL)
    place.variables["AWS_ENDPOINT_URL_SSO"] = place.portal
    return "role/sso"


def sso_session(place: Place) -> str:
    """Whose token has ended, and is renewed, too."""
    place.account.role("renewed")
    lines = f"sso_session = ours\nsso_account_id = {ACCOUNT}\nsso_role_name = renewed"
    place.profile(lines, f"[sso-session ours]\n{SSO}")
    client = {"clientId": "c", "clientSecret": "s", "registrationExpiresAt": in_an_hour()}
    place.sign_in("ours", expiresAt=LONG_AGO, refreshToken="refreshes", **client)
    place.variables["AWS_ENDPOINT_URL_SSO"] = place.portal
    place.variables["AWS_ENDPOINT_URL_SSO_OIDC"] = place.portal
    return "role/renewed"


def web_identity(place: Place) -> str:
    claims = b64encode(json.dumps({"iss": "https://accounts.google.com"}).encode()).decode()
    (place.home / "token").write_text(f"e30.{claims.rstrip('=')}.e30")
    place.variables |= {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(place.home / "token"),
        "AWS_ROLE_ARN": place.account.role("web"),
        "AWS_REGION": REGION,
    }
    return "role/web"


def container(place: Place) -> str:
    place.account.role("task")
    place.variables |= {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{place.portal}/container",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": TOKEN,
        "AWS_REGION": REGION,
    }
    return "role/task"


def instance(place: Place) -> str:
    place.account.role("instance")
    place.variables |= {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": place.portal,
        "AWS_REGION": REGION,
    }
    return "role/instance"


def process(place: Place) -> str:
    place.account.role("process")
    program = place.home / "program.py"
    program.write_text(
        "from urllib.request import urlopen\n"
        f"print(urlopen({place.portal + '/process'!r}).read().decode())\n"
    )
    place.profile(f"credential_process = {sys.executable} {program}")
    return "role/process"


@pytest.fixture
def place(account: Account, portal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A machine that knows nothing of AWS yet."""
    return Place(account, portal, tmp_path, monkeypatch)


@dataclass
class Work:
    """What the pipeline does in AWS, by each of its clients, with the calls that it makes."""

    account: Account
    objects: Objects = field(default_factory=lambda: Objects(root=f"s3://{LAKE}"))
    lake: Lake = field(default_factory=lambda: Lake(root=f"s3://{LAKE}", database_prefix="shop"))
    calls: list[Call] = field(default_factory=list)

    def publish(self) -> None:
        """Lists Bronze, and publishes a partition."""
        with self._recorded():
            self.list()
            prefix = self.lake.new_prefix(EVENTS, HOUR, "digest")
            columns = [(column.name, column.type) for column in EVENTS.columns]
            file = self.lake.write_no_rows(columns, prefix)
            self.lake.publish(EVENTS, HOUR, [file], receipt(prefix))
            told = self.lake.receipt(EVENTS, self.lake.live(EVENTS)[HOUR])
            assert told
            assert told.digest == prefix

    def list(self) -> None:
        """Lists Bronze, which is obstore's."""
        assert [item.key for item in self.objects.partition(EVENTS, HOUR).objects] == [KEY]

    def count(self) -> None:
        """Reads a file of a table, which is PyArrow's."""
        file = self.lake.write_no_rows([("n", "long")], f"s3://{LAKE}/gold")
        assert self.lake.count([file]) == 0

    def databases(self) -> None:
        """Lists the databases, which is boto3's."""
        [found] = aws.client("glue").get_databases()["DatabaseList"]
        assert found["Name"] == "shop_silver"

    def read(self) -> None:
        """Lists Bronze, and reads the table."""
        with self._recorded():
            self.list()
            assert self.lake.read(EVENTS, self.lake.live(EVENTS)[HOUR].paths).num_rows == 0

    def query(self) -> None:
        """Asks Athena."""
        querier = AthenaQuerier(
            lake=self.lake, workgroup="shop", results_bucket=RESULTS, poll_seconds=0.02
        )
        with self._recorded():
            assert querier.fetch("SELECT count(*) FROM silver.events")[1] == [(0,)]

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        before = len(self.account.twin.calls())
        yield
        self.calls = self.account.twin.calls()[before:]

    @property
    def callers(self) -> set[str]:
        """Who called, of which service; STS is asked by whoever may take a role."""
        found = {(c.principal.split(":", 5)[-1], c.action.split(":")[0]) for c in self.calls}
        return {who for who, service in found if service != "sts"}

    @property
    def keys(self) -> set[str]:
        """Access keys that signed the calls; each session of a role has its own."""
        return {call.key for call in self.calls if not call.action.startswith("sts:")}

    @property
    def refused(self) -> set[int]:
        """How calls failed, other than that something is not there."""
        found = {call.status for call in self.calls}
        return {status for status in found if status >= 400} - {HTTPStatus.NOT_FOUND}


KINDS = [
    in_the_environment,
    in_a_profile,
    role_and_source_profile,
    role_and_credential_source,
    sso,
    sso_session,
    web_identity,
    container,
    instance,
    process,
]


@pytest.mark.parametrize("kind", KINDS)
def test_all_clients_sign_with_them_and_renew_them(
    kind: Callable[[Place], str], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = kind(place)
    with environment(place.variables):
        work = Work(place.account)
        work.publish()
        assert (work.callers, work.refused) == ({who}, set())
        if who.startswith("user/"):
            return
        [first] = work.keys  # One session, which boto3, obstore and PyArrow share.
        assert first == aws.credentials().access_key
        place.account.end(first)
        with pytest.raises(ClientError, match="ExpiredToken"):
            aws.keys(LAKE, "bronze/")
        with monkeypatch.context() as patch:
            minutes_later(55, patch)
            aws.credentials()
        work.read()
        assert (work.callers, work.refused) == ({who}, set())
        assert work.keys == {aws.credentials().access_key}
        assert first not in work.keys


def test_athena_is_asked_with_them(place: Place) -> None:
    who = role_and_source_profile(place)
    with environment(place.variables):
        work = Work(place.account)
        work.query()
    assert (work.callers, work.refused) == ({who}, set())


def test_what_is_unsigned_is_refused(place: Place) -> None:
    in_the_environment(place)
    before = len(place.account.twin.calls())
    with environment(place.variables):
        # As PyArrow does by itself with a profile that it does not know.
        unsigned = S3FileSystem(anonymous=True, endpoint_override=place.account.twin.endpoint)
        with pytest.raises(OSError, match="ACCESS_DENIED"):
            unsigned.get_file_info(f"{LAKE}/{KEY}")
    calls = place.account.twin.calls()[before:]
    assert {(call.principal, call.status) for call in calls} == {("nobody", 403)}


def test_all_clients_trust_the_same_and_go_by_the_same_proxy(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_environment(place)
    port = int(place.account.twin.endpoint.rsplit(":", 1)[-1])
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with wires.tls(port, place.home) as (secure, authority), wires.proxy() as (proxy, asked):
        place.variables["AWS_ENDPOINT_URL"] = f"https://127.0.0.1:{secure}"
        place.variables["AWS_CA_BUNDLE"] = str(authority)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy}")
        for act in (Work.list, Work.count, Work.databases):
            asked.clear()
            with environment(place.variables):
                act(Work(place.account))
            assert set(asked) == {f"127.0.0.1:{secure}"}


def minutes_later(minutes: int, patch: pytest.MonkeyPatch) -> None:
    """Has botocore take credentials for older than they are."""

    def later() -> datetime:
        return datetime.now(UTC) + timedelta(minutes=minutes)

    patch.setattr(botocore.credentials, "_local_now", later)
    patch.setattr(aws.session().get_credentials(), "_time_fetcher", later)
