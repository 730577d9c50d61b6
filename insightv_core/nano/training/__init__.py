"""How nano is trained: the corpus of conversations, packed steps, the optimizer and the resumable loop."""
