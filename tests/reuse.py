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
        super()._start_row(prefix)
        row = self.rows[-1]
        self.recorded[id(row)] = Recorded(row.talk, list(prefix.ids))
        self.kept_rows.append(row)

    def _of(self, row) -> Recorded:
        return self.recorded[id(row)]

    def _take(self, logits, places):
        for place, values in zip(places, logits, strict=True):
            recorded = self._of(self.rows[place])
            recorded.logits[len(recorded.tokens)] = values.float().clone()
        return super()._take(logits, places)

    def _feed_tokens(self, places):
        for place in places:
            self._of(self.rows[place]).tokens.append(self.rows[place].feed[0])
        return super()._feed_tokens(places)

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


CONTROLS = ("positions", "mask", "columns", "prompts", "turns")


def break_reuse(vlm, control: str) -> None:
    """Break one thing that reuse depends on.

    A row's positions; the mask over its own columns; where they are written; whose prompt it follows; or the mask of
    what it holds while a long turn passes.
    """
    if control == "positions":
        vlm._as_positions = lambda positions, right=vlm._as_positions: right(positions - 1)
        return
    make = vlm.new_cache

    def new_cache():
        cache = make()
        if control == "mask":
            cache._hide = lambda lengths: torch.zeros(len(lengths), 1, 1, max(lengths))
        if control == "turns":
            gather = cache.gather
            cache.gather = lambda rows: (gather(rows)[0], gather(rows)[1].roll(-12, dims=1))
        look_at, at_prompts = cache._look_at, cache._look_at_prompts

        def one_too_far(part, places):
            look = look_at(part, places)
            if look.write_columns is not None:
                look.write_columns = (look.write_columns - 1).clamp(min=0)
            return look

        def of_another(rows, places):
            look = at_prompts(rows, places)
            look.answers = look.answers.roll(1)
            return look

        if control == "columns":
            cache._look_at = one_too_far
        if control == "prompts":
            cache._look_at_prompts = of_another
        return cache

    vlm.new_cache = new_cache
