"""A whole training that takes a second: two groups of cases, dropout, a schedule, an average, validation, checkpoints.

In: a folder; as a program also a moment to die at. Out: the folder's checkpoints, and `losses.txt`, one line
"iteration loss" a step, the loss to the last bit. Run by tests of what survives a kill.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from monai.handlers import LrScheduleHandler, MeanDice, ValidationHandler, from_engine
from monai.losses import DiceCELoss

from lungseg3d.engines import (
    HuAugmentation,
    PatchGeometry,
    RoiSampler,
    RoiTrainer,
    RunCheckpoints,
    SourceGroup,
    StepPlan,
    WeightAverage,
    share_network,
)
from lungseg3d.networks import LightUNet3d

ITERATIONS = 4  # an epoch


def case(number: int) -> dict[str, Any]:
    """A bright ball in the dark, elsewhere for each number."""
    centre = np.random.default_rng(number).uniform(8, 16, 3)
    away = np.linalg.norm(np.indices((24, 24, 24)) - centre[:, None, None, None], axis=0)
    image = torch.from_numpy(np.where(away < 6, 50, -850).astype(np.int16))[None]
    return {"image": image, "label": (image > -300).to(torch.uint8), "case_id": f"ball-{number}"}


def small_training(folder: Path, epochs: int = 5, **changes: Any) -> RoiTrainer:
    """The trainer, ready to run.

    `changes`: seed, decay, channels, dropout, cases, resume, loss, after (more handlers), batch_size, process (rank and
    number of processes, joined already), rate (of plain gradient descent instead of AdamW), schedule_epochs.
    """
    torch.set_num_threads(1)
    seed = changes.get("seed", 0)
    torch.manual_seed(seed)
    network: torch.nn.Module = LightUNet3d(
        channels=changes.get("channels", (4, 8)), dropout=changes.get("dropout", 0.2)
    )
    if "process" in changes:
        network = share_network(network, torch.device("cpu"))
    if "rate" in changes:
        optimizer: torch.optim.Optimizer = torch.optim.SGD(network.parameters(), lr=changes["rate"])
    else:
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    steps = changes.get("schedule_epochs", epochs) * ITERATIONS
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=steps, power=0.9)
    groups = [SourceGroup("balls", changes.get("cases", [case(1), case(2)])), SourceGroup("others", [case(3)])]
    sampler = RoiSampler(
        groups,
        16,
        changes.get("batch_size", 2),
        ITERATIONS,
        [HuAugmentation(probability=1.0)],
        PatchGeometry(strain=0.2),
        seed=seed,
        process=changes.get("process", (0, 1)),
    )
    average = WeightAverage(network, changes.get("decay", 0.9))
    held_out = [{"image": (c["image"].float() + 1000) / 1400, "label": c["label"]} for c in (case(4), case(5))]
    evaluator = SupervisedEvaluator(
        torch.device("cpu"),
        # Shuffled, so that validation draws random numbers too.
        DataLoader(held_out, batch_size=1, shuffle=True, num_workers=0),
        average.network,
        postprocessing=lambda data: {**data, "pred": data["pred"].argmax(0, keepdim=True)},
        key_val_metric={"dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
    )
    handlers = [
        LrScheduleHandler(schedule, print_lr=False, epoch_level=False),
        ValidationHandler(1, evaluator),
        RunCheckpoints(
            folder,
            average.network,
            {"schedule": schedule, "average": average},
            evaluator,
            settings={"seed": seed},
            resume=changes.get("resume", True),
        ),
        *changes.get("after", ()),
    ]
    loss = changes.get("loss") or DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)
    trainer = RoiTrainer("cpu", epochs, sampler, network, optimizer, loss, StepPlan("fp32"), train_handlers=handlers)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, _write_loss, folder)
    return trainer


def _write_loss(trainer: RoiTrainer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "losses.txt").open("a") as file:
        file.write(f"{trainer.state.iteration} {trainer.state.output['loss'].item().hex()}\n")


def losses_of(folder: Path) -> Mapping[int, str]:
    """Iteration -> loss; of an iteration that ran twice, the second time."""
    rows = [line.split() for line in (folder / "losses.txt").read_text().splitlines()]
    return {int(row[0]): row[1] for row in rows if len(row) == 2}


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_inside_save(epoch: int) -> None:
    """Make `torch.save` of `last.pt` of this epoch write the first half of its bytes, and die."""
    save = torch.save

    def half(content: Any, file: Any) -> None:
        if isinstance(content, dict) and content.get("epoch") == epoch:
            whole = io.BytesIO()
            save(content, whole)
            file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
            file.flush()
            _die()
        save(content, file)

    torch.save = half


if __name__ == "__main__":
    # small_training.py FOLDER [iteration N | save EPOCH | processes BATCH_SIZE EPOCHS]
    if sys.argv[2:3] == ["processes"]:  # one of those that torchrun started
        idist.initialize("gloo")
        rank, count = idist.get_rank(), idist.get_world_size()
        options = {"batch_size": int(sys.argv[3]), "epochs": int(sys.argv[4]), "dropout": 0.0, "rate": 0.1}
        options["schedule_epochs"] = 2
        small_training(Path(sys.argv[1]), process=(rank, count), **options).run()
        idist.finalize()
        sys.exit()
    running = small_training(Path(sys.argv[1]))
    if sys.argv[2:3] == ["iteration"]:
        running.add_event_handler(Events.ITERATION_COMPLETED(once=int(sys.argv[3])), _die)
    elif sys.argv[2:3] == ["save"]:
        _die_inside_save(int(sys.argv[3]))
    running.run()
