"""First stage: from photographs and label maps to packed samples and their statistics.

Every other package imports this one first.
"""

import os

# OpenMP's threads spin while they wait, so two processes on two cores slow one another down 5 to 20
# times. With a short spin both keep a third of their speed, and alone a process loses 2 to 8 %
# (steps of the root expert: 1.35 instead of 0.1 to 1.1 a second, alone 4.9 instead of 5.3; AMD EPYC
# with AVX-512 bf16, 2 cores). libgomp reads this when torch loads it.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
