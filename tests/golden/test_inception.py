"""FID's Inception-v3 against torch-fidelity: names, resizing, every map, file of the same layout."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.utils.fusion import fuse_conv_bn_eval

from inception_weights import random_file, random_weights
from limner.core.errors import LimnerError
from limner.core.files import sha256_of
from limner.layers.convolution_unit import ConvolutionUnit, make_fast
from limner.metrics import METRICS
from limner.metrics.evaluation import name_of
from limner.metrics.features import inception, make_extractor
from limner.metrics.features.inception import (
    SIZE,
    InceptionNetwork,
    _for_tensorflow,
    fid_inception,
    tensorflow_resized,
    torchvision_inception,
)
from limner.metrics.path_length import features_of_floats

CALLED = {"fd": "fid", "kd": "kid", "is": "is"}
TOLERANCE = 2e-4  # of the largest value, as inception_random.json states


@pytest.fixture(scope="module")
def about(golden):
    return json.loads(golden("torch_fidelity/inception_random.json").read_text())


@pytest.fixture(scope="module")
def tensors(golden):
    return load_file(golden("torch_fidelity/inception_random.safetensors"))


@pytest.fixture(scope="module")
def weights():
    return random_weights()


@pytest.fixture(scope="module")
def extractor(tmp_path_factory):
    return fid_inception(path=random_file(tmp_path_factory.mktemp("weights")))


def test_names_and_shapes_are_those_of_the_published_file(golden):
    file = golden("torch_fidelity/keys_inception_v3_compat.json")
    wanted = json.loads(file.read_text())["keys"]
    with torch.device("meta"):
        state = InceptionNetwork(tensorflow=True).state_dict()
    found = {
        name: f"{str(value.dtype).removeprefix('torch.')}[{','.join(map(str, value.shape))}]"
        for name, value in state.items()
    }
    assert found == wanted
    assert list(found) == list(wanted)


def test_the_recipe_gives_the_weights_that_were_used(about, weights):
    for name, (total, length) in about["weights_check [sum, l2]"].items():
        assert float(weights[name].double().sum()) == pytest.approx(total, rel=1e-6)
        assert float(weights[name].double().norm()) == pytest.approx(length, rel=1e-6)


@pytest.mark.parametrize("image", range(4))
def test_resizing(tensors, image):
    found = tensorflow_resized(tensors[f"in/image{image}"])
    assert found.shape[-2:] == (SIZE, SIZE)
    wanted = tensors[f"out/image{image}/resized"]
    torch.testing.assert_close(found[..., ::23, ::23], wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("image", range(4))
def test_every_map_and_the_logits(tensors, extractor, image):
    picture = tensors[f"in/image{image}"]
    network = extractor.network
    x = _for_tensorflow(picture)
    found = {str(x.shape[1]): x.mean(dim=(2, 3)) for x in network.maps(x)}
    found["2048"], found["logits_unbiased"] = extractor.rows(picture)
    found["logits"] = extractor.logits(picture) + network.fc.bias
    for name, value in found.items():
        wanted = tensors[f"out/image{image}/{name}"]
        atol = TOLERANCE * float(wanted.abs().max())
        torch.testing.assert_close(value, wanted, rtol=0, atol=atol, msg=name)
    assert set(found) == {"64", "192", "768", "2048", "logits_unbiased", "logits"}


def test_folded_norms_give_the_same_as_unfolded(weights, tensors):
    plain, fast = InceptionNetwork(tensorflow=True), InceptionNetwork(tensorflow=True)
    plain.load_state_dict(weights)
    fast.load_state_dict(weights)
    make_fast(fast)
    plain.eval()
    units = [unit for unit in fast.modules() if isinstance(unit, ConvolutionUnit)]
    assert len(units) == 94
    assert all(isinstance(unit.bn, torch.nn.Identity) for unit in units)
    x = _for_tensorflow(tensors["in/image1"])
    with torch.no_grad():
        for found, wanted in zip(fast(x), plain(x), strict=True):
            assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5
    with torch.no_grad():  # the library's folding and ours are one
        unit = plain.Mixed_7c.branch_pool
        assert torch.equal(
            fuse_conv_bn_eval(unit.conv, unit.bn).weight, fast.Mixed_7c.branch_pool.conv.weight
        )


def test_a_file_as_torch_fidelity_saves_it_is_read_and_hashed(extractor, weights, tmp_path):
    path = tmp_path / "weights-inception-2015-12-05-6726825d.pth"
    torch.save(weights, path)
    found = fid_inception(path=path)
    images = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(found.features(images), extractor.features(images))
    # the names of files prove nothing: other weights than the published are not FID's
    assert found.name == f"inception-{found.weights_sha256[:8]}"
    assert found.weights_sha256 != extractor.weights_sha256


def test_bfloat16_is_near_and_never_called_fid(extractor, tensors, tmp_path, monkeypatch):
    path = random_file(tmp_path)
    monkeypatch.setattr(
        inception, "TENSORFLOW", inception.TENSORFLOW._replace(digits=sha256_of(path)[:8])
    )
    monkeypatch.setenv("LIMNER_INCEPTION", str(path))
    quick = make_extractor("inception-bfloat16", SimpleNamespace())
    assert quick.name == "inception-bfloat16"  # also with the published weights
    assert quick.weights_sha256 == extractor.weights_sha256
    names = {name_of(key, METRICS[metric](), quick) for key, metric in CALLED.items()}
    assert names == {"fd-inception-bfloat16", "kd-inception-bfloat16", "is-inception-bfloat16"}
    for found, wanted in zip(
        quick.rows(tensors["in/image1"]), extractor.rows(tensors["in/image1"]), strict=True
    ):
        assert found.dtype == torch.float32
        apart = float((found - wanted).norm() / wanted.norm())
        assert 1e-4 < apart < 0.05  # it is bfloat16, and no more than that
    with pytest.raises(LimnerError, match="'inception-bfloat16' round too much for a step"):
        features_of_floats(quick)


@pytest.mark.parametrize("tensorflow", [True, False])
def test_a_file_given_as_features_tells_which_inception_it_is(tensorflow, tmp_path, monkeypatch):
    path = random_file(tmp_path, tensorflow)
    found = make_extractor(str(path), SimpleNamespace(image_shape=(3, 32, 32), num_classes=0))
    digits = sha256_of(path)[:8]
    assert found.name == (f"inception-{digits}" if tensorflow else "inception-torchvision")
    # the name of FID's belongs to the digits that the published file's sha256 begins with
    published = inception.TENSORFLOW._replace(digits=digits)
    monkeypatch.setattr(inception, "TENSORFLOW", published)
    monkeypatch.setenv("LIMNER_INCEPTION", str(path))
    if tensorflow:
        assert fid_inception().name == "inception"
    else:
        with pytest.raises(LimnerError, match=r"not the weights of this network|has the shape"):
            fid_inception()


def test_torch_fidelity_itself_agrees(weights, tmp_path):
    pytest.importorskip("torch_fidelity")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = tmp_path / "weights.pth"
    torch.save(weights, path)
    names = ["2048", "logits_unbiased"]
    theirs = FeatureExtractorInceptionV3("x", names, feature_extractor_weights_path=str(path))
    images = torch.randint(0, 256, (2, 3, 40, 24), dtype=torch.uint8)
    for found, wanted in zip(fid_inception(path=path).rows(images), theirs(images), strict=True):
        assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-4


def test_torchvision_itself_agrees(tmp_path):
    """BigGAN-PyTorch's monitoring: normalized, resized with aligned corners, pooled, logits."""
    torchvision = pytest.importorskip("torchvision")
    path = random_file(tmp_path, tensorflow=False)
    theirs = torchvision.models.inception_v3(
        weights=None, init_weights=False, transform_input=False, aux_logits=False
    )
    theirs.load_state_dict(load_file(path))
    theirs.eval()
    pooled = []
    theirs.avgpool.register_forward_hook(lambda *found: pooled.append(found[2].flatten(1)))
    images = torch.randint(0, 256, (2, 3, 40, 24), dtype=torch.uint8)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    generated = images.float() / 127.5 - 1  # what the generator gives
    x = ((generated + 1) / 2 - mean) / std
    x = torch.nn.functional.interpolate(x, (299, 299), mode="bilinear", align_corners=True)
    with torch.no_grad():
        logits = theirs(x)
    extractor = torchvision_inception(path=path)
    for found, wanted in zip(extractor.rows(images), (pooled[0], logits), strict=True):
        assert found.shape == wanted.shape
        assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-4
