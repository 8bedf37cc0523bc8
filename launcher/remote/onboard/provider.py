"""How this machine learns that it is about to be taken away, and how it ends itself: the provider's words, as data."""

from __future__ import annotations

import json
import os
import re
from typing import Any, Dict, Optional, Tuple

from .files import read_text

_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def expanded(url: str) -> str:
    """Fill in ``${NAME:-default}`` from this machine's own environment: where its metadata service is, only it knows."""
    return _VARIABLE.sub(lambda found: os.environ.get(found[1]) or found[2], url)


def http(request: Dict[str, Any], timeout_s: float) -> Tuple[int, str]:
    """Send a request, past any proxy: metadata services are on the machine's own link. (status, text)."""
    import urllib.error
    import urllib.request

    body = request.get("body")
    prepared = urllib.request.Request(
        expanded(request["url"]),
        data=None if body is None else body.encode(),
        headers=dict(request.get("headers") or {}),
        method=request.get("method", "GET"),
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(prepared, timeout=timeout_s) as answer:
            return answer.status, answer.read(1 << 16).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def in_words(text: str) -> str:
    """What a provider says, for people: a flat JSON object as its names and values, anything else as it is."""
    try:
        told = json.loads(text)
    except ValueError:
        return text.strip()
    if not isinstance(told, dict) or any(isinstance(value, (dict, list)) for value in told.values()):
        return text.strip()
    return ", ".join("%s %s" % (name, value) for name, value in told.items())


class NoticeProbe:
    """Asks whether the machine is about to be taken away, as `run.json` says how."""

    def __init__(self, spec: Dict[str, Any]) -> None:
        self._spec = spec
        self._match = re.compile(spec["match"])
        self.interval_s = float(spec["interval_s"])

    @property
    def is_file(self) -> bool:
        """Looking at a file needs no thread."""
        return str(self._spec["url"]).startswith("file:")

    @property
    def can_warn(self) -> bool:
        """There is something to ask about a higher risk, too."""
        return bool(self._spec.get("warning_url"))

    def ask_warning(self) -> Optional[str]:
        """What is said about a higher risk, or None."""
        text = self._http(self._spec["warning_url"])
        return None if text is None else in_words(text) or "a higher risk"

    def ask(self) -> Optional[str]:
        """The notice's text, or None when there is none; an unreachable service is no notice."""
        text = self._file() if self.is_file else self._http(self._spec["url"])
        return in_words(text) or "notice" if text is not None and self._match.search(text) else None

    def _file(self) -> Optional[str]:
        from urllib.parse import unquote, urlsplit

        path = unquote(urlsplit(self._spec["url"]).path)
        return read_text(path) if os.path.exists(path) else None

    def _http(self, url: str) -> Optional[str]:
        timeout_s = max(1.0, min(self.interval_s, 5.0))
        headers = dict(self._spec.get("headers") or {})
        if self._spec.get("token_request"):
            code, token = http(self._spec["token_request"], timeout_s)
            if code == 200:
                headers[self._spec["token_header"]] = token.strip()
        code, text = http({"method": "GET", "url": url, "headers": headers}, timeout_s)
        return text if code == 200 else None
