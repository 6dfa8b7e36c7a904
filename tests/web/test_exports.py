"""What is exported says what the masks say, in forms that others read."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from munet_jax.data.masks import read_mask
from munet_jax.web.desk import Desk
from tests.web.conftest import COUNT, HEIGHT, WIDTH
from tests.web.serving import Client, wait_for


def export(client: Client, *kinds: str) -> dict[str, Any]:
    client.post("/api/exports", {"kinds": list(kinds)})
    wait_for(lambda: client.state()["exports"]["state"] != "making", 60)
    found: dict[str, Any] = client.state()["exports"]
    return found


@pytest.fixture
def painted(client: Client) -> Client:
    for _ in range(2):
        client.post("/api/objects")
    client.paint(0, (10, 20, 30, 40), 1, WIDTH)
    client.paint(3, (40, 5, 60, 15), 2, WIDTH)
    client.ask("PATCH", "/api/objects/2", {"name": "cup", "colour": "#00ff00"})
    return client


def test_everything_at_once(painted: Client, desk: Desk) -> None:
    pytest.importorskip("av")
    out = desk.out
    done = export(painted, "zip", "objects", "coco", "video", "gif")
    assert done["files"] == ["objects.json", "overlay.mp4", "overlay.gif", "coco.json", "export.zip"]
    described = json.loads((out / "objects.json").read_text())
    assert [entry["name"] for entry in described["objects"]] == ["Object 1", "cup"]
    assert described["marked"] == [0, 3]
    rows = {row["index"]: row for row in described["frames"]}
    assert len(rows) == COUNT
    entry = rows[3]["objects"][0]
    assert (entry["id"], entry["area"], entry["bbox"], entry["confidence"]) == (2, 200, [40, 5, 20, 10], None)
    assert rows[5]["objects"] == []
    archive = zipfile.ZipFile(io.BytesIO(painted.ask("GET", "/api/exports/export.zip")[1]))
    assert [name for name in archive.namelist() if name.startswith("masks/")] == ["masks/00000.png", "masks/00003.png"]
    np.testing.assert_array_equal(
        read_mask("m", content=archive.read("masks/00003.png")), read_mask(out / "masks/00003.png")
    )
    with PILImage.open(out / "overlay.gif") as image:
        assert image.size == (WIDTH, HEIGHT)
        image.seek(3)
        pixel = image.convert("RGB").getpixel((40, 5))
    assert isinstance(pixel, tuple)
    assert pixel[1] > 180 > 80 > max(pixel[0], pixel[2])  # the outline, in the object's own colour


def test_coco_is_read_by_its_own_library(painted: Client, desk: Desk) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    export(painted, "coco")
    found = coco.COCO(str(desk.out / "coco.json"))
    assert [category["name"] for category in found.loadCats(found.getCatIds())] == ["Object 1", "cup"]
    (annotation,) = found.loadAnns(found.getAnnIds(imgIds=[4]))
    np.testing.assert_array_equal(found.annToMask(annotation), read_mask(desk.out / "masks/00003.png") == 2)
    assert annotation["category_id"] == 2


def test_exports_that_cannot_be(client: Client, desk: Desk) -> None:
    assert "no mask to export yet" in client.refused("POST", "/api/exports", {"kinds": ["zip"]})
    assert client.ask("GET", "/api/exports/export.zip")[0] == 404
    client.post("/api/objects")
    client.paint(0, (0, 0, 9, 9), 1, WIDTH)
    (desk.out / "objects.json").mkdir()
    failed = export(client, "objects")
    assert failed["state"] == "failed"
    assert "cannot be written to" in failed["problem"]
    assert client.ask("GET", "/api/exports/.web.sqlite")[0] == 404


def test_a_label_map_out_and_in(painted: Client) -> None:
    status, content, headers = painted.ask("GET", "/api/labels/3")
    assert (status, headers["content-disposition"]) == (200, 'attachment; filename="00003.png"')
    assert painted.ask("PUT", "/api/labels/5?name=00003.png", content)[0] == 200
    rows = {row["frame"]: row for row in painted.state()["session"]["timeline"]}
    assert rows[5]["stats"] == {"2": [200, None, None]}
    assert rows[5]["marked"]
    assert "has no mask yet" in painted.refused("GET", "/api/labels/6")
    assert painted.ask("DELETE", "/api/marks/5")[0] == 200
    assert not {row["frame"]: row for row in painted.state()["session"]["timeline"]}[5]["marked"]
    assert "is not marked" in painted.refused("DELETE", "/api/marks/5")


def test_the_folder_is_that_of_munet_segment(painted: Client, desk: Desk) -> None:
    assert sorted(path.name for path in (desk.out / "masks").iterdir()) == ["00000.png", "00003.png"]
    assert Path(painted.state()["session"]["out"]) == desk.out
