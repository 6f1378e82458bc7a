import numpy as np
import pytest

from dynamicrafter.features.cache import feature_key, load_or_compute

KEY = feature_key("a" * 64, "net/1", "resize/224")


def features() -> dict[str, np.ndarray]:
    return {"logits": np.arange(12, dtype=np.float32).reshape(3, 4), "pooled": np.ones(2)}


def never():
    pytest.fail("computed again")


def test_what_was_stored_comes_back(tmp_path):
    load_or_compute(tmp_path, KEY, features)
    found = load_or_compute(tmp_path, KEY, never)
    for name, array in features().items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_every_part_of_the_key_counts():
    parts = [("a", "b", "c"), ("x", "b", "c"), ("a", "x", "c"), ("a", "b", "x"), ("ab", "", "c")]
    assert len({feature_key(*part) for part in parts}) == len(parts)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied"])
def test_a_broken_entry_is_computed_again(tmp_path, damage):
    load_or_compute(tmp_path, KEY, features)
    (path,) = tmp_path.rglob("*.safetensors")
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[-20] ^= 1
    else:
        data = data[: len(data) // 2] if damage == "truncated" else b""
    path.write_bytes(data)
    calls = []
    load_or_compute(tmp_path, KEY, lambda: calls.append(1) or features())
    assert calls == [1]
    load_or_compute(tmp_path, KEY, never)


def test_a_failed_computation_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        load_or_compute(tmp_path, KEY, lambda: {"x": np.ones(1 // 0)})
    assert not list(tmp_path.rglob("*.safetensors"))
