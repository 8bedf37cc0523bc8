"""The one place that talks to AWS: boto3's clients, imported on use, and its exceptions turned into ours."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from provisioning.aws.errors import Meaning, Refusal, create_error, error_for, meaning_of
from provisioning.aws.session import endpoint_url, new_session, region_of
from provisioning.errors import BadCredentials, BadOption, CloudError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

__all__ = ["Client", "client_for"]

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 20.0
CREATE_TIMEOUT_S = 60.0
LOOKUP_ATTEMPTS = 3
"""Of calls that look things up. All others are made once: EC2's answer to "sold out" is an HTTP 500, which the
SDK would repeat by itself, and what is repeated otherwise is for `provisioning.retry` to decide."""

_LOOK_UPS = {"ssm", "pricing", "s3", "service-quotas"}
_LOOK_UP_CALLS = {
    "describe_instance_types",
    "describe_instance_type_offerings",
    "describe_spot_price_history",
    "describe_images",
    "describe_regions",
}
_PREFIXES = {
    "ec2": "ec2",
    "ssm": "ssm",
    "pricing": "pricing",
    "sts": "sts",
    "s3": "s3",
    "service-quotas": "servicequotas",
}
_PERMISSIONS = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:DeleteObjects": "s3:DeleteObject",
}
"""What an operation asks IAM for, where that has another name."""


_shared: dict[tuple[object, ...], Client] = {}
_sharing = threading.Lock()


def client_for(environ: Mapping[str, str], profile: str | None) -> Client:
    """Return the client for an account, one per process: what boto3 knows of EC2 takes 40 MB and half a second."""
    relevant = {name: value for name, value in environ.items() if name == "HOME" or name.startswith("AWS_")}
    key = (profile, *sorted(relevant.items()))
    with _sharing:
        if key not in _shared:
            _shared[key] = Client(relevant, profile)
        return _shared[key]


class Client:
    """Calls into one account. Thread-safe; keeps connections, and no answers."""

    def __init__(self, environ: Mapping[str, str], profile: str | None) -> None:
        self._environ = environ
        self._profile = profile
        self._lock = threading.Lock()
        self._session: Any = None
        self._clients: dict[tuple[str, str, int], Any] = {}

    def __repr__(self) -> str:
        return f"Client(profile={self._profile!r})"

    @property
    def default_region(self) -> str:
        """The region of the environment or profile."""
        with self._lock:
            return region_of(self._boto3(), self._environ)

    def known_regions(self) -> frozenset[str]:
        """Return the regions that the SDK knows, enabled in the account or not; makes no call."""
        with self._lock:
            session = self._boto3()
        return frozenset(session.get_available_regions("ec2"))

    def call(self, service: str, region: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Make one call and return the answer as it came; raises only `CloudError`s."""
        answer = self._ask(service, region, operation, parameters)
        if isinstance(answer, Refusal):
            raise error_for(answer)
        return answer

    def attempt(
        self, service: str, region: str, operation: str, tolerated: Collection[str], **parameters: Any
    ) -> dict[str, Any] | None:
        """Make a call that may be refused with one of the ``tolerated`` codes; then it is None."""
        answer = self._ask(service, region, operation, parameters)
        if isinstance(answer, Refusal):
            if answer.code in tolerated:
                return None
            raise error_for(answer)
        return answer

    def pages(
        self, service: str, region: str, operation: str, key: str, **parameters: Any
    ) -> list[dict[str, Any]]:
        """Make a call as often as it has further pages; return the items under ``key`` of them all."""
        items: list[dict[str, Any]] = []
        token: str | None = None
        while True:
            more = {"NextToken": token} if token else {}
            answer = self.call(service, region, operation, **parameters, **more)
            items += answer.get(key, [])
            token = answer.get("NextToken")
            if not token:
                return items

    def price_list(self, region: str, filters: list[dict[str, str]]) -> list[str]:
        """Return the JSON texts of the Pricing API's answer, all pages of it."""
        texts: list[str] = []
        token: str | None = None
        while True:
            more = {"NextToken": token} if token else {}
            answer = self.call(
                "pricing", region, "get_products", ServiceCode="AmazonEC2", Filters=filters, **more
            )
            texts += answer.get("PriceList", [])
            token = answer.get("NextToken")
            if not token:
                return texts

    def run_instances(
        self, region: str, request: Mapping[str, Any], *, token: str, quota: str | None
    ) -> dict[str, Any] | Refusal:
        """Make one create call, once. A replayed token comes back as the `Refusal`; all else is raised.

        Raises:
            MayHaveBeenCreated, or what `provisioning.aws.errors.create_error` says.
        """
        answer = self._ask("ec2", region, "run_instances", request)
        if isinstance(answer, Refusal) and not answer.code.startswith("Idempotent"):
            raise create_error(answer, token=token, quota=quota)
        return answer

    def presign(
        self, service: str, region: str, operation: str, parameters: Mapping[str, Any], *, lasts_s: int
    ) -> str:
        """Return the URL of one call, signed for ``lasts_s`` seconds; no call is made but for fresh credentials."""
        client = self._client(service, region, operation)
        from botocore.exceptions import BotoCoreError

        try:
            url: str = client.generate_presigned_url(operation, Params=dict(parameters), ExpiresIn=lasts_s)
        except BotoCoreError as error:
            raise _never_sent(error, region) or BadOption(f"aws {region}: {_one_line(error)}") from None
        return url

    def credentials_end_at(self) -> datetime | None:
        """Return when temporary credentials end, and with them what they have signed; None for keys that stay."""
        with self._lock:
            credentials = self._boto3().get_credentials()
        # Nothing public tells it; keys of a user, which have no end, have no such attribute either.
        ends_at: datetime | None = getattr(credentials, "_expiry_time", None)
        return ends_at

    def bucket_region(self, bucket: str) -> str:
        """Return the region of a bucket.

        Raises:
            BadOption: there is no such bucket.
        """
        answer = self._ask("s3", self.default_region, "head_bucket", {"Bucket": bucket})
        headers = answer.headers if isinstance(answer, Refusal) else answer["ResponseMetadata"]["HTTPHeaders"]
        if region := headers.get("x-amz-bucket-region"):
            return str(region)
        if not isinstance(answer, Refusal):
            return self.default_region
        if answer.code in ("404", "NoSuchBucket"):
            raise BadOption(f"aws: there is no bucket {bucket}", hint=f"`aws s3 mb s3://{bucket}` makes one")
        raise error_for(answer)

    def _ask(
        self, service: str, region: str, operation: str, parameters: Mapping[str, Any]
    ) -> dict[str, Any] | Refusal:
        client = self._client(service, region, operation)
        from botocore import exceptions
        from botocore.parsers import ResponseParserError

        action = f"{_PREFIXES[service]}:{client.meta.method_to_api_mapping[operation]}"
        action = _PERMISSIONS.get(action, action)
        try:
            answer: dict[str, Any] = getattr(client, operation)(**parameters)
        except exceptions.ClientError as error:
            refusal = _read(error.response, action, region)
            if meaning_of(refusal) is Meaning.CREDENTIALS:
                self._forget()
            return refusal
        except (exceptions.BotoCoreError, ResponseParserError) as error:
            if said_no := _never_sent(error, region):
                self._forget()
                raise said_no from None
            return Refusal(code="", message=_one_line(error), operation=action, region=region)
        return answer

    def _client(self, service: str, region: str, operation: str) -> Any:
        looks_up = service in _LOOK_UPS or operation in _LOOK_UP_CALLS
        attempts = LOOKUP_ATTEMPTS if looks_up else 1
        key = (service, region, attempts)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._new_client(service, region, attempts)
            return self._clients[key]

    def _new_client(self, service: str, region: str, attempts: int) -> Any:
        session = self._boto3()
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        for_s3: dict[str, Any] = {}
        if service == "s3":
            # A checksum that the SDK would sign along has to be known before the bytes are.
            for_s3 = {"signature_version": "s3v4", "request_checksum_calculation": "when_required"}
        config = Config(
            **for_s3,
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S if attempts > 1 else CREATE_TIMEOUT_S,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            max_pool_connections=16,
        )
        try:
            return session.client(
                service,
                region_name=region,
                endpoint_url=endpoint_url(service, self._environ),
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise _never_sent(error, region) or BadOption(f"aws {region}: {_one_line(error)}") from None

    def _forget(self) -> None:
        """Read the credentials anew for the next call: somebody may have logged in meanwhile."""
        with self._lock:
            self._session = None
            self._clients.clear()

    def _boto3(self) -> Any:
        if self._session is None:
            self._session = new_session(self._environ, self._profile)
        return self._session


def _read(response: Mapping[str, Any], action: str, region: str) -> Refusal:
    said = response.get("Error", {})
    return Refusal(
        code=str(said.get("Code", "")),
        message=str(said.get("Message") or "no reason given"),
        operation=action,
        region=region,
        status=int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)),
        headers=response.get("ResponseMetadata", {}).get("HTTPHeaders", {}),
    )


def _never_sent(error: Exception, region: str) -> CloudError | None:
    """Put what kept a call from being sent into our words; None for what may have reached AWS."""
    from botocore import exceptions

    lost = (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.ProfileNotFound,
        exceptions.ConfigParseError,
        exceptions.ConfigNotFound,
        exceptions.TokenRetrievalError,
        exceptions.SSOError,
        exceptions.InvalidConfigError,
        exceptions.MetadataRetrievalError,
        exceptions.RefreshWithMFAUnsupportedError,
    )
    text = f"aws {region}: {_one_line(error)}"
    if isinstance(error, lost):
        return BadCredentials(text, hint="`aws configure`, or `aws sso login`; then `launch doctor`")
    if isinstance(error, (exceptions.ParamValidationError, exceptions.InvalidRegionError, ValueError)):
        return BadOption(text)
    return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
