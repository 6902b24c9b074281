import torch

from unroll.sequence.spelling import BUCKETS, Spelling, _bucket, _pieces

WORDS = ["playing", "played", "sofa", "a", "ß"]


def vectors():
    torch.manual_seed(0)
    return Spelling(WORDS, 64)()


def test_words_spelled_alike_are_nearer():
    rows = dict(zip(WORDS, vectors(), strict=True))
    near = torch.cosine_similarity(rows["playing"], rows["played"], 0)
    assert near > 0.3 > torch.cosine_similarity(rows["playing"], rows["sofa"], 0)


def test_a_vector_is_the_mean_of_its_pieces():
    torch.manual_seed(0)
    made = Spelling(WORDS, 64)
    pieces = ["<a>"]
    assert torch.allclose(made()[3], made.weight[[_bucket(piece) for piece in pieces]].mean(0))
    assert all(0 <= _bucket(word) < BUCKETS for word in WORDS)


def test_what_saved_weights_stand_for_does_not_change():
    assert BUCKETS == 8192
    assert _pieces("sofa") == ["<so", "sof", "ofa", "fa>", "<sof", "sofa", "ofa>", "<sofa", "sofa>"]
    assert _pieces("ß") == ["<ß>"] and _pieces("") == ["<>"]


def test_only_the_weights_are_saved():
    assert list(Spelling(WORDS, 4).state_dict()) == ["weight"]


def test_the_hash_of_a_piece_is_the_same_in_every_process():
    assert _bucket("foobar") == 0xBF9CF968 % BUCKETS  # published for FNV-1a
