import cv2
import numpy as np
import pytest

from dynamicrafter.media import motion as motion_module
from dynamicrafter.media.motion import measure_motion


def texture(height, width, seed=0):
    """Smooth random texture at the picture's own scale, uint8 [h, w, 3]."""
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), height / 60)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.repeat((255 * smooth).astype(np.uint8)[..., None], 3, axis=2)


def shifted(picture, x, y):
    height, width = picture.shape[:2]
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    return cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def pan(size, per_second, fps, seconds=1.0):
    """The whole picture moves by `per_second` (x right, y down, in diagonals)."""
    height, width = size
    step = np.hypot(height, width) / fps
    whole = texture(height, width)
    x, y = per_second
    return [shifted(whole, x * step * i, y * step * i) for i in range(round(fps * seconds))]


def moving_square(velocity, fps=24, share=0.25, seconds=1.0):
    """A textured square that covers `share` of the picture, over a still texture."""
    height, width = 256, 456
    diagonal = np.hypot(height, width)
    side = round(np.sqrt(share * height * width))
    background, patch = texture(height, width), texture(side, side, seed=5)
    frames = []
    for i in range(round(fps * seconds)):
        frame = background.copy()
        x = round((width - side) / 2 + velocity[0] * diagonal * i / fps)
        y = round((height - side) / 2 - velocity[1] * diagonal * i / fps)
        frame[y : y + side, x : x + side] = patch
        frames.append(frame)
    return frames


@pytest.mark.parametrize("size", [(128, 228), (256, 456)])
@pytest.mark.parametrize("fps", [12, 24, 48])
def test_a_pan_is_camera_motion_at_its_true_speed(size, fps):
    motion = measure_motion(pan(size, (0.12, 0.05), fps), fps)
    assert motion.camera_speed == pytest.approx(np.hypot(0.12, 0.05), rel=0.1)
    assert motion.object_speed < 0.15 * motion.camera_speed


def test_a_zoom_is_camera_motion():
    base = texture(256, 456)
    frames = []
    for i in range(24):
        matrix = cv2.getRotationMatrix2D((228, 128), 0, 1.01**i)
        frames.append(cv2.warpAffine(base, matrix, (456, 256), borderMode=cv2.BORDER_REFLECT))
    motion = measure_motion(frames, 24)
    # Mean distance from the centre, times 24 % a second, over the diagonal.
    y, x = np.mgrid[0:256, 0:456]
    expected = np.log(1.01) * 24 * np.hypot(x - 227.5, y - 127.5).mean() / np.hypot(256, 456)
    assert motion.camera_speed == pytest.approx(expected, rel=0.1)
    assert motion.object_speed < 0.2 * motion.camera_speed


@pytest.mark.parametrize(
    ("velocity", "direction"),
    [((0.1, 0.0), 0), ((0.0, 0.1), 90), ((-0.1, 0.0), 180), ((0.0, -0.1), 270)],
)
def test_a_moving_square_is_object_motion(velocity, direction):
    share = 0.2
    motion = measure_motion(moving_square(velocity, share=share), 24)
    assert motion.camera_speed < 0.01
    assert motion.object_speed == pytest.approx(share * 0.1, rel=0.35)
    assert abs((motion.direction_deg - direction + 180) % 360 - 180) < 15
    assert motion.coherence > 0.7


def test_a_still_clip_does_not_move():
    motion = measure_motion([texture(128, 228)] * 16, 24)
    assert motion.object_speed == pytest.approx(0, abs=1e-4)
    assert motion.camera_speed == pytest.approx(0, abs=1e-4)


def test_flat_pictures_do_not_fail():
    motion = measure_motion(np.zeros((8, 64, 64, 3), np.uint8), 30)
    assert motion.object_speed == 0
    assert motion.coherence == 0


def test_equal_input_gives_equal_figures():
    frames = moving_square((0.1, 0.05))
    assert measure_motion(frames, 24) == measure_motion(frames, 24)


def pan_over_wall(per_second, contrast=20, fps=24, seconds=2, size=(256, 456), seed=1):
    """The camera looks at a wall that moves through the picture, new parts of it all the time."""
    height, width = size
    steps = [
        [round(abs(v) * np.hypot(height, width) * i / fps) for v in per_second]
        for i in range(round(fps * seconds))
    ]
    far_x, far_y = steps[-1]
    shape = (height + far_y, width + far_x)
    noise = np.random.default_rng(seed).random(shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 4)
    noise = (noise - noise.mean()) / noise.std()
    wall = np.clip(128 + contrast * noise, 0, 255).astype(np.uint8)
    frames = []
    for x, y in steps:
        left = x if per_second[0] < 0 else far_x - x
        top = y if per_second[1] < 0 else far_y - y
        view = wall[top : top + height, left : left + width]
        frames.append(np.repeat(view[..., None], 3, axis=2))
    return frames


def with_overlay(frames, opacity=0.6):
    """White text that stands in the middle of the picture, as agencies put it over their clips."""
    height, width = frames[0].shape[:2]
    mask = np.zeros((height, width), np.uint8)
    place = (width // 10, height // 2)
    cv2.putText(mask, "shutterstock", place, cv2.FONT_HERSHEY_DUPLEX, height / 140, 255, 3)
    share = opacity * (mask[..., None] / 255)
    return [((1 - share) * frame + share * 255).astype(np.uint8) for frame in frames]


@pytest.mark.parametrize("per_second", [(0.12, 0.05), (-0.2, 0.0), (0.0, -0.1)])
def test_a_standing_overlay_is_no_object_motion(monkeypatch, per_second):
    frames = pan_over_wall(per_second)
    plain, marked = measure_motion(frames, 24), measure_motion(with_overlay(frames), 24)
    assert plain.overlay_share < 0.1  # by chance
    assert 0.1 < marked.overlay_share < 0.3
    for motion in (plain, marked):
        assert motion.camera_speed == pytest.approx(np.hypot(*per_second), rel=0.1)
    assert marked.object_speed < 0.05 * marked.camera_speed
    monkeypatch.setattr(motion_module, "EDGE_STRENGTH", np.inf)
    unmasked = measure_motion(with_overlay(frames), 24)
    assert unmasked.overlay_share == 0
    assert unmasked.object_speed > 2 * marked.object_speed
    assert unmasked.object_speed > 10 * plain.object_speed


def with_square(frames, per_second, contrast, share=0.15, fps=24):
    """A textured square that crosses the picture to the right."""
    height, width = frames[0].shape[:2]
    side = round(np.sqrt(share * height * width))
    (patch,) = pan_over_wall((0, 0), contrast, fps=1, seconds=1, size=(side, side), seed=9)
    found = []
    for i, frame in enumerate(frames):
        left = round(width / 10 + per_second * np.hypot(height, width) * i / fps)
        own, top = frame.copy(), (height - side) // 2
        own[top : top + side, left : left + side] = patch
        found.append(own)
    return found


@pytest.mark.parametrize("contrast", [20, 40])
def test_what_moves_against_the_camera_counts(contrast):
    frames = with_square(pan_over_wall((-0.12, 0.0), contrast), 0.12, contrast)
    motion = measure_motion(frames, 24)
    assert motion.camera_speed == pytest.approx(0.12, rel=0.1)
    assert motion.object_speed == pytest.approx(0.15 * 0.24, rel=0.25)
    assert abs((motion.direction_deg + 180) % 360 - 180) < 15


def test_what_moves_over_a_still_scene_counts_although_the_scene_has_standing_edges():
    share, speed = 0.04, 0.1
    tiles = np.random.default_rng(2).integers(0, 2, (32, 57), np.uint8) * 160 + 40
    tiles = np.kron(tiles[..., None], np.ones((8, 8, 3), np.uint8))
    background = texture(256, 456)
    frames = moving_square((speed, 0.0), share=share)
    for frame in frames:
        behind = (frame == background).all(axis=-1)
        frame[behind] = tiles[behind]
    motion = measure_motion(frames, 24)
    assert motion.overlay_share > 0.9
    assert motion.camera_speed < 0.01
    assert motion.object_speed == pytest.approx(share * speed, rel=0.4)
    assert abs((motion.direction_deg + 180) % 360 - 180) < 15
