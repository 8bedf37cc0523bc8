"""The one place that talks to Google: the SDK's clients, imported on use, and all their exceptions turned into ours.

Bodies and answers are the API's own JSON words (``machineType``, not ``machine_type``). Every call is made once: what is
repeated is for `provisioning.retry` to decide.
"""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from provisioning.errors import BadCredentials, MissingDependency, Unreachable
from provisioning.gcp.calls import CALLS
from provisioning.gcp.errors import Refusal, error_for, meaning_of
from provisioning.gcp.session import BILLING, COMPUTE, IAM, LOGIN, STORAGE, endpoint, new_session
from provisioning.gcp.signing import Signer, signer_of
from provisioning.meaning import Meaning

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from provisioning.gcp.session import Session

__all__ = ["Client", "client_for", "refusal_of"]

Answer = TypeVar("Answer")

BILLING_TIMEOUT_S = 20.0
_RELEVANT = ("GOOGLE_", "CLOUDSDK_", "GCE_METADATA_", "NO_GCE_CHECK", "HOME")

_shared: dict[tuple[object, ...], Client] = {}
_sharing = threading.Lock()


def client_for(environ: Mapping[str, str], project: str | None) -> Client:
    """Return the client for an account, one per process: the SDK takes 150 MB and more than a second."""
    relevant = {name: value for name, value in environ.items() if name.startswith(_RELEVANT)}
    key = (project, *sorted(relevant.items()))
    with _sharing:
        if key not in _shared:
            _shared[key] = Client(relevant, project)
        return _shared[key]


class Client:
    """Calls into one project. Thread-safe; keeps connections, and no answers."""

    def __init__(self, environ: Mapping[str, str], project: str | None) -> None:
        self._environ = environ
        self._project = project
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._clients: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Client(project={self._project!r})"

    @property
    def project(self) -> str:
        """The project that is rented in."""
        return self._logged_in().project

    def call(self, name: str, *, body: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """Make one call, by the name of Google's reference (``instances.get``), and return the answer as it came.

        ``fields`` are its parameters as the SDK spells them (``zone=``, ``request_id=``); the project is this client's
        where none is named. Raises only `CloudError`s.
        """
        answer = self.ask(name, body=body, **fields)
        if isinstance(answer, Refusal):
            raise error_for(answer)
        return answer

    def attempt(
        self, name: str, tolerated: Collection[str], *, body: Mapping[str, Any] | None = None, **fields: Any
    ) -> dict[str, Any] | None:
        """Make a call that may be refused with one of the ``tolerated`` codes; then it is None."""
        answer = self.ask(name, body=body, **fields)
        if isinstance(answer, Refusal):
            if answer.code in tolerated:
                return None
            raise error_for(answer)
        return answer

    def ask(
        self, name: str, *, body: Mapping[str, Any] | None = None, **fields: Any
    ) -> dict[str, Any] | Refusal:
        """Make one call; a refusal, or an answer that never came, is returned as a `Refusal`."""
        call = CALLS[name]
        place = str(fields.get("zone") or fields.get("region") or "global")

        def send() -> dict[str, Any]:
            return _as_json(self._send(name, body, fields))

        return self._guarded(send, call.permission, place)

    def items(self, name: str, **fields: Any) -> list[dict[str, Any]]:
        """Make a list call as often as it has further pages; return the items of them all.

        An aggregated list is one list here. One that could not be made whole is an error: what is missing from it would
        look as if it were gone.
        """
        call = CALLS[name]
        key = name.partition(".")[0]

        def send() -> dict[str, Any]:
            found: list[dict[str, Any]] = []
            for page in self._send(name, None, fields).pages:
                told = _as_json(page).get("items", [])
                if isinstance(told, dict):
                    told = [item for scope in told.values() for item in scope.get(key, [])]
                found += told
            return {"items": found}

        answer = self._guarded(send, call.permission, str(fields.get("zone") or "global"))
        if isinstance(answer, Refusal):
            raise error_for(answer)
        return list(answer["items"])

    def finish(self, operation: Mapping[str, Any], permission: str) -> Refusal | None:
        """Wait, at most two minutes, for an operation to end; return why it failed, or None.

        None too for one that is still at work then: what it does shows in the resource.
        """
        zone = str(operation.get("zone", "")).rpartition("/")[2]
        done = operation
        if operation.get("status") != "DONE":
            name = "zoneOperations.wait" if zone else "globalOperations.wait"
            where: dict[str, Any] = {"zone": zone} if zone else {}
            done = self.call(name, operation=operation["name"], **where)
        return refusal_of(done, permission, zone or "global")

    def skus(self, service: str) -> Iterator[dict[str, Any]]:
        """Yield the price list of one of Google's services, from the Cloud Billing catalog."""
        token = ""
        while True:
            page = self._billing(f"/v1/services/{service}/skus", {"pageSize": "5000", "pageToken": token})
            yield from page.get("skus", [])
            token = page.get("nextPageToken", "")
            if not token:
                return

    @property
    def storage_endpoint(self) -> str:
        """Where machines read and write objects."""
        return endpoint(self._environ, "storage", STORAGE)

    def store(self, ask: Callable[[Any], Answer], permission: str, bucket: str) -> Answer | Refusal:
        """Let ``ask`` make its calls with the SDK's client of Cloud Storage; a refusal is returned."""
        return self._guarded(lambda: ask(self._storage()), permission, bucket)

    def signer(self, account: str | None) -> Signer:
        """Return who signs addresses: the credentials' own key, or ``account`` on their behalf.

        Raises:
            BadCredentials: these credentials have no key, and no account is named.
        """
        return signer_of(
            self._logged_in().credentials, account, endpoint(self._environ, "iamcredentials", IAM)
        )

    # Inside

    def _storage(self) -> Any:
        with self._lock:
            if "storage" not in self._clients:
                session = self._logged_in()
                try:
                    from google.api_core.client_options import ClientOptions
                    from google.cloud.storage import Client as StorageClient
                except ImportError as error:
                    raise MissingDependency(
                        f"gs:// needs google-cloud-storage: {error}", hint="pip install 'gpu-launch[gcp]'"
                    ) from error
                self._clients["storage"] = StorageClient(
                    project=session.project,
                    credentials=session.credentials,
                    client_options=ClientOptions(api_endpoint=self.storage_endpoint),
                )
            return self._clients["storage"]

    def _billing(self, path: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        permission = "cloudbilling.services.listSkus"

        def send() -> dict[str, Any]:
            from google.auth.transport.requests import AuthorizedSession

            url = endpoint(self._environ, "cloudbilling", BILLING) + path
            with AuthorizedSession(self._logged_in().credentials) as session:
                answer = session.get(url, params=parameters, timeout=BILLING_TIMEOUT_S)
            told: dict[str, Any] = answer.json()
            if answer.status_code != 200:
                raise _Refused(_read(told, permission, "global", answer.status_code))
            return told

        found = self._guarded(send, permission, "global")
        if isinstance(found, Refusal):
            raise error_for(found)
        return found

    def _send(self, name: str, body: Mapping[str, Any] | None, fields: Mapping[str, Any]) -> Any:
        call = CALLS[name]
        client = self._client(call.client)
        from google.cloud import compute_v1

        request = getattr(compute_v1, call.request)(project=fields.get("project") or self.project)
        for field, value in fields.items():
            setattr(request, field, value)
        if call.body is not None and call.resource is not None:
            resource = getattr(compute_v1, call.resource)
            setattr(request, call.body, resource.from_json(json.dumps(body), ignore_unknown_fields=False))
        return getattr(client, call.method)(request, retry=None, timeout=call.timeout_s)

    def _guarded(self, send: Callable[[], Answer], permission: str, place: str) -> Answer | Refusal:
        """Run ``send``; no exception of Google's, of requests' or of protobuf's leaves this method."""
        self._logged_in()
        import requests
        from google.api_core import exceptions as api
        from google.auth import exceptions as auth
        from google.protobuf.json_format import Error as BadJson

        try:
            return send()
        except _Refused as error:
            return self._refused(error.refusal)
        except api.GoogleAPICallError as error:
            return self._refused(_refusal_in(error, permission, place))
        except auth.TransportError as error:
            raise Unreachable(f"gcp {place}: no token to log in with: {_one_line(error)}") from None
        except auth.GoogleAuthError as error:
            self._forget()
            if getattr(error, "retryable", False):
                raise Unreachable(f"gcp {place}: {_one_line(error)}") from None
            raise BadCredentials(f"gcp: {_one_line(error)}", hint=LOGIN) from None
        except (requests.RequestException, api.GoogleAPIError, BadJson, ValueError, OSError) as error:
            return Refusal(code="", message=_one_line(error), permission=permission, place=place)

    def _refused(self, refusal: Refusal) -> Refusal:
        if meaning_of(refusal) is Meaning.CREDENTIALS:
            self._forget()
        return refusal

    def _client(self, name: str) -> Any:
        with self._lock:
            if name not in self._clients:
                self._clients[name] = self._new_client(name)
            return self._clients[name]

    def _new_client(self, name: str) -> Any:
        session = self._logged_in()
        try:
            from google.api_core.client_options import ClientOptions
            from google.cloud import compute_v1
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"provider gcp needs {error.name}, which is not installed",
                hint="pip install 'gpu-launch[gcp]'",
            ) from error
        options = ClientOptions(api_endpoint=endpoint(self._environ, "compute", COMPUTE))
        return getattr(compute_v1, name)(credentials=session.credentials, client_options=options)

    def _logged_in(self) -> Session:
        with self._lock:
            if self._session is None:
                self._session = new_session(self._environ, self._project)
            return self._session

    def _forget(self) -> None:
        """Read the credentials anew for the next call: somebody may have logged in meanwhile."""
        with self._lock:
            self._session = None
            self._clients.clear()


class _Refused(Exception):
    """An answer of the billing catalog that is none."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.words)
        self.refusal = refusal


def refusal_of(operation: Mapping[str, Any], permission: str, place: str) -> Refusal | None:
    """Return why an operation has failed; None for one that has not."""
    errors = (operation.get("error") or {}).get("errors") or []
    if not errors:
        return None
    return Refusal(
        code=str(errors[0].get("code", "")) or "UNKNOWN",
        message="; ".join(str(error.get("message", "")) for error in errors) or "no reason given",
        permission=permission,
        place=place,
        status=int(operation.get("httpErrorStatusCode") or 0),
    )


def _as_json(message: Any) -> dict[str, Any]:
    """Return an answer in the API's own words; what was not said is not in it."""
    text = type(message).to_json(
        message,
        use_integers_for_enums=False,
        always_print_fields_with_no_presence=False,
        preserving_proto_field_name=False,
        indent=None,
    )
    told: dict[str, Any] = json.loads(text)
    return told


def _refusal_in(error: Any, permission: str, place: str) -> Refusal:
    status = int(getattr(error, "code", None) or 0)
    message = re.sub(r"^[A-Z]+ https?://\S+: ", "", str(error.message))
    told = {"error": {"message": message, "errors": list(error.errors or ())}}
    return _read(told, permission, place, status)


def _read(told: Mapping[str, Any], permission: str, place: str, status: int) -> Refusal:
    said = told.get("error")
    if not isinstance(said, dict):
        said = {"message": str(told)[:200]}
    errors = [item for item in said.get("errors") or () if isinstance(item, dict)]
    code = str(errors[0].get("reason", "")) if errors else ""
    return Refusal(
        code=code or str(said.get("status") or ""),
        message=str(said.get("message") or "no reason given"),
        permission=permission,
        place=place,
        status=status,
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
