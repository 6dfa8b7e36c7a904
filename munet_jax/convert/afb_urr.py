"""AFB-URR's weights (Liang et al., NeurIPS 2020) as the start of a training. Numpy in, numpy out; needs no JAX.

Its layers are STM's under other names, but what comes of them is not what AFB-URR computes:

- Its refinement of uncertain regions (`decoder.local_*`) does not exist here and is left out.
- It segments the background as one more object and normalises over all; here the background is what no object is.
- Query and memory share key and value there. Here both begin with the same ones.
- Its second mask is 1 - the object's own. conv(m, K) + conv(1 - m, L) is conv(m, K - L) + the sum of L, which goes into the mean
  of the norm behind it; only the rows next to the padded frame's edge differ.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from munet_jax.convert.stm import Converted, Layout, State, complete, known_variables, strip_prefix
from munet_jax.runtime.nested import flatten, nest

AFB_URR = Layout("AFB-URR", "encoder_m", "encoder_q", "keyval_r4", "keyval_r4", "decoder")
LOCAL_REFINEMENT = "decoder.local_"


def afb_urr_from_pytorch(state: State, model: ConfigDict, *, seed: int = 0) -> Converted:
    """AFB-URR's state dict -> variables to train from; arguments and errors as `stm.stm_from_pytorch`."""
    strip_prefix(state)
    for name in [name for name in state if name.startswith(LOCAL_REFINEMENT)]:
        del state[name]
    variables, _ = known_variables(state, AFB_URR, model)
    params = variables["params"]
    params["memory_embedding"] = nest({name: x.copy() for name, x in flatten(params["query_embedding"]).items()})
    encoder = params["reference_encoder"]["backbone"]
    rest = encoder.pop("conv1_others")["kernel"]
    encoder["conv1_mask"]["kernel"] -= rest
    statistics = variables["batch_stats"]["reference_encoder"]["backbone"]["norm1"]["bn"]
    statistics["mean"] = statistics["mean"] - rest.sum(axis=(0, 1, 2))
    return Converted(variables, complete(params, model, seed), {"weights": AFB_URR.called})
