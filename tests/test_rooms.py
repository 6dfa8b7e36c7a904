"""Which package may import which: the arrows run one way, from the commands down to what everything uses."""

import ast
from pathlib import Path

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
    "commands": USE | {"evaluation", "report", "training", "munet_jax"},
    "munet_jax": {"checkpoints"},
}
# Words that would name two things.
AMBIGUOUS = ("files", "export", "checks", "weights", "batch", "motion")


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
