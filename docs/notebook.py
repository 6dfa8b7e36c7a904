# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a clip to a corrected object
# This page is a notebook: `jupytext --to ipynb docs/notebook.py` makes it one for Jupyter. The site runs it each time it is
# built, so everything below is what came out of the cells above it. It takes less than a minute on two cores and downloads
# nothing.
#
# ## A clip
# Two objects pass each other, a third thing that looks like an object crosses. The clip is made from a seed, so every
# frame's true label map is known; of your own video you would have the frames and the first mask alone.

# %%
import numpy as np

import munet_jax
from munet_jax.commands.demonstration import CLIP
from munet_jax.data.synthetic.videos import SyntheticSource
from munet_jax.visualization.overlays import grid, overlay_labels, strip

clip = SyntheticSource(CLIP)
frames = [clip.frame(0, number) for number in range(CLIP.frames)]  # RGB uint8 [240, 432, 3] each
truth = [clip.labels(0, number) for number in range(CLIP.frames)]  # label maps [240, 432]: 0, 1, 2
shown = [0, 12, 23]
strip([frames[number] for number in shown], [f"frame {number}" for number in shown])

# %% [markdown]
# ## Masks
# A segmenter takes the first frame with its mask, then one frame after the other. It keeps a memory of bounded size and
# nothing else. The first two frames take longer, as XLA compiles the network for their size.

# %%
from munet_jax.inference import VideoSegmenter

model, variables, config = network = munet_jax.load("lite")
segmenter = VideoSegmenter(*network)
masks = [segmenter.step(frames[0], truth[0]).labels]
masks += [segmenter.step(frame).labels for frame in frames[1:]]
strip([overlay_labels(frames[number], masks[number]) for number in shown], [f"frame {number}" for number in shown])

# %% [markdown]
# J is the intersection over union of a mask and the truth, here of each object in every frame after the first:

# %%
from munet_jax.evaluation.metrics import region_similarity


def similarity(masks, number):
    """J of object `number` in every frame but the first, [23]."""
    return np.array(
        [region_similarity(true == number, mask == number) for true, mask in zip(truth, masks, strict=True)][1:]
    )


for number in (1, 2):
    values = similarity(masks, number)
    print(f"object {number}: mean J {values.mean():.3f}, lowest {values.min():.3f} in frame {values.argmin() + 1}")

# %% [markdown]
# ## What it sees of motion
# Between two neighbouring frames the MU-Layer computes a cost volume: how well each place matches each place around it in
# the frame before. The best cosine is what the paper calls uncertainty (a high value is a **sure** match), the place of the
# best match is the displacement. Both need no mask. [The measurements](results.md#what-the-motion-maps-show) say how far to
# trust those of the shipped network, and what its attention is worth.

# %%
from munet_jax.inference.maps import motion_maps
from munet_jax.visualization.motion_figures import motion_figure

maps = motion_maps(*network, frames[11], frames[12])
print(
    f"cosine {maps.uncertainty.min():.2f} to {maps.uncertainty.max():.2f}; attention at most {maps.attention.max():.3f}"
)
motion_figure(frames[12], maps.uncertainty, maps.displacement, maps.attention, labels=masks[12])

# %% [markdown]
# ## A correction
# Where a mask is bad, give a better one. Here it is the truth of the frame in which the worse object is worst; by hand you
# would draw it. The list of ids names the objects that this mask speaks about: the other object goes on as it was.
# `propagate` goes from all annotated frames to the others, here forward and backward, and averages between two of them.

# %%
from munet_jax.inference import propagate

worse = min((1, 2), key=lambda number: similarity(masks, number).mean())
frame = int(similarity(masks, worse).argmin()) + 1
annotations = {0: truth[0], frame: (np.where(truth[frame] == worse, truth[frame], 0), [worse])}
corrected = [None] * len(frames)
for prediction in propagate(VideoSegmenter(*network), frames, annotations, direction="both"):
    corrected[prediction.frame_index] = prediction.labels

before, after = similarity(masks, worse), similarity(corrected, worse)
others = np.arange(1, len(frames)) != frame  # the corrected frame itself proves nothing
print(
    f"object {worse}, corrected in frame {frame}; mean J of the others {before[others].mean():.3f} -> {after[others].mean():.3f}"
)
near = [max(0, frame - 3), frame, min(len(frames) - 1, frame + 3)]
grid(
    [[overlay_labels(frames[n], result[n]) for n in near] for result in (masks, corrected)],
    column_captions=[f"frame {n}" for n in near],
    row_captions=["before", "after"],
)

# %% [markdown]
# On the command line the same is `munet segment FRAMES --mask first.png --mask 57=corrected.png --both --out DIR` ([your
# own video](segment.md)).
