import json

import numpy as np
import pytest

from unroll.apps.speech import preparation
from unroll.apps.speech.features import LogMel
from unroll.apps.speech.perturb import FASTEST, MARGIN
from unroll.apps.speech.sources import builtin
from unroll.data.store import Store
from unroll.errors import UserError

from .conftest import TEXTS, tones


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def test_prepared_data_are_the_same_bytes_again_and_another_seed_is_another_set(tmp_path):
    def make(name, seed):
        return preparation.prepare(
            Store(tmp_path / name), builtin.source(15, seed, 8000), LogMel(), copies=1, seed=seed
        )

    one, again, other = make("one", 0), make("again", 0), make("other", 1)
    assert contents(one.folder) == contents(again.folder)
    assert one.digest == again.digest != other.digest


def test_normalisation_is_fitted_on_the_training_split_alone(store, prepared):
    frames = [LogMel()(u.samples) for u in tones(TEXTS).read() if u.split == "train"]
    facts = json.loads((prepared.folder / "facts.json").read_text())
    np.testing.assert_allclose(facts["mean"], np.concatenate(frames).mean(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(facts["deviation"], np.concatenate(frames).std(0), rtol=1e-3)


def test_perturbed_copies_are_of_train_and_val_and_of_other_lengths(store, batches):
    prepared = preparation.prepare(store, tones(TEXTS), LogMel(), copies=2, seed=5)
    made = batches(prepared)
    records = [record for batch in made.train for record in batch.records]
    assert len(records) == 27
    assert sum("copy" in record["id"] for record in records) == 18
    seconds = {record["seconds"] for record in records}
    assert len(seconds) > 10
    assert 1 / FASTEST <= min(seconds) < max(seconds) <= FASTEST + 2 * MARGIN
    copies = {
        split: sum("copy" in record["id"] for batch in getattr(made, split) for record in batch.records)
        for split in ("val", "test")
    }
    assert copies == {"val": 2, "test": 0}


@pytest.mark.parametrize("missing", ["train", "val", "test"])
def test_an_empty_split(store, missing):
    texts = [(split, "one") for split in ("train", "val", "test") if split != missing]
    with pytest.raises(UserError, match=f"data.source=tones: the {missing} split has no utterances"):
        preparation.prepare(store, tones(texts), LogMel())
