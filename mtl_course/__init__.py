"""Transfer learning and multi-task learning, taught by experiments that anyone can repeat."""

import os

# Torch's threads on a CPU wait for each other by spinning. When another process takes a core, they
# spin while the one they wait for cannot run: training on two threads then fell to a third of its
# speed here, with waiting asleep to a half. It is read when torch is loaded, hence this place.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
