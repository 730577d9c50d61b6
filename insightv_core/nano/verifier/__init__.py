"""The parts of the exact verifier: words to tokens, names to scene entities, and one module for each kind of claim."""
