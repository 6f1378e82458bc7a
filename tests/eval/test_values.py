import numpy as np

from eval.values import read_values, write_values


def test_values_come_back_by_key(tmp_path):
    values = {"pic": np.array([0.1, np.nan, 1 / 3]), "clip_sim": np.arange(3, dtype=np.float32)}
    write_values(tmp_path, ["zoë", "b", "a"], ["none", "", "läuft"], values)
    found = read_values(tmp_path)
    assert found.index.tolist() == ["zoë", "b", "a"]
    assert found["group"].tolist() == ["none", "", "läuft"]
    assert list(found) == ["group", "pic", "clip_sim"]
    np.testing.assert_array_equal(found["pic"], values["pic"])
    np.testing.assert_array_equal(found["clip_sim"], [0.0, 1.0, 2.0])
