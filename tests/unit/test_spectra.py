"""Singular values in a log of their own: every normalized layer, every so many steps, resumable."""

import json

import torch

from limner.data import DataConfig, prepare
from limner.engine import Intervals
from limner.models import BigGanDiscriminator, BigGanGenerator
from limner.reports.plots import _outstanding, _ramp, health_charts
from limner.running.watch import kept_singular_values
from runs import fit_of, toy_config, toy_data, toy_pictures


def spectral_run(path, steps=6, **changes):
    config = toy_config(
        generator=BigGanGenerator(width=2, z_dim=4, multipliers=(1, 1)),
        discriminator=BigGanDiscriminator(width=2, multipliers=(1, 1), bottom=4),
        data=DataConfig(resolution=8, channels=1),
        steps=steps,
        num_classes=3,
        intervals=Intervals(log=2, sample=0, save=4, singular_values=2),
        **changes,
    )
    source = toy_pictures(path.parent / "pictures.npz", 12, num_classes=3)
    data = prepare(str(source), path.parent / f"prepared-{path.name}-{steps}", config.data)
    return fit_of(path, config, data)


def lines(path):
    return [json.loads(line) for line in (path / "spectra.jsonl").read_text().splitlines()]


def test_each_normalized_layer_is_logged_as_its_forward_left_it(tmp_path):
    fit = spectral_run(tmp_path / "run")
    fit()
    records = lines(tmp_path / "run")
    assert [record["step"] for record in records] == [2, 4, 6]
    networks = fit.trainer.networks
    expected = {
        f"{player}.{name}": float(module.sv0)
        for player, network in networks.items()
        for name, module in network.named_modules()
        if hasattr(module, "sv0")
    }
    assert len(expected) > 10
    assert records[-1] == {"step": 6, **expected}
    assert kept_singular_values(networks) == expected


def test_a_resumed_run_has_the_lines_of_one_that_was_never_stopped(tmp_path):
    spectral_run(tmp_path / "whole")()
    first = spectral_run(tmp_path / "parts", steps=4)
    first()
    first.run.append("spectra", {"step": 6, "g.linear": 99.0})  # beyond what was saved
    second = spectral_run(tmp_path / "parts")
    second.resume(sorted(second.run.checkpoints.iterdir())[-1])
    second.run.truncate_logs(second.trainer.progress.step)
    second()
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")


def test_networks_without_such_layers_leave_no_log(tmp_path):
    fit = fit_of(tmp_path / "run", toy_config(num_classes=0), toy_data(tmp_path))
    fit()
    assert not (tmp_path / "run" / "spectra.jsonl").exists()


def test_logging_can_be_switched_off(tmp_path):
    fit = spectral_run(tmp_path / "run")
    fit.config = fit.config.replace(intervals=Intervals(singular_values=0, sample=0))
    fit()
    assert not (tmp_path / "run" / "spectra.jsonl").exists()


# --- the chart ----------------------------------------------------------------


def spectra(num_layers, player="g"):
    walk = torch.linspace(1, 2, num_layers)
    return [
        {
            "step": 10 * k,
            **{f"{player}.layer{i}": float(walk[i]) + k * i for i in range(num_layers)},
        }
        for k in range(1, 30)
    ]


def test_the_chart_has_a_line_a_layer_and_replaces_the_short_one():
    (chart,) = health_charts([], spectra(40))
    assert chart.title == "Singular values, generator"
    assert "40 normalized layers" in chart.note
    log = [{"step": 10 * k, "sv.g.layer0": 1.0, "sv.d.first": 2.0} for k in (1, 2)]
    titles = [chart.title for chart in health_charts(log, spectra(3))]
    assert titles == ["Singular values, generator", "Largest singular values, discriminator"]
    colors = _ramp(40)
    assert len(set(colors)) == 40
    assert all(f"stroke: {color}" in chart.svg for color in colors)


def test_named_layers_stand_out():
    values = {f"layer{i}": torch.tensor([1.0, 1.0 + i]).numpy() for i in range(20)}
    values["moved"] = torch.tensor([90.0, 5.0]).numpy()
    values["last"] = torch.tensor([1.0, 2.0]).numpy()
    assert _outstanding(values) == {"layer0", "layer19", "moved", "last"}
    few = dict(list(values.items())[:4])
    assert _outstanding(few) == set(few)
