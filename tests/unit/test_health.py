"""Health figures against other formulas, and the rules of the alarms one by one."""

import numpy as np
import pytest
import torch
from torch import nn

from limner.layers import SNConv2d
from limner.reports.plots import health_charts
from limner.running.alarms import Alarms, worse_scores
from limner.running.watch import diversity, largest_singular_value, singular_values

HEALTHY = {
    "diversity": 0.9, "diversity_within": 0.8, "signs_real": 0.7, "signs_fake": 0.6,
    "grad_norm_d": 5.0, "grad_norm_g": 2.0,
}  # fmt: skip


def heard(*changes: dict) -> list[str]:
    alarms = Alarms()
    return [message for change in changes for message in alarms.hear({**HEALTHY, **change})]


def test_diversity_is_the_ratio_of_mean_distances():
    real, fake = torch.randn(9, 1, 4, 4), 0.5 * torch.randn(7, 1, 4, 4)

    def mean_distance(x):
        rows = x.flatten(1).double().numpy()
        pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
        return np.mean([np.linalg.norm(rows[i] - rows[j]) for i, j in pairs])

    found = diversity(real, None, fake, None)
    assert found.keys() == {"diversity"}
    assert float(found["diversity"]) == pytest.approx(mean_distance(fake) / mean_distance(real))


def test_diversity_within_a_class_sees_one_picture_a_class():
    labels = torch.arange(32) % 2
    real, fake = torch.randn(32, 1, 4, 4), torch.randn(2, 1, 4, 4)[labels]
    found = diversity(real, labels, fake, labels)
    assert float(found["diversity_within"]) == 0.0
    assert float(found["diversity"]) > 0.2
    few = diversity(real[:4], labels[:4], fake[:4], labels[:4])
    assert few["diversity_within"].isnan()
    assert diversity(real[:1], None, fake[:1], None) == {}


def test_singular_values_without_moving_anything():
    weight = torch.randn(12, 30)
    exact = torch.linalg.svdvals(weight)[0]
    assert float(largest_singular_value(weight)) == pytest.approx(float(exact), rel=0.03)
    parametrized = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 6))
    network = nn.Sequential(nn.Conv2d(1, 4, 3), SNConv2d(4, 4, 3), nn.Flatten(), parametrized)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = singular_values(network)
    assert found.keys() == {"0", "1", "3"}
    assert float(found["1"]) == 1.0  # as its buffer says before the first forward
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_healthy_log_is_silent_and_lines_without_figures_are_passed_over():
    assert heard(*[{}] * 30) == []
    assert Alarms().hear({"step": 1, "loss_d": 1.0}) == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (1, {"diversity": 0.2}, "pictures look alike"),
        (3, {"diversity": 0.05}, "pictures look alike"),
        (5, {"diversity_within": 0.0}, "pictures of one class look alike"),
        (1, {"signs_real": 1.0, "signs_fake": 1.0, "grad_norm_d": 0.4}, "discriminator wins"),
        (1, {"grad_norm_d": 0.0, "grad_norm_g": 0.0}, "neither player learns"),
        (5, {"grad_norm_g": 300.0}, "the generator's gradient explodes"),
    ],
)
def test_each_alarm_sounds_after_three_figures_and_once(before, after, words):
    assert heard(*[{}] * before, after, after) == []
    messages = heard(*[{}] * before, after, after, after, after)
    assert len(messages) == 1
    assert words in messages[0]


@pytest.mark.parametrize(
    "figures",
    [
        {"diversity": 0.3},
        {"signs_real": 1.0, "signs_fake": 1.0},  # and it still learns
        {"signs_real": 1.0, "signs_fake": 0.9, "grad_norm_d": 0.1},
        {"grad_norm_g": 100.0},
        {"grad_norm_d": 0.0},
    ],
)
def test_what_is_not_yet_an_alarm(figures):
    assert heard(*[{}] * 4, *[figures] * 5) == []


def test_a_slow_beginning_has_six_figures_of_time():
    slow = {"diversity": 0.05, "diversity_within": 0.05}
    assert heard(*[slow] * 5, {}, {}) == []
    assert len(heard(*[slow] * 6)) == 2


def test_an_alarm_that_ended_may_sound_again():
    low = {"diversity": 0.2}
    assert len(heard({}, low, low, low, {}, low, low, low)) == 2


def test_a_score_twice_its_best_twice_is_a_warning_once():
    def warned(*values):
        return worse_scores({"fd": dict(enumerate(values))}, ["fd", "absent"])

    assert warned(10.0, 25.0) == []
    assert len(warned(10.0, 25.0, 21.0)) == 1
    assert warned(10.0, 25.0, 21.0, 30.0) == []
    assert warned(10.0, 25.0, 19.0) == []
    assert len(warned(10.0, 25.0, 19.0, 25.0, 26.0)) == 1


def test_the_report_draws_at_most_six_layers():
    log = [{"step": s, **{f"sv.d.l{i}": 1.0 + i * s for i in range(9)}} for s in range(1, 4)]
    charts = health_charts(log)
    assert [chart.title for chart in charts] == ["Largest singular values, discriminator"]
    shown = [i for i in range(9) if f">l{i}<" in charts[0].svg]
    assert shown == [0, 4, 5, 6, 7, 8]
    assert health_charts([{"step": 1}]) == []
