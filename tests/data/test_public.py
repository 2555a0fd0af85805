"""Public data sets: found, checked, downloaded whole or not at all. The servers are our own, on the loopback."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from carousel.cli import main
from carousel.data import public
from carousel.errors import InputError

Capture = pytest.CaptureFixture[str]
FILES = {"a.txt": b"abc" * 1000, "b.txt": b"b" * 200_000}


class Server(ThreadingHTTPServer):
    """Serves `files`; the first `breaks` answers end in the middle."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(FILES)
        self.breaks = 0
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.server.asked.append(name)
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of the set "letters"."""
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        home = f"http://127.0.0.1:{server.server_port}/folder/"
        letters = public.PublicSet("letters", "letters", tuple(FILES), "nowhere", "none", home=home)
        monkeypatch.setitem(public.SETS, "letters", letters)
        rows = {f"letters/{name}": (len(content), hashlib.sha256(content).hexdigest()) for name, content in FILES.items()}
        monkeypatch.setattr(public, "_manifest", lambda: rows)
        yield server
        server.shutdown()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(words: list[str], capsys: Capture) -> str:
    """The last line on the standard error, after the lines that tell of downloads."""
    assert main(words) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_get_downloads_the_files_and_prints_their_place(server: Server, tmp_path: Path, capsys: Capture) -> None:
    assert main(["data", "get", "letters", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'letters'}\n"
    assert files(tmp_path) == FILES
    assert public.state("letters", tmp_path) == "here"


def test_what_is_there_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    public.get("letters", tmp_path)
    public.get("letters", tmp_path)
    assert server.asked == ["a.txt", "b.txt"]


def test_a_wrong_checksum_leaves_no_file(server: Server, tmp_path: Path, capsys: Capture) -> None:
    server.files["a.txt"] = b"abd" * 1000
    told = refusal(["data", "get", "letters", "--data-dir", str(tmp_path)], capsys)
    assert "a.txt: what was downloaded is not the known file: expected sha256" in told
    assert files(tmp_path) == {}


def test_an_interrupted_download_leaves_no_file_and_asking_again_goes_on(server: Server, tmp_path: Path, capsys: Capture) -> None:
    words = ["data", "get", "letters", "--data-dir", str(tmp_path)]
    server.files.pop("b.txt")
    assert "404" in refusal(words, capsys)
    server.files["b.txt"] = FILES["b.txt"]
    server.breaks = 1
    assert "the download failed (the connection broke off); try again" in refusal(words, capsys)
    assert files(tmp_path) == {"a.txt": FILES["a.txt"]}
    assert public.state("letters", tmp_path) == "in part"
    assert main(words) == 0
    assert files(tmp_path) == FILES
    assert server.asked == ["a.txt", "b.txt", "b.txt", "b.txt"]


def test_no_server(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    with Server() as gone:
        port = gone.server_port
    monkeypatch.setitem(public.SETS, "letters", replace(public.SETS["letters"], home=f"http://127.0.0.1:{port}/"))
    told = refusal(["data", "get", "letters", "--data-dir", str(tmp_path)], capsys)
    assert "the download failed (no connection); try again, or place the file at" in told
    assert files(tmp_path) == {}


def test_another_file_is_not_overwritten(server: Server, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"not the known file: expected sha256 .*; move it away"):
        public.get("letters", tmp_path)
    assert files(tmp_path) == {"a.txt": b"mine"}
    (tmp_path / "letters" / "b.txt").write_bytes(b"mine too")
    assert public.state("letters", tmp_path) == "other files"
    assert public.path("letters", tmp_path) == tmp_path / "letters"


def test_what_is_not_downloaded_is_described(tmp_path: Path, capsys: Capture) -> None:
    assert main(["data", "get", "imdb", "--data-dir", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.err == "carousel: imdb: not present and cannot be downloaded; place its files by hand as described above\n"
    for told in (
        "aclImdb_v1.tar.gz",
        "licence:",
        f"place in {tmp_path / 'imdb'}:",
        "train.jsonl.gz  13,027,072 bytes, sha256 6b53af56",
    ):
        assert told in printed.out
    with pytest.raises(InputError, match="not published in this form; place it there by hand"):
        public.get("imdb", tmp_path)


def test_path_of_a_set_of_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("CAROUSEL_DATA", str(tmp_path))
    assert refusal(["data", "path", "sunspots"], capsys).endswith(
        "not there; carousel data get sunspots fetches it or says where it is published"
    )
    file = tmp_path / "timeseries" / "monthly-sunspots.csv"
    file.parent.mkdir()
    file.touch()
    assert main(["data", "path", "sunspots"]) == 0
    assert capsys.readouterr().out == f"{file}\n"


def test_list_says_what_is_here(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").touch()
    assert main(["data", "list", "--data-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"data folder: {tmp_path}"
    table = {line.split()[0]: line for line in lines[1:-2]}
    assert list(table) == list(public.SETS)
    assert re.split(r"\s{2,}", table["mnist"])[2:] == ["11.6 MB", "in part"]
    assert re.split(r"\s{2,}", table["airline-passengers"])[2:] == ["2.2 kB", "not here"]


def test_an_unknown_set_gets_the_nearest_right_name(capsys: Capture) -> None:
    for verb in ("get", "path"):
        assert "unknown data set 'sunspot'; did you mean 'sunspots'?" in refusal(["data", verb, "sunspot"], capsys)


def test_the_default_is_the_cache_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAROUSEL_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert public.data_folder().name == "carousel"


def test_every_file_is_pinned() -> None:
    pinned = {f"{own.folder}/{file}" for own in public.SETS.values() for file in own.files}
    assert pinned == set(public._manifest())
    assert all(len(sha256) == 64 and n > 0 for n, sha256 in public._manifest().values())
