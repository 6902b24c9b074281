"""Copies across splits are reported, and nothing else is."""

from unroll.data.copies import Item, notes


def test_each_file_once_needs_no_word() -> None:
    items = [Item("a", "train", "cat", "1"), Item("b", "val", "cat", "2"), Item("c", "test", "dog", "3")]
    assert notes(items, "class") == ()


def test_copies_within_train_are_no_leak() -> None:
    assert notes([Item("a", "train", "cat", "1"), Item("b", "train", "cat", "1")], "class") == ()


def test_what_is_in_train_and_held_out() -> None:
    items = [Item(f"h{n}", "test", "cat", str(n)) for n in range(5)]
    items += [Item(f"t{n}", "train", "cat", str(n)) for n in range(4)]
    [said] = notes(items, "class")
    assert said.startswith("4 of 5 in val and test are in train too, byte for byte (h0 is t0, h1 is t1, h2 is t2, ...)")


def test_two_classes_of_one_file() -> None:
    [said] = notes([Item("cat/a", "train", "cat", "1"), Item("dog/a", "train", "dog", "1")], "class")
    assert said == "1 are there once more with another class, byte for byte (dog/a is cat/a); correct them"
