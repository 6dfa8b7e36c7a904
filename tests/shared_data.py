"""Where the real data lies on machines that have it; tests that use it are skipped elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared(path: str) -> Path:
    """A file or folder of the real data, named from its root; skips the test where it is missing.

    The root is the environment variable MUNET_SHARED, or else `shared/data` beside the checkout.
    """
    default = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    found = Path(os.environ.get("MUNET_SHARED", default)) / path
    if not found.exists():
        pytest.skip(f"no real data at {found} (set MUNET_SHARED)")
    return found
