"""An application is small: its five files hold 500 lines or fewer; what is a part of its own has a file of its own."""

from pathlib import Path

import pytest

APPS = Path(__file__).parents[2] / "apps"
FIVE = ("__init__.py", "config.py", "data.py", "model.py", "train.py")
FOLDERS = sorted(config.parent for config in APPS.glob("*/config.py"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_five_files_of_an_application_hold_500_lines(folder: Path) -> None:
    lines = {name: len((folder / name).read_text(encoding="utf-8").splitlines()) for name in FIVE}
    assert sum(lines.values()) <= 500, lines


def test_every_application_is_counted() -> None:
    assert len(FOLDERS) >= 8
