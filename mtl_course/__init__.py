"""Transfer learning and multi-task learning, taught by experiments that anyone can repeat."""
