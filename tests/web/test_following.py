"""Following as the page asks for it, against what `propagate` makes of the same marks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from munet_jax.data.images import read_image
from munet_jax.data.masks import read_mask
from munet_jax.inference.propagation import propagate
from munet_jax.runtime.errors import InputError
from munet_jax.web.desk import Desk
from munet_jax.web.following import hints, plan
from tests.web.conftest import COUNT, HEIGHT, WIDTH
from tests.web.serving import Client

FIRST, LATER = (10, 20, 30, 40), (20, 20, 40, 40)


def masks(client: Client) -> list[np.ndarray | None]:
    """Those of the folder, by frame; None where there is none."""
    folder = Path(client.state()["session"]["out"]) / "masks"
    files = [folder / f"{number:05d}.png" for number in range(COUNT)]
    return [read_mask(path) if path.exists() else None for path in files]


def box_mask(box: tuple[int, int, int, int], identity: int = 1) -> np.ndarray:
    left, top, right, bottom = box
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[top:bottom, left:right] = identity
    return labels


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_from_all_marks_as_propagate_does(
    client: Client, create: Callable[[], Any], frames: Path, direction: str
) -> None:
    client.post("/api/objects")
    client.paint(1, FIRST, 1, WIDTH)
    client.paint(6, LATER, 1, WIDTH)
    status = client.follow(direction, "marks")
    assert (status["problem"], status["stopped"]) == (None, False)
    images = [read_image(frames / f"{number:05d}.png") for number in range(COUNT)]
    annotations = {1: (box_mask(FIRST), [1]), 6: (box_mask(LATER), [1])}
    expected = {p.frame_index: p.labels for p in propagate(create(), images, annotations, direction=direction)}
    reached = {"forward": range(1, COUNT), "backward": range(7), "both": range(COUNT)}[direction]
    for number, found in enumerate(masks(client)):
        if number in reached:
            np.testing.assert_array_equal(found, expected[number])
        else:
            assert found is None


def test_from_one_frame_each_way_and_marked_frames_stay(
    client: Client, create: Callable[[], Any], frames: Path
) -> None:
    client.post("/api/objects")
    client.paint(3, FIRST, 1, WIDTH)
    client.follow("forward", frame=3)
    found = masks(client)
    assert [mask is None for mask in found] == [True] * 3 + [False] * 5
    images = [read_image(frames / f"{number:05d}.png") for number in range(3, COUNT)]
    for mask, prediction in zip(
        found[3:], propagate(create(), images, {0: (box_mask(FIRST), [1])}, direction="forward"), strict=True
    ):
        np.testing.assert_array_equal(mask, prediction.labels)
    # A correction: what lies before it is untouched, and it is kept as it was given.
    client.paint(5, (0, 0, WIDTH, 30), 0, WIDTH)
    corrected = masks(client)[5]
    client.follow("forward", frame=5)
    after = masks(client)
    for number in (3, 4):
        np.testing.assert_array_equal(after[number], found[number])
    np.testing.assert_array_equal(after[5], corrected)
    client.follow("both", frame=4)
    after = masks(client)
    np.testing.assert_array_equal(after[5], corrected)
    assert all(mask is not None for mask in after)
    rows = {row["frame"]: row for row in client.state()["session"]["timeline"]}
    assert [number for number, row in rows.items() if row["marked"]] == [3, 5]
    area, confidence, sure = rows[7]["stats"]["1"]
    assert area == int((after[7] == 1).sum())
    assert area == 0 or (0 < confidence <= 1 and 0 <= sure <= 1)
    assert client.post("/api/undo") == {"label": "Follow both"}


def test_going_on_where_it_was_stopped_equals_not_stopping(client: Client, desk: Desk) -> None:
    client.post("/api/objects")
    client.paint(0, FIRST, 1, WIDTH)
    client.follow("forward")
    whole = masks(client)
    client.post("/api/undo")
    worker = desk.worker
    assert worker is not None
    follow = worker.session.follow

    def held(*given: Any) -> None:
        follow(*given)
        if given[1].frame_index == 4:
            worker.stop()

    worker.session.follow = held  # type: ignore[method-assign]
    status = client.follow("forward")
    assert (status["stopped"], status["done"]) == (True, 4)
    assert masks(client)[5] is None
    worker.session.follow = follow  # type: ignore[method-assign]
    client.follow("forward", frame=4)
    for found, expected in zip(masks(client), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_frame_that_cannot_be_read_stops_it_and_keeps_the_rest(client: Client, desk: Desk) -> None:
    assert desk.session is not None
    client.post("/api/objects")
    client.paint(0, FIRST, 1, WIDTH)
    frame = desk.session.footage.frame

    def damaged(number: int, reader: int = 0) -> Any:
        if number == 4:
            raise InputError("00004.png: cannot be read")
        return frame(number, reader)

    desk.session.footage.frame = damaged  # type: ignore[method-assign]
    status = client.follow("forward")
    assert status["problem"] == "00004.png: cannot be read"
    assert [mask is not None for mask in masks(client)] == [True] * 4 + [False] * 4
    desk.session.footage.frame = frame  # type: ignore[method-assign]
    assert client.follow("forward")["problem"] is None


def test_nothing_to_follow_is_told(client: Client) -> None:
    asked = {"direction": "forward", "origin": "here", "frame": 0}
    assert "shows no object to follow" in client.refused("POST", "/api/follow", asked)
    assert "no frame is marked" in client.refused("POST", "/api/follow", asked | {"origin": "marks"})
    client.post("/api/objects")
    client.paint(7, FIRST, 1, WIDTH)
    assert "no frame in that direction" in client.refused("POST", "/api/follow", asked | {"frame": 7})
    assert "cannot follow" in client.refused("POST", "/api/follow", asked | {"direction": "sideways"})


def test_maps_and_their_legends(client: Client) -> None:
    import io

    from PIL import Image as PILImage

    client.idle()
    for kind in ("uncertainty", "displacement", "attention"):
        status, content, headers = client.ask("GET", f"/api/maps/{kind}/3")
        assert status == 200
        assert PILImage.open(io.BytesIO(content)).size == (WIDTH, HEIGHT)
        assert '"high"' in headers["x-scale"]
        assert client.ask("GET", f"/api/legends/{kind}")[0] == 200
    assert "the first frame has none before it" in client.refused("GET", "/api/maps/attention/0")


def test_plans() -> None:
    assert [list(way.numbers) for way in plan("both", "here", 2, [], 5)] == [[2, 3, 4], [2, 1, 0]]
    assert [list(way.numbers) for way in plan("both", "here", 0, [], 3)] == [[0, 1, 2]]
    backward, forward = plan("both", "marks", 0, [1, 3], 5)
    assert (list(backward.numbers), backward.spilled) == ([3, 2, 1, 0], True)
    assert (list(forward.numbers), forward.fused, forward.marks) == ([1, 2, 3, 4], True, (1, 3))
    assert hints(10, [1, 9, 10, 14, 30]) == [1, 14, 9]
