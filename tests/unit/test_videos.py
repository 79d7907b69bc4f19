"""Videos: the drifting latents, frames that stream, a run's sheets over time, grids and times."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from toy_sampling import toy_model

from limner.checkpoints import RunDirectory
from limner.core.errors import LimnerError, MissingExtra
from limner.core.grids import grid_size, is_grid
from limner.core.ticks import format_time, tick_line
from limner.sampling import (
    Drift,
    SamplePlan,
    progress_frames,
    smoothed_noise,
    snapshots,
    write_video,
)

# --- drifting latents -----------------------------------------------------------


def slowly_smoothed(seed, num_frames, shape, sigma):
    """numpy's RandomState, every frame a weighted sum over all turns of the loop."""
    noise = np.random.RandomState(seed).randn(num_frames, *shape).astype(np.float32)
    radius = int(4 * sigma + 0.5)
    weights = np.array([np.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)])
    weights /= weights.sum()
    out = np.zeros((num_frames, *shape))
    for t in range(num_frames):
        for k in range(-radius, radius + 1):
            out[t] += weights[k + radius] * noise[(t + k) % num_frames]
    return out / np.sqrt(np.mean(out**2))


@pytest.mark.parametrize(("num_frames", "sigma"), [(40, 2.5), (7, 3.0), (25, 3.0)])
def test_latents_are_those_of_the_public_formula(num_frames, sigma):
    found = np.stack(list(smoothed_noise(1000, num_frames, (3, 5), sigma)))
    assert found.dtype == np.float32
    expected = slowly_smoothed(1000, num_frames, (3, 5), sigma)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert np.mean(np.square(found)) == pytest.approx(1.0, rel=1e-5)


def test_the_loop_is_closed():
    frames = np.stack(list(smoothed_noise(3, 60, (1, 8), 4.0)))
    steps = np.linalg.norm(frames - np.roll(frames, 1, axis=0), axis=(1, 2))
    assert steps[0] < 1.5 * steps.mean()  # from the last frame to the first as between any two
    assert 0 < steps.max() < np.linalg.norm(frames[0])


def test_without_smoothing_the_noise_is_left():
    found = np.stack(list(smoothed_noise(5, 4, (2, 3), 0.0)))
    noise = np.random.RandomState(5).randn(4, 2, 3).astype(np.float32)
    np.testing.assert_allclose(found, noise / np.sqrt(np.mean(noise**2)), rtol=1e-6)


def test_frames_are_the_models_samples_side_by_side():
    model = toy_model(3)
    drift = Drift(seconds=1, frames_per_second=5, grid="3x2", zoom=2, batch_size=7, classes=(2, 0))
    frames = list(drift.frames(model))
    assert len(frames) == 5
    assert {frame.shape for frame in frames} == {(2 * 8 * 2, 3 * 8 * 2, 3)}
    z = list(smoothed_noise(1000, 5, (6, model.z_dim), 5.0))[3]
    images = model.sample(z=z, y=np.array([2, 0, 2, 0, 2, 0]))
    cell = frames[3][16:32, 32:48][::2, ::2]  # row 1, column 2
    assert np.abs(cell.astype(int) - images[5]).max() <= 1


def test_shrinking_averages_the_networks_output():
    model = toy_model(image_shape=(1, 8, 8))
    (frame,) = Drift(seconds=1, frames_per_second=1, shrink=4).frames(model)
    assert frame.shape == (2, 2, 3)
    z = next(iter(smoothed_noise(1000, 1, (1, 6), 1.0)))
    floats = model.sample(z=z, as_float=True)[0, 0].reshape(2, 4, 2, 4).mean(axis=(1, 3))
    assert np.abs(frame[..., 0] - np.clip(np.rint(127.5 * floats + 127.5), 0, 255)).max() <= 1


def test_only_a_few_frames_are_ever_asked_for(tmp_path):
    model, seen = toy_model(), []
    draw = model.draw_float

    def counting(plan: SamplePlan, batch_size=64):
        seen.append(len(plan))
        return draw(plan, batch_size)

    model.draw_float = counting
    frames = Drift(seconds=10, frames_per_second=10, grid="2x2", batch_size=8).frames(model)
    for _ in range(3):
        next(frames)
    assert seen == [8, 8]  # two frames of four pictures at a time


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 0}, "seconds 0"),
        ({"seconds": 0.001}, "not one frame"),
        ({"grid": "big"}, "grid 'big' is unknown"),
        ({"shrink": 3}, "shrink 3 does not divide"),
        ({"classes": (1,)}, "no classes"),
        ({"seed": -1}, "seed"),
    ],
)
def test_drifts_that_make_no_video_are_refused(changes, message):
    with pytest.raises(LimnerError, match=message):
        next(Drift(**{"seconds": 1, **changes}).frames(toy_model()))


# --- files -----------------------------------------------------------------------


def flat_frames(num, height=21, width=33):
    for i in range(num):
        yield np.full((height, width, 3), 20 * i, np.uint8)


def test_an_mp4_has_the_frames_in_h264(tmp_path):
    av = pytest.importorskip("av")
    assert write_video(flat_frames(9), tmp_path / "a.mp4", 30, 1_000_000) == 9
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    with av.open(str(tmp_path / "a.mp4")) as container:
        video = container.streams.video[0]
        assert video.codec_context.name == "h264"
        assert float(video.average_rate) == 30
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video)]
    assert len(frames) == 9
    assert frames[0].shape == (22, 34, 3)  # H.264 wants even sides
    assert [int(frame[10, 10, 0]) for frame in frames] == pytest.approx(range(0, 180, 20), abs=3)


def test_frames_are_written_as_they_come(tmp_path):
    pytest.importorskip("av")
    sizes = []

    def noisy():
        rng = np.random.default_rng(0)
        for i in range(150):
            if i >= 99 and i % 25 == 24:
                sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
            yield rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)

    write_video(noisy(), tmp_path / "a.mp4", 30)
    assert sizes[0] > 100_000  # long before the last frame


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_other_formats_need_no_package(tmp_path, suffix):
    write_video(flat_frames(5), tmp_path / f"a{suffix}", 20)
    with Image.open(tmp_path / f"a{suffix}") as read:
        assert read.n_frames == 5
        assert read.size == (33, 21)


def test_videos_that_cannot_be_written_leave_nothing(tmp_path, monkeypatch):
    with pytest.raises(LimnerError, match="no frames"):
        write_video([], tmp_path / "a.gif", 10)
    monkeypatch.setattr("limner.sampling.videos.MOST_BYTES_IN_MEMORY", 3 * 21 * 33 * 3)
    assert write_video(flat_frames(3), tmp_path / "b.gif", 10) == 3
    with pytest.raises(LimnerError, match=r"more than 3 frames .* give FILE.mp4"):
        write_video(flat_frames(4), tmp_path / "a.gif", 10)
    with pytest.raises(LimnerError, match="no animation"):
        write_video(flat_frames(4), tmp_path / "a.avi", 10)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtra, match=r"limner\[video\]"):
        write_video(flat_frames(4), tmp_path / "a.mp4", 10)
    assert [path.name for path in tmp_path.iterdir()] == ["b.gif"]


# --- a run's sheets over time -----------------------------------------------------


def run_of(path, steps=(0, 10, 20, 40), lod=True, log=True, size=(500, 60)):
    run = RunDirectory(path)
    run.create()
    for i, step in enumerate(steps):
        Image.new("L", size, 60 * (i + 1)).save(run.samples / f"step-{step:08d}.png")
        Image.new("L", size, 1).save(run.samples / f"walk-z-step-{step:08d}.png")
    if log:
        for step in (10, 30, 40):
            record = {"step": step, "nimg": 1000 * step, "seconds": 2.0 * step}
            run.append("log", {**record, "lod": 3.0 - step / 20} if lod else record)
    return run


def test_snapshots_read_the_log_between_its_lines(tmp_path):
    found = snapshots(run_of(tmp_path))
    assert [(s.step, s.seconds, s.nimg, s.lod) for s in found] == [
        (0, 0.0, 0.0, 2.5),
        (10, 20.0, 10_000.0, 2.5),
        (20, 40.0, 20_000.0, 2.0),
        (40, 80.0, 40_000.0, 1.0),
    ]
    assert {s.lod for s in snapshots(run_of(tmp_path / "plain", lod=False))} == {None}
    bare = snapshots(run_of(tmp_path / "bare", log=False))
    assert [s.seconds for s in bare] == [0, 10, 20, 40]
    with pytest.raises(LimnerError, match="no sample sheets"):
        snapshots(RunDirectory(tmp_path / "nothing"))


def test_time_passes_slowly_at_first_and_ends_at_the_last_sheet(tmp_path):
    run = run_of(tmp_path)
    frames = list(progress_frames(run, seconds=2, frames_per_second=20))
    shown = [int(frame[30, 250, 0]) // 60 - 1 for frame in frames]
    times = [80 * (i / 39) ** 1.5 for i in range(40)]
    assert shown == [sum(t >= s for s in (20, 40, 80)) for t in times[:-1]] + [3]
    assert shown.count(0) > 1.3 * shown.count(1)
    straight = list(progress_frames(run, seconds=2, frames_per_second=20, time_warp=1.0))
    assert sum(int(f[30, 250, 0]) == 60 for f in straight) < shown.count(0)


def test_the_text_below_changes_and_needs_no_lod(tmp_path):
    frames = list(progress_frames(run_of(tmp_path), 1, 8))
    assert frames[0].shape == (60 + 32, 500, 3)
    bar = [frame[60:] for frame in frames]
    assert all(b.max() > 200 for b in bar)
    assert not np.array_equal(bar[0], bar[1])  # the time moves while the sheet stands
    plain = list(progress_frames(run_of(tmp_path / "plain", lod=False), 1, 8))
    assert not np.array_equal(plain[0][60:], bar[0])


def test_large_sheets_are_halved_and_other_sizes_placed(tmp_path):
    run = run_of(tmp_path, size=(2400, 1200))
    Image.new("L", (100, 40), 255).save(run.samples / "step-00000000.png")
    frames = list(progress_frames(run, 1, 4))
    assert {frame.shape for frame in frames} == {(600 + 32, 1200, 3)}
    assert frames[0][300, 600].tolist() == [255, 255, 255]
    assert frames[0][10, 10].tolist() == [24, 24, 24]
    (run.samples / "step-00000040.png").write_bytes(b"no picture")
    with pytest.raises(LimnerError, match="not a readable picture"):
        next(progress_frames(run, 1, 4))


# --- grids and times ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "side", "expected"),
    [
        ("1080p", 1024, (3, 2)),
        ("1080p", 256, (7, 4)),
        ("1080p", 128, (15, 8)),
        ("1080p", 32, (32, 32)),
        ("4k", 1024, (7, 4)),
        ("4k", 512, (7, 4)),
        ("4k", 256, (15, 8)),
        ("4k", 128, (30, 16)),
        ("15x8", 1024, (15, 8)),
    ],
)
def test_grids_have_the_public_sizes(text, side, expected):
    assert grid_size(text, side, side) == expected


def test_a_grid_counts_width_and_height_apart():
    assert grid_size("1080p", 64, 512) == (3, 16)
    assert [is_grid(text) for text in ("1080p", "4k", "3x2", "0x2", "3x", "big")] == [
        *(True, True, True),
        *(False, False, False),
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (187, "3m 07s"),
        (7500, "2h 05m 00s"),
        (86399, "23h 59m 59s"),
        (4 * 86400 + 6.5 * 3600, "4d 06h 30m"),
    ],
)
def test_times_read_as_pggans(seconds, text):
    assert format_time(seconds) == text


def test_the_tick_line_has_what_the_record_has():
    record = json.load(
        io.StringIO(
            '{"tick": 12, "nimg": 1500000, "lod": 7, "batch_size": 128, "seconds": 3725.2, '
            '"seconds_per_tick": 310.44, "seconds_per_kimg": 2.219, "maintenance": 8.06}'
        )
    )
    assert tick_line(record) == (
        "tick 12  kimg 1500.0  lod 7.00  minibatch 128  time 1h 02m 05s  sec/tick 310.4  "
        "sec/kimg 2.22  maintenance 8.1"
    )
    assert tick_line({"step": 3, "nimg": 1234}) == "kimg 1.2"
