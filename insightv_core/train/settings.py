"""What a training run is asked to do: plain data that loads no library, so that command lines can show the defaults."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What both ways of training share.

    `lora_rank` None trains all weights; otherwise the linear layers of the text model get adapters. `max_tokens` bounds
    a whole conversation, None being the context length of the model. `bf16` None is on where a GPU has it.
    """

    learning_rate: float
    epochs: float
    batch_size: int  # rows or pairs on each device
    gradient_accumulation: int
    warmup: float = 0.05  # share of the steps
    max_gradient_norm: float = 1.0
    lora_rank: int | None = 16
    lora_alpha: int = 32
    train_vision: bool = False
    gradient_checkpointing: bool = False
    bf16: bool | None = None
    max_tokens: int | None = None
    logging_steps: int = 1
    save_steps: int = 50
    keep_checkpoints: int = 2
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class DPOSettings(TrainingSettings):
    """Settings of one round of preference training.

    The paper (arXiv 2411.14432) trains three rounds of one epoch at a learning rate of 5e-7; its published script
    trains all weights but the vision tower's, with beta 0.1, a warm-up of 0.05 and a cosine schedule. LoRA wants a
    rate about ten times as high, so that is the default here.

    `loss_type` is any name of `insightv_core.train.dpo.LOSS_TYPES`; `label_smoothing` is read by "robust",
    "exo_pair" (which needs it above 0) and the two "aot" losses. `gamma` weighs a next-token loss on the chosen
    answers, a mean over their tokens, so that with chains of 200 tokens it takes 20 to tell beside a beta of 1.
    `share_prefix` False computes the plain way, for models that the shared way cannot serve. `free_reference` takes the
    reference log-probabilities that were kept while the reference sampled the pairs.
    """

    beta: float = 0.1
    loss_type: str = "sigmoid"
    label_smoothing: float = 0.0
    gamma: float = 0.0
    learning_rate: float = 5e-6
    epochs: float = 1.0
    batch_size: int = 2
    gradient_accumulation: int = 8
    share_prefix: bool = True
    free_reference: bool = False


@dataclass(frozen=True, kw_only=True)
class SFTSettings(TrainingSettings):
    """Settings of one run of supervised fine-tuning.

    The paper trains the reasoning agent for 2 epochs at 5e-6 and the summary agent for 1 epoch at 1e-5, all weights of
    the text model (its published scripts; warm-up 0.05, cosine schedule, vision tower frozen). LoRA wants a rate some
    ten times as high.
    """

    learning_rate: float = 2e-4
    epochs: float = 2.0
    batch_size: int = 8
    gradient_accumulation: int = 1
