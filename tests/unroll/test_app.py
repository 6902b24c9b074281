"""Finding applications: one at a time, ours and installed ones, with clear errors."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from unroll import app as apps
from unroll.app import Score
from unroll.errors import UserError

WER = Score("wer", "min")


def test_nan_is_never_better() -> None:
    for mode in ("min", "max"):
        score = Score("loss", mode)
        assert not score.better(float("nan"), None)
        assert not score.better(float("nan"), 1.0)
        assert score.better(1.0, None)
    assert Score("wer", "min").better(0.1, 0.2)
    assert Score("recall", "max").better(0.2, 0.1)
    assert not Score("wer", "min").better(0.2, 0.2)


def test_unknown_application_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"--app speach: no such application; did you mean speech\?"):
        apps.load("speach")


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UserError, match="--preset smok: speech has no such preset; did you mean smoke"):
        apps.load("speech").config("smok")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of somebody else's, installed with entry points."""
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[unroll.apps]\nstranger = stranger:APP\nbroken = stranger_broken:APP\nodd = stranger:NOT_AN_APP\n"
    )
    (tmp_path / "stranger.py").write_text("from tests.unroll.training.toy import APP\nNOT_AN_APP = 3\n")
    (tmp_path / "stranger_broken.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_an_installed_application_is_found_and_named(installed: Path) -> None:
    assert {"stranger", "broken", "odd", "speech"} <= set(apps.names())
    assert apps.load("stranger").name == "stranger"


def test_a_broken_neighbour_breaks_only_itself(installed: Path) -> None:
    with pytest.raises(UserError, match=r"--app broken: cannot be imported: .*a_package_that_nobody_has"):
        apps.load("broken")
    assert apps.load("stranger").about


def test_something_else_than_an_app_is_refused(installed: Path) -> None:
    with pytest.raises(UserError, match=r"--app odd: its APP is not an unroll\.app\.App but int"):
        apps.load("odd")


def test_listing_imports_no_application_and_no_torch() -> None:
    heavy = "('torch', 'mlflow', 'unroll.apps.speech')"
    code = f"import sys; from unroll import app; app.names(); print([m for m in {heavy} if m in sys.modules])"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == "[]"


def test_a_task_that_is_measured_in_another_way_has_its_own_score() -> None:
    app = replace(apps.load("speech"), score_of=lambda config: Score("bits", "min") if config == "fill in" else WER)
    assert app.with_score_for("fill in").score == Score("bits", "min")
    assert app.with_score_for("read").score == WER
    assert apps.load("speech").with_score_for("fill in").score == WER


@pytest.mark.parametrize("name", sorted(set(apps.names()) - {"video"}))
def test_a_cell_over_maps_is_one_line_where_there_are_vectors(name: str) -> None:
    app = apps.load(name)
    with pytest.raises(UserError, match=rf"model.cell=convgru: is a cell over maps; {name} needs one over vectors"):
        app.network(app.config(settings=["model.cell=convgru"]), {})
