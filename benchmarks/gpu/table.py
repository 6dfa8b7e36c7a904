"""The tables for docs/performance.md, from what a check has found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from munet_jax.runtime.atomic_files import atomic_path

TABLE = "table.md"
COLUMNS = {
    "parity": ("highest", "default", "half", "passed"),
    "training": (
        "ms", "clips_per_second", "scaling", "tflop_per_second", "peak_gb", "temporaries_gb", "host_ms", "same_bits_twice",
    ),
    "inference": ("median_ms", "p95_ms", "fps", "predicted_fps", "peak_gb"),
    "accuracy": ("J", "differing_pixels"),
}  # fmt: skip


def write_table(out: Path, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """One table for each part, a line for each case; OUT/table.md."""
    lines = []
    found = parts["environment"]["machine"]
    if "devices" in found:
        lines = [f"{len(found['devices'])} x {found['devices'][0]}, jax {found['jax']}, {found['platform']}", ""]
    for part, columns in COLUMNS.items():
        if part in parts:
            lines += [f"| {part} | {' | '.join(name.replace('_', ' ') for name in columns)} |"]
            lines += ["|---" * (1 + len(columns)) + "|"]
            lines += [_row(name, case, columns) for name, case in parts[part].items()] + [""]
    with atomic_path(out / TABLE) as temporary:
        temporary.write_text("\n".join(lines))


def _row(name: str, case: Mapping[str, Any], columns: tuple[str, ...]) -> str:
    for word in ("skipped", "error"):
        if word in case:
            return f"| {name} | {word}: {case[word].replace('|', '/')} |" + " |" * (len(columns) - 1)
    return f"| {name} | " + " | ".join(_cell(case[column]) for column in columns) + " |"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:g}"
