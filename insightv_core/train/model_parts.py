"""Which part of a vision-language model is trained: the frozen vision tower, and adapters on the text model."""

from typing import TYPE_CHECKING

from insightv_core.errors import UserError

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel


def find_vision(model: "PreTrainedModel") -> "PreTrainedModel | None":
    """Return the vision tower of a plain model, or None if it has none under a name that transformers knows."""
    tower = model.get_encoder(modality="image")
    return None if tower in (model, model.base_model) else tower


def freeze_vision(model: "PreTrainedModel") -> None:
    """Keep the vision tower of a plain model as it is; Qwen-VL counts its projector to the tower."""
    tower = find_vision(model)
    if tower is None:
        raise UserError(
            f"{type(model).__name__} has no vision tower under a name that transformers knows: set train_vision=True"
        )
    tower.requires_grad_(False)


def lora_config(model: "PreTrainedModel", rank: int, alpha: int) -> "LoraConfig":
    """Return adapters for every linear layer of the text model; head, projector and vision tower get none.

    So the features of a picture are the same for the base model and all its adapters, and can be shared.
    """
    import torch
    from peft import LoraConfig

    decoder = model.get_decoder()
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    leaves = {name.rsplit(".", 1)[-1] for name, part in decoder.named_modules() if isinstance(part, torch.nn.Linear)}
    where = "".join(f"{part}\\." for part in prefix.split(".") if part)
    targets = rf"{where}.*\.({'|'.join(sorted(leaves))})"
    return LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, task_type="CAUSAL_LM")
