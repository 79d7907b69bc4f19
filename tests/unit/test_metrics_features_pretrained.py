"""Features of networks that others trained: what they see, which file they want, what fails how."""

import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from limner.core.errors import LimnerError, MissingExtra, RefusedFile
from limner.core.files import sha256_of
from limner.formats.weights import read_weights
from limner.layers.convolution_unit import make_fast
from limner.metrics import Classifier, Extractor, Reference, make_extractor
from limner.metrics.arrays import ArrayData
from limner.metrics.features import (
    EXTRACTORS,
    KnowsClasses,
    default_features,
    inception,
    library,
    pretrained,
)
from limner.metrics.features.effnet import effnet_lite0
from limner.models import effnet
from limner.models.effnet import packaged_weights

CUP, CATS = (967, 968, 504, 925), range(281, 288)  # ImageNet's espresso, cup, mug, consomme; cats


def data(shape=(3, 32, 32), num_classes=0):
    return SimpleNamespace(
        image_shape=shape, num_classes=num_classes, labels=torch.zeros(4, dtype=torch.int64)
    )


def noise(num=2, channels=3, size=32):
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num, channels, size, size), generator=draws, dtype=torch.uint8)


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    """Nothing in the caches, whatever this machine's user has there."""
    for published in (inception.TENSORFLOW, inception.TORCHVISION):
        monkeypatch.delenv(published.variable, raising=False)
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def effnet_extractor():
    return effnet_lite0()


@pytest.fixture(scope="module")
def photographs():
    """Six real photographs as uint8 [3, 256, 256]."""
    pictures = pytest.importorskip("skimage.data")
    found = {}
    for name in ("astronaut", "chelsea", "coffee", "rocket", "retina", "brick"):
        x = torch.from_numpy(getattr(pictures, name)().copy())
        x = x[..., None].expand(-1, -1, 3) if x.ndim == 2 else x[..., :3]
        x = x.permute(2, 0, 1)
        side = min(x.shape[1:])
        top, left = (x.shape[1] - side) // 2, (x.shape[2] - side) // 2
        square = x[None, :, top : top + side, left : left + side]
        found[name] = pretrained.scaled(square, (256, 256)).round().clamp(0, 255).byte()[0]
    return found


# --- EfficientNet-lite0 ----------------------------------------------------


def test_effnet_recognizes_real_photographs(effnet_extractor, photographs):
    chosen = torch.stack([photographs["coffee"], photographs["chelsea"]])
    coffee, cat = effnet_extractor.logits(chosen).argmax(dim=1).tolist()
    assert coffee in CUP
    assert cat in CATS


def test_the_nearest_neighbour_of_a_part_is_another_part_of_the_same(effnet_extractor, photographs):
    whole = torch.stack(list(photographs.values()))
    parts = [whole[..., :192, :192], whole[..., 64:, 64:].flip(-1), whole[..., 32:224, 32:224] // 2]
    rows = torch.cat([effnet_extractor.features(part) for part in parts])
    apart = torch.cdist(rows, rows)
    apart.fill_diagonal_(torch.inf)
    photograph = torch.arange(len(rows)) % len(whole)
    assert torch.equal(photograph[apart.argmin(dim=1)], photograph)


def test_effnet_is_an_extractor_with_classes_of_its_own(effnet_extractor):
    assert isinstance(effnet_extractor, Extractor)
    assert isinstance(effnet_extractor, KnowsClasses)
    assert not isinstance(effnet_extractor, Classifier)  # these are not the data's classes
    assert effnet_extractor.name == "effnet-lite0"
    assert effnet_extractor.resize == "bilinear-antialias-224"
    assert effnet_extractor.weights_sha256.startswith("57934424")
    images = noise(9, size=16)
    rows, logits = effnet_extractor.rows(images)
    assert rows.shape == (9, 1280)
    assert logits.shape == (9, 1000)
    assert torch.equal(rows, effnet_extractor.features(images))
    torch.testing.assert_close(
        effnet_extractor.features(images[8:]), rows[8:], rtol=1e-4, atol=1e-5
    )


def test_gray_images_are_shown_thrice_and_other_channels_refused(effnet_extractor):
    gray = noise(1, channels=1)
    as_color = effnet_extractor.features(gray.expand(-1, 3, -1, -1))
    assert torch.equal(effnet_extractor.features(gray), as_color)
    with pytest.raises(LimnerError, match="not 4 channels; use --features random-conv"):
        effnet_extractor.features(noise(1, channels=4))


def test_effnet_folded_equals_unfolded():
    with torch.device("meta"):
        plain = effnet.EfficientNetLite0()
    tensors = {effnet.own_name(k): v for k, v in read_weights(packaged_weights()).items()}
    plain.load_state_dict(tensors, assign=True)
    plain.eval()
    fast = effnet_lite0()
    x = fast.prepare(noise(1))
    with torch.no_grad():
        for found, wanted in zip(fast.network(x), plain(x), strict=True):
            assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5


@pytest.mark.parametrize("name", ["effnet-lite0", "inception", "inception-torchvision"])
def test_all_of_the_way_is_on_the_device_it_was_placed_on(name):
    """On "meta", where a tensor that was left on the CPU is refused by the first operation."""
    device = torch.device("meta")
    if name == "effnet-lite0":
        extractor = make_extractor(name, data(), device)
        few = ArrayData(np.zeros((4, 32, 32, 3), np.uint8), np.zeros(4, np.int64), 0, "")
        assert extractor.device == device
        assert Reference(few, name, device=device).extractor.device == device
    else:
        tensorflow = name == "inception"
        with device:
            network = inception.InceptionNetwork(tensorflow)
        make_fast(network)
        prepare = inception._for_tensorflow if tensorflow else inception._for_torchvision
        extractor = pretrained.Pretrained(name, "", network, prepare, "")
        extractor.place(device)
    found, logits = extractor.rows_of_prepared(extractor.prepare(noise(3).to(device)))
    assert found.device == logits.device == device
    assert len(found) == len(logits) == 3


def test_a_network_that_is_no_module_stays_on_the_cpu():
    extractor = pretrained.Pretrained(
        "x", "", lambda x: (x.flatten(1), None), torch.Tensor.float, ""
    )
    extractor.place(torch.device("meta"))
    assert extractor.device.type == extractor.features(noise(1)).device.type == "cpu"


def test_padding_is_tensorflows():
    assert [effnet._missing(size, 3, 2) for size in (224, 112, 7, 8)] == [1, 1, 2, 1]
    assert [effnet._missing(size, 5, 2) for size in (224, 7)] == [3, 4]


# --- which features, which file --------------------------------------------


def test_the_default_for_photographs(no_weights, monkeypatch):
    assert default_features(data()) == "effnet-lite0"
    assert default_features(data(num_classes=10)) == "effnet-lite0"
    assert default_features(data((1, 64, 64))) == "effnet-lite0"
    assert default_features(data((1, 64, 64), 10)) == "classifier"
    assert default_features(data((3, 16, 16), 10)) == "classifier"
    assert default_features(data((1, 28, 28))) == "random-conv"
    assert default_features(data((4, 64, 64))) == "random-conv"
    file = no_weights / "cache" / "weights" / inception.TENSORFLOW.name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert default_features(data()) == "inception"
    file.unlink()
    monkeypatch.setattr("limner.metrics.features.packaged_weights", lambda: None)
    assert default_features(data()) == "random-conv"
    assert default_features(data(num_classes=10)) == "classifier"


def test_every_place_of_fids_weights(no_weights, monkeypatch):
    published = inception.TENSORFLOW
    assert published.find() is None
    hub = no_weights / "torch" / "hub" / "checkpoints" / published.aliases[0]
    cache = no_weights / "cache" / "weights" / published.name
    given = no_weights / "mine.pth"
    for path in (hub, cache, given):  # each goes before the last
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        if path is given:
            monkeypatch.setenv("LIMNER_INCEPTION", str(given))
        assert published.find() == path
    given.unlink()
    with pytest.raises(LimnerError, match=r"LIMNER_INCEPTION=.*mine.pth: there is no such file"):
        published.find()


@pytest.mark.parametrize("name", ["inception", "inception-bfloat16", "inception-torchvision"])
def test_missing_weights_say_in_one_line_what_to_get_and_where_to_put_it(name, no_weights):
    with pytest.raises(LimnerError) as raised:
        make_extractor(name, data())
    line = str(raised.value)
    assert "\n" not in line
    assert f"features '{name}' need the file" in line
    assert "https://" in line
    assert str(no_weights / "cache" / "weights") in line
    assert "LIMNER_INCEPTION" in line


def test_a_file_of_weights_tells_whose_it_is(no_weights):
    path = no_weights / "copy.pth"
    path.write_bytes(packaged_weights().read_bytes())
    assert make_extractor(str(path), data()).name == "effnet-lite0"
    save_file({"a": torch.zeros(1)}, no_weights / "other.safetensors")
    with pytest.raises(LimnerError, match="timm:NAME=FILE"):
        make_extractor(str(no_weights / "other.safetensors"), data())
    save_file({"_conv_stem.weight": torch.zeros(1)}, no_weights / "part.safetensors")
    with pytest.raises(LimnerError, match=r"part.safetensors: not the weights of this network"):
        make_extractor(str(no_weights / "part.safetensors"), data())
    with pytest.raises(LimnerError, match="there is no such file"):
        make_extractor("nowhere.pth", data())
    (no_weights / "broken.safetensors").write_bytes(b"12345678")
    with pytest.raises(LimnerError, match="not readable as safetensors"):
        make_extractor(str(no_weights / "broken.safetensors"), data())


def test_weights_are_read_without_running_anything(no_weights):
    class Evil:
        def __reduce__(self):
            return exec, ("raise SystemExit",)

    path = no_weights / "evil.pth"
    torch.save({"_conv_stem.weight": Evil()}, path)
    with pytest.raises(RefusedFile):
        make_extractor(str(path), data())


def test_weights_of_another_shape_are_named(no_weights):
    tensors = read_weights(packaged_weights())
    tensors["_fc.bias"] = torch.zeros(7)
    save_file(
        {name: value.contiguous() for name, value in tensors.items()},
        no_weights / "odd.safetensors",
    )
    with pytest.raises(LimnerError, match=r"'fc.bias' has the shape \(7,\); the network needs"):
        make_extractor(str(no_weights / "odd.safetensors"), data())


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(effnet, "packaged_weights", lambda: None)
    with pytest.raises(MissingExtra, match=r"'limner\[metrics\]'"):
        effnet_lite0()
    for module, spec, extra in (
        ("timm", "timm:resnet18", "features"),
        ("torchvision.models", "torchvision:resnet18", "features"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtra, match=rf"limner\[{extra}\]"):
            make_extractor(spec, data())


# --- libraries, ONNX, pixels -----------------------------------------------


@pytest.mark.parametrize(
    ("package", "name", "make"),
    [
        ("torchvision", "shufflenet_v2_x0_5", lambda package: package.models.shufflenet_v2_x0_5()),
        ("timm", "test_resnet", lambda package: package.create_model("test_resnet")),
    ],
)
def test_networks_of_libraries(package, name, make, no_weights):
    module = pytest.importorskip(package)
    theirs = make(module).eval()
    path = no_weights / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in theirs.state_dict().items()}, path)
    state = torch.get_rng_state()
    extractor = make_extractor(f"{package}:{name}={path}", data())
    assert torch.equal(torch.get_rng_state(), state)
    assert extractor.name == f"{package}-{name}"
    images = noise()
    rows, logits = extractor.rows(images)
    with torch.no_grad():
        wanted = theirs(extractor.prepare(images))
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-5)
    last = [layer for layer in theirs.modules() if isinstance(layer, torch.nn.Linear)][-1]
    assert rows.shape == (2, last.in_features)
    torch.testing.assert_close(last(rows), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(LimnerError, match="need the file"):
        make_extractor(f"{package}:{name}", data())
    with pytest.raises(LimnerError, match=f"nearest is '{name}'"):
        make_extractor(f"{package}:{name}x", data())
    with pytest.raises(LimnerError, match="there is no such file"):
        make_extractor(f"{package}:{name}=nowhere.pth", data())


def test_what_timm_itself_has_fetched_is_found(no_weights, monkeypatch):
    timm = pytest.importorskip("timm")
    state = timm.create_model("test_resnet").state_dict()
    snapshots = "models--timm--test_resnet.r160_in1k/snapshots"
    for place in (no_weights / "hub-home" / "hub", no_weights / "elsewhere"):
        if place.name == "elsewhere":
            monkeypatch.setenv("HF_HUB_CACHE", str(place))
        with pytest.raises(LimnerError) as raised:
            make_extractor("timm:test_resnet", data())
        assert "resolve/main/model.safetensors and put it under this name into" in str(raised.value)
        path = place / snapshots / "0a1b" / "model.safetensors"
        path.parent.mkdir(parents=True)
        save_file({key: value.contiguous() for key, value in state.items()}, path)
        assert make_extractor("timm:test_resnet", data()).weights_sha256 == sha256_of(path)


def field(number: int, value: "int | bytes | str") -> bytes:
    """A field of a protobuf message; all numbers here are below 128, and lengths below 16,384."""
    if isinstance(value, int):
        return struct.pack("BB", number << 3, value)
    content = value.encode() if isinstance(value, str) else value
    length, more = len(content) & 127, len(content) >> 7
    size = bytes([length | 128, more]) if more else bytes([length])
    return bytes([number << 3 | 2]) + size + content


def averaging_network(
    channels: int = 3, side: int = 8, logits: bool = False, **metadata: str
) -> bytes:
    """ONNX that averages each channel over all pixels; its "logits" are their largest values."""

    def tensor(name: str, *shape: "int | str") -> bytes:
        dims = [field(1, field(1 if isinstance(n, int) else 2, n)) for n in shape]
        kind = field(1, 1) + field(2, b"".join(dims))
        return field(1, name) + field(2, field(1, kind))

    node = field(1, "x") + field(2, "rows") + field(4, "GlobalAveragePool")
    graph = field(1, node)
    if logits:
        graph += field(1, field(1, "x") + field(2, "logits") + field(4, "GlobalMaxPool"))
    graph += field(2, "g") + field(11, tensor("x", "n", channels, side, side))
    if logits:
        graph += field(12, tensor("logits", "n", channels, 1, 1))
    graph += field(12, tensor("rows", "n", channels, 1, 1))
    model = field(1, 8) + field(8, field(1, "") + field(2, 13)) + field(7, graph)
    for key, value in metadata.items():
        model += field(14, field(1, key) + field(2, value))
    return model


def test_onnx_files(no_weights):
    pytest.importorskip("onnxruntime")
    path = no_weights / "mean.onnx"
    path.write_bytes(averaging_network(mean="0,0,0", std="1,1,1"))
    extractor = make_extractor(str(path), data())
    assert extractor.name == "onnx-mean"
    assert extractor.resize == "bilinear-antialias-8x8"
    assert len(extractor.weights_sha256) == 64
    assert not isinstance(extractor, KnowsClasses)
    images = noise(11, size=8)
    wanted = images.float().mean(dim=(2, 3)) / 255
    torch.testing.assert_close(extractor.features(images), wanted, rtol=1e-5, atol=1e-5)
    path.write_bytes(averaging_network())
    mean, std = torch.tensor(pretrained.IMAGENET_MEAN), torch.tensor(pretrained.IMAGENET_STD)
    usual = make_extractor(str(path), data()).features(images)
    torch.testing.assert_close(usual, (wanted - mean) / std, rtol=1e-4, atol=1e-4)


def test_an_output_called_logits_gives_an_onnx_file_classes(no_weights):
    pytest.importorskip("onnxruntime")
    path = no_weights / "both.onnx"
    path.write_bytes(averaging_network(logits=True, mean="0,0,0", std="1,1,1"))
    extractor = make_extractor(str(path), data())
    assert isinstance(extractor, KnowsClasses)
    images = noise(11, size=8)
    rows, logits = extractor.rows(images)
    floats = images.float() / 255
    torch.testing.assert_close(rows, floats.mean(dim=(2, 3)), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits, floats.amax(dim=(2, 3)), rtol=1e-5, atol=1e-5)
    assert torch.equal(extractor.logits(images), logits)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no network", "not a network in ONNX"),
        (averaging_network(channels=4), "features need one of"),
        (averaging_network(mean="0,1"), "'mean' is no three numbers"),
        (averaging_network(std="a,b,c"), "'std' is no three numbers"),
    ],
)
def test_onnx_files_that_do_not_fit(content, message, no_weights):
    pytest.importorskip("onnxruntime")
    path = no_weights / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(LimnerError, match=message):
        library.onnx_file(path)


def test_pixels():
    extractor = EXTRACTORS["pixels"](data())
    small = noise(3)
    assert torch.equal(extractor.features(small), small.flatten(1).float() / 255)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(extractor.features(large), extractor.features(small))
