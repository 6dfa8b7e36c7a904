"""Flags of train.py and evaluate.py, and of commands that take a config: how they are spelled, and words that belong to none."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from munet_jax.cli import create_parser, main
from munet_jax.commands import segment
from munet_jax.inference.options import default_options
from munet_jax.runtime.fields import take_arguments

ROOT = Path(__file__).parents[2]
TESTING = "configs/testing.py"
# Parses each of some command lines as a script does, and prints what its flags are then.
DRIVER = """
import importlib, json, sys
from absl import flags
from munet_jax.commands.scripts import parse_flags
script, names = importlib.import_module(sys.argv[1]), sys.argv[2].split(",")
for line in json.loads(sys.argv[3]):
    sys.argv = ["script.py", *line]
    flags.FLAGS.unparse_flags()
    for name in names:
        flags.FLAGS[name.lower().replace("_", "-")].unparse()
    assert parse_flags(sys.argv) == ["script.py"]
    print(json.dumps([getattr(script, name).value for name in names]))
"""


def values(script: str, names: str, *lines: list[str]) -> list[list[object]]:
    """Of the flags with these names, after each of the command lines."""
    command = [sys.executable, "-c", DRIVER, script, names, json.dumps(lines)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def refusal(script: str, *arguments: str) -> str:
    """The one line of a script that ends with exit code 2."""
    command = [sys.executable, script, *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def test_flags_of_train_are_spelled_with_dashes_or_underscores() -> None:
    names = "WORKDIR,DATA_ROOT,PROCESS_ID,PROCESS_COUNT"
    found = values(
        "train", names,
        ["--workdir=a", "--data-root=my_data-root", "--process-id=1", "--process-count=2"],
        ["--workdir", "a", "--data-root", "my_data-root", "--process-id", "1", "--process-count", "2"],
        ["--workdir=a", "--data_root=my_data-root", "--process_id=1", "--process_count=2"],
        ["--workdir", "a", "--data_root", "my_data-root", "--process_id", "1", "--process_count", "2"],
        ["--workdir", "--data_root", "--data-root", "--process_id"],
        [],
    )  # fmt: skip
    assert found[:4] == [["a", "my_data-root", 1, 2]] * 4
    assert found[4] == ["--data_root", "--process_id", None, None]  # values are left as they are
    assert found[5] == [None] * 4


def test_flags_of_evaluate_are_spelled_with_dashes_or_underscores() -> None:
    names = "WORKDIR,DATA_ROOT,ZIP,AGAIN"
    found = values(
        "evaluate", names,
        ["--workdir=a", "--data-root=b_c", "--zip"],
        ["--workdir", "a", "--data_root", "b_c", "--zip=True", "--noagain"],
        ["--workdir=a", "--data_root=b_c", "--zip=true", "--again=False"],
    )  # fmt: skip
    assert found == [["a", "b_c", True, False]] * 3


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_help_shows_the_dashed_form(script: str) -> None:
    shown = subprocess.run([sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "--data-root: Folder that the data set was unpacked into" in shown.stdout
    assert "data_root" not in shown.stdout
    assert "docs/config.md lists all" in shown.stdout


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_words_that_belong_to_no_flag_are_refused(script: str, tmp_path: Path) -> None:
    usual = ["--config", TESTING, "--workdir", str(tmp_path / "run")]
    line = refusal(script, *usual, "--config.data.fake", "False", "--data-root", "X")
    assert line == (
        "error: 'False' is not expected after --config.data.fake; give --config.data.fake=True or --config.data.fake=False"
    )
    line = refusal(script, "DAVIS", *usual)
    assert line.startswith("error: 'DAVIS' is not expected here; give values as --NAME=VALUE")
    assert not (tmp_path / "run").exists()


def test_flags_that_are_on_or_off(tmp_path: Path) -> None:
    usual = ["--config", TESTING, "--workdir", str(tmp_path)]
    line = refusal("evaluate.py", *usual, "--zip", "False")
    assert line == "error: 'False' is not expected after --zip; give --zip=True or --zip=False"
    line = refusal("evaluate.py", *usual, "--nozip", "yes")
    assert line == "error: 'yes' is not expected after --nozip; give --zip=True or --zip=False"
    assert refusal("evaluate.py", *usual, "--zip=maybe").endswith(
        "--zip=maybe: this is on or off; give =True or =False"
    )


def test_flags_that_do_not_exist_or_are_missing(tmp_path: Path) -> None:
    assert "Did you mean: data-root?; --help lists the flags" in refusal("train.py", "--data-rot=X")
    assert "flag --workdir" in refusal("evaluate.py", "--config", TESTING)
    line = refusal("train.py", "--config", "configs/ablation.py:h", "--workdir", str(tmp_path))
    assert line == "error: configs/ablation.py has the rows a, b, c, d, e, f, g, not 'h'"
    line = refusal("evaluate.py", "--config=configs/quikstart.py", "--workdir", str(tmp_path))
    assert line.startswith("error: --config: configs/quikstart.py: there is no such file; the configs are")
    assert "process-id=a: invalid literal" in refusal("train.py", "--process_id=a")


@pytest.mark.parametrize("spelled", [["--data-root", "X"], ["--data_root", "X"], ["--data-root=X"], ["--data_root=X"]])
def test_commands_take_a_data_root_in_either_spelling(spelled: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(ROOT / "configs/davis2016_small.py")]
    assert main(["check-data", *config, *spelled]) == 1
    assert "problem: config.data: X: there is no such folder" in capsys.readouterr().err
    assert main(["check-zip", *config, *spelled, "some.zip"]) == 2
    assert "X: there is no such folder" in capsys.readouterr().err


def test_options_of_segment_set_fields_of_the_config() -> None:
    given = [
        "--max-size",
        "240",
        "--memory-policy",
        "adaptive",
        "--adaptive-capacity",
        "8",
        "--scales",
        "1",
        "0.75",
        "--flip",
        "--dtype",
        "bfloat16",
    ]
    options: argparse.Namespace = create_parser().parse_args(["segment", "video", "--mask=m.png", "--out=o", *given])
    config = default_options()
    take_arguments(config, options, segment.INFERENCE_OPTIONS)
    expected = default_options()
    expected.update(max_size=240, memory_policy="adaptive", scales=(1.0, 0.75), flip=True, dtype="bfloat16")
    expected.adaptive.capacity = 8
    assert config == expected


def test_help_of_segment_has_the_words_of_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["segment", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--memory-interval N every_k: keep every N-th frame in memory" in shown
    assert "(default: 5)" in shown
    assert "--memory-policy {every_k,adaptive}" in shown


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            ["segment", "--overlay", "gif", "a.mp4"],
            "munet segment: error: argument --overlay: .*'a.mp4'.* put INPUT first",
        ),
        (
            ["segment", "--scales", "2", "a.mp4"],
            "munet segment: error: argument --scales: .*'a.mp4'; .*put INPUT first",
        ),
        (
            ["segment", "a.mp4"],
            "munet segment: error: .*required: --mask, --out; munet segment --help lists the options",
        ),
        (["segments"], "munet: error: .*invalid choice: 'segments'.*; munet --help lists the options"),
        (["score", "--no-such"], "munet score: error: .*"),
    ],
)
def test_a_wrong_command_ends_in_one_line(given: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(given)
    shown = capsys.readouterr().err
    assert re.fullmatch(f"{line}\n", shown), shown
