"""Google's Application Default Credentials, looked for in a mapping instead of ``os.environ``, and the project they go with.

The order is Google's own: the file that ``GOOGLE_APPLICATION_CREDENTIALS`` names, what ``gcloud auth
application-default login`` has written, the metadata service of a machine of Google's.
"""

from __future__ import annotations

import configparser
import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.errors import BadCredentials, MissingDependency

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BILLING",
    "COMPUTE",
    "IAM",
    "SCOPES",
    "STORAGE",
    "Session",
    "endpoint",
    "gcloud_setting",
    "new_session",
]

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
COMPUTE = "https://compute.googleapis.com"
STORAGE = "https://storage.googleapis.com"
IAM = "https://iamcredentials.googleapis.com"
BILLING = "https://cloudbilling.googleapis.com"
LOGIN = "`gcloud auth application-default login`, or GOOGLE_APPLICATION_CREDENTIALS=/path/to/key.json"
_METADATA = "metadata.google.internal"
_METADATA_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is logged in, and the project to act in."""

    credentials: Any
    project: str

    def __repr__(self) -> str:
        return f"Session(project={self.project!r})"


def new_session(environ: Mapping[str, str], project: str | None) -> Session:
    """Find credentials and project; reads files, and asks the metadata service only where there are none.

    Raises:
        MissingDependency: google-cloud-compute is not installed.
        BadCredentials: nobody is logged in, the file is no credentials file, or nothing names a project.
    """
    try:
        from google.auth import exceptions
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"provider gcp needs {error.name}, which is not installed", hint="pip install 'gpu-launch[gcp]'"
        ) from error
    try:
        credentials, of_credentials = _from_file(environ) or _from_metadata(environ)
    except (exceptions.GoogleAuthError, OSError, ValueError) as error:
        raise BadCredentials(f"gcp: {' '.join(str(error).split())}", hint=LOGIN) from None
    named = (
        project
        or environ.get("GOOGLE_CLOUD_PROJECT")
        or environ.get("CLOUDSDK_CORE_PROJECT")
        or of_credentials
        or gcloud_setting(environ, "core", "project")
    )
    if not named:
        raise BadCredentials(
            "gcp: logged in, and nothing names the project to rent in",
            hint="`gcloud config set project ID`, GOOGLE_CLOUD_PROJECT=ID, or provider_options.gcp.project",
        )
    return Session(credentials, named)


def endpoint(environ: Mapping[str, str], api: str, default: str) -> str:
    """Return the address of an API: gcloud's own redirection (``CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE``) wins.

    gcloud writes the version behind it (``…/compute/v1/``), the SDK does not; both are understood.
    """
    told = environ.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api.upper()}", "").rstrip("/")
    return told.removesuffix("/v1").removesuffix(f"/{api}") or default


def gcloud_setting(environ: Mapping[str, str], section: str, name: str) -> str | None:
    """Return a setting of gcloud's active configuration, read from its file; None where there is none."""
    folder = _gcloud_folder(environ)
    if folder is None:
        return None
    try:
        active = environ.get("CLOUDSDK_ACTIVE_CONFIG_NAME") or _text(folder / "active_config") or "default"
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(_text(folder / "configurations" / f"config_{active}"))
        return parser.get(section, name, fallback=None) or None
    except configparser.Error:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _gcloud_folder(environ: Mapping[str, str]) -> Path | None:
    if told := environ.get("CLOUDSDK_CONFIG"):
        return Path(told)
    return Path(environ["HOME"]) / ".config" / "gcloud" if environ.get("HOME") else None


def _from_file(environ: Mapping[str, str]) -> tuple[Any, str | None] | None:
    import google.auth

    path = environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if not path:
        folder = _gcloud_folder(environ)
        if folder is None or not (folder / "application_default_credentials.json").is_file():
            return None
        path = str(folder / "application_default_credentials.json")
    with warnings.catch_warnings():
        # It warns of files from strangers; this one is the user's own, where Google's tools look for it.
        warnings.simplefilter("ignore")
        credentials, project = google.auth.load_credentials_from_file(
            path, scopes=list(SCOPES), quota_project_id=environ.get("GOOGLE_CLOUD_QUOTA_PROJECT")
        )
    return credentials, project


def _from_metadata(environ: Mapping[str, str]) -> tuple[Any, str | None]:
    from google.auth import exceptions

    if environ.get("NO_GCE_CHECK") == "true":
        raise exceptions.DefaultCredentialsError("nobody is logged in to Google Cloud")
    host = environ.get("GCE_METADATA_HOST") or environ.get("GCE_METADATA_ROOT") or _METADATA
    try:
        project = _ask(host, "project/project-id")
    except OSError:
        raise exceptions.DefaultCredentialsError("nobody is logged in to Google Cloud") from None
    return _metadata_credentials(host), project


def _metadata_credentials(host: str) -> Any:
    """Return the credentials of the machine's service account.

    google-auth has such a class, which reads the host from ``os.environ`` when it is imported; this one is told.
    """
    import json

    from google.auth import credentials, exceptions

    class OfThisMachine(credentials.Credentials):
        def refresh(self, request: Any) -> None:
            try:
                told = json.loads(_ask(host, "instance/service-accounts/default/token"))
                self.token = told["access_token"]
                expiry = datetime.now(timezone.utc) + timedelta(seconds=float(told["expires_in"]))
            except (OSError, ValueError, KeyError) as error:
                raise exceptions.TransportError(f"the metadata service gives no token: {error}") from error
            self.expiry = expiry.replace(tzinfo=None)  # google-auth compares times without a zone

    return OfThisMachine()


def _ask(host: str, path: str) -> str:
    """Read one text from the metadata service; `OSError` where there is none."""
    import urllib.request

    request = urllib.request.Request(
        f"http://{host}/computeMetadata/v1/{path}", headers={"Metadata-Flavor": "Google"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_METADATA_TIMEOUT_S) as answer:
        if answer.headers.get("Metadata-Flavor") != "Google":
            raise OSError(f"{host} is no metadata service")
        return str(answer.read().decode("utf-8"))
