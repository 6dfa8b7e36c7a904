"""The Python of README and docs runs as it stands, with a small network and short clips under the names that it uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image as PILImage

import munet_jax
from configs import testing
from munet_jax.checkpoints.weight_file import write_weights
from munet_jax.cli import main
from munet_jax.data.masks import write_mask
from munet_jax.inference import VideoSegmenter, propagate
from munet_jax.models import create_model
from tests.data.trees import coloured, label_map
from tests.docs.blocks import Block, blocks

SIZE = (48, 64)
SMALLER = {"(480, 640)": "(48, 64)", "(480, 854)": "(48, 64)"}
BLOCKS = blocks("python")


@pytest.fixture
def network(variables: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What `munet_jax.load` gives in the blocks."""
    config = testing.get_config()
    config.inference.update(memory_interval=30, memory_capacity=8)
    given = (create_model(config.model), variables, config)
    monkeypatch.setattr(munet_jax, "load", lambda _: given)
    return given


def names_of_the_pages(network: Any, frames: list[np.ndarray]) -> dict[str, Any]:
    """What the text around the blocks speaks of."""
    model, variables, config = network
    shown: list[np.ndarray] = []
    return {
        "model": model, "variables": variables, "config": config, "segmenter": VideoSegmenter(*network),
        "propagate": propagate,
        "frames": frames, "camera": iter(frames[1:4]), "first_frame": frames[0], "first_mask": label_map(),
        "corrected_mask": label_map(shift=2), "another_mask": label_map((4,)), "show": shown.append,
        "write": lambda number, labels: shown.append(labels), "shown": shown,
    }  # fmt: skip


def test_the_pages_have_blocks() -> None:
    assert {"README.md", "docs/library.md"} <= {block.page for block in BLOCKS}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}:{block.line}")
def test_blocks_run(block: Block, network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frames = [coloured(label_map(shift=number % 8)) for number in range(95 if "90:" in block.code else 4)]
    names = names_of_the_pages(network, frames)
    code = block.code
    for text, smaller in SMALLER.items():
        code = code.replace(text, smaller)
    if "video.init_state" in code:
        batch = [jnp.asarray(frame, jnp.float32)[None] / 255 for frame in frames]
        labels, named = jnp.asarray(label_map(), jnp.int32)[None], jnp.asarray([[True, True, False]])
        names |= {"first_frame": batch[0], "other_frames": jnp.stack(batch[1:]), "labels": labels, "named": named}
    if "step.json" in code:
        export(network, tmp_path)
        labels, named = jnp.asarray(label_map(), jnp.int32)[None], jnp.ones((1, 3), bool)
        names |= {"frames": [jnp.asarray(frame)[None] for frame in frames], "labels": labels, "named": named}
    if "demo/frames" in code:
        (tmp_path / "demo/frames").mkdir(parents=True)
        for number, frame in enumerate(frames):
            PILImage.fromarray(frame).save(tmp_path / f"demo/frames/{number:05}.png")
        write_mask(tmp_path / "demo/first_mask.png", label_map())
    exec(compile(code, f"{block.page}:{block.line}", "exec"), names)
    if "show(" in code or "write(" in code:
        assert len(names["shown"]) == (3 if "show(" in code else 95)
        assert all(labels.shape == SIZE for labels in names["shown"])


def export(network: Any, folder: Path) -> None:
    """The step that the page's command writes, of the small network at the clips' size."""
    _, variables, config = network
    write_weights(folder / "weights.safetensors", {"batch_stats": {}} | dict(variables), config, 1)
    munet_jax_load = [str(folder / "weights.safetensors"), str(folder / "step"), "--size", "64x48", "--objects", "3"]
    assert main(["export-step", *munet_jax_load, "--platforms", "cpu"]) == 0
