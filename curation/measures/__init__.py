"""What is measured of a shot: pure functions of its frames, every figure with its unit."""

UNITS = {
    "object_motion": "frame diagonals/s",
    "camera_motion": "frame diagonals/s",
    "motion_direction": "degrees, 0 right, 90 up",
    "motion_coherence": "0 to 1",
    "motion_curve": "frame diagonals/s, object motion of each frame pair",
    "black_share": "share of frames",
    "frozen_share": "share of frames",
    "phash": "three 64-bit perceptual hashes, hexadecimal",
    "action": "Kinetics-400 class, guessed",
    "action_probability": "0 to 1",
}
"""Columns of the measures and their units."""
