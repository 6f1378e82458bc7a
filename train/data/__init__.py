"""From the configuration to batches: which clip a sample number sees, and which window of it.

    order      an endless order over the clips of one data set, epoch after epoch
    mixture    which of several orders a sample number belongs to, by weight
    selection  sample number → clip: data sets mixed, categories balanced, too short clips left out
    clips      the data sets, and frames of their clips at the model's size
    sources    the data sets that a configuration names
    windows    sample number → window of a clip
    loader     windows → batches of one rank, decoded by worker processes
    encoded    what is read instead of decoding, where clips were encoded earlier

All of it is a pure function of (seed, sample number), so the data position of a run is one integer,
and neither resuming nor the number of ranks or workers changes what a step sees.
"""

from train.data.clips import ClipFrames, Clips, DataSet, one_set
from train.data.encoded import EncodedClips, Kept, condition_frames
from train.data.loader import Batch, Positions, batches, check_batch
from train.data.sources import open_clips, open_held_out, stage_window, stage_windows
from train.data.windows import ClipWindows, Place, Window

__all__ = [
    "Batch",
    "ClipFrames",
    "ClipWindows",
    "Clips",
    "DataSet",
    "EncodedClips",
    "Kept",
    "Place",
    "Positions",
    "Window",
    "batches",
    "check_batch",
    "condition_frames",
    "one_set",
    "open_clips",
    "open_held_out",
    "stage_window",
    "stage_windows",
]
