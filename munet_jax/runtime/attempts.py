"""What is made after the work is done, such as pictures: it may fail, and the work is not lost with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

LOG = logging.getLogger("munet_jax")
T = TypeVar("T")


def attempt(what: object, action: Callable[[], T], kept: str) -> T | None:
    """The result of an action; None, with a warning, where it fails.

    Args:
      what: is made.
      action: makes it.
      kept: what is there all the same.
    """
    try:
        return action()
    except Exception as error:  # of an encoder or an image library, or of a disk that is full
        LOG.warning("%s: cannot be made (%s); %s", what, " ".join(str(error).split()) or type(error).__name__, kept)
        return None
