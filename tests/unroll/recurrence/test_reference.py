"""The hand-written gradient through time, against finite differences and against torch's autograd."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from unroll.recurrence import reference
from unroll.recurrence.reference import BPTT, Network

T, B, D, H, K = 6, 2, 3, 4, 5
ACTIVATIONS = ["tanh", "relu", "sigmoid", "identity"]
OUTPUTS_AND_ERRORS = [
    ("softmax", "cross_entropy"),
    ("sigmoid", "cross_entropy"),
    ("softmax", "squared_error"),
    ("sigmoid", "squared_error"),
    ("identity", "squared_error"),
]
every_network = pytest.mark.parametrize(
    ("f", "g", "error"), [(f, g, error) for f in ACTIVATIONS for g, error in OUTPUTS_AND_ERRORS]
)
every_f = pytest.mark.parametrize("f", ACTIVATIONS)


def problem(f="tanh", g="softmax", error="cross_entropy", steps=T):
    """Random weights, inputs, targets and initial state, as the arguments that `error_of` takes."""
    rng = np.random.default_rng(4)
    y = rng.dirichlet(np.ones(K), (T, B)) if g == "softmax" else rng.uniform(size=(T, B, K))
    arrays = {
        "U": rng.normal(size=(H, D)),
        "W": rng.normal(size=(H, H)) * 0.5,
        "V": rng.normal(size=(K, H)) * 0.5,
        "x": rng.normal(size=(T, B, D))[:steps],
        "S_0": rng.normal(size=(B, H)),
    }
    return arrays, y[:steps], f, g, error


def bptt_of(arrays, y, f, g, error):
    network = Network(arrays["U"], arrays["W"], arrays["V"], f, g)
    return BPTT(network, arrays["x"], y, arrays["S_0"], error)


def finite_difference(function, at, step=1e-3):
    """The gradient of a number by central differences of fourth order, entry by entry."""
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        nudge = np.zeros_like(at)
        nudge[index] = step
        near, far = (function(at + n * nudge) - function(at - n * nudge) for n in (1, 2))
        gradient[index] = (8 * near - far) / (12 * step)
    return gradient


def torch_errors(steps, S, V, names):
    """e_t summed over the batch for every t, and S_0 to S_T, by torch; each step brings its own U, W, x_t and y_t."""
    f, g, error = names
    activation = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "identity": lambda a: a}[f]
    states, errors = [S], []
    for U, W, x_t, y_t in steps:
        S = activation(x_t @ U.T + S @ W.T)
        a = S @ V.T
        output = {"softmax": torch.softmax(a, -1), "sigmoid": torch.sigmoid(a), "identity": a}[g]
        if error == "squared_error":
            e = 0.5 * (output - y_t).square().sum()
        elif g == "softmax":
            e = -(y_t * output.log()).sum()
        else:
            e = -(y_t * output.log() + (1 - y_t) * (1 - output).log()).sum()
        states.append(S)
        errors.append(e)
    return errors, states


def as_torch(arrays, y):
    tensors = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}
    pairs = zip(tensors["x"], torch.tensor(y), strict=True)
    return tensors, [(tensors["U"].clone(), tensors["W"].clone(), x_t, y_t) for x_t, y_t in pairs]


def assert_same(ours, theirs, tolerance=1e-9):
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.linalg.norm(ours - theirs) <= tolerance * np.linalg.norm(theirs), (ours, theirs)


@every_network
def test_gradients_equal_finite_differences(f, g, error):
    arrays, y, *names = problem(f, g, error)
    gradients = bptt_of(arrays, y, *names).gradients()
    for name, array in arrays.items():
        numeric = finite_difference(lambda value, name=name: bptt_of({**arrays, name: value}, y, *names).E, array)
        assert_same(getattr(gradients, name), numeric)


@every_network
def test_error_and_gradients_equal_autograd(f, g, error):
    arrays, y, *names = problem(f, g, error)
    ours = bptt_of(arrays, y, *names)
    tensors, steps = as_torch(arrays, y)
    errors, states = torch_errors(steps, tensors["S_0"], tensors["V"], names)
    assert_same(ours.e.sum(axis=1), torch.stack(errors).detach())
    assert_same(ours.S, torch.stack(states[1:]).detach())
    sum(errors).backward()
    for name, tensor in tensors.items():
        assert_same(getattr(ours.gradients(), name), tensor.grad)


@every_network
def test_each_term_is_the_gradient_of_one_error_through_one_step(f, g, error):
    arrays, y, *names = problem(f, g, error)
    ours = bptt_of(arrays, y, *names)
    tensors, steps = as_torch(arrays, y)
    errors, _ = torch_errors(steps, tensors["S_0"], tensors["V"], names)
    terms_U, terms_W, terms_V = ours.terms("U"), ours.terms("W"), ours.terms("V")
    assert set(terms_U) == set(terms_W) == {(t, k) for t in range(1, T + 1) for k in range(1, t + 1)}
    assert set(terms_V) == {(t, t) for t in range(1, T + 1)}
    for t, k in terms_W:
        dU, dW = torch.autograd.grad(errors[t - 1], steps[k - 1][:2], retain_graph=True)
        assert_same(terms_U[t, k], dU)
        assert_same(terms_W[t, k], dW)
    for t, _ in terms_V:
        assert_same(terms_V[t, t], torch.autograd.grad(errors[t - 1], tensors["V"], retain_graph=True)[0])


@every_network
def test_state_gradients_equal_autograd(f, g, error):
    arrays, y, *names = problem(f, g, error)
    ours = bptt_of(arrays, y, *names)
    tensors, steps = as_torch(arrays, y)
    errors, states = torch_errors(steps, tensors["S_0"], tensors["V"], names)
    for t in range(1, T + 1):
        for k, theirs in enumerate(torch.autograd.grad(errors[t - 1], states[: t + 1], retain_graph=True)):
            assert_same(ours.state_gradient(t, k), theirs)


@every_f
def test_jacobian_product_equals_autograd_and_carries_the_state_gradient(f):
    arrays, y, *names = problem(f)
    ours = bptt_of(arrays, y, *names)
    tensors, steps = as_torch(arrays, y)
    for k in range(T):

        def later(S_k, k=k):
            states = torch_errors(steps[k:], S_k, tensors["V"], names)[1]
            return torch.stack(states)

        S_k = torch.tensor(ours.S[k - 1] if k else ours.S_0)
        theirs = torch.autograd.functional.jacobian(later, S_k)  # [T - k + 1, B, H, B, H]
        for t in range(max(k, 1), T + 1):
            jacobian = ours.jacobian(t, k)
            assert_same(jacobian, torch.einsum("bhbj->bhj", theirs[t - k]))
            assert_same(ours.state_gradient(t, k), np.einsum("bi,bij->bj", ours.state_gradient(t, t), jacobian))


@every_network
def test_the_terms_sum_to_the_whole_gradient(f, g, error):
    ours = bptt_of(*problem(f, g, error))
    for weight in "UVW":
        assert_same(sum(ours.terms(weight).values()), getattr(ours.gradients(), weight), 1e-12)


@every_f
@pytest.mark.parametrize("weight", ["U", "V", "W"])
def test_truncated_is_the_sum_cut_at_a_lag(f, weight):
    ours = bptt_of(*problem(f))
    terms = ours.terms(weight)
    for lag in range(T + 2):
        kept = [term for (t, k), term in terms.items() if t - k <= lag]
        assert_same(ours.truncated(weight, lag), sum(kept), 1e-12)
    assert_same(ours.truncated(weight, T - 1), getattr(ours.gradients(), weight), 1e-12)
    if weight != "V":
        with pytest.raises(AssertionError):
            assert_same(ours.truncated(weight, T - 2), getattr(ours.gradients(), weight))


def test_truncated_at_zero_is_the_gradient_with_the_past_detached():
    arrays, y, *names = problem()
    tensors, steps = as_torch(arrays, y)
    S, E = tensors["S_0"], 0.0
    for step in steps:
        errors, (_, S) = torch_errors([step], S.detach(), tensors["V"], names)
        E = E + errors[0]
    E.backward()
    for weight in "UVW":
        assert_same(bptt_of(arrays, y, *names).truncated(weight, 0), tensors[weight].grad)


def test_share_by_lag_sums_to_one_and_follows_the_terms():
    ours = bptt_of(*problem())
    share = ours.share_by_lag("W")
    terms = ours.terms("W")
    norms = [np.linalg.norm(sum(terms[k + lag, k] for k in range(1, T + 1 - lag))) for lag in range(T)]
    assert_same(share, np.array(norms) / np.sum(norms), 1e-12)
    assert share.sum() == pytest.approx(1.0)
    assert_same(ours.share_by_lag("V"), np.eye(T)[0])


def test_share_of_no_gradient_is_zero():
    arrays, y, *names = problem()
    ours = bptt_of({**arrays, "V": np.zeros((K, H))}, y, *names)
    assert not ours.share_by_lag("W").any()


@every_f
def test_a_row_alone_and_a_chunk_with_carried_state_give_the_same(f):
    arrays, y, *names = problem(f)
    whole = bptt_of(arrays, y, *names)
    alone = bptt_of({**arrays, "x": arrays["x"][:, 1:], "S_0": arrays["S_0"][1:]}, y[:, 1:], *names)
    rest = bptt_of({**arrays, "x": arrays["x"][2:], "S_0": whole.S[1]}, y[2:], *names)
    assert_same(alone.S, whole.S[:, 1:], 1e-12)
    assert_same(alone.gradients().x, whole.gradients().x[:, 1:], 1e-12)
    assert_same(rest.e, whole.e[2:], 1e-12)
    assert_same(rest.gradients().x, whole.gradients().x[2:], 1e-12)


@pytest.mark.parametrize("steps", [0, 1])
def test_one_step_and_none(steps):
    arrays, y, *names = problem(steps=steps)
    ours = bptt_of(arrays, y, *names)
    assert len(ours.terms("W")) == steps
    assert ours.share_by_lag("W").shape == (steps,)
    for weight in "UVW":
        assert np.array_equal(ours.truncated(weight, 9), getattr(ours.gradients(), weight))
    if not steps:
        assert ours.E == 0
        assert not ours.gradients().S_0.any()


@pytest.mark.parametrize("g", ["softmax", "sigmoid"])
def test_cross_entropy_survives_outputs_that_round_to_zero_and_one(g):
    network = Network([[1.0]], [[0.0]], [[2000.0], [-2000.0]], "identity", g)
    y = np.array([[[0.0, 1.0]]])  # the network is certain of the opposite
    ours = BPTT(network, np.ones((1, 1, 1)), y)
    assert_same(np.array(ours.E), np.array(4000.0))
    assert_same(ours.gradients().V, np.array([[1.0], [-1.0]]))


def test_the_initial_state_is_zero_if_not_given():
    arrays, y, f, g, _ = problem()
    network = Network(arrays["U"], arrays["W"], arrays["V"], f, g)
    S, outputs = network.forward(arrays["x"])
    assert np.array_equal(S, network.forward(arrays["x"], np.zeros((B, H)))[0])
    assert np.array_equal(S, BPTT(network, arrays["x"], y).S)
    assert outputs.shape == (T, B, K)
    assert np.allclose(outputs.sum(axis=-1), 1)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("U", (H,), r"U: expected \[H, D\], got \[4\]"),
        ("W", (H, H + 1), r"W: expected \[H, H\] with H = 4, got \[4, 5\]"),
        ("V", (K, D), r"V: expected \[K, H\] with H = 4, got \[5, 3\]"),
        ("x", (T, D), r"x: expected \[T, B, D\] with D = 3, got \[6, 3\]"),
        ("x", (T, B, H), r"x: expected \[T, B, D\] with D = 3, got \[6, 2, 4\]"),
        ("S_0", (1, B, H), r"S_0: expected \[B, H\] with B = 2, H = 4, got \[1, 2, 4\]"),
        ("y", (B, T, K), r"y: expected \[T, B, K\] with T = 6, B = 2, K = 5, got \[2, 6, 5\]"),
    ],
)
def test_a_wrong_shape_is_refused_with_both_shapes(name, shape, message):
    arrays, y, *names = problem()
    values = {**arrays, "y": y, name: np.zeros(shape)}
    with pytest.raises(ValueError, match=message):
        bptt_of(values, values["y"], *names)


def test_unknown_names_and_steps_are_refused():
    arrays, y, *names = problem()
    with pytest.raises(ValueError, match="f: expected one of tanh, relu, sigmoid, identity, got 'gelu'"):
        bptt_of(arrays, y, "gelu", "softmax", "cross_entropy")
    with pytest.raises(ValueError, match="g: expected one of softmax, sigmoid, identity, got 'tanh'"):
        bptt_of(arrays, y, "tanh", "tanh", "cross_entropy")
    with pytest.raises(ValueError, match="error: expected one of cross_entropy, squared_error, got 'mse'"):
        bptt_of(arrays, y, "tanh", "softmax", "mse")
    with pytest.raises(ValueError, match="cross_entropy needs g = softmax or sigmoid, got g = identity"):
        bptt_of(arrays, y, "tanh", "identity", "cross_entropy")
    ours = bptt_of(arrays, y, *names)
    with pytest.raises(ValueError, match="weight: expected one of U, V, W, got 'x'"):
        ours.terms("x")
    with pytest.raises(ValueError, match="lag: expected at least 0, got -1"):
        ours.truncated("W", -1)
    for t, k in [(0, 0), (2, 3), (2, -1), (T + 1, 1)]:
        for piece in (ours.jacobian, ours.state_gradient):
            with pytest.raises(ValueError, match=f"T = 6, got t = {t}, k = {k}"):
                piece(t, k)


@pytest.mark.parametrize("module", ["reference", "reference_gated"])
def test_the_oracle_imports_no_torch(module):
    tree = ast.parse(Path(reference.__file__).with_name(f"{module}.py").read_text())
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert {name.split(".")[0] for name in imported} <= {
        "collections",
        "dataclasses",
        "itertools",
        "numpy",
        "typing",
        "unroll",
    }
