"""Generation on many machines: a project's questions in shards, a task for each, and their paths brought back."""
