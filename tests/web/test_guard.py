"""Who gets an answer: nobody without the token, no other origin, no path out of the root."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from munet_jax.runtime.errors import InputError
from munet_jax.web.application import create_application
from munet_jax.web.desk import Desk, inside, plain_name
from tests.web.serving import Client, frames_folder, served


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a video's frames, beside something that is nobody's business."""
    place = tmp_path_factory.mktemp("place")
    frames_folder(place / "root/shots/one")
    frames_folder(place / "secret")
    (place / "root/notes.txt").write_text("no video")
    (place / "root/.hidden").mkdir()
    frames_folder(place / "root/linked", 2)
    (place / "root/linked/00002.png").symlink_to(place / "secret/00000.png")
    (place / "root/shots/link").symlink_to(place / "secret")
    (place / "root/shots/passwd.mp4").symlink_to("/etc/passwd")
    return place / "root"


@pytest.fixture
def opener(create: Callable[[], Any], root: Path, tmp_path: Path) -> Iterator[tuple[Client, Desk]]:
    desk = Desk(create, tmp_path / "out", root=root, most_bytes=5000)
    with served(desk) as client:
        yield client, desk


def routes(desk: Desk) -> list[tuple[str, str]]:
    """Every method and path that the router knows, with parameters filled in."""
    found = []
    for route in create_application(desk).routes:
        path = route.path  # type: ignore[attr-defined]
        for parameter, value in (
            ("{frame:int}", "0"),
            ("{version:int}", "1"),
            ("{identity:int}", "1"),
            ("{kind}", "attention"),
        ):
            path = path.replace(parameter, value)
        found += [(method, path.replace("{name}", "index.html")) for method in route.methods]  # type: ignore[attr-defined]
    return found


def test_every_route_needs_the_token(client: Client, desk: Desk) -> None:
    known = routes(desk)
    assert len(known) > 30
    stranger = Client(client.port, None)
    for method, path in [*known, ("GET", "/nowhere"), ("GET", "/page/../page/main.js"), ("OPTIONS", "/")]:
        for cookie in (None, "munet=1", f"munet_{client.port}=guessed", f"munet_{client.port}="):
            stranger.cookie = cookie
            status, told, _ = stranger.ask(method, path)
            assert status == 403, (method, path)
            assert method == "HEAD" or b"needs the token" in told


def test_the_token_opens_the_page_once(client: Client) -> None:
    stranger = Client(client.port, None)
    for path in ("/?token=wrong", "/?token=", "/api/state?token=wrong"):
        assert stranger.ask("GET", path)[0] == 403
    status, _, headers = client.ask("GET", "/")
    assert status == 200
    assert "set-cookie" not in headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "no-store"


def test_the_cookie_is_for_this_page_alone(desk: Desk) -> None:
    import asyncio

    from munet_jax.web.guard import Guard

    guard = Guard(create_application(desk), 80)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    def ask(query: bytes) -> Any:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "query_string": query,
            "headers": [(b"host", b"localhost:80")],
        }
        sent.clear()
        asyncio.run(guard(scope, receive, send))
        return sent[0]

    token = (guard.token or "").encode()
    first = ask(b"token=" + token)
    cookie = dict(first["headers"])[b"set-cookie"].decode()
    assert first["status"] == 200
    assert cookie == f"munet_80={guard.cookie}; Path=/; HttpOnly; SameSite=Strict"
    assert ask(b"token=" + token)["status"] == 403
    desk.close()


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}", "http://localhost:{port}"],
)
def test_another_origin_is_refused(client: Client, origin: str) -> None:
    headers = {"Origin": origin.format(port=client.port)}
    assert client.ask("POST", "/api/objects", {}, headers)[0] == 403
    assert client.ask("GET", "/api/state", None, headers)[0] == 403
    assert client.state()["session"]["objects"] == []


def test_a_change_without_an_origin_is_refused(client: Client) -> None:
    assert client.ask("POST", "/api/objects", {}, {"Origin": ""})[0] == 403
    assert client.ask("GET", "/api/state", None, {"Origin": ""})[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example:{port}", ""]
)
def test_another_host_is_refused(client: Client, host: str) -> None:
    name = host.format(port=client.port)
    headers = {"Host": name, "Origin": f"http://{name}" if name else ""}
    assert client.ask("GET", "/api/state", None, headers)[0] in (400, 403)


OUTWARD = [
    "..", "../secret", "../../etc/passwd", "shots/../../secret", "shots/one/../../../secret", "/etc/passwd", "/", "//etc", "~",
    "~root",
    "..\\secret", "shots\\..\\..\\secret", "C:\\Windows", "c:secret", "shots/link", "shots/link/00000.png", "shots/passwd.mp4",
    "shots\0",
    ".hidden", "./../secret", "shots/./../../secret", "%2e%2e/secret",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTWARD)
def test_no_path_leads_out_of_the_root(opener: tuple[Client, Desk], root: Path, path: str) -> None:
    from urllib.parse import quote

    client, desk = opener
    with pytest.raises(InputError):
        inside(root, path)
    assert client.refused("POST", "/api/open", {"path": path})
    for sent in (quote(path, safe=""), quote(quote(path, safe=""), safe="")):
        assert client.refused("GET", f"/api/list?path={sent}")
    assert desk.session is None
    for prefix in ("/page/", "/api/exports/"):
        status, told, _ = client.ask("GET", prefix + quote(path, safe=""))
        assert status in (400, 404, 405), told


def test_the_root_shows_videos_and_folders_alone(opener: tuple[Client, Desk], root: Path) -> None:
    client, desk = opener
    assert client.get("/api/list") == {"path": "", "folders": ["linked", "shots"], "videos": [], "frames": 0}
    assert client.get("/api/list?path=shots")["folders"] == ["one"]
    assert client.get("/api/list?path=shots/one")["frames"] == 8
    assert "there is no such video or folder" in client.refused("POST", "/api/open", {"path": "none"})
    assert client.refused("POST", "/api/open", {"path": "notes.txt"})
    assert "links out of the folder" in client.refused("POST", "/api/open", {"path": "linked"})
    client.post("/api/open", {"path": "shots/one"})
    assert client.state()["session"]["frames"] == 8
    client.idle()
    client.post("/api/close")
    assert client.state()["session"] is None


def test_uploads(opener: tuple[Client, Desk], tmp_path: Path) -> None:
    pytest.importorskip("av")
    import numpy as np

    from munet_jax.data.video_files import write_video

    client, desk = opener
    uploads = desk.out / "uploads"
    told = client.refused("PUT", "/api/uploads/big.mp4", b"x" * 6000)
    assert told.startswith("big.mp4: is larger than 0 MiB")
    assert "is no video file" in client.refused("PUT", "/api/uploads/run.sh", b"#!")
    assert "cannot be opened as a video" in client.refused("PUT", "/api/uploads/fake.mp4", b"not a video at all" * 9)
    assert "is empty" in client.refused("PUT", "/api/uploads/nothing.mp4", b"")
    assert list(uploads.iterdir()) == []
    write_video(tmp_path / "v.mp4", [np.full((32, 32, 3), 9 * t, np.uint8) for t in range(4)], 10)
    client.ask("PUT", "/api/uploads/..%2F..%2Fmy%20clip.mp4", (tmp_path / "v.mp4").read_bytes())
    assert [path.name for path in uploads.iterdir()] in ([], ["my clip.mp4"])
    assert client.ask("PUT", "/api/uploads/my%20clip.mp4", (tmp_path / "v.mp4").read_bytes())[0] == 200
    assert client.state()["session"]["frames"] == 4
    assert not (desk.out.parent / "my clip.mp4").exists()
    client.idle()


def test_names_of_uploads_are_plain() -> None:
    assert plain_name("..") == "video"
    assert plain_name("a/b\\c:d\0.mp4") == "a_b_c_d_.mp4"
    assert plain_name("Ärger 1 (2).MOV") == "Ärger 1 (2).MOV"


def test_a_video_of_the_command_line_is_not_exchanged(client: Client) -> None:
    assert "given on the command line" in client.refused("POST", "/api/close", {})
    assert "given on the command line" in client.refused("PUT", "/api/uploads/a.mp4", b"")
    assert "no folder was given" in client.refused("GET", "/api/list")


def test_requests_that_make_no_sense(client: Client) -> None:
    assert "more than" in client.refused("POST", "/api/follow", b"x" * 70_000)
    for content in (b"", b"[]", b"{", b"\xff", b'{"direction": 1}', b"[" * 9000):
        assert client.refused("POST", "/api/follow", content)
    assert "cut off" in client.refused("POST", "/api/strokes/0", b"12345")
    assert "there is no frame 99" in client.refused("GET", "/api/frames/99")
    assert "there is no object 4" in client.refused("PATCH", "/api/objects/4", {"name": "x"})
    assert "choose one of" in client.refused("GET", "/api/maps/nothing/1")
    assert "cannot export" in client.refused("POST", "/api/exports", {"kinds": ["exe"]})
    client.post("/api/objects")
    for changes in ({"name": ""}, {"name": "x" * 61}, {"colour": "red"}, {"visible": 1}, {"id": 3}, {}):
        assert client.refused("PATCH", "/api/objects/1", changes)
    assert client.ask("GET", "/api/masks/77")[0] == 404
    assert client.ask("GET", "/nowhere")[0] == 404
