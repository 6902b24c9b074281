"""The hand-written LSTM and GRU, against torch.nn in float64 and, where torch has no such layer, finite differences."""

import numpy as np
import pytest
import torch

from unroll.recurrence.reference_gated import GRU, LSTM

T, B, D, H = 6, 3, 4, 5
WEIGHTS = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
every_size = pytest.mark.parametrize(("T", "B", "D", "H"), [(T, B, D, H), (1, 2, 3, 4), (5, 1, 1, 1)])


def weights_of(gates, D=D, H=H, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(gates * H, D), (gates * H, H), (gates * H,), (gates * H,)]
    return {name: rng.normal(size=shape) for name, shape in zip(WEIGHTS, shapes, strict=True)}


def random(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def torch_layer(kind, weights, D, H):
    layer = kind(D, H).double()
    layer.load_state_dict({f"{name}_l0": torch.tensor(value) for name, value in weights.items()})
    return layer


def leaf(array):
    return torch.tensor(array, requires_grad=True)


def assert_same(ours, theirs, tolerance=1e-9):
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    assert ours.shape == theirs.shape
    assert np.linalg.norm(ours - theirs) <= tolerance * np.linalg.norm(theirs), (ours, theirs)


def assert_same_weights(gradients, layer):
    for name in WEIGHTS:
        assert_same(getattr(gradients.weights, name), getattr(layer, f"{name}_l0").grad)


@every_size
def test_lstm_equals_torch(T, B, D, H):
    weights, x, h_0, c_0 = weights_of(4, D, H), random(T, B, D), random(B, H, seed=2), random(B, H, seed=3)
    feels_h, feels_last_c = random(T, B, H, seed=4), random(B, H, seed=5)
    lstm = LSTM(**weights)
    run = lstm.forward(x, h_0, c_0)
    dc = np.zeros((T, B, H))
    dc[-1] = feels_last_c
    ours = lstm.backward(run, feels_h, dc)

    layer = torch_layer(torch.nn.LSTM, weights, D, H)
    leaves = leaf(x), leaf(h_0[None]), leaf(c_0[None])
    outputs, (_, last_c) = layer(leaves[0], leaves[1:])
    ((outputs * torch.tensor(feels_h)).sum() + (last_c * torch.tensor(feels_last_c)).sum()).backward()
    assert_same(run.h, outputs)
    assert_same(run.c[-1:], last_c)
    for gradient, theirs in zip((ours.x, ours.h_0[None], ours.c_0[None]), leaves, strict=True):
        assert_same(gradient, theirs.grad)
    assert_same_weights(ours, layer)


@every_size
def test_gru_with_reset_after_equals_torch(T, B, D, H):
    weights, x, h_0, feels_h = weights_of(3, D, H), random(T, B, D), random(B, H, seed=2), random(T, B, H, seed=4)
    gru = GRU(**weights)
    run = gru.forward(x, h_0)
    ours = gru.backward(run, feels_h)

    layer = torch_layer(torch.nn.GRU, weights, D, H)
    leaves = leaf(x), leaf(h_0[None])
    outputs, _ = layer(*leaves)
    (outputs * torch.tensor(feels_h)).sum().backward()
    assert_same(run.h, outputs)
    assert_same(ours.x, leaves[0].grad)
    assert_same(ours.h_0[None], leaves[1].grad)
    assert_same_weights(ours, layer)


def cho_2014(x, h, weight_ih, weight_hh, bias):
    """Equations 5 to 8 of the paper as they are printed there, block by block, in torch; every h_t."""
    W_r, W_z, W_n = weight_ih.chunk(3)
    U_r, U_z, U_n = weight_hh.chunk(3)
    b_r, b_z, b_n = bias.chunk(3)
    states = []
    for x_t in x:
        r = torch.sigmoid(x_t @ W_r.T + h @ U_r.T + b_r)
        z = torch.sigmoid(x_t @ W_z.T + h @ U_z.T + b_z)
        h = z * h + (1 - z) * torch.tanh(x_t @ W_n.T + (r * h) @ U_n.T + b_n)
        states.append(h)
    return torch.stack(states)


@every_size
def test_gru_with_reset_before_equals_the_paper(T, B, D, H):
    weights, x, h_0, feels_h = weights_of(3, D, H), random(T, B, D), random(B, H, seed=2), random(T, B, H, seed=4)
    gru = GRU(**weights, reset="before")
    run = gru.forward(x, h_0)
    ours = gru.backward(run, feels_h)

    leaves = {"x": leaf(x), "h": leaf(h_0), **{name: leaf(value) for name, value in weights.items()}}
    bias = leaves["bias_ih"] + leaves["bias_hh"]
    outputs = cho_2014(leaves["x"], leaves["h"], leaves["weight_ih"], leaves["weight_hh"], bias)
    (outputs * torch.tensor(feels_h)).sum().backward()
    assert_same(run.h, outputs)
    assert_same(ours.x, leaves["x"].grad)
    assert_same(ours.h_0, leaves["h"].grad)
    for name in WEIGHTS:
        assert_same(getattr(ours.weights, name), leaves[name].grad)


def test_the_two_resets_differ():
    weights, x = weights_of(3), random(T, B, D)
    assert not np.allclose(GRU(**weights).forward(x).h, GRU(**weights, reset="before").forward(x).h)


@pytest.mark.parametrize("reset", ["after", "before"])
def test_gru_state_gradients_are_those_of_starting_there(reset):
    """dL/dh_t of the whole run is dL/dh_0 of a run that starts from h_t, plus what L feels of h_t itself."""
    gru, x, feels_h = GRU(**weights_of(3), reset=reset), random(T, B, D), random(T, B, H, seed=4)
    run = gru.forward(x)
    whole = gru.backward(run, feels_h)
    for t in range(1, T):
        rest = gru.backward(gru.forward(x[t:], run.h[t - 1]), feels_h[t:])
        assert_same(whole.h[t - 1], rest.h_0 + feels_h[t - 1])


def test_lstm_state_gradients_are_those_of_starting_there():
    """As for the GRU; c_t is felt through h_t as well, which a run that starts from (h_t, c_t) holds constant."""
    lstm, x = LSTM(**weights_of(4)), random(T, B, D)
    feels_h, feels_c = random(T, B, H, seed=4), random(T, B, H, seed=5)
    run = lstm.forward(x)
    whole = lstm.backward(run, feels_h, feels_c)
    for t in range(1, T):
        rest = lstm.backward(lstm.forward(x[t:], run.h[t - 1], run.c[t - 1]), feels_h[t:], feels_c[t:])
        dh = rest.h_0 + feels_h[t - 1]
        through_h = dh * run.o[t - 1] * (1 - np.tanh(run.c[t - 1]) ** 2)
        assert_same(whole.h[t - 1], dh)
        assert_same(whole.c[t - 1], rest.c_0 + feels_c[t - 1] + through_h)


def test_backward_leaves_its_arguments_alone():
    lstm, feels = LSTM(**weights_of(4)), np.ones((T, B, H))
    lstm.backward(lstm.forward(random(T, B, D)), feels, feels)
    gru = GRU(**weights_of(3))
    gru.backward(gru.forward(random(T, B, D)), feels)
    assert (feels == 1).all()


def test_biases_and_initial_states_are_zero_if_not_given():
    for cell, gates, states in ((LSTM, 4, 2), (GRU, 3, 1)):
        weight_ih, weight_hh, *_ = weights_of(gates).values()
        zeros, nothing = np.zeros(gates * H), [np.zeros((B, H))] * states
        explicit = cell(weight_ih, weight_hh, zeros, zeros).forward(random(T, B, D), *nothing)
        assert np.array_equal(cell(weight_ih, weight_hh).forward(random(T, B, D)).h, explicit.h)


def test_no_steps_give_no_gradient():
    for cell, gates in ((LSTM, 4), (GRU, 3)):
        oracle = cell(**weights_of(gates))
        gradients = oracle.backward(oracle.forward(np.zeros((0, B, D))), np.zeros((0, B, H)))
        assert not gradients.weights.weight_hh.any()
        assert gradients.h_0.shape == (B, H)


@pytest.mark.parametrize(("cell", "gates"), [(LSTM, 4), (GRU, 3)])
def test_a_wrong_shape_is_refused_with_both_shapes(cell, gates):
    weights = weights_of(gates)
    for name, shape, message in [
        ("weight_hh", (7, H), rf"weight_hh: expected \[{gates}H, H\], got \[7, 5\]"),
        ("weight_ih", (7, D), rf"weight_ih: expected \[{gates}H, D\] with H = 5, got \[7, 4\]"),
        ("bias_ih", (H,), rf"bias_ih: expected \[{gates}H\] with H = 5, got \[5\]"),
        ("bias_hh", (H,), rf"bias_hh: expected \[{gates}H\] with H = 5, got \[5\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            cell(**{**weights, name: np.zeros(shape)})
    oracle = cell(**weights)
    with pytest.raises(ValueError, match=r"x: expected \[T, B, D\] with D = 4, got \[6, 3\]"):
        oracle.forward(np.zeros((T, B)))
    with pytest.raises(ValueError, match=r"h_0: expected \[B, H\] with B = 3, H = 5, got \[1, 3, 5\]"):
        oracle.forward(np.zeros((T, B, D)), np.zeros((1, B, H)))
    with pytest.raises(ValueError, match=r"dh: expected \[T, B, H\] with T = 6, B = 3, H = 5, got \[3, 5\]"):
        oracle.backward(oracle.forward(np.zeros((T, B, D))), np.zeros((B, H)))


def test_an_unknown_reset_is_refused():
    with pytest.raises(ValueError, match="reset: expected one of after, before, got 'cho'"):
        GRU(**weights_of(3), reset="cho")
