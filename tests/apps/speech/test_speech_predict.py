import json

import numpy as np
import pytest
import soundfile

from unroll.apps.speech import APP
from unroll.apps.speech.predict import predict
from unroll.errors import UserError

from .conftest import CONFIG


@pytest.mark.parametrize(("suffix", "rate"), [("wav", 8000), ("flac", 22050), ("ogg", 44100)])
def test_predict_reads_files_of_any_format_and_rate(tmp_path, model, suffix, rate):
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, np.random.default_rng(0).standard_normal(rate) / 10, rate)
    outputs = predict(model.eval(), [str(path), path])
    assert len(outputs) == 2
    assert outputs[0] == outputs[1]
    assert isinstance(outputs[0], str)


def test_predict_names_the_file_that_is_at_fault(tmp_path, model):
    path = tmp_path / "x.wav"
    path.touch()
    with pytest.raises(UserError, match=r"x.wav: is empty \(0 bytes\)"):
        predict(model, [str(path)])


def test_the_saved_model_needs_no_data(model, made):
    again = APP.model(CONFIG, json.loads(json.dumps(made.facts)))
    again.load_state_dict(model.state_dict())
    paths = list(APP.examples)
    assert len(paths) == 3
    assert predict(again.eval(), paths) == predict(model.eval(), paths)
