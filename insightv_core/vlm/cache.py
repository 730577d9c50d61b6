"""Keys and values of many conversations of different lengths, one row each, without holes.

transformers' own caches append a column for all rows at once, so rows of different lengths need padding inside, and a
row cannot be replaced by another conversation. Here each row has its own length and is written at its own end.
"""

from typing import TYPE_CHECKING

from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

if TYPE_CHECKING:
    import torch

GROWTH = 256  # columns are added in multiples of this


class SlotLayer(CacheLayerMixin):
    """One layer's keys and values: (rows, heads, columns, size), written at `cache.lengths`."""

    def __init__(self, cache: "SlotCache"):
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: "torch.Tensor", value_states: "torch.Tensor") -> None:
        """Make room for all rows, shaped like the first keys and values that come."""
        cache = self.cache
        self.keys, self.values = (
            states.new_zeros(cache.rows, states.shape[1], cache.columns, states.shape[-1])
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states, value_states, *args, **kwargs) -> "tuple[torch.Tensor, torch.Tensor]":
        """Write one new column to each live row at its own end; return all columns that any live row uses."""
        cache = self.cache
        live = len(key_states)
        self.keys[cache.row_numbers[:live], :, cache.write_at[:live]] = key_states[:, :, 0]
        self.values[cache.row_numbers[:live], :, cache.write_at[:live]] = value_states[:, :, 0]
        return self.keys[:live, :, : cache.shown], self.values[:live, :, : cache.shown]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the number of columns shown and their offset."""
        return self.cache.shown, 0

    def get_seq_length(self) -> int:
        """Return the number of columns of the longest live row before this step."""
        return self.cache.shown - 1

    def get_max_length(self) -> int:
        """Return -1: rows grow as needed."""
        return -1


class SlotCache(Cache):
    """Rows of keys and values that come, grow and go one by one."""

    def __init__(self, layers: int, rows: int, device: "torch.device"):
        import torch

        self.rows, self.columns, self.shown = rows, GROWTH, 1
        self.row_numbers = torch.arange(rows, device=device)
        self.write_at = torch.zeros(rows, dtype=torch.long, device=device)
        super().__init__(layers=[SlotLayer(self) for _ in range(layers)])

    def aim(self, lengths: "torch.Tensor", longest: int) -> None:
        """Set where the next column of each live row goes; `longest` is the greatest of the lengths."""
        self.write_at[: len(lengths)] = lengths
        self.shown = longest + 1
        self.reserve(self.shown)

    def reserve(self, columns: int) -> None:
        """Make room for that many columns."""
        import torch

        if columns <= self.columns:
            return
        added = -(-columns // GROWTH) * GROWTH - self.columns
        self.columns += added
        for layer in self.layers:
            if layer.is_initialized:
                layer.keys = torch.nn.functional.pad(layer.keys, (0, 0, 0, added))
                layer.values = torch.nn.functional.pad(layer.values, (0, 0, 0, added))

    def fill(self, row: int, prefix: "list[tuple[torch.Tensor, torch.Tensor]]") -> None:
        """Put a prompt's keys and values, (heads, length, size) a layer, at the start of a row."""
        length = prefix[0][0].shape[1]
        self.reserve(length + 1)
        for layer, (keys, values) in zip(self.layers, prefix, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(keys[None], values[None])
            layer.keys[row, :, :length] = keys
            layer.values[row, :, :length] = values

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a row over another."""
        for layer in self.layers:
            layer.keys[target, :, :length] = layer.keys[source, :, :length]
            layer.values[target, :, :length] = layer.values[source, :, :length]

    def gather(self, rows: "torch.Tensor", columns: int) -> DynamicCache:
        """Copy rows into a plain cache of that many columns, to which a chunk of tokens can be appended."""
        chunk = DynamicCache()
        for number, layer in enumerate(self.layers):
            chunk.update(layer.keys[rows, :, :columns], layer.values[rows, :, :columns], number)
        return chunk

    def scatter(self, rows: "list[int]", starts: "list[int]", counts: "list[int]", chunk: DynamicCache) -> None:
        """Write the newest columns of a gathered cache back, `counts` of them at `starts` of each row."""
        self.reserve(max(start + count for start, count in zip(starts, counts, strict=True)) + 1)
        for layer, fresh in zip(self.layers, chunk.layers, strict=True):
            width = fresh.keys.shape[2] - max(starts)
            for place, (row, start, count) in enumerate(zip(rows, starts, counts, strict=True)):
                columns = slice(-width, count - width or None)
                layer.keys[row, :, start : start + count] = fresh.keys[place, :, columns]
                layer.values[row, :, start : start + count] = fresh.values[place, :, columns]
