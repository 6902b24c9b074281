"""Generation: prompts, seeds, stop strings, beam search, and impossible requests."""

import warnings
from itertools import islice

import pytest
import torch

from tests.apps.language.conftest import LINES
from unroll.apps.language import APP
from unroll.apps.language.config import LanguageConfig
from unroll.apps.language.generate import LONGEST_PROMPT, predict, stream
from unroll.errors import Notice, UserError
from unroll.sequence.decoding import Sampling


@pytest.fixture(params=["characters", "words"])
def network(request, trained):
    return trained(request.param).model


def with_options(network, **options):
    network.generation = network.generation.model_copy(update=options)
    return network


@pytest.fixture(autouse=True)
def _restore(trained):
    kept = {units: trained(units).model.generation for units in ("characters", "words")}
    yield
    for units, generation in kept.items():
        trained(units).model.generation = generation


def test_it_writes_what_it_has_read(network):
    [text] = predict(with_options(network, top_k=1), ["the cat sat"])
    assert text.startswith("the cat sat on the mat .")


def test_pieces_are_the_text_and_come_one_by_one(network):
    pieces = list(stream(network, "the cat"))
    assert pieces[0] == "the cat" and len(pieces) > 10
    assert "".join(pieces) == predict(network, ["the cat"])[0]


def test_each_token_is_one_step_of_the_model(network, monkeypatch):
    calls = []
    step = network.step
    monkeypatch.setattr(network, "step", lambda *given: calls.append(1) or step(*given))
    pieces = stream(with_options(network, length=25), "the")
    for count, _ in enumerate(pieces):
        assert len(calls) == count
    assert len(calls) == 25


def test_the_seed_decides(network):
    texts = [predict(with_options(network, seed=seed, temperature=2.0), ["the"])[0] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_the_prompt_is_read_in_chunks_as_a_whole(network, monkeypatch):
    prompt = (LINES[0] + "\n") * 20
    whole = predict(network, [prompt])
    monkeypatch.setattr("unroll.apps.language.generate.CHUNK", 7)
    assert predict(network, [prompt]) == whole


def test_stop_strings_are_not_written(network):
    [text] = predict(with_options(network, stop=("mat",), top_k=1), ["the cat sat"])
    assert text == "the cat sat on the "


def test_a_beam_is_at_least_as_probable_as_the_greedy_text(trained):
    network = trained("characters").model

    def surprisal(text):
        numbers = torch.tensor([network.tokeniser.first, *network.tokeniser.encode(text)])
        with torch.no_grad():
            hidden, _ = network(numbers[:-1, None])
            return network.output.surprisal(hidden[:, 0], numbers[1:]).sum()

    greedy = predict(with_options(network, top_k=1, length=8), ["the"])[0]
    beam = predict(with_options(network, beam=4, length=8), ["the"])[0]
    assert surprisal(beam) <= surprisal(greedy) + 1e-4


def test_a_beam_of_words_ends_with_the_line(trained):
    network = with_options(trained("words").model, beam=4, length=30)
    assert predict(network, ["the cat sat"]) == ["the cat sat on the mat ."]


def test_blocked_repeats(trained):
    network = with_options(trained("characters").model, beam=3, block_repeats=4, length=60)
    written = predict(network, [""])[0]
    grams = [written[i : i + 4] for i in range(len(written) - 3)]
    assert len(set(grams)) == len(grams)


def test_an_empty_prompt_begins_a_line(network):
    [text] = predict(with_options(network, top_k=1), [""])
    assert text.split(" ")[0] in ("the", "a")


def test_a_prompt_of_10_mb_is_one_line(network):
    with pytest.raises(UserError, match=rf"^the prompt has 10,000,000 characters; the most is {LONGEST_PROMPT:,}"):
        next(stream(network, "x" * 10_000_000))


def test_unknown_characters_are_one_line_and_unknown_words_a_notice(trained):
    with pytest.raises(UserError, match=r"^the prompt holds '日', 'Z', which the model has never seen"):
        next(stream(trained("characters").model, "the 日Z"))
    with pytest.warns(Notice, match="^the model does not know 'zebra'; it reads <unk> there"):
        pieces = list(islice(stream(trained("words").model, "the zebra"), 3))
    assert pieces[0] == "the zebra"


def test_unknown_is_never_written_among_characters(trained):
    network = with_options(trained("characters").model, length=300, temperature=50.0)
    assert "<unk>" not in predict(network, ["the"])[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["generate.temperature=0"], "generate.temperature: Input should be greater than 0 (got 0)"),
        (["generate.temperature=-1"], "generate.temperature: Input should be greater than 0 (got -1)"),
        (["generate.top_p=0"], "generate.top_p: "),
        (["generate.min_p=1"], "generate.min_p: "),
        (["generate.beam=4", "generate.temperature=0.5"], "generate: beam=4 searches and temperature is for sampling"),
        (["generate.beam=4", "generate.top_k=5", "generate.min_p=0.1"], "top_k, min_p is for sampling"),
        (["generate.length_penalty=1"], "generate: length_penalty and block_repeats are for beam search"),
        (["generate.temprature=1"], "unknown key; did you mean generate.temperature"),
    ],
)
def test_contradictory_or_impossible_options_are_one_line(settings, message):
    with pytest.raises(UserError) as error:
        LanguageConfig().override(settings)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_options_reach_the_model(trained):
    given = trained("characters")
    config = given.config.override(
        ["generate.temperature=0.5", "generate.top_k=7", 'generate.stop=["END"]', "generate.seed=3"]
    )
    generation = APP.model(config, given.data.facts).generation
    assert generation.sampling == Sampling(temperature=0.5, top_k=7)
    assert generation.stop == ("END",) and generation.seed == 3


def test_the_application_streams(trained):
    given = trained("characters").model
    with torch.inference_mode():
        assert [*islice(APP.stream(given, "the "), 5)] == [*islice(stream(given, "the "), 5)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(isinstance(text, str) for text in APP.predict(given, ["the ", "a "]))
