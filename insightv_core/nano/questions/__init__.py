"""The question families: how each asks, solves and reasons, and how its chains are worded."""
