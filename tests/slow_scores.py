"""The formulas of the metrics written another way: in plain loops, or by other algebra."""

import math
from collections import Counter

import numpy as np
import torch

from limner.core.streams import stream


def slow_frechet(a, b):
    """The trace of the root by the eigenvalues of the product of the covariances."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    of_a, of_b = np.cov(a.T), np.cov(b.T)
    roots = np.sqrt(np.linalg.eigvals(of_a @ of_b).astype(complex)).real
    gap = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    return gap + np.trace(of_a) + np.trace(of_b) - 2 * roots.sum()


def naive_discrepancy(x, y):
    def k(u, v):
        return (float(u @ v) / len(u) + 1) ** 3

    m = len(x)
    within = sum(k(s[i], s[j]) for s in (x, y) for i in range(m) for j in range(m) if i != j)
    return within / (m * (m - 1)) - 2 * sum(k(u, v) for u in x for v in y) / m**2


def naive_manifold(real, fake, k):
    def distance(u, v):
        return math.dist(u.tolist(), v.tolist())

    def radius(i, points):
        return sorted(distance(points[i], p) for j, p in enumerate(points) if j != i)[k - 1]

    real_radii = [radius(i, real) for i in range(len(real))]
    fake_radii = [radius(i, fake) for i in range(len(fake))]
    held = [[distance(r, f) <= real_radii[i] for f in fake] for i, r in enumerate(real)]
    recalled = [any(distance(r, f) <= fake_radii[j] for j, f in enumerate(fake)) for r in real]
    return (
        sum(any(row[j] for row in held) for j in range(len(fake))) / len(fake),
        sum(recalled) / len(real),
        sum(sum(row) for row in held) / (k * len(fake)),
        sum(any(row) for row in held) / len(real),
    )


def slow_copies(real, fake):
    """The share of fakes within half of the way from their nearest real one to its nearest."""

    def nearest(point, points):
        return min((math.dist(point.tolist(), p.tolist()), i) for i, p in enumerate(points))

    near = [nearest(f, real) for f in fake]
    usual = {i: nearest(real[i], [*real[:i], *real[i + 1 :]])[0] for _, i in near}
    return sum(distance <= usual[i] / 2 for distance, i in near) / len(fake)


def slow_inception_score(probabilities, num_splits=10):
    """Mean and deviation over the splits of torch-fidelity's order."""
    num = len(probabilities)
    order = np.random.RandomState(2020).permutation(num)
    found = []
    for i in range(num_splits):
        rows = [
            probabilities[k].tolist()
            for k in order[i * num // num_splits : (i + 1) * num // num_splits]
        ]
        mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        divergences = [
            sum(p * math.log(p / q) for p, q in zip(row, mean, strict=True)) for row in rows
        ]
        found.append(math.exp(sum(divergences) / len(rows)))
    return np.mean(found), np.std(found)


def slow_neighbour_score(train, train_labels, test, test_labels):
    """The share of test images whose nearest training image has their label."""
    hits = 0
    for image, label in zip(test, test_labels, strict=True):
        gaps = [math.dist(image, other) for other in train]
        hits += train_labels[gaps.index(min(gaps))] == label
    return hits / len(test)


def slow_modes(predicted, num_modes):
    """How many, and the divergence from all alike."""
    counts, num = Counter(predicted), len(predicted)
    return len(counts), sum(n / num * math.log(n / num * num_modes) for n in counts.values())


def drawn_ways(matrix, num, seed):
    """Two latents and a place for each way."""
    draws = stream("metrics", "path length", seed)
    a, b = (
        torch.randn(num, len(matrix), generator=draws, dtype=torch.float64).numpy() for _ in "ab"
    )
    places = torch.rand(num, generator=draws, dtype=torch.float64).tolist()
    return list(zip(a, b, places, strict=True))


def mean_of_most(found):
    """Without the percent at both ends."""
    num = len(found)
    return np.mean(sorted(found)[math.floor(0.01 * (num - 1)) : math.ceil(0.99 * (num - 1)) + 1])


def slow_style_lengths(matrix, num, seed, where, step=1e-4):
    """Through f(G(w)) = w^2 W with w = z^3, on straight lines between styles, way by way."""
    found = []
    for start, end, place in drawn_ways(matrix, num, seed):
        place = place if where == "full" else 0.0
        near, far = ((1 - t) * start**3 + t * end**3 for t in (place, place + step))
        found.append((((far**2 - near**2) @ matrix) ** 2).sum() / step**2)
    return mean_of_most(found)


def slow_path_lengths(matrix, num, seed, where, step=1e-4):
    """Through f(G(z)) = z W: the squared length of W's image of the step, way by way."""
    found = []
    for start, end, place in drawn_ways(matrix, num, seed):
        place = place if where == "full" else 0.0
        angle = math.acos(start @ end / np.linalg.norm(start) / np.linalg.norm(end))
        ends = []
        for t in (place, place + step):
            unit = math.sin((1 - t) * angle) * start / np.linalg.norm(start)
            unit = unit + math.sin(t * angle) * end / np.linalg.norm(end)
            length = (1 - t) * np.linalg.norm(start) + t * np.linalg.norm(end)
            ends.append(unit / math.sin(angle) * length)
        found.append((((ends[1] - ends[0]) @ matrix) ** 2).sum() / step**2)
    return mean_of_most(found)


# --- patches: the distance of Karras et al. 2018 -------------------------------------------------

FILTER = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256.0


def mirrored(index, size):
    index = abs(index)
    return 2 * (size - 1) - index if index >= size else index


def slow_filter(image, gain=1.0):
    height, width = image.shape
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            for i in range(-2, 3):
                for j in range(-2, 3):
                    pixel = image[mirrored(y + i, height), mirrored(x + j, width)]
                    out[y, x] += gain * FILTER[i + 2, j + 2] * pixel
    return out


def slow_pyramid(image):
    """Levels of one channel, as pyrDown and pyrUp of OpenCV make them."""
    levels = [image.astype(np.float64)]
    while min(levels[-1].shape) // 2 >= 16:
        small = slow_filter(levels[-1])[::2, ::2]
        apart = np.zeros_like(levels[-1])
        apart[::2, ::2] = small
        levels[-1] = levels[-1] - slow_filter(apart, 4.0)
        levels.append(small)
    return levels


def slow_distance(a, b, seed):
    """Every level's distance, with the places and directions that limner draws."""
    found = {}
    num, channels, height = len(a), a.shape[1], a.shape[2]
    for level in range(len(slow_pyramid(a[0, 0]))):
        sides = []
        for side, images in (("a", a), ("b", b)):
            draws = stream("sliced wasserstein", seed, level, side)
            size = height >> level
            top = torch.randint(size - 6, (num, 128), generator=draws)
            left = torch.randint(size - 6, (num, 128), generator=draws)
            rows = np.zeros((num * 128, channels, 7, 7))
            for n in range(num):
                for c in range(channels):
                    picture = slow_pyramid(images[n, c])[level]
                    for k in range(128):
                        y, x = int(top[n, k]), int(left[n, k])
                        rows[n * 128 + k, c] = picture[y : y + 7, x : x + 7]
            for c in range(channels):
                rows[:, c] = (rows[:, c] - rows[:, c].mean()) / rows[:, c].std()
            sides.append(rows.reshape(num * 128, -1))
        repeats = []
        for repeat in range(4):
            draws = stream("sliced wasserstein", seed, level, "directions", repeat)
            shape = (channels * 49, 128)
            directions = torch.randn(shape, generator=draws, dtype=torch.float64).numpy()
            distances = []
            for k in range(128):
                direction = directions[:, k] / math.sqrt((directions[:, k] ** 2).sum())
                ordered = [np.sort(rows @ direction) for rows in sides]
                distances.append(np.abs(ordered[0] - ordered[1]).mean())
            repeats.append(np.mean(distances))
        found[str(height >> level)] = 1000 * np.mean(repeats)
    return {**found, "avg": np.mean(list(found.values()))}


# --- MS-SSIM ---------------------------------------------------------------------------------------

WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]


def slow_window(size):
    sigma = size * 1.5 / 11
    start = -(size // 2) + (0.5 if size % 2 == 0 else 0.0)
    y, x = np.mgrid[start : start + size, start : start + size]
    window = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    return window / window.sum()


def slow_means(image, window):
    size = len(window)
    rows, columns = image.shape[0] - size + 1, image.shape[1] - size + 1
    return np.array(
        [
            [(image[y : y + size, x : x + size] * window).sum() for x in range(columns)]
            for y in range(rows)
        ]
    )


def slow_ms_ssim(x, y, num_levels=5):
    """Of two pictures [c, h, w], channel by channel and window by window."""
    x, y, parts = x.astype(np.float64), y.astype(np.float64), []
    for _ in range(num_levels):
        window = slow_window(min(11, *x.shape[1:]))
        whole, contrast = [], []
        for a, b in zip(x, y, strict=True):
            mean_a, mean_b = slow_means(a, window), slow_means(b, window)
            var_a = slow_means(a * a, window) - mean_a**2
            var_b = slow_means(b * b, window) - mean_b**2
            both = slow_means(a * b, window) - mean_a * mean_b
            cs = (2 * both + 58.5225) / (var_a + var_b + 58.5225)
            whole.append((2 * mean_a * mean_b + 6.5025) / (mean_a**2 + mean_b**2 + 6.5025) * cs)
            contrast.append(cs)
        parts.append((np.mean(whole), np.mean(contrast)))
        if x.shape[1] > 1:
            x, y = (
                (p[:, ::2, ::2] + p[:, 1::2, ::2] + p[:, ::2, 1::2] + p[:, 1::2, 1::2]) / 4
                for p in (x, y)
            )
    weights = [w * sum(WEIGHTS) / sum(WEIGHTS[:num_levels]) for w in WEIGHTS[:num_levels]]
    product = max(parts[-1][0], 0) ** weights[-1]
    for (_whole, contrast), weight in zip(parts[:-1], weights, strict=False):
        product *= max(contrast, 0) ** weight
    return product
