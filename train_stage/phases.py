"""The phases that a training goes through."""

from __future__ import annotations

from dataclasses import dataclass

from train_stage.expert_params import ExpertParams


@dataclass(frozen=True)
class Phase:
    name: str
    """whole, high_resolution or decoder."""
    input_size: int
    epochs: int
    learning_rate: float
    encoder_learning_rate: float | None
    """None: the encoder is frozen."""


def phases(params: ExpertParams) -> list[Phase]:
    """The whole network, if the params say so again at a high resolution, then the decoder alone
    on the frozen encoder's features, varied by dropout. Those without epochs are left out."""
    rate, encoder_rate = params.learning_rate, params.encoder_learning_rate
    plan = [Phase("whole", params.input_size, params.epochs, rate, encoder_rate)]
    last, high = params.last_input_size, params.high_resolution
    if high:
        in_proportion = encoder_rate * high.learning_rate / rate
        plan.append(Phase("high_resolution", last, high.epochs, high.learning_rate, in_proportion))
    if params.decoder_epochs:
        rate = params.decoder_learning_rate
        plan.append(Phase("decoder", last, params.decoder_epochs, rate, None))
    return plan
