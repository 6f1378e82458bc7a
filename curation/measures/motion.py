"""Object motion and camera motion apart, static overlays left out; see `media.motion`."""

from typing import Any

from curation.measures.contract import Column, Footage, Measure
from dynamicrafter.media.motion import measure_sampled


def measure(footage: Footage, settings: None) -> dict[str, Any]:
    """Mean speeds over the picture and the shot, and the direction of what moves."""
    motion = measure_sampled(footage.frames, footage.times)
    return {
        "object_motion": motion.object_speed,
        "camera_motion": motion.camera_speed,
        "motion_direction": motion.direction_deg,
        "motion_coherence": motion.coherence,
        "motion_curve": [round(speed, 5) for speed in motion.object_curve],
        "camera_curve": [round(speed, 5) for speed in motion.camera_curve],
        "overlay_share": motion.overlay_share,
    }


MEASURE = Measure(
    name="motion",
    version=2,
    columns={
        "object_motion": Column("frame diagonals/s"),
        "camera_motion": Column("frame diagonals/s"),
        "motion_direction": Column("degrees, 0 right, 90 up"),
        "motion_coherence": Column("0 to 1"),
        "motion_curve": Column("frame diagonals/s, objects, each frame pair", "numbers"),
        "camera_curve": Column("frame diagonals/s, camera, each frame pair", "numbers"),
        "overlay_share": Column("share of the picture: edges that stand still"),
    },
    compute=measure,
)
