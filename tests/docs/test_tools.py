"""What makes the README's picture and the site's notebook."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image as PILImage

from docs.tools import make_moving_picture
from munet_jax.inference import Prediction
from tests.data.trees import coloured, label_map


def test_the_moving_picture_shows_every_frame(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = [label_map(shift=shift) for shift in range(3)]
    predictions = [
        Prediction(
            map_, (1, 2), number, uncertainty=rng.random((48, 64), np.float32),
            displacement=rng.standard_normal((48, 64, 2)).astype(np.float32),
        )
        for number, map_ in enumerate(labels)
    ]  # fmt: skip
    pictures = make_moving_picture.draw([coloured(map_) for map_ in labels], predictions)
    make_moving_picture.save(tmp_path / "picture.webp", pictures)
    with PILImage.open(tmp_path / "picture.webp") as saved:
        assert saved.n_frames == 3
        assert saved.info["loop"] == 0
        assert saved.size == pictures[0].size
        assert saved.width > 3 * make_moving_picture.WIDTH


def test_a_notebooks_page_has_its_cells_and_what_came_out() -> None:
    pytest.importorskip("mkdocs", reason="needs the extra 'docs'")
    pytest.importorskip("nbclient", reason="needs the extra 'docs'")
    pytest.importorskip("jupytext", reason="needs the extra 'docs'")
    from docs.tools.notebook_page import as_page

    def shown(kind: str, content: str) -> SimpleNamespace:
        return SimpleNamespace(output_type="execute_result", get=lambda *_: {kind: content})

    outputs = [
        SimpleNamespace(output_type="stream", name="stdout", text="7\n", get=lambda *_: {}),
        SimpleNamespace(output_type="stream", name="stderr", text="a warning", get=lambda *_: {}),
        shown("image/png", base64.b64encode(b"picture").decode()),
        shown("text/plain", "array([1])"),
    ]
    cells = [
        SimpleNamespace(cell_type="markdown", source="# Title"),
        SimpleNamespace(cell_type="code", source="print(7)", outputs=outputs),
    ]
    page, pictures = as_page(SimpleNamespace(cells=cells))
    assert pictures == {"notebook_0.png": b"picture"}
    assert page == (
        "# Title\n\n```python\nprint(7)\n```\n\n```text\n7\n```\n\n"
        "![what the cell above shows](pictures/notebook_0.png)\n\n```text\narray([1])\n```\n"
    )
