"""The page of `invoke results`: what it trains, what it counts, and how it reports its budget."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.unroll.commands import test_compare_command
from unroll import app as apps
from unroll.commands import results
from unroll.errors import UsageError

make = test_compare_command.make  # a fixture
VALUES = {"elman": 0.5, "gru": 0.1, "mingru": 0.499}


@pytest.fixture
def trained(make, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Puts runs into the store in place of training them, and a run that is none of the grid's; what was asked for."""
    asked = []

    def train(names: Any, preset: Any, settings: Any, seeds: int, jobs: int, own: Any) -> dict[str, Any]:
        asked.append((list(names), preset, settings, seeds, jobs, own))
        made = [
            {"app": name, "status": "FINISHED", "run": make(name, cell, seed, value + seed / 100)}
            for name in names
            for cell, value in VALUES.items()
            for seed in range(seeds)
        ]
        make("speech", "elman", 0, 0.0)
        failed = {"app": "speech", "status": "FAILED", "error": "too hot", "settings": ["model.cell=elman"]}
        return {"runs": [*made, failed], "exit_code": 1}

    monkeypatch.setattr(results, "train_grid", train)
    return asked


def test_the_page_counts_what_was_shown_and_states_its_budget(trained, tmp_path: Path) -> None:
    names = ["recommend", "speech"]
    done = results.results(names, cells="elman, gru,mingru", share=0.5, folder=tmp_path, command="invoke results -x")
    assert trained == [
        (names, None, ["model.cell=elman, gru,mingru"], 3, 1,
         {"recommend": ["train.epochs=2"], "speech": ["train.epochs=5"]})
    ]  # fmt: skip
    assert done["exit_code"] == 1 and len(done["failed"]) == 1
    page = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "    invoke results -x\n" in page and "- speech model.cell=elman: too hot" in page
    assert "Each training has 50 % of its preset's epochs (recommend 2 of 5, speech 5 of 10)" in page
    assert "(recommend gru, speech gru)" in page and "18 trainings took" in page
    assert "over all 4 differences" in page and "Not on this page: captioning, image, language, similarity, " in page
    # Recall is better when it is more, word errors when they are less; the run that is none of the grid's is not there.
    assert "| elman | 1 |  |  |  |" in page
    assert "| gru | 1 | 1 | 1 | 0 |" in page and "| mingru | 0 | 0 | 0 | 2 |" in page
    assert re.search(r"\| elman \| 3 \| 0.51 \| 0.01 \| baseline ", page)
    picture = (tmp_path / results.PICTURE).read_bytes()
    assert picture.startswith(b"\x89PNG") and f"]({results.PICTURE})" in page


def test_presets_as_they_are_need_no_word_on_the_budget(trained, tmp_path: Path) -> None:
    folder = tmp_path / "a new" / "folder"
    results.results(["speech"], cells="elman,gru", seeds=2, folder=folder)
    assert trained[0][-1] == {} and "epochs (" not in (folder / "results.md").read_text(encoding="utf-8")
    assert (folder / results.PICTURE).is_file()


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_that_is_none_is_one_line(trained, share: float, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"--share {share:g}: write a number above 0, up to 1"):
        results.results(apps.names(), share=share, folder=tmp_path)
    assert trained == []
