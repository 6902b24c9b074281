"""Multi30k: descriptions of pictures in English, German, French and Czech (Elliott et al. 2016; task 1, raw text)."""

from functools import partial
from itertools import chain
from pathlib import Path

from unroll.data.fetch import RemoteFile
from unroll.data.files import sha256
from unroll.data.source import Split
from unroll.data.store import Store
from unroll.errors import UserError, did_you_mean

from . import Pair, Source, own

_RAW = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
LANGUAGES = ("cs", "de", "en", "fr")
TESTS = ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco", "test_2018_flickr")
CHECKSUMS = {
    "train.de": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.en": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "val.de": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.en": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "test_2016_flickr.de": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.en": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "test_2017_flickr.de": "a2c89666db00c495cd8513b9d708d5a3acc205d7de312ef2bf5fb7ebc1540aee",
    "test_2017_flickr.en": "76a444ee25172e72695cddb13ae4a3bda59430617be88e0bb46b60504f054074",
}
"""of the files that are fetched; the others come from the user's copy of the folder"""


def multi30k(store: Store, languages: tuple[str, str], test: str, path: Path | None = None) -> Source:
    """29,000 pairs to train on, 1,014 to validate, about 1,000 to test.

    Args:
        store: where files are fetched to.
        languages: two of LANGUAGES, in either direction.
        test: one of TESTS.
        path: the user's copy of the publisher's folder, for what is not fetched (all but English and German).

    Raises:
        UserError: an unknown language or test set, or a file that is neither fetched nor in the folder.
    """
    for language, key in zip(languages, ("data.source_locale", "data.target_locale"), strict=True):
        if language not in LANGUAGES:
            raise UserError(f"{key}={language}: Multi30k has {', '.join(LANGUAGES)}; choose one of them")
    if languages[0] == languages[1]:
        raise UserError(f"data.target_locale={languages[1]}: is the source's as well; choose another one")
    if test not in TESTS:
        raise UserError(f"data.test={test}: Multi30k has no such test set; {did_you_mean(test, TESTS)}")
    parts: dict[Split, str] = {"train": "train", "val": "val", "test": test}
    files = {
        split: (_file(store, f"{part}.{languages[0]}", path), _file(store, f"{part}.{languages[1]}", path))
        for split, part in parts.items()
    }
    spec = {
        "source": "multi30k",
        "languages": list(languages),
        "sha256": [sha256(f) for pair in files.values() for f in pair],
        "split": f"publisher's, {test}",
    }
    return Source(spec, partial(_read, files), languages=languages)


def _file(store: Store, name: str, path: Path | None) -> Path:
    if path is not None:
        if not (path / f"{name}.gz").is_file():
            raise UserError(f"data.path={path}: has no {name}.gz; it should be a copy of the folder {_RAW}")
        return path / f"{name}.gz"
    if name not in CHECKSUMS:
        raise UserError(
            f"{name}.gz: is not fetched, its checksum is unknown; add data.path=FOLDER, your copy of {_RAW}"
        )
    return store.fetch(RemoteFile(f"multi30k/{name}.gz", (f"{_RAW}/{name}.gz",), CHECKSUMS[name]))


def _read(files: dict[Split, tuple[Path, Path]]) -> chain[Pair]:
    return chain.from_iterable(
        (Pair(f"{split}-{pair.id}", pair.source, pair.target, split) for pair in own.aligned(*pair_of_files))
        for split, pair_of_files in files.items()
    )
