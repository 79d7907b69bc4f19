"""What presets cost, counted by `benchmarks/preset_costs.py --write` (the rows below are its own).

A preset without a row is listed without these figures.
"""

from typing import NamedTuple


class Cost(NamedTuple):
    """Of a preset as it stands, on one device.

    Attributes:
        side: pixels of a picture's side.
        labels: whether it trains on classes: "classes", "none", or "if given" by the pictures.
        num_parameters: of both networks.
        memory: GiB of weights, gradients, moments and averages, and of one micro-batch's
            activations in float32, at the largest size that a growing pair reaches.
        petaflops: 1e15 operations of the whole training.
    """

    side: int
    labels: str
    num_parameters: int
    memory: float
    petaflops: float


COSTS: dict[str, Cost] = {
    "photos on cpu": Cost(64, "if given", 487860, 0.104, 0.1165),
    "photos on cuda": Cost(256, "if given", 11956932, 6.044, 578.3),
    "photos on mps": Cost(128, "if given", 9464004, 1.617, 144.3),
    "digits": Cost(32, "classes", 555260, 0.048, 0.01306),
    "digits-tiny": Cost(8, "classes", 43412, 0.003, 0.0002002),
    "dcgan-celeba64": Cost(64, "none", 23694724, 0.771, 377.4),
    "dcgan-mnist": Cost(64, "none", 23686530, 0.763, 6.226),
    "wgan-gp-celeba128": Cost(128, "none", 21758212, 10.474, 608.9),
    "lsgan-bedroom128": Cost(128, "none", 23866436, 1.622, 236.8),
    "wgan-gp-bedroom128": Cost(128, "none", 21758212, 10.474, 608.9),
    "ggan-bedroom64": Cost(64, "none", 19391556, 0.895, 95.55),
    "lsgan-celeba64": Cost(64, "none", 23694724, 0.771, 125.8),
    "lsgan-bedroom64": Cost(64, "none", 23694724, 0.771, 125.8),
    "lsgan-celeba128": Cost(128, "none", 57397764, 1.597, 401.1),
    "ggan-celeba64": Cost(64, "none", 23694724, 0.771, 125.8),
    "ggan-celeba128": Cost(128, "none", 57397764, 1.597, 401.1),
    "biggan-imagenet128-bs256x8": Cost(128, "classes", 158416358, 36.192, 67790.0),
    "biggan-cifar10": Cost(32, "classes", 8511748, 0.586, 313.7),
    "biggan-imagenet128-bs512x4": Cost(128, "classes", 158416358, 69.762, 67790.0),
    "biggan-imagenet128-ch64": Cost(128, "classes", 71426886, 26.265, 31080.0),
    "biggan-deep-imagenet128": Cost(128, "classes", 84834694, 69.1, 66740.0),
    "biggan-cifar10-mmgen": Cost(32, "classes", 8511748, 0.586, 313.7),
    "biggan-paper-imagenet128": Cost(128, "classes", 158416358, 271.178, 112100.0),
    "biggan-paper-imagenet256": Cost(256, "classes", 181288934, 1837.2, 469400.0),
    "biggan-paper-imagenet512": Cost(512, "classes", 181698086, 2117.147, 637100.0),
    "sagan-imagenet128": Cost(128, "classes", 81465670, 13.911, 12960.0),
    "sagan-cifar10-mmgen": Cost(32, "classes", 5461894, 0.692, 193.1),
    "sngan-imagenet128": Cost(128, "classes", 72001944, 4.173, 4747.0),
    "sngan-cifar10-mmgen": Cost(32, "classes", 5359492, 0.581, 187.5),
    "sagan-imagenet128-mmgen": Cost(128, "classes", 81465670, 26.451, 25900.0),
    "sngan-imagenet128-mmgen": Cost(128, "classes", 81440068, 15.037, 35380.0),
    "pggan-v2-1gpu": Cost(1024, "none", 46166364, 4.92, 6002.0),
    "pggan-v2-2gpus": Cost(1024, "none", 46166364, 9.067, 6002.0),
    "pggan-v2-4gpus": Cost(1024, "none", 46166364, 17.36, 6002.0),
    "pggan-v2-8gpus": Cost(1024, "none", 46166364, 33.946, 6002.0),
    "pggan-v1-1gpu": Cost(1024, "none", 46166364, 3.884, 10980.0),
    "pggan-celeba": Cost(128, "none", 45874707, 2.617, 3926.0),
    "pggan-lsun": Cost(256, "none", 46096662, 2.714, 4814.0),
    "pggan-cifar10": Cost(32, "none", 41446413, 2.042, 1559.0),
    "pggan-cifar100": Cost(32, "none", 41446413, 2.042, 1559.0),
    "pggan-svhn": Cost(32, "none", 41446413, 2.042, 1559.0),
    "pggan-mnist": Cost(32, "none", 41438213, 2.04, 1559.0),
    "pggan-mnistrgb": Cost(32, "none", 41446413, 2.042, 1559.0),
    "pggan-syn1024rgb": Cost(1024, "none", 46166364, 4.92, 6002.0),
    "pggan-cond": Cost(1024, "classes", 46253414, 4.922, 6002.0),
    "pggan-cond1": Cost(1024, "classes", 46175069, 4.921, 6002.0),
    "pggan-cifar10-cond": Cost(32, "classes", 41533463, 2.044, 1559.0),
    "pggan-cifar100-cond": Cost(32, "classes", 42316913, 2.058, 1559.0),
    "pggan-svhn-cond": Cost(32, "classes", 41533463, 2.044, 1559.0),
    "pggan-mnist-cond": Cost(32, "classes", 41525263, 2.041, 1559.0),
    "pggan-cifar10-theano": Cost(32, "none", 2595597, 0.169, 262.3),
    "pggan-digits": Cost(32, "classes", 434903, 0.038, 0.03568),
    "r3gan-cifar10": Cost(32, "classes", 42062464, 11.839, 5340.0),
    "r3gan-ffhq64": Cost(64, "none", 44811264, 14.808, 9936.0),
    "r3gan-ffhq256": Cost(256, "none", 46067520, 65.636, 21910.0),
    "r3gan-imagenet32": Cost(32, "classes", 169463296, 47.368, 213500.0),
    "r3gan-imagenet64": Cost(64, "classes", 210775552, 92.183, 856400.0),
    "stylegan2": Cost(1024, "none", 59382573, 157.418, 50550.0),
    "stylegan2-auto": Cost(256, "none", 47192611, 10.377, 10080.0),
    "stylegan2-cifar": Cost(32, "none", 40668180, 3.829, 9948.0),
    "stylegan2-paper256": Cost(256, "none", 48768547, 39.169, 10080.0),
    "stylegan2-paper512": Cost(512, "none", 59259432, 153.679, 40360.0),
    "stylegan2-paper1024": Cost(1024, "none", 59382573, 157.418, 50550.0),
    "stylegan3-t": Cost(256, "none", 57336262, 121.441, 67360.0),
    "stylegan3-r": Cost(256, "none", 47680516, 107.7, 45770.0),
    "biggan-ladder-batch256": Cost(128, "classes", 81334598, 26.449, 38940.0),
    "biggan-ladder-batch512": Cost(128, "classes", 81334598, 51.53, 77870.0),
    "biggan-ladder-batch1024": Cost(128, "classes", 81334598, 101.692, 155700.0),
    "biggan-ladder-batch2048": Cost(128, "classes", 81334598, 202.016, 311500.0),
    "biggan-ladder-width96": Cost(128, "classes", 173341926, 271.451, 679300.0),
    "biggan-ladder-shared": Cost(128, "classes", 160578278, 271.214, 679400.0),
    "biggan-ladder-skip-z": Cost(128, "classes", 158416358, 271.178, 679300.0),
    "biggan-ladder-ortho": Cost(128, "classes", 158416358, 271.178, 679300.0),
    "pggan-nogrowing": Cost(1024, "none", 46166364, 4.92, 9896.0),
    "pggan-nopixelnorm": Cost(1024, "none", 46166364, 4.92, 6002.0),
    "pggan-nowscale": Cost(1024, "none", 46166364, 4.92, 6002.0),
    "pggan-noleakyrelu": Cost(1024, "none", 46166364, 4.92, 6002.0),
    "pggan-nosmoothing": Cost(1024, "none", 46166364, 4.92, 6002.0),
    "pggan-norepeat": Cost(1024, "none", 46166364, 4.92, 6002.0),
    "pggan-noreset": Cost(1024, "none", 46166364, 4.92, 6002.0),
    "pggan-bfloat16": Cost(1024, "none", 46166364, 4.92, 6002.0),
    "pggan-benchmark": Cost(1024, "none", 46166364, 4.92, 21.14),
    "pggan-benchmark0": Cost(1024, "none", 46166364, 4.92, 9.896),
}
