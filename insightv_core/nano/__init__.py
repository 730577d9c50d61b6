"""The embedded world and model: synthetic scenes, questions, an exact verifier, and a small VLM trained on them."""
