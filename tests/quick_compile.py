"""XLA's flags by which tests compile: they compile far more than they run, and expensive passes cost more than they gain."""

from __future__ import annotations

from importlib.metadata import version

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11):  # 0.12 ends at the flag, which it does not know
    QUICK += " --xla_cpu_use_fusion_emitters=false"  # compiles in a third of the time
