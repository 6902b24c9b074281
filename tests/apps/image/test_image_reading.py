"""Reading orders: every pixel once, in the right place; and two directions that see the whole picture."""

import pytest
import torch

from unroll.apps.image.reading import Sequence, Sweeps, patches

PIXELS = torch.arange(2 * 4 * 6 * 3.0).view(2, 4, 6, 3)


@pytest.mark.parametrize(
    ("order", "steps", "features"), [("rows", 4, 18), ("pixels", 24, 3), ("permuted", 24, 3), ("patches", 6, 12)]
)
def test_every_value_is_read_once(order, steps, features):
    sequence = Sequence(order, (4, 6, 3), patch=2)
    read = sequence(PIXELS)
    assert read.shape == (steps, 2, features) == (sequence.steps, 2, sequence.output_size)
    assert read[:, 1].flatten().sort().values.tolist() == PIXELS[1].flatten().tolist()


def test_rows_and_pixels_come_in_the_order_of_reading():
    assert Sequence("rows", (4, 6, 3))(PIXELS)[2, 1].tolist() == PIXELS[1, 2].flatten().tolist()
    assert Sequence("pixels", (4, 6, 3))(PIXELS)[8, 1].tolist() == PIXELS[1, 1, 2].tolist()


def test_a_patch_is_a_square_and_the_margin_is_black():
    grid = patches(PIXELS, 2)
    assert grid.shape == (2, 2, 3, 12)
    assert grid[1, 1, 2].tolist() == PIXELS[1, 2:4, 4:6].flatten().tolist()
    wide = patches(PIXELS + 1, 4)
    assert wide.shape == (2, 1, 2, 48)
    assert wide[0, 0, 1].view(4, 4, 3)[:, 2:].abs().max() == 0
    assert Sequence("patches", (4, 6, 3), patch=4).steps == 2


def test_the_permutation_is_drawn_by_its_seed_and_saved_with_the_weights():
    torch.manual_seed(1)
    first = Sequence("permuted", (4, 6, 3), permutation=5)
    torch.manual_seed(2)
    assert torch.equal(Sequence("permuted", (4, 6, 3), permutation=5).permutation, first.permutation)
    other = Sequence("permuted", (4, 6, 3), permutation=6)
    assert not torch.equal(other(PIXELS), first(PIXELS))
    other.load_state_dict(first.state_dict())
    assert torch.equal(other(PIXELS), first(PIXELS))
    assert torch.equal(first(PIXELS)[0, 0], PIXELS.flatten(1, 2)[0, first.permutation[0]])


@pytest.mark.parametrize("layers", [1, 2])
def test_sweeps_see_the_whole_grid_from_every_place(layers):
    torch.manual_seed(0)
    network = Sweeps("gru", 3, 4, layers)
    grid = PIXELS[:1].div(150).requires_grad_()
    states = network(grid)
    assert states.shape == (1, 4, 6, network.output_size)
    for place in ((0, 0), (1, 4), (3, 5)):
        (gradient,) = torch.autograd.grad(states[0][place].sum(), grid, retain_graph=True)
        assert (gradient.abs().sum(-1) > 0).all()


def test_sweeps_keep_pictures_apart():
    torch.manual_seed(0)
    network, grid = Sweeps("lstm", 3, 4), PIXELS / 150
    assert torch.allclose(network(grid)[1], network(grid[1:])[0], atol=1e-6)
