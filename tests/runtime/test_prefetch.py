"""The next frame is read while the present one is worked on."""

import threading
from collections.abc import Iterator

import pytest

from munet_jax.runtime.errors import InputError
from munet_jax.runtime.prefetch import prefetch


def test_items_come_in_order_and_one_early() -> None:
    made: list[int] = []
    second = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(4):
            made.append(number)
            if number == 1:
                second.set()
            yield number

    items = prefetch(numbers())
    assert next(items) == 0
    assert second.wait(10)  # made although nobody has asked for it
    assert made == [0, 1]
    assert list(items) == [1, 2, 3]


def test_an_error_comes_in_the_place_of_its_item() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise InputError("frame 1 is broken")

    found = prefetch(items())
    assert next(found) == 1
    with pytest.raises(InputError, match="frame 1 is broken"):
        next(found)
    assert list(prefetch([])) == []
