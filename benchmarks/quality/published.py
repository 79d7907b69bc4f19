"""Published figures, each table with its source and whether that source was read.

"read" means in the paper's table or the authors' code; "recalled" means quoted from memory of the
paper or of others who quote it, and to be checked before it is relied on. Protocols A, B and C
differ in data, networks and length: their rows are never put into one table.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """One table as it was published."""

    title: str
    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


PACGAN = "read: PacGAN (Lin et al. 2018)"

RING = Published(
    "2-D ring, 8 modes: 400 epochs of 100,000 points, 10 trials, +- standard error",
    f"{PACGAN}, Table 1",
    ("method", "modes", "good %", "KL"),
    (
        ("GAN", "6.3+-0.5", "98.2+-0.2", "0.45+-0.09"),
        ("ALI", "6.6+-0.3", "97.6+-0.4", "0.36+-0.04"),
        ("PacGAN2", "7.9+-0.1", "95.6+-2.0", "0.07+-0.03"),
        ("PacGAN3", "7.8+-0.1", "97.7+-0.3", "0.10+-0.02"),
        ("PacGAN4", "7.8+-0.1", "95.9+-1.4", "0.07+-0.02"),
    ),
)

GRID = Published(
    "2-D grid, 25 modes: 400 epochs of 100,000 points, 10 trials, +- standard error",
    f"{PACGAN}, Table 1",
    ("method", "modes", "good %", "KL"),
    (
        ("GAN", "17.3+-0.8", "94.8+-0.7", "0.70+-0.07"),
        ("ALI", "24.1+-0.4", "95.7+-0.6", "0.14+-0.03"),
        ("PacGAN2", "23.8+-0.7", "91.3+-0.8", "0.13+-0.04"),
        ("PacGAN3", "24.6+-0.4", "94.2+-0.4", "0.06+-0.02"),
        ("PacGAN4", "24.8+-0.2", "93.6+-0.6", "0.04+-0.01"),
    ),
)

STACKED_A = Published(
    'Stacked MNIST, protocol A ("VEEGAN"): 128,000 fixed triples of 70,000 digits, 28x28, 100,000 '
    "iterations, 26,000 samples",
    f"{PACGAN}, Table 2; the first four rows it takes from VEEGAN's paper",
    ("method", "modes", "KL"),
    (
        ("DCGAN (VEEGAN's)", "99.0", "3.40"),
        ("ALI", "16.0", "5.40"),
        ("Unrolled GAN", "48.7", "4.32"),
        ("VEEGAN", "150.0", "2.95"),
        ("DCGAN (PacGAN's)", "78.9+-6.46", "4.50+-0.127"),
        ("PacDCGAN2", "1000.0+-0.00", "0.06+-0.003"),
        ("PacDCGAN3", "1000.0+-0.00", "0.06+-0.003"),
        ("PacDCGAN4", "1000.0+-0.00", "0.07+-0.005"),
    ),
)

B_SOURCE = f"{PACGAN}, Table 3; the first four rows it takes from Unrolled GAN's paper"
B_TITLE = 'Stacked MNIST, protocol B ("Unrolled GAN"): 60,000 digits, 500,000 iterations'

STACKED_B_HALF = Published(
    f"{B_TITLE}, D = 1/2 G",
    B_SOURCE,
    ("method", "modes", "KL"),
    (
        ("DCGAN (Unrolled's)", "628.0+-140.9", "2.58+-0.75"),
        ("Unrolled, 1 step", "523.6+-55.77", "2.44+-0.26"),
        ("Unrolled, 5 steps", "732.0+-44.98", "1.66+-0.09"),
        ("Unrolled, 10 steps", "817.4+-37.91", "1.43+-0.12"),
        ("DCGAN (PacGAN's)", "487.7+-34.59", "2.24+-0.15"),
        ("PacDCGAN2", "840.7+-15.92", "1.00+-0.05"),
        ("PacDCGAN3", "866.6+-12.10", "0.90+-0.04"),
        ("PacDCGAN4", "820.2+-25.50", "1.15+-0.14"),
    ),
)

STACKED_B_QUARTER = Published(
    f"{B_TITLE}, D = 1/4 G",
    B_SOURCE,
    ("method", "modes", "KL"),
    (
        ("DCGAN (Unrolled's)", "30.6+-20.73", "5.99+-0.42"),
        ("Unrolled, 1 step", "65.4+-34.75", "5.91+-0.14"),
        ("Unrolled, 5 steps", "236.4+-63.30", "4.67+-0.43"),
        ("Unrolled, 10 steps", "327.2+-74.67", "4.66+-0.46"),
        ("DCGAN (PacGAN's)", "78.5+-17.56", "5.21+-0.19"),
        ("PacDCGAN2", "484.5+-32.99", "2.61+-0.22"),
        ("PacDCGAN3", "601.3+-32.18", "2.00+-0.17"),
        ("PacDCGAN4", "667.4+-29.00", "1.81+-0.15"),
    ),
)

STACKED_C = Published(
    "Stacked MNIST, protocol C: 32x32, networks and length of each method's own",
    "recalled, not checked: as quoted by DDGAN and R3GAN",
    ("method", "modes", "KL"),
    (
        ("DCGAN", "99", "3.40"),
        ("VEEGAN", "150", "2.95"),
        ("WGAN-GP", "959", "0.73"),
        ("PacGAN", "992", "0.28"),
        ("StyleGAN2", "940", "0.42"),
        ("VAEBM", "1000", "0.087"),
        ("DDGAN", "1000", "0.071"),
        ("MEG", "1000", "0.031"),
        ("R3GAN", "1000", "0.029"),
    ),
)

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "conditional": (),
    "ring": (RING,),
    "grid": (GRID,),
    "free-10k": (STACKED_A, STACKED_C),
    "protocol-b-half": (STACKED_B_HALF,),
    "protocol-b-quarter": (STACKED_B_QUARTER,),
}
