import errno
import hashlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unroll.data import download, verified
from unroll.data.fetch import AT_ONCE, RemoteFile, fetch, fetch_all
from unroll.data.files import locked
from unroll.errors import UserError

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = random.Random(1).randbytes(300_000)


def remote(*urls: str, path: str = "set/data.bin", content: bytes = CONTENT) -> RemoteFile:
    return RemoteFile(path, urls, hashlib.sha256(content).hexdigest())


@pytest.fixture
def published(site: Any) -> RemoteFile:
    site.files["/data.bin"] = CONTENT
    return remote(f"{site.url}/data.bin")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mirror"
    (folder / "set").mkdir(parents=True)
    monkeypatch.setenv("UNROLL_MIRROR", str(folder))
    return folder


def leftovers(cache: Path) -> list[str]:
    return sorted(
        path.name for path in cache.rglob("*") if path.is_file() and path.name not in ("data.bin", "verified.json")
    )


def message(file: RemoteFile, cache: Path) -> str:
    with pytest.raises(UserError) as caught:
        fetch(file, cache)
    assert "\n" not in str(caught.value)
    assert file.path in str(caught.value)
    return str(caught.value)


# The way a file comes in


def test_downloads_once_and_leaves_nothing_else(site: Any, published: RemoteFile, cache: Path) -> None:
    path = fetch(published, cache)
    assert path == cache / "set/data.bin"
    assert path.read_bytes() == CONTENT
    assert fetch(published, cache) == path
    assert len(site.log) == 1
    assert leftovers(cache) == []


def test_cut_connection_is_resumed_where_it_broke(site: Any, published: RemoteFile, cache: Path) -> None:
    site.cuts = [100_000, 50_000]
    assert fetch(published, cache).read_bytes() == CONTENT
    first, *resumed = [asked for _, asked in site.log]
    assert first is None
    for asked, sent in zip(resumed, (100_000, 150_000), strict=True):
        assert sent - 2 * download.PIECE < int(asked.removeprefix("bytes=").removesuffix("-")) <= sent


def test_part_of_an_earlier_process_is_resumed(site: Any, published: RemoteFile, cache: Path) -> None:
    (cache / "set").mkdir(parents=True)
    (cache / "set/data.bin.part").write_bytes(CONTENT[:123_456])
    assert fetch(published, cache).read_bytes() == CONTENT
    assert [asked for _, asked in site.log] == ["bytes=123456-"]


def test_server_without_ranges_sends_everything_again(site: Any, published: RemoteFile, cache: Path) -> None:
    site.ranges = False
    site.cuts = [100_000]
    assert fetch(published, cache).read_bytes() == CONTENT
    assert len(site.log) == 2


def test_part_that_was_complete_already(site: Any, published: RemoteFile, cache: Path) -> None:
    (cache / "set").mkdir(parents=True)
    (cache / "set/data.bin.part").write_bytes(CONTENT)
    assert fetch(published, cache).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [1_000, 300_000, 400_000])
def test_part_of_another_version_is_given_up(site: Any, published: RemoteFile, cache: Path, size: int) -> None:
    (cache / "set").mkdir(parents=True)
    (cache / "set/data.bin.part").write_bytes((OTHER * 2)[:size])
    assert fetch(published, cache).read_bytes() == CONTENT
    assert site.log[-1] == ("/data.bin", None)


def test_connection_that_always_breaks_ends_and_keeps_the_part(site: Any, published: RemoteFile, cache: Path) -> None:
    site.cuts = [100_000, 0]
    assert "the connection was cut" in message(published, cache)
    assert 100_000 - download.PIECE < (cache / "set/data.bin.part").stat().st_size <= 100_000


def test_server_without_ranges_that_always_breaks_ends(site: Any, published: RemoteFile, cache: Path) -> None:
    site.ranges = False
    site.cuts = [100_000] * 50
    assert "the connection was cut" in message(published, cache)
    assert len(site.log) < 10


def test_next_url_after_an_error(site: Any, cache: Path) -> None:
    site.files |= {"/wrong": OTHER, "/empty": b"", "/right": CONTENT}
    file = remote(*(f"{site.url}/{name}" for name in ("absent", "wrong", "empty", "right")))
    assert fetch(file, cache).read_bytes() == CONTENT
    assert [path for path, _ in site.log] == ["/absent", "/wrong", "/empty", "/right"]
    assert leftovers(cache) == []


def test_busy_server_is_asked_again(
    site: Any, published: RemoteFile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PAUSE", 0.01)
    site.statuses = [503, 429]
    assert fetch(published, cache).read_bytes() == CONTENT
    assert len(site.log) == 3


# Mirror and cache


def test_mirror_wins_and_is_used_in_place(site: Any, published: RemoteFile, cache: Path, mirror: Path) -> None:
    (mirror / "set/data.bin").write_bytes(CONTENT)
    before = sorted(mirror.rglob("*"))
    assert fetch(published, cache) == mirror / "set/data.bin"
    assert site.log == []
    assert sorted(mirror.rglob("*")) == before
    assert not (cache / "set").exists()


def test_mirror_without_the_file_falls_back_to_the_network(published: RemoteFile, cache: Path, mirror: Path) -> None:
    assert fetch(published, cache) == cache / "set/data.bin"


def test_wrong_file_in_the_mirror_is_left_alone(
    published: RemoteFile, cache: Path, mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mirror / "set/data.bin").write_bytes(OTHER)
    assert fetch(published, cache) == cache / "set/data.bin"
    assert (mirror / "set/data.bin").read_bytes() == OTHER
    assert f"{mirror}/set/data.bin: wrong SHA-256" in capsys.readouterr().err


def test_wrong_file_in_the_mirror_and_nothing_else(cache: Path, mirror: Path) -> None:
    (mirror / "set/data.bin").write_bytes(OTHER)
    text = message(remote(), cache)
    assert f"{mirror}/set/data.bin: wrong SHA-256" in text
    assert SHA256[:12] in text
    assert hashlib.sha256(OTHER).hexdigest()[:12] in text


def test_mirror_that_is_no_folder(published: RemoteFile, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLL_MIRROR", "/no/such/folder")
    with pytest.raises(UserError, match="UNROLL_MIRROR=/no/such/folder: no such folder"):
        fetch(published, cache)


def test_wrong_file_in_the_cache_is_kept_aside(published: RemoteFile, cache: Path) -> None:
    (cache / "set").mkdir(parents=True)
    (cache / "set/data.bin").write_bytes(OTHER)
    assert fetch(published, cache).read_bytes() == CONTENT
    assert (cache / "set/data.bin.rejected").read_bytes() == OTHER


def test_wrong_file_in_the_cache_stays_while_there_is_no_other(cache: Path) -> None:
    (cache / "set").mkdir(parents=True)
    (cache / "set/data.bin").write_bytes(OTHER)
    assert "wrong SHA-256" in message(remote(), cache)
    assert (cache / "set/data.bin").read_bytes() == OTHER


def test_hashed_once_until_it_changes(cache: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    real = verified.file_hash
    monkeypatch.setattr(verified, "file_hash", lambda path: hashed.append(path) or real(path))
    path = mirror / "set/data.bin"
    path.write_bytes(CONTENT)
    for _ in range(3):
        fetch(remote(), cache)
    assert hashed == [path]
    path.write_bytes(CONTENT[:-1] + b"?")
    os.utime(path, ns=(0, 0))  # the same size: only the time tells
    assert "wrong SHA-256" in message(remote(), cache)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"x": 3}', b"\xff"])
def test_damaged_memory_is_ignored(cache: Path, mirror: Path, damage: bytes) -> None:
    (mirror / "set/data.bin").write_bytes(CONTENT)
    fetch(remote(), cache)
    (cache / "verified.json").write_bytes(damage)
    assert fetch(remote(), cache) == mirror / "set/data.bin"


# What goes wrong


@pytest.mark.parametrize("status", [403, 404, 500])
def test_http_error(site: Any, published: RemoteFile, cache: Path, status: int) -> None:
    site.statuses = [status]
    assert f"{site.url}/data.bin: HTTP {status}" in message(published, cache)
    assert leftovers(cache) == []


def test_wrong_bytes(site: Any, published: RemoteFile, cache: Path) -> None:
    site.files["/data.bin"] = OTHER
    text = message(published, cache)
    assert f"got {hashlib.sha256(OTHER).hexdigest()[:12]}..., want {SHA256[:12]}..." in text
    assert not (cache / "set/data.bin").exists()
    assert leftovers(cache) == []


def test_empty_download_is_called_so(site: Any, published: RemoteFile, cache: Path) -> None:
    site.files["/data.bin"] = b""
    assert f"{site.url}/data.bin: an empty file (0 bytes)" in message(published, cache)


def test_no_network_and_no_mirror(cache: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/data.bin"
        text = message(remote(url), cache)
    assert f"{url}: no connection" in text
    assert "set UNROLL_MIRROR to a folder that holds set/data.bin" in text
    assert f"or put the file at {cache}/set/data.bin" in text
    assert leftovers(cache) == []


def test_file_put_into_the_cache_by_hand(cache: Path) -> None:
    (cache / "set").mkdir(parents=True)
    (cache / "set/data.bin").write_bytes(CONTENT)
    assert fetch(remote(), cache) == cache / "set/data.bin"


def test_silent_server(site: Any, published: RemoteFile, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (0.1, 0.1))
    site.seconds = 0.5
    assert "no answer within 0.1 s" in message(published, cache)


def test_full_disk(published: RemoteFile, small_disk: Path) -> None:
    text = message(published, small_disk / "downloads")
    assert "the disk is full" in text
    assert str(small_disk) in text
    assert "needed" in text


def test_full_disk_simulated(published: RemoteFile, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: download._Part, piece: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download._Part, "write", write)
    text = message(published, cache)
    assert "the disk is full" in text
    assert "300,000 needed" in text


def test_read_only_cache(published: RemoteFile, read_only: Path) -> None:
    assert "cannot be written" in message(published, read_only / "downloads")


def test_read_only_cache_is_good_enough_for_a_mirror(read_only: Path, mirror: Path) -> None:
    (mirror / "set/data.bin").write_bytes(CONTENT)
    assert fetch(remote(), read_only / "downloads") == mirror / "set/data.bin"


def test_cache_folder_that_is_a_file(published: RemoteFile, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in message(published, tmp_path / "file")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "", "a\\b"])
def test_path_must_stay_in_its_folder(path: str) -> None:
    with pytest.raises(ValueError, match="must be relative"):
        RemoteFile(path, (), SHA256)


def test_checksum_and_url_must_be_such() -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        RemoteFile("a", (), SHA256.upper())
    with pytest.raises(ValueError, match="SHA-256"):
        RemoteFile("a", (), verified.EMPTY)
    with pytest.raises(ValueError, match="URL"):
        RemoteFile("a", ("file:///etc/passwd",), SHA256)


# Many files, many callers


def many(site: Any, count: int) -> list[RemoteFile]:
    contents = [f"file {number}".encode() for number in range(count)]
    site.files |= {f"/{number}": content for number, content in enumerate(contents)}
    return [remote(f"{site.url}/{n}", path=f"many/{n}.txt", content=content) for n, content in enumerate(contents)]


def test_many_files_in_order_and_one_summary(
    site: Any, cache: Path, mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mirror / "many").mkdir()
    (mirror / "many/7.txt").write_bytes(b"file 7")
    files = many(site, 100)
    paths = fetch_all(files, cache, label="many")
    assert [path.read_text() for path in paths] == [f"file {number}" for number in range(100)]
    assert paths[7] == mirror / "many/7.txt"
    assert capsys.readouterr().err == f"many: 100 files, 99 downloaded to {cache}\n"
    assert fetch_all(files, cache, label="many") == paths
    assert capsys.readouterr().err == ""


def test_many_files_are_downloaded_side_by_side(site: Any, cache: Path) -> None:
    site.together = threading.Barrier(2, timeout=30)
    assert len(fetch_all(many(site, 16), cache, label="many")) == 16


def test_first_failure_stops_the_others(site: Any, cache: Path) -> None:
    files = many(site, 200)
    del site.files["/3"]
    site.seconds = 0.02
    with pytest.raises(UserError, match=r"many/3\.txt: cannot be fetched: .*HTTP 404"):
        fetch_all(files, cache, label="many")
    assert len(site.log) < 100
    site.files["/3"] = b"file 3"
    done = len(site.log)
    fetch_all(files, cache, label="many")
    assert len(site.log) - done > 100  # what had come stays and is not asked for again
    assert len(site.log) <= 201 + AT_ONCE  # those that were under way are asked for the rest


def test_failure_does_not_wait_for_other_downloads(site: Any, published: RemoteFile, cache: Path) -> None:
    (cache / "set").mkdir(parents=True)
    held, done = threading.Event(), threading.Event()

    def other() -> None:
        with locked(cache / "set/data.bin.lock"):
            held.set()
            done.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    with pytest.raises(UserError, match="HTTP 404"):
        fetch_all([published, remote(f"{site.url}/absent", path="absent")], cache, label="two")
    assert thread.is_alive()  # and still holds the lock that the first file waits for
    done.set()
    thread.join()


def test_progress_is_shown_on_a_terminal(
    published: RemoteFile, cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    fetch_all([published], cache, label="speech recordings")
    assert "speech recordings" in capsys.readouterr().err.split("downloaded")[0]


def test_two_threads_ask_for_one_file(site: Any, published: RemoteFile, cache: Path) -> None:
    site.seconds = 0.1
    threads = [threading.Thread(target=fetch, args=(published, cache)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (cache / "set/data.bin").read_bytes() == CONTENT
    assert len(site.log) == 1


SCRIPT = """
import sys
from collections.abc import Callable
from pathlib import Path
from unroll.data.fetch import AT_ONCE, RemoteFile, fetch
print(fetch(RemoteFile("set/data.bin", (sys.argv[1],), sys.argv[2]), Path(sys.argv[3])))
"""


@pytest.fixture
def process(start: Callable[..., subprocess.Popen[str]], cache: Path) -> Callable[[str], subprocess.Popen[str]]:
    """Starts a process that fetches the file at a URL."""
    return lambda url: start([sys.executable, "-c", SCRIPT, url, SHA256, str(cache)])


def test_two_processes_ask_for_one_file(
    site: Any, published: RemoteFile, cache: Path, process: Callable[[str], subprocess.Popen[str]]
) -> None:
    site.stall = threading.Event()
    first = process(published.urls[0])
    while not site.log and first.poll() is None:
        time.sleep(0.02)
    second = process(published.urls[0])
    assert second.stderr is not None
    assert second.stderr.readline() == "waiting for another process that is downloading set/data.bin ...\n"
    site.stall.set()
    answers = [one.communicate(timeout=30)[0].strip() for one in (first, second)]
    assert answers == [f"{cache}/set/data.bin"] * 2
    assert len(site.log) == 1


def test_killed_download_is_resumed(
    site: Any, published: RemoteFile, cache: Path, process: Callable[[str], subprocess.Popen[str]]
) -> None:
    site.stall = threading.Event()
    one = process(published.urls[0])
    part = cache / "set/data.bin.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    one.kill()
    one.communicate()
    site.stall.set()
    site.stall = None
    have = part.stat().st_size
    assert 0 < have < len(CONTENT)
    assert fetch(published, cache).read_bytes() == CONTENT
    assert site.log[-1] == ("/data.bin", f"bytes={have}-")
    assert leftovers(cache) == []


def test_a_download_is_on_the_disk_before_it_has_its_name(published: RemoteFile, cache: Path, disk: Any) -> None:
    path = fetch(published, cache)
    assert disk.flushed_before(path)["data.bin.part"] == len(CONTENT)
