"""The ledger against closed forms, against FlopCounterMode, and against a real pass."""

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dynamicrafter.model.unet import UNet, UNetConfig
from train.plan.ledger import FIXED, GRADIENT, GROWING, Ledger, as_on_gpu, run_forward, run_training
from train.recompute import apply_recompute

SMALL = UNetConfig(
    model_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attention_resolutions=(2,),
    head_channels=16,
    context_dim=32,
    dropout=0.0,
)


def two_layers() -> nn.Sequential:
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(64, 128), nn.SiLU(), nn.Linear(128, 32))


def unet_and_inputs(device: str, batch: int = 1):
    with torch.device(device):
        unet = UNet(SMALL)
        x, context = torch.zeros(batch, 8, 4, 16, 16), torch.zeros(batch, 77 + 64, 32)
        t = torch.zeros(batch, dtype=torch.long)
    return unet, (x, t, context, t)


def test_a_forward_pass_holds_two_neighbours_at_a_time():
    net, x = two_layers(), torch.zeros(10, 64, device="meta")
    ledger = run_forward(net, lambda: net(x), lowered=False)
    hidden, out = 10 * 128 * 4, 1536  # 10 * 32 * 4 bytes, rounded up to blocks of 512
    assert ledger.moments().sum(axis=1).tolist() == [hidden, 2 * hidden, hidden + out]


def test_bf16_halves_activations_and_copies_trained_weights_once():
    net, x = two_layers(), torch.zeros(10, 64, device="meta")
    net[0].requires_grad_(False)
    with as_on_gpu(lowered=True), Ledger(net.parameters()) as ledger:
        kept = net(x).sum()
    assert kept.dtype == torch.bfloat16
    last = ledger.moments()[-1]
    second = 32 * 128 * 2 + 512  # weight and bias
    assert last[FIXED] == second
    # What the second layer saw, for its weights' gradient; its output, and the sum. The first
    # layer is frozen and has nothing before it, so the input of SiLU is gone.
    assert last[GROWING] == 10 * 128 * 2 + 1024 + 512


def test_gradients_are_those_of_the_trained_weights():
    net, x = two_layers(), torch.zeros(10, 64, device="meta")
    moments = run_training(net, lambda: net(x).sum(), lowered=False).moments()
    sizes = [64 * 128 * 4, 128 * 4, 128 * 32 * 4, 512]
    assert moments[-1][GRADIENT] == sum(sizes)
    assert all(weight.grad is None for weight in net.parameters())


@pytest.mark.parametrize(
    ("frozen", "backward"),
    [
        ((), (1, 2)),  # of each layer's forward FLOP: weights; weights and input
        ((0,), (0, 1)),  # nothing goes back beyond the first trained layer
        ((2,), (1, 1)),  # a frozen layer passes gradients on
    ],
)
def test_the_backward_pass_is_what_the_trained_layers_need(frozen, backward):
    net, x = two_layers(), torch.zeros(10, 64, device="meta")
    for index in frozen:
        net[index].requires_grad_(False)
    ledger = run_training(net, lambda: net(x).sum(), lowered=True)
    layers = 2 * 10 * 64 * 128, 2 * 10 * 128 * 32
    assert ledger.forward_flop == sum(layers)
    wanted = sum(share * flop for share, flop in zip(backward, layers, strict=True))
    assert ledger.flop - ledger.forward_flop == wanted


def test_flop_of_a_unet_are_those_of_flop_counter_mode():
    unet, inputs = unet_and_inputs("meta")
    ledger = run_forward(unet, lambda: unet(*inputs), lowered=True)
    unet, inputs = unet_and_inputs("cpu")
    # The CPU's own attention kernel is unknown to the counter; as matrix products it counts.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        unet(*inputs)
    assert ledger.flop == counter.get_total_flops()


def test_what_is_kept_after_a_forward_pass_is_what_autograd_saves_in_a_real_one():
    unet, inputs = unet_and_inputs("meta", batch=2)
    with as_on_gpu(lowered=False), Ledger(unet.parameters()) as ledger:
        kept = unet(*inputs)
    assert kept.is_meta
    unet, inputs = unet_and_inputs("cpu", batch=2)
    own = {weight.data_ptr() for weight in unet.parameters()}
    own |= {tensor.data_ptr() for tensor in inputs}
    saved: dict[int, int] = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        out = unet(*inputs)
    assert out.requires_grad
    assert ledger.moments()[-1].sum() == pytest.approx(sum(saved.values()), rel=0.03)


def test_recomputing_frees_memory_and_costs_a_second_forward_pass():
    found = {}
    for choice in ("none", "selective", "full"):
        unet, inputs = unet_and_inputs("meta", batch=4)
        apply_recompute(unet, choice)
        found[choice] = run_training(unet, lambda u=unet, i=inputs: u(*i).sum(), lowered=True)
    growing = {name: ledger.moments()[:, GROWING].max() for name, ledger in found.items()}
    assert growing["full"] < growing["selective"] < growing["none"]
    assert found["selective"].flop == found["none"].flop  # products are kept
    more = found["full"].flop - found["none"].flop
    assert 0.8 < more / found["none"].forward_flop < 1  # all but what lies between the layers


def test_the_layers_work_as_before_outside_of_a_ledger():
    net, x = two_layers(), torch.zeros(10, 64, device="meta")
    run_forward(net, lambda: net(x), lowered=True)
    assert net(x).dtype == torch.float32
