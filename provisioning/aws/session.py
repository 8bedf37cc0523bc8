"""A boto3 session that takes its credentials and redirections from a mapping instead of ``os.environ``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.errors import BadCredentials, MissingDependency

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT_REGION", "endpoint_url", "new_session", "region_of"]

DEFAULT_REGION = "us-east-1"
"""Where nothing names a region."""

_FILES = (
    ("config_file", "AWS_CONFIG_FILE", ".aws/config"),
    ("credentials_file", "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
)
_SETTINGS = (
    ("ca_bundle", "AWS_CA_BUNDLE"),
    ("ec2_metadata_service_endpoint", "AWS_EC2_METADATA_SERVICE_ENDPOINT"),
)


def new_session(environ: Mapping[str, str], profile: str | None) -> Any:
    """Return a ``boto3.session.Session``: AWS's own chain of credentials, read from ``environ``.

    Raises:
        MissingDependency: boto3 is not installed.
        BadCredentials: no such profile.
    """
    try:
        import boto3.session
        import botocore.exceptions
        import botocore.session
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"provider aws needs {error.name}, which is not installed", hint="pip install 'gpu-launch[aws]'"
        ) from error
    base = botocore.session.Session()
    base.register_component("data_loader", _loader())
    _configure(base, environ, profile)
    try:
        _use_credentials(base, environ, profile)
        return boto3.session.Session(botocore_session=base)
    except botocore.exceptions.ProfileNotFound as error:
        raise BadCredentials(
            f"aws: {error}", hint="`aws configure list-profiles` shows the profiles"
        ) from None


@cache
def _loader() -> Any:
    """Share boto3's descriptions of the services between sessions; reading EC2's takes half a second."""
    from botocore.loaders import Loader

    return Loader()


def _configure(base: Any, environ: Mapping[str, str], profile: str | None) -> None:
    chosen = profile or environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE")
    if chosen:
        base.set_config_variable("profile", chosen)
    for setting, variable, below_home in _FILES:
        if path := environ.get(variable):
            base.set_config_variable(setting, path)
        elif home := environ.get("HOME"):
            base.set_config_variable(setting, str(Path(home) / below_home))
    for setting, variable in _SETTINGS:
        if value := environ.get(variable):
            base.set_config_variable(setting, value)


def _use_credentials(base: Any, environ: Mapping[str, str], profile: str | None) -> None:
    """Put the mapping's keys first, as AWS's own tools do, unless the job names a profile."""
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if key and secret and not profile:
        base.set_credentials(key, secret, environ.get("AWS_SESSION_TOKEN"))
        return
    chain = base.get_component("credential_provider")
    unwanted = ["env"]
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        unwanted.append("iam-role")
    for method in unwanted:
        chain.remove(method)  # no error where it is absent


def endpoint_url(service: str, environ: Mapping[str, str]) -> str | None:
    """Return the redirection of a service (``AWS_ENDPOINT_URL_EC2``, ``AWS_ENDPOINT_URL``), or None."""
    if environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    return environ.get(f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}") or environ.get(
        "AWS_ENDPOINT_URL"
    )


def region_of(session: Any, environ: Mapping[str, str]) -> str:
    """Return the account's default region: ``AWS_REGION``, ``AWS_DEFAULT_REGION``, the profile's, `DEFAULT_REGION`."""
    named = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    return named or session.region_name or DEFAULT_REGION
