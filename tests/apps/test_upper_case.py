"""Names as cameras and old systems give them, in capital letters: the same files to every application."""

from pathlib import Path

import pytest

from unroll.apps.language.sources import files
from unroll.apps.video.sources import folder
from unroll.data.folders import Labelled
from unroll.data.tables import only_table


@pytest.mark.parametrize("name", ["clip.mp4", "CLIP.MP4", "Clip.Avi", "clip.MKV"])
def test_a_video_is_a_clip_by_itself(name: str) -> None:
    root = Path("root/run")
    found = folder._clips([Labelled(root / name, "run", root), Labelled(root / "take" / "1.PNG", "run", root)])
    assert [one.path for one in found] == [root / name, root / "take"]


@pytest.mark.parametrize("name", ["a.txt", "A.TXT", "b.MD"])
def test_a_folder_of_texts(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("some text\n" * 40)
    (tmp_path / "picture.PNG").write_bytes(b"\x89PNG")
    assert list(files.source(tmp_path, 0.1).read("train"))


@pytest.mark.parametrize(("name", "noted"), [("a.csv", True), ("A.TSV", True), ("A.TXT", False)])
def test_a_table_that_is_read_as_a_text_is_named(name: str, noted: bool) -> None:
    assert bool(list(files._table_note(Path(name)))) == noted


@pytest.mark.parametrize("name", ["a.csv", "A.CSV", "a.Tsv", "A.JSONL"])
def test_the_only_table_of_a_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("a\n1\n")
    (tmp_path / "README").write_text("about it")
    assert only_table(tmp_path) == tmp_path / name
