"""What every family saves with: a folder like the base's, with other weights."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from sotaque.backends import folders
from sotaque.errors import ModelError


@pytest.fixture
def base(tmp_path):
    """A network of two tensors in two dtypes, with a card, and with the seal of whoever made it."""
    made = tmp_path / "base"
    (made / "more").mkdir(parents=True)
    save_file({"a": torch.ones(2, dtype=torch.bfloat16), "codec.b": torch.zeros(3)}, made / "w.safetensors")
    (made / "more/card.md").write_text("a card")
    (made / "seal.json").write_text("{}")
    return made


def test_names_dtypes_and_other_files_are_the_bases(base, tmp_path):
    weights = {"a": torch.tensor([1.5, 2.5], dtype=torch.float64), "codec.b": torch.ones(3), "new": base}
    folders.save_like(base, weights, tmp_path / "made", kept=lambda key: key.startswith("codec."))
    found = sorted(p.relative_to(tmp_path / "made").as_posix() for p in (tmp_path / "made").rglob("*.*"))
    assert found == ["more/card.md", "w.safetensors"]
    saved = load_file(tmp_path / "made/w.safetensors")
    assert {key: (value.dtype, value.tolist()) for key, value in saved.items()} == {
        "a": (torch.bfloat16, [1.5, 2.5]), "codec.b": (torch.float32, [0.0, 0.0, 0.0])
    }  # fmt: skip
    assert folders.weight_keys((tmp_path / "made").glob("*.safetensors")) == ["a", "codec.b"]


def test_a_tensor_that_the_network_lacks_is_named_and_nothing_is_left(base, tmp_path):
    with pytest.raises(ModelError, match=r"w.safetensors: the network has no tensor codec.b"):
        folders.save_like(base, {"a": torch.ones(2)}, tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_a_network_lies_in_the_folder_or_below_it(base):
    assert folders.network_in(base) == base
    (base / "network").mkdir()
    assert folders.network_in(base) == base / "network"
