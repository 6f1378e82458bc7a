"""Recomputed layers: the same outputs and gradients to the bit, with less that is kept."""

import collections
import functools

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dynamicrafter.errors import InputError
from dynamicrafter.model.dropout import keyed_dropout
from tests.model.tiny import build, tree
from train import recompute
from train.recompute import CHOICES, apply_recompute, recomputed_layers

pytestmark = pytest.mark.usefixtures("one_thread")


class Kept(TorchDispatchMode):
    """Watches what operators give, to tell how much of it is still held by somebody."""

    def __init__(self):
        super().__init__()
        self.sizes = {}
        self.operators = collections.Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.operators[str(func)] += 1
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.sizes[StorageWeakRef(storage)] = storage.nbytes()
        return out

    def nbytes(self, unet):
        """Bytes that are still held, but for the parameters, of which operators give views."""
        own = {StorageWeakRef(p.untyped_storage()).cdata for p in unet.parameters()}
        alive = {ref.cdata: size for ref, size in self.sizes.items() if not ref.expired()}
        return sum(size for cdata, size in alive.items() if cdata not in own)


def inputs():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        x, context = torch.randn(2, 8, 2, 8, 8), torch.randn(2, 77 + 32, 32)
    return x, torch.tensor([10, 900]), context.requires_grad_(), torch.tensor([1, 3])


def make(choice):
    unet = build(tree()).unet.train()
    apply_recompute(unet, choice)
    return unet


@functools.cache
def trained(choice):
    """Output, gradients by name, kept bytes and operators of a step with dropout."""
    unet, values = make(choice), inputs()
    with keyed_dropout(unet, 0, "x", [4, 5]):
        with Kept() as forward:
            output = unet(*values)
        kept = forward.nbytes(unet)
        with Kept() as backward:
            output.square().mean().backward()
    gradients = {name: p.grad for name, p in unet.named_parameters()}
    gradients["context"] = values[2].grad
    return output.detach(), gradients, kept, backward.operators


@pytest.mark.parametrize("choice", ["selective", "full"])
def test_outputs_and_gradients_are_equal_to_the_bit(choice):
    expected, gradients, _, _ = trained("none")
    output, found, _, _ = trained(choice)
    assert torch.equal(output, expected)
    assert found.keys() == gradients.keys()
    assert not [name for name in found if not torch.equal(found[name], gradients[name])]


def test_less_is_kept_and_more_is_computed_from_choice_to_choice():
    none, selective, full = (trained(choice) for choice in CHOICES)
    assert full[2] < 0.3 * selective[2]
    assert selective[2] < 0.7 * none[2]
    assert none[3].total() < min(selective[3].total(), full[3].total())


def test_every_residual_block_and_transformer_is_a_layer():
    """Of a U-Net with two levels of one block, transformers at the first, and init attention."""
    names = [type(layer).__name__ for layer in recomputed_layers(make("none"))]
    blocks = 2 + 2 + 2 * 2  # down, middle, up
    transformers = 1 + 1 + 2
    assert names.count("ResBlock") == blocks
    assert names.count("SpatialTransformer") == transformers
    assert names.count("TemporalTransformer") == transformers + 1
    assert len(names) == blocks + 2 * transformers + 1


def test_selective_computes_no_product_twice():
    """Gradients come from mm and convolution_backward, so these are of the second forward pass."""
    forward_products = ("aten.convolution.default", "aten.addmm.default")
    counts = {
        choice: sum(trained(choice)[3][name] for name in forward_products) for choice in CHOICES
    }
    assert counts["none"] == counts["selective"] == 0
    assert counts["full"] > 0


@pytest.mark.parametrize("choice", ["selective", "full"])
def test_without_gradient_nothing_is_kept_and_the_output_is_the_same(choice, monkeypatch):
    monkeypatch.setattr(recompute, "checkpoint", None)  # it is not even called
    unet = make(choice)
    with torch.no_grad(), keyed_dropout(unet, 0, "x", [4, 5]), Kept() as forward:
        output = unet(*inputs())
    assert torch.equal(output, trained("none")[0])
    assert not output.requires_grad
    assert forward.nbytes(unet) == output.untyped_storage().nbytes()


def test_an_unknown_choice_is_refused():
    unet = build(tree()).unet
    with pytest.raises(InputError, match=r"recompute is 'some'; choose none, selective, full"):
        apply_recompute(unet, "some")
