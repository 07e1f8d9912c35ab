"""A training run in progress: its step, its epoch, its state. It knows no method.

Every draw of a step comes from a generator seeded by (seed, step), and the order of the data by
(seed, epoch), so a resumed run meets the same numbers as an undisturbed one.
"""

from __future__ import annotations

import json
import math
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from robcert.certify.errors import TrainingError
from robcert.certify.preprocessing import Preprocessing
from robcert.certify.sampling import generator, stream_seed

from .checkpoint import WEIGHTS, Description, load_network, save_checkpoint, write_whole
from .evaluate import attacked_accuracy, clean_accuracy
from .images import TrainingImages, channel_statistics, epoch_order
from .network import NetworkSpec, PixelNetwork
from .objective import Losses, Step
from .overfitting import overfitting
from .run_folder import (
    BEST,
    CONFIG,
    EpochRecord,
    Position,
    Tally,
    kept_checkpoint,
    load_state,
    save_state,
    write_metrics,
)
from .sums import Sums

if TYPE_CHECKING:
    from pathlib import Path

    from robcert.certify.core import Progress

    from .config import TrainConfig
    from .interrupt import DeferredInterrupt

_LOOK_EVERY = 20
"""Steps between looks at the loss, each of which waits for the device."""


class Run:
    """A run in progress: the network, the optimiser, and where they stand."""

    def __init__(
        self,
        config: TrainConfig,
        images: TrainingImages,
        evaluation: TrainingImages,
        out: Path,
        device: torch.device,
        *,
        start: Path | None = None,
    ) -> None:
        self.config = config
        self.images = images
        self.evaluation = evaluation.first(config.evaluation.images)
        self.out = out
        self.device = device
        self.spec = _network_spec(config, images, evaluation)
        network = _starting_network(self.spec, config.seed, start)
        self.model = network.to(device).to(memory_format=torch.channels_last).train()
        self.optimizer = _optimizer(config, self.model)
        self.memory: dict[str, Tensor] = {}
        self.position = Position()
        out.mkdir(parents=True, exist_ok=True)

    @property
    def passes(self) -> int:
        """Passes over the data: a method that replays each batch m times makes m times fewer."""
        return math.ceil(self.config.epochs / self.config.objective.replays)

    @property
    def epochs_after(self) -> int:
        """Epochs done at the end of the running pass, which the last epoch may cut short."""
        return min((self.position.epoch + 1) * self.config.objective.replays, self.config.epochs)

    def pass_over_data(self, interrupt: DeferredInterrupt, progress: Progress) -> None:
        """The rest of the running epoch."""
        position, config = self.position, self.config
        order = epoch_order(
            len(self.images), config.batch_size, seed=config.seed, epoch=position.epoch
        )
        task = f"epoch {self.epochs_after}/{config.epochs}"
        epochs = self.epochs_after - position.epoch * config.objective.replays
        last = max(1, round(len(order) * epochs / config.objective.replays))
        seen = Sums(position.tally, self.device)
        started = time.monotonic()
        while position.batch < last:
            x, y = self.images.batch(order[position.batch], self.device)
            number = position.epoch * len(order) + position.batch
            x = config.augmentation(x, generator(config.seed, "train-augment", number))
            for replay in range(config.objective.replays):
                seen.add(self.step(x, y, number=number, replay=replay, of=len(order)), y)
            position.batch += 1
            if position.batch % _LOOK_EVERY == 0 or position.batch == last:
                seen.require_finite(task, position.batch)
                progress(task, position.batch, last)
            if interrupt.requested:
                position.tally = seen.tally(time.monotonic() - started)
                self.save()
                raise KeyboardInterrupt
        position.tally = seen.tally(time.monotonic() - started)

    def step(self, x: Tensor, y: Tensor, *, number: int, replay: int, of: int) -> Losses:
        """One optimiser step on a batch.

        Args:
            x: pixels.
            y: classes.
            number: batches before this one since the start of the run.
            replay: steps already made on this batch.
            of: batches an epoch.
        """
        config, replays = self.config, self.config.objective.replays
        torch.manual_seed(stream_seed(config.seed, "train-layers", number, replay))  # dropout
        draws = generator(config.seed, "train-step", number, replay, device=self.device)
        epoch = (number + replay / replays) / of * replays
        for group in self.optimizer.param_groups:
            group["lr"] = config.optimizer.learning_rate * config.schedule(epoch, config.epochs)
        x = x.contiguous(memory_format=torch.channels_last)
        losses = config.objective(self.model, x, y, Step(epoch, draws, self.memory))
        self.optimizer.zero_grad(set_to_none=True)
        if losses.regularizer is not None:
            torch.autograd.backward(losses.regularizer.mean(), retain_graph=True)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), losses.clip_norm)
        torch.autograd.backward(losses.loss.mean())
        if losses.after_backward is not None:
            losses.after_backward()
        if config.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.optimizer.clip_norm)
        self.optimizer.step()
        return losses

    def end_epoch(self) -> EpochRecord:
        """Measure, write the checkpoints and the metrics, move on to the next epoch."""
        position = self.position
        started = time.monotonic()
        accuracy, attacked = self.measure()
        tally = position.tally
        record = EpochRecord(
            epoch=self.epochs_after,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            loss=tally.loss / tally.images,
            train_accuracy=tally.correct / tally.images,
            accuracy=accuracy,
            attacked_accuracy=attacked,
            images_per_second=tally.images / max(tally.seconds, 1e-9),
            seconds=tally.seconds + time.monotonic() - started,
            measured={name: value / tally.images for name, value in tally.measured.items()},
        )
        position.warnings += overfitting(position.records, record)
        position.records.append(record)
        position.epoch, position.batch, position.tally = position.epoch + 1, 0, Tally()
        if accuracy is not None and accuracy > position.best:
            position.best, position.best_epoch = accuracy, record.epoch
            save_checkpoint(self.out / BEST, self.model.state_dict(), self.description())
        every = self.config.evaluation.keep_every
        if every and (position.epoch % every == 0 or position.epoch == self.passes):
            kept = kept_checkpoint(self.out, record.epoch)
            kept.parent.mkdir(exist_ok=True)
            save_checkpoint(kept, self.model.state_dict(), self.description())
        self.save()
        return record

    def measure(self) -> tuple[float | None, float | None]:
        """Clean and attacked accuracy, each where it is due after the running epoch."""
        settings, done = self.config.evaluation, self.position.epoch + 1
        last = done == self.passes
        clean = attacked = None
        if last or done % settings.every == 0:
            clean = clean_accuracy(self.model, self.evaluation, self.device)
        if settings.attack_every and (last or done % settings.attack_every == 0):
            attacked = attacked_accuracy(self.model, self.evaluation, settings, self.device)
        return clean, attacked

    def save(self) -> None:
        """Write the checkpoint, what a resumed run needs, the configuration and the metrics."""
        description = self.description()
        save_checkpoint(self.out / WEIGHTS, self.model.state_dict(), description)
        text = json.dumps(description.to_json(), indent=2)
        write_whole(self.out / CONFIG, f"{text}\n".encode())
        write_metrics(self.out, self.position.records)
        save_state(self.out, self._state(), self.position, self._identity())

    def resume(self) -> None:
        """Go back to the state saved in the run folder."""
        tensors, self.position = load_state(self.out, self._identity())
        self.model.load_state_dict(_part(tensors, "model."))
        self.memory = {k: v.to(self.device) for k, v in _part(tensors, "memory.").items()}
        momentum = _part(tensors, "momentum.")
        for number, parameter in enumerate(self.model.parameters()):
            if str(number) in momentum:
                buffer = momentum[str(number)].to(parameter.device)
                self.optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(
                    parameter
                ).copy_(buffer)

    def description(self) -> Description:
        """What the checkpoint says of itself."""
        records = self.position.records
        state = {"epoch": records[-1].epoch, "accuracy": records[-1].accuracy} if records else {}
        return Description(
            network=self.spec,
            training=self.config,
            data={
                "name": self.evaluation.name,
                "train": _identity_of(self.images),
                "evaluation": _identity_of(self.evaluation),
            },
            state=state,
            versions={"robcert": version("robcert"), "torch": torch.__version__},
        )

    def _state(self) -> dict[str, Tensor]:
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"memory.{name}": value for name, value in self.memory.items()}
        for number, parameter in enumerate(self.model.parameters()):
            buffer = self.optimizer.state[parameter].get("momentum_buffer")
            if buffer is not None:
                tensors[f"momentum.{number}"] = buffer
        return tensors

    def _identity(self) -> dict[str, Any]:
        """What two runs must share for one to go on with the other's state."""
        training = self.config.to_json()
        del training["evaluation"]["keep_every"]  # changes nothing that goes on
        return {**training, "images": _identity_of(self.images)}


def _network_spec(
    config: TrainConfig, images: TrainingImages, evaluation: TrainingImages
) -> NetworkSpec:
    mean, std = channel_statistics(images.pixels) if config.normalize else ((), ())
    return NetworkSpec(
        architecture=config.architecture,
        image_shape=images.image_shape,
        num_classes=max(images.num_classes, evaluation.num_classes),
        preprocessing=Preprocessing(mean=mean, std=std),
    )


def _starting_network(spec: NetworkSpec, seed: int, start: Path | None) -> PixelNetwork:
    """Fresh weights of the seed, or those of the checkpoint ``start``."""
    network = spec.seeded(seed)
    if start is None:
        return network
    trained = load_network(start)
    try:
        network.load_state_dict(trained.state_dict())
    except RuntimeError as error:
        message = f"the weights of {start} are not those of {spec.architecture.name}"
        raise TrainingError(message, hint="start from a run of the same architecture") from error
    return network


def _optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.SGD:
    settings = config.optimizer
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    if settings.decay == "weights":
        groups = [
            {"params": [p for p in model.parameters() if p.ndim > 1]},
            {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
    return torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )


def _identity_of(images: TrainingImages) -> dict[str, Any]:
    return {"name": images.name, "sha256": images.sha256, "count": len(images)}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose name starts with ``prefix``, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
