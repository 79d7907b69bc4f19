"""Golden files of NVIDIA's style networks: the two networks in the state they begin with, and a Pass
over what was recorded."""

import json

from safetensors.torch import load_file


def shape_of(given):
    return given["img_channels"], given["img_resolution"], given["img_resolution"]


class Fixture:
    """One golden file; `config_of(net, arguments)` and `to_limner(net, config, shape, state)` are of
    its system, and net is G or D."""

    def __init__(self, path, config_of, to_limner):
        self.record = json.loads(path.with_suffix(".json").read_text())["config"]
        self.tensors, self._to_limner = load_file(path), to_limner
        self.configs = {net: config_of(net, self.record[net]) for net in ("G", "D")}
        self.labels, self.real_labels = self.tensors.get("in/c"), self.tensors.get("in/real_c")

    def __getitem__(self, name):
        return self.tensors[name]

    def part(self, place, net):
        """Tensors under a place's name as limner has them."""
        begin = f"{place}/{net}/"
        part = {k.removeprefix(begin): v for k, v in self.tensors.items() if k.startswith(begin)}
        return self._to_limner(net, self.configs[net], shape_of(self.record[net]), part)

    def fresh(self, net):
        given = self.record[net]
        network = self.configs[net].build(shape_of(given), given["c_dim"])
        network.load_state_dict(self.part("state", net))
        return network


class Replay:
    """A Pass over a fixture's recorded tensors, every forward on first use; `moves`: the generator's
    running statistics, with it."""

    nimg = 0

    def __init__(self, fixture, num=None, moves=False):
        self.fixture, self.noise = fixture, self
        self.g, self.d = fixture.fresh("G"), fixture.fresh("D")
        y = fixture.labels
        self.latents, self.fake_labels = fixture["in/z"][:num], y if y is None else y[:num]
        self.real, self.real_labels = fixture["in/real"].clone(), fixture.real_labels
        self.real.requires_grad_()
        self.styles = self.g.mapping(self.latents, self.fake_labels, moves)
        self.fake = self.g.synthesis(self.styles, moves, noise="const")

    def normal(self, purpose, shape):
        return self.fixture["in/pl_noise_raw"]

    @property
    def real_logits(self):
        return self.d(self.real, self.real_labels).logits

    @property
    def fake_logits(self):
        return self.d(self.fake, self.fake_labels).logits


class Loop:
    """A recorded run of an original's loop; `original(loop)` is it as a limner config."""

    def __init__(self, path, original):
        self.tensors = load_file(path)
        self.record = json.loads(path.with_suffix(".json").read_text())
        self.facts, self.phases = self.record["config"], self.record["phases"]
        self.rows = self.facts["loop"]["batch_gpu"]
        self.rounds = self.facts["batch_size"] // self.rows
        self.config = original(self)

    def __getitem__(self, name):
        return self.tensors[name]

    def under(self, place):
        begin = f"{place}/"
        return {k.removeprefix(begin): v for k, v in self.tensors.items() if k.startswith(begin)}

    def calls(self, step):
        """(phase, round) of each pass of a step, in order."""
        running = [i for i, p in enumerate(self.phases) if step % p["interval"] == 0]
        return [(i, r) for i in running for r in range(self.rounds)]
