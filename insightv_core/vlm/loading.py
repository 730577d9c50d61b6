"""From what a user writes to a model: a name, a folder, a hub id, or addresses of servers."""

from insightv_core.vlm import VLM


def load_vlm(name: str, *, device: str | None = None, dtype: str | None = None, rows: int | None = None) -> VLM:
    """Load a local model, or connect to servers when the name is an http address.

    Several servers are separated by commas; `#model` at the end names the model they should use. Raises `UserError`
    when it cannot be found, loaded or reached.
    """
    if name.startswith(("http://", "https://")):
        from insightv_core.vlm.remote import RemoteSettings, connect

        addresses, _, model = name.partition("#")
        return connect(RemoteSettings(tuple(addresses.split(",")), model or None))
    from insightv_core.vlm.local import load_local

    return load_local(name, device=device, dtype=dtype, row_limit=rows)
