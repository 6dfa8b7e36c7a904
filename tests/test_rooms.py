"""Which package may import which: the arrows run one way, from the commands down to what everything uses."""

import ast
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "munet_jax"
BASE = {"array_types", "host_types", "runtime"}
NETWORK = BASE | {"models", "losses", "data", "convert", "visualization"}
USE = NETWORK | {"checkpoints", "inference"}
ARROWS = {
    "host_types": set(),
    "array_types": {"host_types"},
    "runtime": set(),
    "losses": BASE,
    "models": BASE,
    "data": BASE,
    "visualization": BASE | {"data"},
    "convert": BASE | {"models"},
    "inference": NETWORK,
    "checkpoints": NETWORK | {"inference"},
    "evaluation": USE | {"munet_jax"},
    "report": USE | {"evaluation"},
    "training": USE | {"evaluation"},
    "web": USE,
    "commands": USE | {"evaluation", "report", "training", "web", "munet_jax"},
    "cli": {"commands", "runtime"},
    "munet_jax": {"checkpoints"},
}


def room_of(module: str) -> str:
    """'munet_jax.data.masks' -> 'data'; the package itself is 'munet_jax'."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative imports hide an arrow"
            found |= {
                f"{node.module}.{alias.name}" if node.module == "munet_jax" else node.module for alias in node.names
            }
    return {name for name in found if name.split(".")[0] == "munet_jax"}


def wrong_arrows(root: Path, arrows: dict[str, set[str]]) -> list[str]:
    """Every import that the table does not have, a line each."""
    wrong = []
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        room = (
            "munet_jax"
            if inside.name == "__init__.py" and len(inside.parts) == 1
            else inside.parts[0].removesuffix(".py")
        )
        for module in sorted(imports_of(path)):
            if room_of(module) not in arrows.get(room, set()) | {room}:
                wrong.append(f"{inside} imports {module}")
    return wrong


def test_imports_follow_the_arrows() -> None:
    assert wrong_arrows(ROOT, ARROWS) == []


def test_an_arrow_against_the_table_is_found(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "munet.py").write_text("def f():\n    from munet_jax.training.loop import train\n")
    assert wrong_arrows(tmp_path, ARROWS) == ["models/munet.py imports munet_jax.training.loop"]


def test_the_arrows_have_no_circle() -> None:
    below = {room: targets & ARROWS.keys() - {room} for room, targets in ARROWS.items()}
    while below:
        free = [room for room, targets in below.items() if not targets & below.keys()]
        assert free, f"a circle among {sorted(below)}"
        below = {room: targets for room, targets in below.items() if room not in free}


def test_the_root_holds_few_modules_and_no_file_is_long() -> None:
    assert {path.name for path in ROOT.glob("*.py")} == {
        "__init__.py",
        "array_types.py",
        "cli.py",
        "host_types.py",
        "losses.py",
    }
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in ROOT.rglob("*.py")}
    assert [name for name, length in lengths.items() if length > 350] == []


def test_no_two_modules_have_one_name() -> None:
    """Commands are named like what they call."""
    names = [path.stem for path in ROOT.rglob("*.py") if path.parent.name != "commands" and path.stem != "__init__"]
    several = {name for name in names if names.count(name) > 1}
    # Each room's config fields; the networks and the conversion of their weights.
    assert several <= {"options", "resnet", "efficientnet"}


def documented() -> list[tuple[str, str]]:
    """Names and files of the table from equations to code."""
    page = (ROOT.parent / "docs" / "equations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| (`[^|]+`) \| `([^|`]+\.py)` \|$", page, re.MULTILINE)
    return [(name, file) for names, file in rows for name in re.findall(r"`(\w+)`", names)]


@pytest.mark.parametrize(("name", "file"), documented())
def test_the_table_from_equations_to_code_names_what_exists(name: str, file: str) -> None:
    tree = ast.parse((ROOT.parent / file).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    defined |= {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert name in defined


def test_the_table_from_equations_to_code_is_whole() -> None:
    files = {file for _, file in documented()}
    protocols = {f"configs/{path.name}" for path in (ROOT.parent / "configs").glob("protocol*.py")}
    assert protocols <= files
    assert {"cost_volume", "displacement", "uncertainty", "Fusion", "readout", "soft_aggregation", "equation_4"} <= {
        name for name, _ in documented()
    }


@pytest.mark.xdist_group("rooms")
def test_tests_of_a_group_share_a_worker(request: pytest.FixtureRequest) -> None:
    """pytest 9.2 keeps pytest-xdist 3.8 from it, without a word."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@rooms")
