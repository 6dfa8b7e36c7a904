"""Every command in README and docs: its flags and config fields exist, and what is cheap is run."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from munet_jax.cli import create_parser, main
from munet_jax.commands.scripts import parse_config
from munet_jax.data.masks import write_mask
from tests.data.trees import coloured, label_map, make_davis
from tests.data.videos import write_plain
from tests.docs.blocks import ROOT, Command, blocks, commands

SCRIPTS = ("train.py", "evaluate.py")
# Programs of others, and why they are not run here.
OTHERS = {
    **dict.fromkeys(("python3", "python3.11", ".", "pip", "pre-commit"), "set up what the tests run in"),
    "docker": "needs a daemon; hadolint and test_links.py read the Dockerfile",
    **dict.fromkeys(("ruff", "mypy", "pytest", "mkdocs"), ".ci/run runs them"),
}
# Commands of munet that are not run here, and why; their flags are parsed all the same.
NOT_RUN = {
    "demo": "tests/commands/test_demo.py runs it",
    "convert": "needs weights of others; tests/convert makes files like them",
    "segment clip.mp4 --mask first.png --out results/clip --weights stm.safetensors": "needs STM's weights; tests/convert",
    "export-weights": "needs a trained network; tests/checkpoints",
    "export-step": "compiles at full size; tests/inference/test_export.py",
    "web": "serves until it is stopped; tests/web",
    "check-zip": "needs YouTube-VOS; tests/evaluation/test_submission.py",
    "report": "needs a trained network; tests/report/test_report.py",
}
# What commands leave that have no --out.
WRITTEN = {
    "score": ["results/masks/results.json"],
    "convert-masks": ["Annotations/clip/00000.png"],
    "prepare": ["PREPARED/munet_davis"],
}
EVERY = commands()
TOOLS = [c for c in EVERY if re.fullmatch(r"(benchmarks|docs/tools)/\w+\.py", (*c.words, "")[1])]
OF_MUNET = [command for command in EVERY if command.words[0] == "munet"]
CHEAP = [command for command in OF_MUNET if not any(str(command).startswith(f"munet {start}") for start in NOT_RUN)]
# Parses command lines of a script each in a process of its own: absl knows a flag once.
DRIVER = """
import importlib, json, os, sys
from munet_jax.commands.scripts import parse_flags, read_config
import munet_jax.data.sources, munet_jax.training.options
script = importlib.import_module(sys.argv[1])
for line in json.loads(sys.argv[2]):
    child = os.fork()
    if not child:
        sys.argv = ["script.py", *line]
        parse_flags(sys.argv)
        read_config(script.CONFIG, script.DATA_ROOT.value)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(" ".join(line))
"""


def of_script(name: str) -> list[list[str]]:
    """The arguments of every call of a script; what a page leaves out as `...` is a config and a workdir."""
    usual = ["--config=configs/testing.py", "--workdir=runs/x"]
    lines = []
    for command in EVERY:
        if name in command.words:
            line = list(command.words[command.words.index(name) + 1 :])
            if "..." in line:
                at = line.index("...")
                line[at - (line[at - 1] == "--config") : at + 1] = usual
            lines.append(line)
    return lines


def test_every_block_says_its_language() -> None:
    assert [block[:2] for block in blocks() if block.language not in ("bash", "python", "text")] == []
    inside = [block for block in blocks("text") if re.search(r"^(munet|python|pip) ", block.code, re.MULTILINE)]
    assert [block[:2] for block in inside] == []


def test_every_program_is_known() -> None:
    known = {"munet", "python", "srun", *OTHERS}
    assert [str(command) for command in EVERY if command.words[0] not in known] == []
    for command in EVERY:
        if command.words[0] in ("python", "srun"):
            assert any(name in command.words for name in SCRIPTS) or command in TOOLS, str(command)


@pytest.mark.parametrize("command", OF_MUNET, ids=str)
def test_flags_of_munet_exist(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    options, rest = create_parser().parse_known_args(command.words[1:])
    if options.takes_config:
        parse_config(options.config, rest, options.data_root)
    else:
        assert rest == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_flags_and_fields_of_scripts_exist(script: str) -> None:
    lines = of_script(script)
    assert len(lines) > 5
    command = [sys.executable, "-c", DRIVER, script.removesuffix(".py"), json.dumps(lines)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_flags_of_tools_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """They make their parsers when they run: what counts is that the source has the flag."""
    monkeypatch.chdir(ROOT)
    for command in TOOLS:
        source = Path(command.words[1]).read_text(encoding="utf-8")
        source += "".join(path.read_text(encoding="utf-8") for path in Path(command.words[1]).parent.rglob("*.py"))
        flags = [word.split("=")[0] for word in command.words if word.startswith("--")]
        named = [flag for flag in flags if not flag.startswith("--config.")]
        # Of argparse with its dashes, of absl without them.
        assert [flag for flag in named if f'"{flag}"' not in source and f'("{flag[2:]}"' not in source] == []
        fields = [word for word in command.words if word.startswith("--config.")]
        if fields:
            parse_config(command.words[command.words.index("--config") + 1], fields)


def test_a_field_that_does_not_exist_is_found() -> None:
    line = ["--config=configs/testing.py", "--workdir=runs/x", "--config.train.stepps=5"]
    command = [sys.executable, "-c", DRIVER, "train", json.dumps([line])]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "stepps" in result.stderr


def test_scripts_and_folders_that_pages_name_exist() -> None:
    for page in {block.page for block in blocks()}:
        text = (ROOT / page).read_text(encoding="utf-8")
        for path in re.findall(r"(?<![\w/.])((?:benchmarks|docs/tools|tests|configs)/[\w/]+\.py)", text):
            assert (ROOT / path).is_file() or path == "configs/NAME.py", f"{page} names {path}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small data under the names that the pages use."""
    root = tmp_path_factory.mktemp("docs")
    davis = make_davis(root / "DAVIS", frames=6)
    (root / "DATA").mkdir()
    (root / "DATA/DAVIS").symlink_to(davis)
    for year, split in (("2017", "val"), ("2016", "val")):
        (davis / f"ImageSets/{year}").mkdir(exist_ok=True)
        (davis / f"ImageSets/{year}/{split}.txt").write_text("cat\ndog\n")
    frames = [coloured(label_map(shift=number)) for number in range(4)]
    write_plain(root / "clip.mp4", frames)
    write_mask(root / "first.png", label_map())
    for number in range(6):
        for video in ("cat", "dog"):
            for folder in ("RESULTS", "results/masks", "other/masks"):
                write_mask(root / folder / video / f"{number:05}.png", label_map(shift=number + (folder[0] == "o")))
    for run, masks in (("a", "results"), ("b", "other")):
        given = ["--annotations", f"{davis}/Annotations/480p", "--protocol", "davis2017", "--out", f"{root}/runs/{run}"]
        assert main(["score", *given, "--results", f"{root}/{masks}/masks"]) == 0
    (root / "EXPORTED").mkdir()
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[10:20, 10:20], picture[30:40, 10:20] = (250, 50, 83), (61, 245, 61)
    PILImage.fromarray(picture).save(root / "EXPORTED/00000.png")
    (root / "map.json").write_text('{"#fa3253": 1, "61,245,61": 2}')
    (root / "configs").symlink_to(ROOT / "configs")
    return root


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("command", CHEAP, ids=str)
def test_what_is_cheap_runs(command: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert main(list(command.words[1:])) == 0
    named = [word for flag, word in itertools.pairwise(command.words) if flag in ("--out", "--sheet")]
    written = [*named, *WRITTEN.get(command.words[1], ())]
    assert written or command.words[1] in ("check-masks", "check-data", "compare")
    for name in written:
        assert (place / name).exists()
