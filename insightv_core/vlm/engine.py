"""Decoding many conversations together on a local model, each token of each conversation computed once.

A question's prompt, picture included, passes through the model once and is kept once for all its samples. Each sample
then holds a row of the cache from its first token to its last: between its replies, the few tokens of the next user
turn are fed through the same steps in which other rows decode, so nothing is ever computed twice. Rows of many
questions decode together; a row that ends is taken by the next sample at once.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from insightv_core.records import Sampling
from insightv_core.vlm import ERROR, LENGTH, STOP, Conversation, Event, Reply, Talk, Usage
from insightv_core.vlm.draws import draw_tokens, penalize_repetition, seed_of, uniforms

if TYPE_CHECKING:
    import torch
    from llguidance import LLMatcher

    from insightv_core.vlm.cache import SlotCache
    from insightv_core.vlm.local import LocalVLM

SHORT_TURN = 16  # tokens of a user turn that are fed one by one beside decoding rows; longer ones go in one pass
PREFILL_TOKENS = 8192  # padded tokens of prompts that pass through the model together
HEARD_EVERY = 0.05  # seconds between two events of one reply's text


@dataclass
class Prefix:
    """A prompt that has passed through the model: keys and values a layer, and the logits after its last token."""

    talk: Talk
    ids: list[int]
    layers: "list[tuple[torch.Tensor, torch.Tensor]]"
    logits: "torch.Tensor"
    shift: int  # what a position has to be moved by, where pictures take fewer positions than tokens
    waiting: deque[int]
    number: int  # its name in the cache


@dataclass
class Row:
    """One sample as it is decoded."""

    talk: Talk
    number: int  # its name in the cache
    sample: int
    seed: int
    temperature: float
    shift: int
    length: int  # tokens of the conversation that went through the model
    draws: int = 0
    feed: deque[int] = field(default_factory=deque)  # tokens to go through the model next; the last is drawn after
    reply: list[int] = field(default_factory=list)
    logprob: float = 0.0
    replies: list[Reply] = field(default_factory=list)
    started: float = 0.0
    heard: float = 0.0
    matcher: "LLMatcher | None" = None
    seen: "torch.Tensor | None" = None


class Engine:
    """The state of one `converse`: prompts that wait, rows that decode, and the cache that holds them."""

    def __init__(
        self, model: "LocalVLM", talks: Iterator[Talk], sampling: Sampling, listen: Callable[[Event], None] | None
    ):
        self.vlm, self.talks, self.sampling, self.listen = model, talks, sampling, listen
        self.prefixes: deque[Prefix] = deque()
        self.rows: list[Row] = []
        self.cache: SlotCache = model.new_cache()
        self.numbers = itertools.count()
        self.exhausted = False
        self.refused: list[Conversation] = []

    def run(self, stop: Callable[[], bool]) -> Iterator[Conversation]:
        """Yield conversations as they end, until all talks are held or `stop` says so."""
        import torch

        while not stop():
            with torch.inference_mode():
                ended = self._admit()
                if self.rows:
                    ended += self._step()
            ended += self.refused
            self.refused = []
            yield from ended
            if not self.rows and not self.prefixes and self.exhausted:
                return

    # -- taking in -------------------------------------------------------------------------------------------------

    def _admit(self) -> list[Conversation]:
        """Fill free rows from prompts that have passed, and pass more prompts once many rows are free."""
        ended = []
        while True:
            ended += self._start_rows()
            free = self.vlm.row_limit - len(self.rows)
            # Passing a few prompts together costs less than one by one, so a quarter of the rows may wait for it.
            if self.prefixes or self.exhausted or (self.rows and free < max(1, self.vlm.row_limit // 4)):
                return ended
            self._pass_prompts(free)

    def _start_rows(self) -> list[Conversation]:
        """Give free rows to samples of prompts that have passed, and draw the first token of each."""
        import torch

        before, logits = len(self.rows), []
        while self.prefixes and len(self.rows) < self.vlm.row_limit:
            logits.append(self.prefixes[0].logits)
            self._start_row(self.prefixes[0])
            if not self.prefixes[0].waiting:
                self.prefixes.popleft()
        return self._take(torch.stack(logits), list(range(before, len(self.rows)))) if logits else []

    def _start_row(self, prefix: Prefix) -> None:
        sample = prefix.waiting.popleft()
        temperatures = self.sampling.temperatures
        row = Row(
            prefix.talk, next(self.numbers), sample, seed_of(self.sampling.seed, prefix.talk.key, sample),
            temperatures[sample % len(temperatures)], prefix.shift, len(prefix.ids),
            started=time.perf_counter(),
        )  # fmt: skip
        self.cache.start(row.number, prefix.number, prefix.layers)
        if self.sampling.repetition_penalty != 1:
            row.seen = self.vlm.count_seen(prefix.ids)
        self._set_matcher(row)
        self.rows.append(row)

    def _pass_prompts(self, samples: int) -> None:
        """Pass as many talks' prompts through the model as fit one pass and the free rows."""
        batch: list[tuple[Talk, list[int], dict]] = []
        longest = wanted = 0
        while wanted < samples and not self.exhausted:
            talk = next(self.talks, None)
            if talk is None:
                self.exhausted = True
                break
            if not talk.samples:
                continue
            try:
                ids, pictures = self.vlm.read_prompt(talk)
            except ValueError as error:
                self.refused += [
                    Conversation(talk.key, sample, (Reply(str(error), 0, None, ERROR, 0.0),)) for sample in talk.samples
                ]
                continue
            if batch and max(longest, len(ids)) * (len(batch) + 1) > PREFILL_TOKENS:
                self._prefill(batch)
                batch, longest = [], 0
            batch.append((talk, ids, pictures))
            longest, wanted = max(longest, len(ids)), wanted + len(talk.samples)
        if batch:
            self._prefill(batch)

    def _prefill(self, batch: list[tuple[Talk, list[int], dict]]) -> None:
        passed = self.vlm.prefill([(ids, pictures) for _, ids, pictures in batch])
        for (talk, ids, _), (layers, logits, shift) in zip(batch, passed, strict=True):
            self.prefixes.append(Prefix(talk, ids, layers, logits, shift, deque(talk.samples), next(self.numbers)))

    # -- decoding --------------------------------------------------------------------------------------------------

    def _step(self) -> list[Conversation]:
        """Feed one token of every row, or a long user turn of the rows that have one; return what ended."""
        long = [place for place, row in enumerate(self.rows) if len(row.feed) > SHORT_TURN]
        # Rows with a long turn wait until a quarter of all do, and then pass it together.
        if long and len(long) * 4 >= len(self.rows):
            return self._take(self._feed_turns(long), long)
        return self._take(*self._feed_tokens(sorted(set(range(len(self.rows))) - set(long))))

    def _feed_tokens(self, places: list[int]) -> "tuple[torch.Tensor, list[int]]":
        """Feed the next token of these rows; return the logits of those that are to draw, and which."""
        rows = [self.rows[place] for place in places]
        tokens = [row.feed.popleft() for row in rows]
        logits = self.vlm.decode(
            self.cache, [row.number for row in rows], tokens, [row.length + row.shift for row in rows]
        )
        for row in rows:
            row.length += 1
        drawing = [number for number, row in enumerate(rows) if not row.feed]
        return (logits if len(drawing) == len(rows) else logits[drawing]), [places[number] for number in drawing]

    def _feed_turns(self, places: list[int]) -> "torch.Tensor":
        rows = [self.rows[place] for place in places]
        turns = [list(row.feed) for row in rows]
        logits = self.vlm.extend(
            self.cache, [row.number for row in rows], turns, [row.length + row.shift for row in rows]
        )
        for row, turn in zip(rows, turns, strict=True):
            row.length += len(turn)
            row.feed.clear()
        return logits

    # -- drawing ---------------------------------------------------------------------------------------------------

    def _take(self, logits: "torch.Tensor", places: list[int]) -> list[Conversation]:
        """Draw a token for each of these rows and act on it; return the conversations that ended."""
        import numpy as np
        import torch

        if not places:
            return []
        rows = [self.rows[place] for place in places]
        logits = logits.float()
        normal = logits.logsumexp(-1)
        allowed = self._limit(logits, rows)
        draws = uniforms(np.array([row.seed for row in rows], dtype=np.uint64), np.array([row.draws for row in rows]))
        device = logits.device
        temperatures = torch.tensor([row.temperature for row in rows], device=device)
        chosen = draw_tokens(allowed, temperatures, torch.from_numpy(draws).to(device), self.sampling)
        logprobs = (logits.gather(-1, chosen[:, None]).squeeze(-1) - normal).tolist()
        self.vlm.count(decoded_tokens=len(rows))
        ended = []
        for row, token, logprob in zip(rows, chosen.tolist(), logprobs, strict=True):
            row.draws += 1
            row.logprob += logprob
            row.reply.append(token)
            row.feed.append(token)
            if row.seen is not None:
                row.seen[token] = True
            self._advance(row, token)
            if not row.feed:
                ended.append(row)
        if ended:
            self._retire(ended)
        return [Conversation(row.talk.key, row.sample, tuple(row.replies)) for row in ended]

    def _limit(self, logits: "torch.Tensor", rows: list[Row]) -> "torch.Tensor":
        """Apply the repetition penalty and the grammar."""
        import torch

        if self.sampling.repetition_penalty != 1:
            seen = torch.stack([row.seen for row in rows if row.seen is not None])
            logits = penalize_repetition(logits, seen, self.sampling.repetition_penalty)
        if any(row.matcher is not None for row in rows):
            logits = self.vlm.grammar().mask(logits, [row.matcher for row in rows])
        return logits

    def _advance(self, row: Row, token: int) -> None:
        """End the reply where it is over, and queue the next user turn; an ended conversation has nothing to feed."""
        over = token in self.vlm.ends
        full = row.length + 2 >= self.vlm.context_length
        if not over and row.matcher is not None:
            row.matcher.consume_token(token)
        if not over and not full and len(row.reply) < self.sampling.max_tokens:
            if self.listen is not None and time.perf_counter() - row.heard > HEARD_EVERY:
                self._tell(row, self.vlm.decode_text(row.reply), done=False)
            return
        text = self.vlm.decode_text(row.reply[:-1] if over else row.reply)
        now = time.perf_counter()
        finish = STOP if over else LENGTH
        row.replies.append(Reply(text, len(row.reply), row.logprob, finish, now - row.started))
        self._tell(row, text, done=True)
        row.reply, row.logprob, row.started = [], 0.0, now
        turn = None if full else row.talk.next_turn(row.replies)
        if turn is None:
            row.feed.clear()
            return
        suffix = self.vlm.turn_tokens(turn, ended=over)
        if row.length + len(suffix) + 2 >= self.vlm.context_length:
            row.feed.clear()
            row.replies.append(Reply("the conversation fills the model's context", 0, None, ERROR, 0.0))
            return
        row.feed.extend(suffix)
        self.vlm.count(prefill_tokens=len(suffix))
        if row.seen is not None:
            row.seen[suffix] = True
        self._set_matcher(row)

    def _set_matcher(self, row: Row) -> None:
        schema = row.talk.schema(row.replies) if row.talk.schema is not None else None
        row.matcher = self.vlm.grammar().match(schema) if schema is not None else None

    def _tell(self, row: Row, text: str, *, done: bool) -> None:
        row.heard = time.perf_counter()
        if self.listen is not None:
            turn = len(row.replies) - 1 if done else len(row.replies)
            self.listen(Event(row.talk.key, row.sample, turn, text, done))

    def _retire(self, ended: list[Row]) -> None:
        """Give the places of ended rows back."""
        gone = {row.number for row in ended}
        for number in gone:
            self.cache.end(number)
        self.rows = [row for row in self.rows if row.number not in gone]


def add_usage(usage: Usage, **counts: int) -> Usage:
    """Return the usage with counts added."""
    return replace(usage, **{name: getattr(usage, name) + count for name, count in counts.items()})
