"""A hook of mkdocs: runs docs/notebook.py and gives the site a page of it, with what its cells print and show."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import jupytext
import nbclient
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from traitlets.config import Config

NOTEBOOK = Path(__file__).parents[1] / "notebook.py"
SECONDS = 300  # that a cell may take on a busy machine


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds notebook.md and its pictures."""
    page, pictures = as_page(run(NOTEBOOK))
    files.append(File.generated(config, "notebook.md", content=page))
    for name, content in pictures.items():
        files.append(File.generated(config, f"pictures/{name}", content=content))
    return files


def run(source: Path) -> Any:
    """The notebook with its outputs; a cell that fails ends the build."""
    notebook = jupytext.read(source, fmt="py:percent")
    # The kernel imports the checkout that the site is of, whatever is installed.
    root = str(Path(__file__).parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    sockets = Config({"KernelManager": {"transport": "ipc"}})  # files, which nobody else can listen to
    return nbclient.NotebookClient(notebook, config=sockets, timeout=SECONDS, kernel_name="python3").execute()


def as_page(notebook: Any) -> tuple[str, dict[str, bytes]]:
    """Markdown of a notebook that was run, and its pictures by their names."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if output.output_type == "stream" and output.name == "stdout":
                parts.append(f"```text\n{output.text.rstrip()}\n```")
            elif "image/png" in data:
                name = f"notebook_{len(pictures)}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![what the cell above shows](pictures/{name})")
            elif "text/plain" in data:
                parts.append(f"```text\n{data['text/plain']}\n```")
    return "\n\n".join(parts) + "\n", pictures
