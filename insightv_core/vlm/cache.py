"""Keys and values of many conversations of different lengths, of which several open with the same prompt.

transformers' own caches append a column for all rows at once, so that every row pays for the longest, and a prompt is
copied for each of its samples. Here a prompt is kept once, whoever follows it, and each conversation's own columns are
kept in parts of growing width: only those that have come that far take room in a part, and only they are read there.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

if TYPE_CHECKING:
    import torch

FIRST_PART = 128  # own columns in the first part; each part after it ends at twice the columns of the one before
PROMPT_GROWTH = 64  # columns of prompts are added in multiples of this
FIRST_SLOTS = 8


class Part:
    """Keys and values of a stretch of columns, (layers, slots, heads, columns, size): the owners' side by side."""

    def __init__(self, start: int, columns: int):
        self.start, self.columns = start, columns
        self.owners: list[int] = []
        self.slots: dict[int, int] = {}
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None

    def add(self, owner: int, keys: "torch.Tensor", values: "torch.Tensor") -> int:
        """Give an owner a slot, shaped like these keys and values (layers, heads, any, size); return which."""
        self.slots[owner] = slot = len(self.owners)
        self.owners.append(owner)
        self.keys = self._make_room(self.keys, keys)
        self.values = self._make_room(self.values, values)
        return slot

    def _make_room(self, held: "torch.Tensor | None", like: "torch.Tensor") -> "torch.Tensor":
        layers, heads, _, size = like.shape
        slots, columns = (held.shape[1], held.shape[3]) if held is not None else (0, 0)
        if len(self.owners) <= slots and self.columns <= columns:
            return held  # type: ignore[return-value]
        room = max(slots, FIRST_SLOTS)
        while room < len(self.owners):
            room *= 2
        larger = like.new_zeros(layers, room, heads, self.columns, size)
        if held is not None:
            larger[:, :slots, :, :columns] = held
        return larger

    def drop(self, owner: int) -> None:
        """Take an owner's slot away; the last one moves into the gap."""
        slot, last = self.slots.pop(owner), len(self.owners) - 1
        if slot < last:
            assert self.keys is not None and self.values is not None
            self.keys[:, slot], self.values[:, slot] = self.keys[:, last], self.values[:, last]
            self.owners[slot] = self.owners[last]
            self.slots[self.owners[slot]] = slot
        self.owners.pop()


@dataclass
class Look:
    """How the rows of a step attend to one part; the owners of a part need not all take part in the step."""

    part: Part
    queries: "torch.Tensor"  # (slots, queries a slot) the place of the row that asks, any place where there is none
    hidden: "torch.Tensor"  # (slots, 1, 1, columns) 0, or -inf in columns that nobody may see
    places: "torch.Tensor | None"  # the rows that have a slot here; None where all have
    answers: "torch.Tensor"  # for each of these rows its place among all answers, slots * queries
    write_places: "torch.Tensor | None" = None  # the rows whose new column goes here, its slot and its place there
    write_slots: "torch.Tensor | None" = None
    write_columns: "torch.Tensor | None" = None


@dataclass
class Row:
    """A conversation's prompt and the number of its own columns."""

    prompt: int
    length: int = 0


@dataclass
class Prompt:
    """A prompt's columns and the conversations that follow it."""

    length: int
    rows: set[int] = field(default_factory=set)


class SlotLayer(CacheLayerMixin):
    """One layer of a `SlotCache`; what it returns as keys and as values is itself, for `attend` to look into."""

    is_initialized = True

    def __init__(self, cache: "SlotCache", number: int):
        super().__init__()
        self.cache, self.number = cache, number

    def lazy_initialization(self, key_states: "torch.Tensor", value_states: "torch.Tensor") -> None:
        """Do nothing: parts make room as rows come."""

    def update(self, key_states, value_states, *args, **kwargs) -> "tuple[SlotLayer, SlotLayer]":  # type: ignore[override]
        """Write one new column (rows, heads, 1, size) to each row of the step."""
        for look in self.cache.looks:
            if look.write_places is not None:
                at = (self.number, look.write_slots, slice(None), look.write_columns)
                look.part.keys[at] = key_states[look.write_places, :, 0]  # type: ignore[index]
                look.part.values[at] = value_states[look.write_places, :, 0]  # type: ignore[index]
        return self, self

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the columns of the longest row and their offset."""
        return self.cache.longest, 0

    def get_seq_length(self) -> int:
        """Return the number of columns of the longest row before this step."""
        return self.cache.longest - 1

    def get_max_length(self) -> int:
        """Return -1: rows grow as needed."""
        return -1

    def attend(self, query: "torch.Tensor", scaling: float) -> "torch.Tensor":
        """Return what one query a row, (rows, heads, 1, size), finds in its prompt and its own columns.

        Each part is looked at by itself and the findings are joined by their softmax sums; the result is (rows, 1,
        heads, size).
        """
        import torch

        rows, heads, _, size = query.shape
        held = self.cache.prompts.keys
        assert held is not None
        asked = (query[:, :, 0] * scaling).reshape(rows, held.shape[2], -1, size)
        found: tuple[torch.Tensor, ...] | None = None
        for look in self.cache.looks:
            part = look_into(look, self.number, asked)
            if found is None:
                found = part
            elif look.places is None:
                found = join(found, part)
            else:
                some = join(tuple(each.index_select(0, look.places) for each in found), part)
                found = tuple(each.index_copy(0, look.places, new) for each, new in zip(found, some, strict=True))
        assert found is not None
        values, _, total = found
        return (values / total).to(query.dtype).reshape(rows, 1, heads, -1)


def look_into(look: Look, layer: int, asked: "torch.Tensor") -> "tuple[torch.Tensor, ...]":
    """Return for each row of a look: summed values, the largest score, and the sum of the softmax's terms.

    `asked` is (rows, key heads, queries a key head, size), and so are the results but for the last dimension.
    """
    assert look.part.keys is not None and look.part.values is not None
    slots, each = look.queries.shape
    columns = look.hidden.shape[-1]
    keys, values = (held[layer, :slots, :, :columns] for held in (look.part.keys, look.part.values))
    _, heads, groups, size = asked.shape
    query = asked.index_select(0, look.queries.flatten()).view(slots, each, heads, groups, size)
    query = query.transpose(1, 2).reshape(slots, heads, each * groups, size)
    scores = (query @ keys.transpose(-1, -2)).float().add_(look.hidden)
    largest = scores.amax(-1, keepdim=True)
    weights = scores.sub_(largest).exp_()
    results = (weights.to(values.dtype) @ values).float(), largest, weights.sum(-1, keepdim=True)

    def by_row(result: "torch.Tensor") -> "torch.Tensor":
        result = result.view(slots, heads, each, groups, -1).transpose(1, 2)
        return result.reshape(slots * each, heads, groups, -1).index_select(0, look.answers)

    return tuple(map(by_row, results))


def join(one: "tuple[torch.Tensor, ...]", other: "tuple[torch.Tensor, ...]") -> "tuple[torch.Tensor, ...]":
    """Join what the same queries found in two parts."""
    largest = one[1].maximum(other[1])
    left, right = (one[1] - largest).exp_(), (other[1] - largest).exp_()
    return one[0] * left + other[0] * right, largest, one[2] * left + other[2] * right


class SlotCache(Cache):
    """Conversations that come, grow and go one by one; each is a number that its user chooses."""

    def __init__(self, layers: int, device: "torch.device"):
        self.device = device
        self.rows: dict[int, Row] = {}
        self.prompts = Part(0, 0)
        self.open_prompts: dict[int, Prompt] = {}
        self.parts: list[Part] = []
        self.looks: list[Look] = []
        self.longest = 1
        super().__init__(layers=[SlotLayer(self, number) for number in range(layers)])

    def start(self, row: int, prompt: int, layers: "list[tuple[torch.Tensor, torch.Tensor]]") -> None:
        """Begin a conversation after a prompt, whose keys and values are (heads, length, size) a layer."""
        import torch

        if prompt not in self.open_prompts:
            keys, values = (torch.stack([layer[side] for layer in layers]) for side in (0, 1))
            length = keys.shape[2]
            self.prompts.columns = max(self.prompts.columns, -(-length // PROMPT_GROWTH) * PROMPT_GROWTH)
            slot = self.prompts.add(prompt, keys, values)
            assert self.prompts.keys is not None and self.prompts.values is not None
            self.prompts.keys[:, slot, :, :length] = keys
            self.prompts.values[:, slot, :, :length] = values
            self.open_prompts[prompt] = Prompt(length)
        self.rows[row] = Row(prompt)
        self.open_prompts[prompt].rows.add(row)

    def end(self, row: int) -> None:
        """Forget a conversation, and its prompt where no other follows it."""
        prompt = self.rows.pop(row).prompt
        for part in self.parts:
            if row in part.slots:
                part.drop(row)
        self.open_prompts[prompt].rows.remove(row)
        if not self.open_prompts[prompt].rows:
            del self.open_prompts[prompt]
            self.prompts.drop(prompt)

    def aim(self, rows: list[int]) -> None:
        """Prepare a step in which each of these conversations gets one more column."""
        for row in rows:
            self._reach(row, self.rows[row].length)
            self.rows[row].length += 1
        places = {row: place for place, row in enumerate(rows)}
        self.looks = [self._look_at_prompts(rows, places)]
        self.looks += [self._look_at(part, places) for part in self.parts if any(row in places for row in part.owners)]
        self.longest = max(self.rows[row].length + self.open_prompts[self.rows[row].prompt].length for row in rows)

    def _reach(self, row: int, column: int) -> None:
        """See that a row has a slot in every part up to the one that holds an own column."""
        number = (column // FIRST_PART).bit_length()
        while number >= len(self.parts):
            start = self.parts[-1].start + self.parts[-1].columns if self.parts else 0
            self.parts.append(Part(start, start or FIRST_PART))
        assert self.prompts.keys is not None and self.prompts.values is not None
        for part in self.parts[: number + 1]:
            if row not in part.slots:
                part.add(row, self.prompts.keys[:, 0], self.prompts.values[:, 0])

    def _look_at_prompts(self, rows: list[int], places: dict[int, int]) -> Look:
        groups = [[row for row in self.open_prompts[owner].rows if row in places] for owner in self.prompts.owners]
        widest = max(map(len, groups))
        queries = [[places[row] for row in group] + [0] * (widest - len(group)) for group in groups]
        answers = {row: slot * widest + number for slot, group in enumerate(groups) for number, row in enumerate(group)}
        lengths = [self.open_prompts[owner].length for owner in self.prompts.owners]
        return Look(
            self.prompts, self._tensor(queries), self._hide(lengths), None, self._tensor([answers[row] for row in rows])
        )

    def _look_at(self, part: Part, places: dict[int, int]) -> Look:
        lengths = [self.rows[owner].length - part.start for owner in part.owners]
        asking = [(slot, owner) for slot, owner in enumerate(part.owners) if owner in places]
        if len(asking) == len(places):  # in the order of the rows, so that nothing has to be put in its place
            asking.sort(key=lambda each: places[each[1]])
        writing = [(slot, owner) for slot, owner in asking if lengths[slot] <= part.columns]
        look = Look(
            part,
            self._tensor([[places.get(owner, 0)] for owner in part.owners]),
            self._hide([min(length, part.columns) for length in lengths]),
            None if len(asking) == len(places) else self._tensor([places[owner] for _, owner in asking]),
            self._tensor([slot for slot, _ in asking]),
        )
        if writing:
            look.write_places = self._tensor([places[owner] for _, owner in writing])
            look.write_slots = self._tensor([slot for slot, _ in writing])
            look.write_columns = self._tensor([lengths[slot] - 1 for slot, _ in writing])
        return look

    def _hide(self, lengths: list[int]) -> "torch.Tensor":
        """Return (slots, 1, 1, longest) with -inf in the columns behind each length."""
        import torch

        columns = torch.arange(max(lengths), device=self.device)
        hidden = columns >= self._tensor(lengths)[:, None, None, None]
        return torch.zeros(hidden.shape, device=self.device).masked_fill_(hidden, float("-inf"))

    def _tensor(self, numbers: list) -> "torch.Tensor":
        import torch

        return torch.tensor(numbers, device=self.device)

    def gather(self, rows: list[int]) -> "tuple[DynamicCache, torch.Tensor]":
        """Copy conversations into a plain cache, to which a chunk of tokens can be appended.

        Returns it with a mask (rows, columns) of the columns that hold something: prompts and own columns are padded
        each to the longest.
        """
        import torch

        prompts = [self.open_prompts[self.rows[row].prompt].length for row in rows]
        own = [self.rows[row].length for row in rows]
        pieces = [self._gather_part(self.prompts, [self.rows[row].prompt for row in rows], max(prompts))]
        pieces += [
            self._gather_part(part, rows, min(part.columns, max(own) - part.start))
            for part in self.parts
            if part.start < max(own)
        ]
        chunk = DynamicCache()
        keys, values = (torch.cat([piece[side] for piece in pieces], dim=3) for side in (0, 1))
        for number in range(len(keys)):
            chunk.update(keys[number], values[number], number)
        columns = [torch.arange(max(lengths), device=self.device) for lengths in (prompts, own)]
        mask = [each < self._tensor(lengths)[:, None] for each, lengths in zip(columns, (prompts, own), strict=True)]
        return chunk, torch.cat(mask, dim=1)

    def _gather_part(self, part: Part, owners: list[int], columns: int) -> "tuple[torch.Tensor, torch.Tensor]":
        """Copy slots (layers, rows, heads, columns, size); who has none gets another's, which the mask hides."""
        slots = self._tensor([part.slots.get(owner, 0) for owner in owners])
        assert part.keys is not None and part.values is not None
        return part.keys[:, slots, :, :columns], part.values[:, slots, :, :columns]

    def scatter(self, rows: list[int], counts: list[int], chunk: DynamicCache) -> None:
        """Append the newest columns of a gathered cache to each conversation, `counts` of them."""
        import torch

        keys, values = (torch.stack([getattr(layer, side) for layer in chunk.layers]) for side in ("keys", "values"))
        first = keys.shape[3] - max(counts)
        for place, (row, count) in enumerate(zip(rows, counts, strict=True)):
            start = self.rows[row].length
            self._reach(row, start + count - 1)
            for part in self.parts:
                begin, end = max(start, part.start), min(start + count, part.start + part.columns)
                if begin < end:
                    assert part.keys is not None and part.values is not None
                    here = (slice(None), part.slots[row], slice(None), slice(begin - part.start, end - part.start))
                    there = slice(first + begin - start, first + end - start)
                    part.keys[here] = keys[:, place, :, there]
                    part.values[here] = values[:, place, :, there]
            self.rows[row].length += count


SLOTTED = "slotted"  # the name under which transformers finds `slotted_attention`


def use_slotted_attention(decoder) -> None:
    """Let a text model attend to a `SlotCache`; with any other cache it computes as with `sdpa`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(SLOTTED, slotted_attention)
    AttentionMaskInterface.register(SLOTTED, sdpa_mask)
    decoder.set_attn_implementation(SLOTTED)


def slotted_attention(module, query, key, value, attention_mask, *, scaling: float | None = None, **options):
    """Attend as transformers' attention functions do: (rows, heads, L, size) in, (rows, L, heads, size) and None out.

    Raises ValueError for models whose scores are more than a scaled product.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if not isinstance(key, SlotLayer):
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    special = [name for name in ("softcap", "s_aux", "position_bias") if options.get(name) is not None]
    if special:
        raise ValueError(f"{type(module).__name__} attends with {', '.join(special)}, which shared prompts leave out")
    return key.attend(query, query.shape[-1] ** -0.5 if scaling is None else scaling), None
