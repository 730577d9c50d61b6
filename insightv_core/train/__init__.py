"""Training of the agents: preference pairs on TRL's trainer, with image and prompt computed once a pair."""
