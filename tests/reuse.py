"""Checks that decoding with a shared, kept cache gives the logits of a fresh pass over the whole conversation.

Used by the tests and by the generation bench. `record` runs talks through the engine and keeps every logits row with
the tokens that led to it; `reuse_error` compares each with a fresh forward. The controls break one thing each and must
show a large error.
"""

from dataclasses import dataclass, field

import torch

from insightv_core.records import Sampling
from insightv_core.vlm.engine import Engine


@dataclass
class Recorded:
    """One conversation's tokens as they were fed, and the logits after some of them: {number of tokens: logits}."""

    talk: object
    tokens: list[int]
    logits: dict[int, torch.Tensor] = field(default_factory=dict)


class RecordingEngine(Engine):
    """An engine that keeps what it feeds and what comes out."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.recorded: dict[int, Recorded] = {}
        self.kept_rows: list = []  # so that no id is used twice

    def _start_row(self, prefix):
        sample = prefix.waiting[0]
        self.starting = (prefix, sample)
        return super()._start_row(prefix)

    def _of(self, row) -> Recorded:
        if id(row) not in self.recorded:
            prefix, _ = self.starting
            self.recorded[id(row)] = Recorded(row.talk, list(prefix.ids))
            self.kept_rows.append(row)
        return self.recorded[id(row)]

    def _take(self, logits, places):
        for place, values in zip(places, logits, strict=True):
            recorded = self._of(self.rows[place])
            recorded.logits[len(recorded.tokens)] = values.float().clone()
        return super()._take(logits, places)

    def _feed_tokens(self, live):
        for row in self.rows[:live]:
            self._of(row).tokens.append(row.feed[0])
        return super()._feed_tokens(live)

    def _feed_turns(self, places):
        for place in places:
            self._of(self.rows[place]).tokens.extend(self.rows[place].feed)
        return super()._feed_turns(places)


def record(vlm, talks, sampling: Sampling) -> list[Recorded]:
    """Hold the talks and return what was fed and what came out."""
    engine = RecordingEngine(vlm, iter(talks), sampling, None)
    list(engine.run(lambda: False))
    return list(engine.recorded.values())


@torch.inference_mode()
def reuse_error(vlm, recorded: list[Recorded]) -> float:
    """Return the greatest difference to a fresh pass over the same tokens, relative to the largest logit."""
    worst = 0.0
    for each in recorded:
        _, pictures = vlm.read_prompt(each.talk)
        inputs = {}
        for name, value in pictures.items():
            if name == "mm_token_type_ids":
                value = torch.nn.functional.pad(value, (0, len(each.tokens) - value.shape[1]))
            inputs[name] = value
        fresh = vlm.model(input_ids=torch.tensor([each.tokens]), **inputs).logits[0].float()
        for count, logits in each.logits.items():
            if count <= len(each.tokens):
                expected = fresh[count - 1]
                worst = max(worst, float((logits - expected).abs().max() / expected.abs().max()))
    return worst


CONTROLS = ("positions", "mask", "columns")


def break_reuse(vlm, control: str) -> None:
    """Break one thing that reuse depends on: a row's positions, its mask, or where its columns are written."""
    if control == "positions":
        vlm._as_positions = lambda positions, right=vlm._as_positions: right(positions - 1)
    elif control == "mask":
        vlm._as_mask = lambda allowed, right=vlm._as_mask: right(torch.ones_like(allowed))
    else:
        make = vlm.new_cache

        def new_cache():
            cache = make()
            aim = cache.aim
            cache.aim = lambda lengths, longest: aim((lengths - 1).clamp(min=0), longest)
            return cache

        vlm.new_cache = new_cache
