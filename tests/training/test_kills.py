"""A run that is killed again and again ends as one that was left alone."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import testing
from munet_jax.checkpoints.runs import trained_variables
from tests.training.test_runs import ENVIRONMENT, ROOT, run
from tests.training.test_services import QUIET

KILLS = 20
LONG = ["--config.train.steps=40", "--config.train.checkpoint_every=2"]


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    options = [*QUIET, *LONG, "--workdir"]
    assert run("train.py", *options, str(tmp_path / "calm")).returncode == 0
    chance = random.Random(0)
    workdir, saved = tmp_path / "killed", 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "train.py", *options, str(workdir)],
            cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(chance.uniform(2, 25))
        process.send_signal(signal.SIGKILL)
        process.wait()
        steps = [int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdecimal()]
        assert max(steps, default=0) >= saved  # what was finished stays
        saved = max(steps, default=0)
    assert run("train.py", *options, str(workdir)).returncode == 0
    (calm, _), (killed, step) = (
        trained_variables(testing.get_config(), tmp_path / name) for name in ("calm", "killed")
    )
    assert step == 40
    jax.tree.map(np.testing.assert_array_equal, calm, killed)
