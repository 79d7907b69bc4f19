"""Progressive growing: what the original is told by lines of its config.py, as variants.

Schedules for several GPUs run on any number of processes. Data sets and ablations stand on the
schedule of one GPU; on others, `--set` what their rows set.
"""

from limner.presets.variants import variant

SCHEDULE = "controllers.0.schedule"

SCHEDULES = {
    "pggan-v2-2gpus": variant(
        "pggan-v2-1gpu",
        "The same for two GPUs: one week of V100s.",
        "batch_size=8",
        f"{SCHEDULE}.num_processes=2",
        f"{SCHEDULE}.batch_sizes=[[4, 256], [8, 256], [16, 128], [32, 64], [64, 32], [128, 16],"
        " [256, 8]]",
        f"{SCHEDULE}.g_rates=[[512, 1.5e-3], [1024, 2e-3]]",
        f"{SCHEDULE}.d_rates=[[512, 1.5e-3], [1024, 2e-3]]",
    ),
    "pggan-v2-4gpus": variant(
        "pggan-v2-1gpu",
        "The same for four GPUs: three days.",
        "batch_size=16",
        f"{SCHEDULE}.num_processes=4",
        f"{SCHEDULE}.batch_sizes=[[4, 512], [8, 256], [16, 128], [32, 64], [64, 32], [128, 16]]",
        f"{SCHEDULE}.g_rates=[[256, 1.5e-3], [512, 2e-3], [1024, 3e-3]]",
        f"{SCHEDULE}.d_rates=[[256, 1.5e-3], [512, 2e-3], [1024, 3e-3]]",
    ),
    "pggan-v2-8gpus": variant(
        "pggan-v2-1gpu",
        "The same for eight GPUs: two days.",
        "batch_size=32",
        f"{SCHEDULE}.num_processes=8",
        f"{SCHEDULE}.batch_sizes=[[4, 512], [8, 256], [16, 128], [32, 64], [64, 32]]",
        f"{SCHEDULE}.g_rates=[[128, 1.5e-3], [256, 2e-3], [512, 3e-3], [1024, 3e-3]]",
        f"{SCHEDULE}.d_rates=[[128, 1.5e-3], [256, 2e-3], [512, 3e-3], [1024, 3e-3]]",
    ),
    "pggan-v1-1gpu": variant(
        "pggan-v2-1gpu",
        "The paper's own settings on one GPU: longer phases, small batches; a month.",
        "batch_size=16",
        "kimg=19000",
        "discriminator.group_size=16",
        f"{SCHEDULE}.training_kimg=800",
        f"{SCHEDULE}.transition_kimg=800",
        f"{SCHEDULE}.batch_sizes=[[256, 14], [512, 6], [1024, 3]]",
        f"{SCHEDULE}.g_rates=[]",
        f"{SCHEDULE}.d_rates=[]",
    ),
}

# Pictures are mirrored where the original mirrors them.
DATA_SETS = {
    "pggan-celeba": variant(
        "pggan-v2-1gpu", "CelebA's faces at 128 px, mirrored.", "data.resolution=128"
    ),
    "pggan-lsun": variant(
        "pggan-v2-1gpu",
        "Any of the thirty LSUN categories at 256 px (100,000 pictures of each), mirrored.",
        "data.resolution=256",
    ),
    "pggan-cifar10": variant(
        "pggan-v2-1gpu",
        "CIFAR-10 at 32 px. For the paper's scores see pggan-cifar10-theano.",
        "data.resolution=32",
        "data.flip=false",
    ),
    "pggan-cifar100": variant("pggan-cifar10", "CIFAR-100 at 32 px.", "data.expected_classes=100"),
    "pggan-svhn": variant("pggan-cifar10", "Street View House Numbers at 32 px."),
    "pggan-mnist": variant("pggan-cifar10", "MNIST at 32 px, gray.", "data.channels=1"),
    "pggan-mnistrgb": variant("pggan-cifar10", "MNIST-RGB at 32 px: a digit in each color."),
    "pggan-syn1024rgb": variant(
        "pggan-v2-1gpu",
        "Pictures of 1024 px that are not mirrored; the original's are black, to time it.",
        "data.flip=false",
    ),
}

# Labels are appended to latents, and an auxiliary classifier (Odena et al. 2017) has weight 1.
# Fakes of the discriminator's update take the labels of the real batch; those of the generator's
# are drawn as often as they occur in the data.
CONDITIONAL = (
    "data.labels=classes",
    'updates.0.terms.+={"type": "AuxiliaryClassifierD", "weight": 1.0}',
    "updates.0.labels=real",
    'updates.1.terms.+={"type": "AuxiliaryClassifierG", "weight": 1.0}',
    "updates.1.labels=natural",
)

CONDITIONALS = {
    "pggan-cond": variant(
        "pggan-v2-1gpu", "The default, conditional on the data's classes.", *CONDITIONAL
    ),
    "pggan-cond1": variant(
        "pggan-cond",
        "The default, conditional on the first component of the labels alone.",
        "data.max_label_size=1",
    ),
    "pggan-cifar10-cond": variant(
        "pggan-cifar10", "CIFAR-10, conditional on its classes.", *CONDITIONAL
    ),
    "pggan-cifar100-cond": variant(
        "pggan-cifar100", "CIFAR-100, conditional on its classes.", *CONDITIONAL
    ),
    "pggan-svhn-cond": variant("pggan-svhn", "SVHN, conditional on its classes.", *CONDITIONAL),
    "pggan-mnist-cond": variant("pggan-mnist", "MNIST, conditional on its classes.", *CONDITIONAL),
}

PROGRESSIVE_ABLATIONS = {
    "pggan-nogrowing": variant(
        "pggan-v2-1gpu",
        "Full resolution from the start.",
        f"{SCHEDULE}.initial_resolution=1024",
        f"{SCHEDULE}.training_kimg=0",
        f"{SCHEDULE}.transition_kimg=0",
        "kimg=10000",
    ),
    "pggan-nopixelnorm": variant(
        "pggan-v2-1gpu",
        "No pixel norm in the generator (its latents stay normalized).",
        "generator.pixel_norm=false",
    ),
    "pggan-nowscale": variant(
        "pggan-v2-1gpu",
        "Weights begin as He et al. 2015 draw them, without equalized learning rates.",
        "generator.equalized=false",
        "discriminator.equalized=false",
    ),
    "pggan-noleakyrelu": variant(
        "pggan-v2-1gpu", "Plain relu in the generator.", "generator.leaky=false"
    ),
    "pggan-nosmoothing": variant(
        "pggan-v2-1gpu",
        "No average: samples come from the generator itself.",
        "controllers.1.decay=0",
    ),
    "pggan-norepeat": variant(
        "pggan-v2-1gpu",
        "The schedule is read at each step and not at each fourth.",
        "controllers.0.read_every=1",
    ),
    "pggan-noreset": variant(
        "pggan-v2-1gpu",
        "The optimizers keep their moments when a level comes in.",
        "controllers.0.reset_optimizers=false",
    ),
    # The original's epsilon of 1e-4 in pixel norm is for the small exponents of float16.
    "pggan-bfloat16": variant(
        "pggan-v2-1gpu",
        "The default with bfloat16 forwards, and the original's larger batches in half precision.",
        "precision=bfloat16",
        f"{SCHEDULE}.most_per_process=[[512, 16], [1024, 8]]",
    ),
    "pggan-benchmark": variant(
        "pggan-v2-1gpu",
        "All resolutions in 51 thousand images, with a tick every thousand: to time them.",
        f"{SCHEDULE}.training_kimg=3",
        f"{SCHEDULE}.transition_kimg=3",
        f"{SCHEDULE}.tick_kimg=[]",
        f"{SCHEDULE}.usual_tick_kimg=1",
        "kimg=51",
        "intervals.sample_ticks=1000",
        "intervals.save_ticks=1000",
    ),
    "pggan-benchmark0": variant(
        "pggan-benchmark",
        "Full resolution alone for ten thousand images, with a tick every thousand.",
        f"{SCHEDULE}.initial_resolution=1024",
        "kimg=10",
    ),
}

OTHERS = {
    # Narrow networks, a gradient norm of 750, the minibatch standard deviation of all 16 images,
    # the schedule read at each step, and an average that follows the generator.
    "pggan-cifar10-theano": variant(
        "pggan-cifar10",
        "CIFAR-10 as the branch for Theano trains it for the paper's inception score of 8.8.",
        "generator.z_dim=128",
        "generator.fmap_base=4096",
        "generator.fmap_max=128",
        "generator.fused_scale=false",
        "discriminator.fmap_base=4096",
        "discriminator.fmap_max=128",
        "discriminator.fused_scale=false",
        "discriminator.group_size=16",
        "updates.0.terms.1.target=750",
        f'{SCHEDULE}={{"training_kimg": 400, "transition_kimg": 400, "num_processes": 1,'
        ' "tick_kimg": [[32, 20], [64, 10], [128, 10], [256, 5], [512, 2], [1024, 1]],'
        ' "usual_tick_kimg": 50}',
        "controllers.0.read_every=1",
        "controllers.1.after=g",
        "batch_size=16",
        "kimg=20000",
        "intervals.sample_ticks=4",
        "intervals.save_ticks=40",
    ),
    "pggan-digits": variant(
        "pggan-mnist-cond",
        "The built-in digits from 4 to 32 px in narrow networks, conditional, on two CPU cores.",
        "generator.z_dim=64",
        "generator.fmap_base=256",
        "generator.fmap_max=64",
        "discriminator.fmap_base=256",
        "discriminator.fmap_max=64",
        'data={"resolution": 32, "filter": "bicubic"}',
        "optim.g.lr=2e-3",
        "optim.d.lr=2e-3",
        f'{SCHEDULE}={{"training_kimg": 12, "transition_kimg": 12, "tick_kimg": [],'
        ' "batch_sizes": [[4, 64], [8, 64]], "usual_tick_kimg": 8}',
        "controllers.1.decay=0.99",
        "batch_size=32",
        "kimg=112",
        "seed=0",
        "intervals.log=20",
        "intervals.save_ticks=4",
        "sheet={}",
        'metrics=["fid", "prdc", "accuracy", "cas"]',
        "num_evaluate=2000",
    ),
}

PROGRESSIVE = {**SCHEDULES, **DATA_SETS, **CONDITIONALS, **OTHERS}
