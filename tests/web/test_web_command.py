"""`munet web` and `munet demo --web` as commands: what they refuse, and what they say."""

from __future__ import annotations

import importlib.util
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from munet_jax.cli import main
from munet_jax.web.desk import Desk
from munet_jax.web.server import KEY, serve


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["web", "none.mp4"], "none.mp4: there is no such video, folder or pattern"),
        (["web", "--root", "none"], "none: there is no such folder; name one by --root"),
        (["web", "--max-upload", "0"], "--max-upload is 0"),
        (["web", "--weights", "none"], "none"),
        (["demo", "--web", "x.mp4", "--mask", "m.png"], "for your own video use: munet web"),
    ],
)
def test_what_is_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--out", str(tmp_path / "out"), "--no-browser"]) == 2
    assert told in capsys.readouterr().err


def test_an_empty_folder_and_an_unwritable_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], frames: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["web", str(tmp_path / "empty"), "--out", str(tmp_path / "out"), "--no-browser"]) == 2
    assert "holds no frames" in capsys.readouterr().err
    assert main(["web", str(frames), "--out", "/proc/out", "--no-browser"]) == 2
    assert "/proc/out: cannot be written to" in capsys.readouterr().err


def test_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name))
    assert main(["web", "--out", str(tmp_path), "--no-browser"]) == 2
    assert "needs the extra 'web': pip install 'munet_jax[web]'" in capsys.readouterr().err


def test_a_port_that_is_taken(create: Callable[[], Any], tmp_path: Path) -> None:
    from munet_jax.runtime.errors import InputError

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1:{port}: cannot be listened at"):
            serve(Desk(create, tmp_path), "127.0.0.1", port, browser=False)


def test_an_open_address_is_warned_of_and_opens_once(
    create: Callable[[], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import uvicorn

    from tests.web.serving import Client

    lines: list[str] = []
    ready, servers = threading.Event(), []
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    startup = uvicorn.Server.startup

    async def started(self: Any, *given: Any, **options: Any) -> None:
        await startup(self, *given, **options)
        servers.append(self)
        ready.set()

    monkeypatch.setattr(uvicorn.Server, "startup", started)
    with caplog.at_level(logging.WARNING, "munet_jax"):
        thread = threading.Thread(
            target=serve, args=(Desk(create, tmp_path), "0.0.0.0", 0), kwargs={"browser": True, "told": lines.append}
        )
        thread.start()
        assert ready.wait(20)
    assert "other machines can reach this server" in caplog.text
    address = lines[0].split()[1]
    assert opened == [address]
    assert address.startswith("http://127.0.0.1:")
    port = int(address.split(":")[2].split("/")[0])
    stranger = Client(port, None)
    assert stranger.ask("GET", "/")[0] == 403
    assert stranger.ask("GET", "/" + address.partition("/?")[1][1:] + address.partition("/?")[2])[0] == 200
    assert (tmp_path / KEY).stat().st_mode & 0o777 == 0o600
    servers[0].should_exit = True
    thread.join(20)
    assert not thread.is_alive()
