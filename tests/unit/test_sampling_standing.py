"""Statistics for a truncation: interpolated from stored sets, or averaged over passes."""

import pytest
import torch
from torch import Tensor, nn
from toy_sampling import toy_description, toy_generator, toy_model

from limner.checkpoints import ModelRecord
from limner.core.errors import CheckpointError, LimnerError
from limner.layers import SNConv2d
from limner.sampling import (
    Model,
    StandingPlan,
    StandingSets,
    accumulate,
    latents_from_seeds,
    standing_statistics,
    using_statistics,
)

GRID = tuple(round(0.02 * i, 2) for i in range(51))
ROWS = {"norm.running_mean": torch.arange(51.0)[:, None]}
WRONG_IN_THE_PORT = (0.14, 0.28, 0.56, 0.58, 0.94)


def row(rule, truncation: float) -> float:
    sets = StandingSets(GRID, ROWS, rule)
    return float(sets.at(truncation)["norm.running_mean"])


# --- trap 11: pytorch-pretrained-BigGAN's interpolation --------------------


def test_on_the_grid_every_truncation_has_its_own_set():
    for i, truncation in enumerate(GRID[1:], 1):
        assert row("linear", truncation) == i
        assert row("linear", i * 0.02) == i  # 0.14 and the like with rounding errors, too


def test_the_ports_rule_takes_a_neighbours_set_at_five_truncations():
    wrong = {t: row("huggingface", t) - round(t / 0.02) for t in GRID[1:]}
    missed = tuple(t for t, off in wrong.items() if abs(off) > 0.5)
    assert missed == WRONG_IN_THE_PORT
    assert {round(wrong[t]) for t in missed} == {-1, 1}


def test_between_two_sets_the_nearer_one_weighs_more():
    assert row("linear", 0.435) == pytest.approx(21.75, abs=1e-4)
    assert row("huggingface", 0.435) == pytest.approx(21.25, abs=1e-4)  # swapped


def test_sets_of_any_grid():
    sets = StandingSets((0.5, 0.6, 2.0), {"m": torch.tensor([[1.0], [2.0], [9.0]])})
    assert [float(sets.at(t)["m"]) for t in (0.5, 0.55, 0.6, 1.3, 2.0)] == pytest.approx(
        [1.0, 1.5, 2.0, 5.5, 9.0]
    )
    assert float(StandingSets((0.5,), {"m": torch.ones(1, 1)}).at(0.5)["m"]) == 1.0


@pytest.mark.parametrize("rule", ["linear", "huggingface"])
@pytest.mark.parametrize("truncation", [None, 0.0, -0.1, 1.01, float("nan")])
def test_a_truncation_outside_the_sets_is_refused_with_the_range(rule, truncation):
    with pytest.raises(LimnerError, match="statistics for above 0 to 1"):
        StandingSets(GRID, ROWS, rule).at(truncation)


# --- accumulation ----------------------------------------------------------


class Net(nn.Module):
    """Spectral norm, three kinds of batch norm, dropout."""

    def __init__(self):
        super().__init__()
        self.z_dim = 3
        self.inner = nn.Sequential(SNConv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=None))
        self.outer = nn.BatchNorm2d(4, affine=False)
        self.plain = nn.BatchNorm2d(4, track_running_stats=False)
        self.drop = nn.Dropout(0.5)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        h = self.inner(z[:, :, None, None].expand(-1, -1, 2, 2))
        return torch.tanh(self.drop(self.plain(self.outer(h))))


def test_averages_of_the_batch_statistics_and_nothing_else_changes():
    torch.manual_seed(0)
    net = Net()
    net(torch.randn(8, 3))
    net.inner[0].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    batches = [torch.randn(5, 3), torch.randn(9, 3) * 2]
    state = torch.get_rng_state()
    found = accumulate(net, [(z, None) for z in batches])

    assert sorted(found) == [
        f"{norm}.{what}"
        for norm in ("inner.1", "outer")
        for what in ("running_mean", "running_var")
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.inner[1].momentum is None
    assert net.outer.momentum == 0.1
    assert [net.training, net.inner[0].training] == [True, False]
    # the same by hand, with the singular vectors moving from pass to pass
    net.inner[0].train()
    means, variances = [], []
    for z in batches:
        h = net.inner[0](z[:, :, None, None].expand(-1, -1, 2, 2))
        means.append(h.mean((0, 2, 3)))
        variances.append(h.transpose(0, 1).flatten(1).var(1))
    torch.testing.assert_close(found["inner.1.running_mean"], sum(means) / 2)
    torch.testing.assert_close(found["inner.1.running_var"], sum(variances) / 2)


def test_a_generator_without_batch_norm_is_refused():
    with pytest.raises(LimnerError, match="no batch norm"):
        accumulate(nn.Linear(2, 2), [(torch.randn(2, 2), None)])


def test_passes_have_the_truncation_and_every_class():
    plan = StandingPlan(num_passes=4, batch_size=64)
    drawn = list(plan.batches(5, 7, 0.3, "resample"))
    assert len(drawn) == 4
    z = torch.cat([z for z, _ in drawn])
    assert 0.29 < float(z.abs().max()) <= 0.3
    assert len(z.unique(dim=0)) == 256
    assert set(torch.cat([y for _, y in drawn if y is not None]).tolist()) == set(range(7))
    other = torch.cat([z for z, _ in StandingPlan(4, 64, seed=1).batches(5, 7)])
    assert not set(other.flatten().tolist()) & set(z.flatten().tolist())


def test_parsing_a_plan():
    assert StandingPlan.parse("16") == StandingPlan(16, 64)
    assert StandingPlan.parse("32x256", 3) == StandingPlan(32, 256, 3)
    assert str(StandingPlan(3, 4)) == "3x4"
    for text in ("", "x", "3x", "a", "3x4x5", "-1"):
        with pytest.raises(LimnerError, match="PASSESxBATCH"):
            StandingPlan.parse(text)
    for text in ("0", "3x1"):
        with pytest.raises(LimnerError, match="at least 1 pass and 2 latents"):
            StandingPlan.parse(text)


# --- trap 7: truncation is resampling, or is called what it is -------------


@pytest.mark.parametrize("truncation", [2.0, 1.5, 1.0, 0.5, 0.04])
def test_resampling_cuts_the_normal_and_scaling_does_not(truncation: float):
    whole = latents_from_seeds(range(400), 25)
    cut = latents_from_seeds(range(400), 25, truncation)
    kept = whole.abs() <= truncation
    assert torch.equal(cut[kept], whole[kept])
    assert float(cut.abs().max()) <= truncation
    normal = torch.distributions.Normal(0.0, 1.0)
    bound = torch.tensor(truncation)
    inside = 2 * normal.cdf(bound) - 1
    variance = 1 - 2 * bound * normal.log_prob(bound).exp() / inside
    assert float(cut.var()) == pytest.approx(float(variance), rel=0.04)
    scaled = latents_from_seeds(range(400), 25, truncation, "scale")
    assert torch.allclose(scaled, whole * truncation)
    assert float(scaled.abs().max()) > truncation


@pytest.mark.parametrize("truncation", [2.0, 0.5, 0.04])
def test_statistics_scales_a_normal_cut_at_two(truncation: float):
    z = latents_from_seeds(range(400), 25, truncation, "statistics")
    torch.testing.assert_close(z, latents_from_seeds(range(400), 25, 2.0) * truncation)
    assert 1.9 * truncation < float(z.abs().max()) <= 2 * truncation


# --- a model with sets -----------------------------------------------------


def model_with_sets(num_classes: int = 0) -> Model:
    config = toy_description(num_classes).replace(truncations=(0.2, 1.0))
    generator = toy_generator(num_classes)
    state = generator.state_dict()
    standing = {
        "norm.running_mean": torch.stack([state["norm.running_mean"] * k for k in (0, 3)]),
        "norm.running_var": torch.stack([state["norm.running_var"] * k for k in (1, 9)]),
    }
    return Model.from_record(ModelRecord(config, state, standing=standing), "cpu")


def test_the_mode_statistics_uses_those_of_the_truncation():
    model = model_with_sets(3)
    own = {name: value.clone() for name, value in model.generator.state_dict().items()}
    images = model.sample(
        num=5, truncation=0.6, truncation_mode="statistics", as_float=True, batch_size=2
    )
    assert all(torch.equal(v, own[name]) for name, v in model.generator.state_dict().items())
    z = latents_from_seeds(range(5), 6, 0.6, "statistics")
    assert model.standing is not None
    with using_statistics(model.generator, model.standing.at(0.6)):
        wanted = model.sample(z=z, as_float=True)
    torch.testing.assert_close(torch.from_numpy(images), torch.from_numpy(wanted))
    assert abs(wanted - model.sample(z=z, as_float=True)).max() > 0.05  # other statistics matter
    given = model.sample(z=z, truncation=0.6, truncation_mode="statistics", as_float=True)
    torch.testing.assert_close(torch.from_numpy(given), torch.from_numpy(wanted))


def test_the_mode_statistics_names_what_is_allowed():
    model = model_with_sets()
    for truncation in (None, 0.1, 1.2):
        with pytest.raises(LimnerError, match=r"statistics for 0.2 to 1$"):
            model.plan(num=1, truncation=truncation, truncation_mode="statistics")
    with pytest.raises(LimnerError, match="holds no statistics"):
        toy_model().plan(num=1, truncation=0.5, truncation_mode="statistics")
    with pytest.raises(LimnerError, match="resample or scale"):
        model.accumulate(StandingPlan(1, 4), 0.5, "statistics")


def test_sets_that_do_not_fit_are_refused():
    config = toy_description().replace(truncations=(0.5,))
    with pytest.raises(CheckpointError, match="0 tensors 'standing"):
        Model.from_record(ModelRecord(config, toy_generator().state_dict()), "cpu")


def test_accumulated_statistics_take_the_place_of_the_running_ones():
    model = toy_model(3)
    before = model.generator.state_dict()["norm.running_var"].clone()
    wanted = standing_statistics(model.generator, StandingPlan(4, 32), 3, 0.3)
    model.accumulate(StandingPlan(4, 32), 0.3)
    after = model.generator.state_dict()["norm.running_var"]
    torch.testing.assert_close(after, wanted["norm.running_var"])
    assert float(after.mean()) < 0.3 * float(before.mean())
