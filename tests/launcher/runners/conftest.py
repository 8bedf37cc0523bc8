from __future__ import annotations

from tests.launcher.remote.conftest import machine

__all__ = ["machine"]
