"""A DCGAN in one file, to be read from top to bottom.

Two networks play a game (Goodfellow et al. 2014, "Generative adversarial nets"). The generator G
turns noise z ~ N(0, 1) into images, the discriminator D gives every image a logit: large for
"real", small for "made by G". With the sigmoid s, D's belief that x is real is s(D(x)), and

    D minimizes  L_D = -E log s(D(x)) - E log(1 - s(D(G(z))))       call reals real and fakes fake
    G minimizes  L_G = -E log s(D(G(z)))                            have fakes called real

L_G is the "non-saturating" loss: the plain minimax choice E log(1 - s(D(G(z)))) has almost no slope
while D still recognizes every fake, that is, exactly when G has most to learn.

Networks and constants follow Radford et al. 2016, "Unsupervised representation learning with deep
convolutional generative adversarial networks", in a small width:

    python examples/dcgan_in_one_file.py --steps 1500 --out digits.png
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from limner.data import DataConfig, open_data

Z_DIM = 64  # numbers that describe one image
WIDTH = 32  # channels at the largest resolution; they double with each halving of the image
BATCH = 64


def stages(resolution: int) -> int:
    """How often 4x4 doubles to reach the resolution."""
    return (resolution // 4).bit_length() - 1


class Generator(nn.Sequential):
    """z [N, Z_DIM, 1, 1] -> images [N, channels, R, R] in [-1, 1].

    A transposed convolution of kernel 4, stride 2, padding 1 doubles height and width. Batch
    normalization keeps deep stacks trainable; the last layer goes without, so that brightness and
    contrast of the images stay free, and tanh bounds the pixels.
    """

    def __init__(self, resolution: int, channels: int):
        width = WIDTH * 2 ** (stages(resolution) - 1)
        layers: list[nn.Module] = [nn.ConvTranspose2d(Z_DIM, width, 4, bias=False)]  # 1x1 -> 4x4
        for _ in range(stages(resolution) - 1):
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False)]
            width //= 2
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh()]
        super().__init__(*layers)


class Discriminator(nn.Sequential):
    """Images [N, channels, R, R] -> logits [N]: the generator backwards, with leaky ReLU.

    The first layer goes without batch normalization. A leaky ReLU passes some gradient everywhere,
    and every gradient that the generator ever sees has come through this network.
    """

    def __init__(self, resolution: int, channels: int):
        layers: list[nn.Module] = [nn.Conv2d(channels, WIDTH, 4, 2, 1), nn.LeakyReLU(0.2)]
        width = WIDTH
        for _ in range(stages(resolution) - 1):
            layers += [nn.Conv2d(width, width * 2, 4, 2, 1, bias=False)]
            layers += [nn.BatchNorm2d(width * 2), nn.LeakyReLU(0.2)]
            width *= 2
        layers += [nn.Conv2d(width, 1, 4), nn.Flatten(0)]  # 4x4 -> one logit an image
        super().__init__(*layers)


def initialize(module: nn.Module) -> None:
    """All weights from N(0, 0.02), batch-norm gains from N(1, 0.02), biases 0 (section 4)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)):
        nn.init.normal_(module.weight, float(isinstance(module, nn.BatchNorm2d)), 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def save_sheet(images: Tensor, path: Path, per_row: int = 8) -> None:
    """Write images [N, C, R, R] in [-1, 1] as one picture, row after row."""
    num, channels, height, width = images.shape
    pixels = (images * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    rows = pixels.reshape(num // per_row, per_row, channels, height, width)
    sheet = rows.permute(0, 3, 1, 4, 2).reshape(-1, per_row * width, channels)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((sheet[..., 0] if channels == 1 else sheet).numpy()).save(path)


def train(steps: int, resolution: int, seed: int = 0) -> Generator:
    """Play `steps` rounds on the built-in handwritten digits."""
    torch.manual_seed(seed)
    data = open_data("digits", DataConfig(resolution=resolution))
    reals = torch.tensor(data.images).permute(0, 3, 1, 2) / 127.5 - 1  # uint8 -> [-1, 1]

    generator = Generator(resolution, reals.shape[1]).apply(initialize)
    discriminator = Discriminator(resolution, reals.shape[1]).apply(initialize)
    # beta1 = 0.5 instead of 0.9: long momentum makes the two players chase each other in circles.
    g_adam = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    d_adam = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))

    for step in range(1, steps + 1):
        real = reals[torch.randint(len(reals), (BATCH,))]
        fake = generator(torch.randn(BATCH, Z_DIM, 1, 1))

        # softplus(-a) = -log s(a) and softplus(a) = -log(1 - s(a)), without overflow. The detach
        # cuts the graph: this step moves D alone. Each side is its own batch, as the paper's
        # implementation has it, because batch normalization couples the images of one batch.
        d_loss = F.softplus(-discriminator(real)).mean()
        d_loss = d_loss + F.softplus(discriminator(fake.detach())).mean()
        d_adam.zero_grad()
        d_loss.backward()
        d_adam.step()

        # The same fakes again, judged by the discriminator that has just learned from them.
        g_loss = F.softplus(-discriminator(fake)).mean()
        g_adam.zero_grad()
        g_loss.backward()
        g_adam.step()

        if step % 100 == 0 or step == steps:
            print(f"step {step}/{steps}  d {d_loss.item():.3f}  g {g_loss.item():.3f}", flush=True)
    return generator


def main() -> None:
    """Train, then draw 64 images with the running averages of batch normalization."""
    parser = argparse.ArgumentParser(description="A DCGAN on handwritten digits, in one file.")
    parser.add_argument("--steps", type=int, default=1500, help="rounds of the game")
    parser.add_argument(
        "--resolution", type=int, default=16, choices=(16, 32), help="pixels a side"
    )
    parser.add_argument("--out", type=Path, default=Path("dcgan.png"), help="where the sheet goes")
    options = parser.parse_args()
    generator = train(options.steps, options.resolution).eval()
    with torch.no_grad():
        save_sheet(generator(torch.randn(64, Z_DIM, 1, 1)), options.out)
    print(f"sheet: {options.out}")


if __name__ == "__main__":
    main()
