"""The README's promise: the quickstart, for two seeds, against what needs no learning."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs import quickstart
from munet_jax.data.sources import create_source
from munet_jax.evaluation.scoring import score_sequence, summarise
from tests.baselines import nearest_colour_propagation

ROOT = Path(__file__).parents[1]


def held_out_scores() -> dict[str, float]:
    """J&F of nearest-colour propagation and share of frames with occlusion, on the scored videos."""
    source = create_source(quickstart.get_config().evaluation)
    scores, hidden = {}, []
    for index in range(len(source)):
        video = source.video(index)
        frames = [source.frame(index, t) for t in range(len(video.frame_names))]
        labels = [source.labels(index, t) for t in video.annotated]
        scores[video.name] = score_sequence(labels, nearest_colour_propagation(frames, labels[0]), video.frame_names)
        hidden += [max(source.hidden(index, t)) > 0.05 for t in video.annotated]
        assert labels[0].max() >= 2
    return {"colour": summarise(scores)["J&F"], "occluded": float(np.mean(hidden))}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_quickstart_clears_the_baselines(seed: int, tmp_path: Path) -> None:
    command = [sys.executable, "train.py", "--config", "configs/quickstart.py", "--workdir", str(tmp_path)]
    command.append(f"--config.train.seed={seed}")
    subprocess.run(command, cwd=ROOT, env={**os.environ, "XLA_FLAGS": ""}, check=True)
    results = json.loads((tmp_path / "evaluation" / "results.json").read_text())
    baselines = held_out_scores()
    print(f"\nseed {seed}: {results['J&F']:.3f}, first mask {results['first_mask_copy']['J&F']:.3f}, {baselines}")
    assert baselines["occluded"] >= 0.2
    assert results["J&F"] >= 0.80
    assert results["J&F"] >= results["first_mask_copy"]["J&F"] + 0.25
    assert results["J&F"] >= baselines["colour"] + 0.10
