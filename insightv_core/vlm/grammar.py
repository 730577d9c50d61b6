"""Replies that keep to a JSON schema, by masking every token that would break it (llguidance)."""

import json
from typing import TYPE_CHECKING

from insightv_core.errors import UserError

if TYPE_CHECKING:
    import torch
    from llguidance import LLMatcher


class Grammar:
    """The vocabulary of a model as llguidance sees it; makes a matcher for each reply that is to keep to a schema."""

    def __init__(self, tokenizer, vocabulary: int, ends: list[int]):
        from llguidance.hf import from_tokenizer

        self.words = (vocabulary + 31) // 32
        self.tokenizer = from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=ends)
        self.compiled: dict[str, str] = {}

    def match(self, schema: dict) -> "LLMatcher":
        """Return a matcher for one reply; raise `UserError` for a schema that cannot be used."""
        from llguidance import LLMatcher

        text = json.dumps(schema)
        if text not in self.compiled:
            self.compiled[text] = LLMatcher.grammar_from_json_schema(text, overrides={"whitespace_flexible": False})
        matcher = LLMatcher(self.tokenizer, self.compiled[text])
        if matcher.is_error():
            raise UserError(f"the JSON schema cannot be used for constrained replies: {matcher.get_error()}")
        return matcher

    def mask(self, logits: "torch.Tensor", matchers: "list[LLMatcher | None]") -> "torch.Tensor":
        """Return (rows, vocabulary) logits with every token that a row's matcher forbids at minus infinity."""
        import numpy as np
        import torch

        bits = np.full((len(matchers), self.words), 0xFFFFFFFF, dtype=np.uint32)
        for row, matcher in enumerate(matchers):
            if matcher is not None:
                matcher.unsafe_compute_mask_ptr(bits[row].ctypes.data, self.words * 4)
        allowed = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")[:, : logits.shape[1]]
        return logits.masked_fill(torch.from_numpy(allowed == 0).to(logits.device), float("-inf"))
