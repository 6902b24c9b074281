import json
from itertools import pairwise

import pytest
import torch
from PIL import Image

from unroll.errors import UserError


@torch.no_grad()
def test_a_clip_is_named_from_a_file_and_from_frames_and_watched(made, tmp_path, square, video, pictures):
    app, _, _, model = made["classify"]
    inputs = [str(pictures(tmp_path / "clip", square())), str(video(tmp_path / "clip.mp4", square()))]
    answers = app.predict(model, inputs)
    assert [set(answer) for answer in answers] == [{"class", "probability"}] * 2
    assert answers[0]["class"] in model.classes
    json.dumps(answers)
    lines = "".join(app.stream(model, inputs[0])).splitlines()
    assert lines[0].startswith("frame 1: ") and lines[-1].startswith(f"frame 8: {answers[0]['class']} (")
    changes = [line.split(": ")[1].split(" (")[0] for line in lines[:-1]]
    assert all(a != b for a, b in pairwise(changes))


@torch.no_grad()
def test_the_next_frames_are_written_as_a_gif(made, tmp_path, square, pictures, monkeypatch):
    app, _, _, model = made["predict_frames"]
    monkeypatch.chdir(tmp_path)
    clip = pictures(tmp_path / "clip", square())
    (answer,) = app.predict(model, [clip])
    assert answer.startswith("clip.next.gif: 3 frames seen, then 4 predicted")
    assert "".join(app.stream(model, clip)) == answer
    with Image.open(tmp_path / "clip.next.gif") as gif:
        assert gif.n_frames == 7 and min(gif.size) >= 240
        gif.seek(2)
        seen = gif.convert("L").getpixel((0, 0))
        gif.seek(3)
        assert (seen, gif.convert("L").getpixel((0, 0))) == (0, 255)
    with pytest.raises(UserError, match="has 2 frames; the model needs 3"):
        app.predict(model, [pictures(tmp_path / "short", square(count=2))])


def test_an_empty_input_is_named(made):
    app, _, _, model = made["classify"]
    with pytest.raises(UserError, match="input-1: is empty; name a video file"):
        app.predict(model, [""])
