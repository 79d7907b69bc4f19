"""The golden files of this repository: how large, of which parts, and true to the large set."""

import tarfile

import pytest
from shrink import ARCHIVES, CUT, MAX_BYTES, cut

from golden_files import SMALL, large_roots, unpack
from limner.checkpoints.importers import IMPORTERS
from limner.core.growth import GrowthSchedule
from limner.core.schedules import SCHEDULES
from limner.models import ARCHITECTURES
from limner.objectives import DIRECTS, TERMS

# Part -> a file of the small set whose numbers a test of this folder compares it with.
HELD = {
    "dcgan": "dcgan/dcgan32.safetensors",
    "sngan": "biggan/sngan32_thin.safetensors",
    "sagan": "biggan/sagan32.safetensors",
    "biggan": "biggan/biggan32_shared_nohier_dimshared0.safetensors",
    "biggan-deep": "biggan/biggandeep32_attn.safetensors",
    "pggan": "pggan/pggan16_train.safetensors",
    "r3gan": "r3gan/r3gan16.safetensors",
    "stylegan2": "stylegan2/sg2_16_resnetG_skipD.safetensors",
    "stylegan3": "stylegan3/sg3r_32.safetensors",
    "NonSaturatingD": "dcgan/dcgan32.safetensors",
    "NonSaturatingG": "dcgan/dcgan32.safetensors",
    "HingeD": "biggan/sagan32.safetensors",
    "HingeG": "biggan/sagan32.safetensors",
    "WassersteinD": "pggan/pggan16_train.safetensors",
    "WassersteinG": "pggan/pggan16_train.safetensors",
    "LeastSquaresD": "dcgan/dcgan32.safetensors",
    "LeastSquaresG": "dcgan/dcgan32.safetensors",
    "AuxiliaryClassifierD": "pggan/pggan16_train.safetensors",
    "AuxiliaryClassifierG": "pggan/pggan16_train.safetensors",
    "GradientPenalty": "pggan/pggan16_train.safetensors",
    "Drift": "pggan/pggan16_train.safetensors",
    "Orthogonal": "biggan/biggandeep32_attn.safetensors",
    "RelativisticD": "r3gan/r3gan16.safetensors",
    "RelativisticG": "r3gan/r3gan16.safetensors",
    "R1": "r3gan/r3gan16.safetensors",
    "R2": "r3gan/r3gan16.safetensors",
    "PathLength": "stylegan2/sg2_16_resnetG_skipD.safetensors",
    "GrowthSchedule": "pggan/training_schedule.json",
    "biggan-pytorch": "biggan_ckpt/cifar_legacy/G_best0.pth",
    "dcgan-mmgen": "dcgan/dcgan32_mmcv_ckpt.pth",
    "mmgen": "mmgen/keys_fullsize.json",
    "huggingface-biggan": "biggan_hf/hf_biggan_deep_64_tiny_files/pytorch_model.bin",
    "pggan importer": "pggan/pickle16_cond_lod_nosource.pkl",
    "stylegan3 importer": "stylegan3/sg3t_pickle_nosource.pkl",
    "tfhub-biggan": "biggan_tfhub/keys_tfhub_v1_128.json",
}

# Part -> why no file stands for it.
NOT_HELD = {
    "MinimaxD": "no original among the systems computes it; a formula in tests/unit does",
    "MinimaxG": "as MinimaxD",
    "wgan-gp": "its files are in the large set: this one is full",
    "lsgan": "as wgan-gp",
    "projected": "no file was recorded; formulas written another way in tests/unit",
    "stylegan2-ada": "as stylegan3's importer, whose files are of the same form; the large set has one",
    "r3gan importer": "its networks' files, renamed; the form of its pickles in tests/unit",
    "LeCam": "no original among the systems at hand; its formula in tests/unit",
    "Linear": "limner's own; no original has it",
    "Cosine": "limner's own",
    "Exponential": "limner's own",
    "Steps": "limner's own",
}

PARTS = {
    *ARCHITECTURES,
    *TERMS,
    *DIRECTS,
    *SCHEDULES,
    GrowthSchedule.__name__,
    *(f"{name} importer" if name in ARCHITECTURES else name for name in IMPORTERS),
}


def held() -> set[str]:
    names = set()
    for archive in SMALL.glob("*.tar.xz"):
        with tarfile.open(archive) as tar:
            names |= set(tar.getnames())
    return names


def test_it_is_small():
    sizes = {path.name: path.stat().st_size for path in SMALL.iterdir()}
    assert sum(sizes.values()) <= MAX_BYTES, sizes


def test_every_part_has_a_file_or_a_reason():
    assert HELD.keys() | NOT_HELD.keys() == PARTS
    assert not HELD.keys() & NOT_HELD.keys()
    assert set(HELD.values()) <= held()


def test_the_table_is_what_the_archives_hold():
    assert {path.name.removesuffix(".tar.xz") for path in SMALL.glob("*.tar.xz")} == set(ARCHIVES)
    assert CUT.keys() <= held()


def test_numbers_are_those_of_the_large_set(tmp_path):
    roots = large_roots()
    if not roots:
        pytest.skip("needs the large set: LIMNER_GOLDEN names it")
    folder = unpack(tmp_path)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == held()
    for name in names:
        original = (roots[0] / name).read_bytes()
        expected = cut(original, CUT[name]) if name in CUT else original
        assert (folder / name).read_bytes() == expected, name
