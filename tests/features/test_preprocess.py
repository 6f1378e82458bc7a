import pytest
import torch

from dynamicrafter.errors import InputError
from dynamicrafter.features.preprocess import preprocess


def test_the_range_is_minus_one_to_one():
    videos = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1, 1).expand(2, 2, 8, 8, 3)
    result = preprocess(videos, "direct_bilinear_halfpixel", 4)
    assert result.shape == (2, 3, 2, 4, 4)
    assert result.dtype == torch.float32
    assert result[0].unique().tolist() == [-1]
    assert result[1].unique().tolist() == [1]


@pytest.mark.parametrize(
    "rule", ["direct_bilinear_halfpixel", "direct_bilinear_antialias", "tf1_legacy_bilinear"]
)
def test_a_square_of_the_right_size_is_left_alone(rule):
    videos = torch.randint(0, 256, (1, 2, 16, 16, 3), dtype=torch.uint8)
    expected = videos.permute(0, 4, 1, 2, 3) / 127.5 - 1
    torch.testing.assert_close(preprocess(videos, rule, 16), expected)


def test_bad_input_is_named():
    with pytest.raises(InputError, match=r"not torch\.float32"):
        preprocess(torch.zeros(1, 2, 8, 8, 3), "direct_bilinear_halfpixel", 8)
    with pytest.raises(InputError, match=r"\[1, 3, 2, 8, 8\]"):
        preprocess(torch.zeros(1, 3, 2, 8, 8, dtype=torch.uint8), "direct_bilinear_halfpixel", 8)
    with pytest.raises(InputError, match="no resize rule 'nearest'"):
        preprocess(torch.zeros(1, 2, 8, 8, 3, dtype=torch.uint8), "nearest", 8)
