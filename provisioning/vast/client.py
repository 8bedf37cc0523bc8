"""Vast's REST API, in its own words: JSON in, JSON out, and a `Refusal` for everything else."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioning.errors import BadCredentials, BadOption, Unreachable
from provisioning.vast.errors import KEYS, Meaning, Refusal, error_for, meaning_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

__all__ = ["Client"]

DEFAULT_URL = "https://console.vast.ai"
URL_VARIABLE = "VAST_URL"
KEY_VARIABLE = "VAST_API_KEY"
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
CREATE_TIMEOUT_S = 60.0
PAGE = 25
"""The most that one page of a list has."""


class Client:
    """The calls that are needed, with the account's key. Holds no connection between calls."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __repr__(self) -> str:
        return f"Client({self._url})"

    # Looking

    def user(self) -> dict[str, Any]:
        """Return the account."""
        return self._call("GET", "users/current", "/api/v0/users/current/")

    def search(self, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return offers (asks) for a query in Vast's form."""
        found = self._call("POST", "bundles", "/api/v0/bundles/", wanted).get("offers")
        return [item for item in found or () if isinstance(item, dict)]

    def instance(self, instance_id: str) -> dict[str, Any] | None:
        """Return one instance; None when there is none (any more)."""
        answer = self._ask("GET", "instances/ID", f"/api/v0/instances/{instance_id}/", query={"owner": "me"})
        if isinstance(answer, Refusal):
            if meaning_of(answer) is Meaning.GONE:
                return None
            raise error_for(answer)
        if "instances" not in answer:
            raise Unreachable(f"vast: GET instances/ID: an answer without 'instances': {str(answer)[:200]}")
        found = answer["instances"]
        return found if isinstance(found, dict) else None

    def instances(self) -> list[dict[str, Any]]:
        """Return all instances of the account, page by page."""
        found: list[dict[str, Any]] = []
        token: str | None = None
        while True:
            query = {"limit": str(PAGE), **({"after_token": token} if token else {})}
            answer = self._call("GET", "instances", "/api/v1/instances/", query=query)
            found += answer.get("instances") or []
            token = answer.get("next_token")
            if not token:
                return found

    # Changing

    def accept(self, ask_id: str, request: Mapping[str, Any]) -> dict[str, Any] | Refusal:
        """Rent an ask, once; SPENDS MONEY. Whatever is not a plain yes is a `Refusal`."""
        return self._ask("PUT", "asks", f"/api/v0/asks/{ask_id}/", request, timeout_s=CREATE_TIMEOUT_S)

    def manage(self, instance_id: str, change: Mapping[str, Any]) -> bool:
        """Change an instance's ``state`` or ``label``; False when it is gone."""
        return self._change("PUT", "instances/ID", f"/api/v0/instances/{instance_id}/", change)

    def bid(self, instance_id: str, usd_per_hour: float) -> bool:
        """Change what is bid for an interruptible instance; False when it is gone."""
        told = {"client_id": "me", "price": usd_per_hour}
        return self._change("PUT", "bid_price", f"/api/v0/instances/bid_price/{instance_id}/", told)

    def destroy(self, instance_id: str) -> bool:
        """End an instance and its disk; False when it was gone already."""
        return self._change("DELETE", "instances/ID", f"/api/v0/instances/{instance_id}/", {})

    # Inside

    @property
    def _url(self) -> str:
        return (self._environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")

    def _call(
        self,
        method: str,
        name: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        answer = self._ask(method, name, path, body, query=query)
        if isinstance(answer, Refusal):
            raise error_for(answer)
        return answer

    def _change(self, method: str, name: str, path: str, body: Mapping[str, Any]) -> bool:
        answer = self._ask(method, name, path, body)
        if isinstance(answer, Refusal):
            if meaning_of(answer) is Meaning.GONE:
                return False
            raise error_for(answer)
        return True

    def _ask(
        self,
        method: str,
        name: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> dict[str, Any] | Refusal:
        import httpx  # a slow import that building a provider does not need

        call = f"{method} {name}"
        headers = {"Authorization": f"Bearer {self._key()}"}
        timeout = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        try:
            with httpx.Client(verify=_trusted(), timeout=timeout, headers=headers) as client:
                said = client.request(method, f"{self._url}{path}", json=body, params=query)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise BadOption(f"vast: {URL_VARIABLE} is {self._url!r}: {error}") from None
        except httpx.HTTPError as error:
            return Refusal(call=call, message=str(error) or type(error).__name__)
        return _read(call, said.status_code, said.text)

    def _key(self) -> str:
        if key := self._environ.get(KEY_VARIABLE, "").strip():
            return key
        for path in self._key_files():
            try:
                if key := path.read_text(encoding="utf-8").strip():
                    return key
            except (OSError, UnicodeDecodeError):
                continue
        raise BadCredentials(
            "vast: no key: VAST_API_KEY is not set and ~/.config/vastai/vast_api_key is not there",
            hint=f"make a key at {KEYS}, then export VAST_API_KEY=… or run `vastai set api-key …`",
        )

    def _key_files(self) -> list[Path]:
        """Where Vast's own tool keeps the key."""
        home = self._environ.get("HOME")
        config = self._environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else None)
        found = [Path(config) / "vastai" / "vast_api_key"] if config else []
        return [*found, Path(home) / ".vast_api_key"] if home else found


def _read(call: str, status: int, text: str) -> dict[str, Any] | Refusal:
    """Tell a yes from everything else: Vast refuses by status, by ``success: false``, and in plain text."""
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    is_yes = 200 <= status < 300 and isinstance(told, dict) and told.get("success") is not False
    if is_yes:
        return dict(told)
    if not isinstance(told, dict):  # an answer that is cut short or a proxy's page says nothing for certain
        return Refusal(call=call, status=status if status >= 400 else 0, message=text[:300])
    made = told.get("new_contract")
    return Refusal(
        call=call,
        status=status,
        code=str(told.get("error") or ""),
        message=str(told.get("msg") or told.get("detail") or told.get("message") or ""),
        instance_id=str(made) if made else None,
    )


@cache
def _trusted() -> ssl.SSLContext:
    """Read the certificates of the authorities once: it takes longer than a call."""
    import httpx

    return httpx.create_ssl_context()
