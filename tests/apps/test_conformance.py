"""Every application proves the contract; there is no list to skip one on."""

from collections.abc import Callable

import pytest

from unroll import app as apps
from unroll.conformance import CHECKS, Subject

_subjects: dict[str, Subject] = {}
"""the checks of one application run in one process (see conftest.py), where its data are prepared once"""


@pytest.fixture
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    name = request.param
    if name not in _subjects:
        _subjects[name] = Subject.of(name, tmp_path_factory.mktemp(name))
    return _subjects[name]


NAMES = apps.names()


@pytest.mark.parametrize("subject", NAMES, indirect=True)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(check: Callable[[Subject], None], subject: Subject) -> None:
    check(subject)
