"""Video files: what they are, their frames in and out, which frames to take, how they move."""
