"""A network on VGG-Face as a user of PyTorch would write and train it.

`training.py` measures against it, in a process of its own: beside TensorFlow's,
PyTorch's memory would cost more time than it has to.
"""

import functools
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from affwild_omg.nets.architectures import VGG_BLOCKS, Architecture
from affwild_omg.paper.task import CROP_SIZE, LANDMARKS

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

_MEASURED = {}  # name: function; of this process


class Twin(nn.Module):
    """The network of an architecture with a GRU stack for each tap.

    PyTorch has GRUs of the kind "cudnn" only. Frames without a face, which
    the network leaves out, do not exist here.
    """

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.convs, sizes = nn.ModuleDict(), {}
        channels, size = 3, CROP_SIZE
        for block, widths in enumerate(VGG_BLOCKS, start=1):
            for index, width in enumerate(widths, start=1):
                name = f"conv{block}_{index}"
                self.convs[name] = nn.Conv2d(channels, width, 3, padding=1)
                channels, sizes[name] = width, size * size * width
            size //= 2
            sizes[f"pool{block}"] = size * size * channels
        fc_units = sizes["fc"] = architecture.fc_units
        self.fc = nn.Linear(sizes["pool5"] + 2 * LANDMARKS, fc_units)
        self.fc_dropout = nn.Dropout(architecture.fc_dropout)
        self.stacks = nn.ModuleDict(
            {
                tap: nn.GRU(
                    sizes[tap],
                    architecture.units,
                    architecture.depth,
                    batch_first=True,
                    dropout=architecture.rnn_dropout,
                )
                for tap in architecture.taps
            }
        )
        self.output = nn.Linear(
            architecture.units * len(self.stacks), len(architecture.targets)
        )
        self.to(DEVICE, memory_format=torch.channels_last)

    def forward(self, frames, landmarks):
        """Returns [batch, time, targets]; the arguments are the network's."""
        batch, time = frames.shape[:2]
        # Frames come with channels last, and PyTorch sees that in the strides.
        x = frames.flatten(0, 1).permute(0, 3, 1, 2).float() / 128 - 1
        taps = {}
        for block, widths in enumerate(VGG_BLOCKS, start=1):
            for index in range(1, len(widths) + 1):
                name = f"conv{block}_{index}"
                x = taps[name] = torch.relu_(self.convs[name](x))
            x = taps[f"pool{block}"] = nn.functional.max_pool2d(x, 2)
        points = landmarks.flatten(0, 1).flatten(1) / (CROP_SIZE / 2) - 1
        # In the order of the network's weights: a view, no copy.
        x = torch.cat([x.permute(0, 2, 3, 1).flatten(1), points], dim=1)
        taps["fc"] = self.fc_dropout(torch.relu_(self.fc(x)))
        features = []
        for tap, stack in self.stacks.items():
            x = taps[tap]
            if x.ndim == 4:
                x = x.permute(0, 2, 3, 1).flatten(1)
            features.append(stack(x.unflatten(0, (batch, time)))[0])
        x = torch.cat(features, dim=-1)
        with torch.autocast(DEVICE, enabled=False):
            return self.output(x.float())

    @torch.no_grad()
    def take(self, weights: Mapping[str, np.ndarray]) -> None:
        """Takes the weights of the network by their names."""

        def copy(target, values):
            target.copy_(torch.from_numpy(np.ascontiguousarray(values)))

        for name, conv in self.convs.items():
            copy(conv.weight, weights[f"{name}/kernel"].transpose(3, 2, 0, 1))
            copy(conv.bias, weights[f"{name}/bias"])
        for name in ("fc", "output"):
            copy(getattr(self, name).weight, weights[f"{name}/kernel"].T)
            copy(getattr(self, name).bias, weights[f"{name}/bias"])
        for tap, stack in self.stacks.items():
            for layer in range(stack.num_layers):
                own = f"{tap}_gru{layer + 1}"
                state = f"{own}/recurrence/step/recurrent"
                for name, source in {
                    "weight_ih": f"{own}/kernel",
                    "bias_ih": f"{own}/bias",
                    "weight_hh": f"{state}_kernel",
                    "bias_hh": f"{state}_bias",
                }.items():
                    update, reset, new = np.split(weights[source].T, 3)
                    copy(
                        getattr(stack, f"{name}_l{layer}"),
                        np.concatenate([reset, update, new]),
                    )


def concordance_loss(labels, values):
    """Computes 1 - the mean CCC of the sequences' means."""
    x, y = labels.mean(dim=1), values.mean(dim=1)
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    covariance = ((x - x_mean) * (y - y_mean)).mean(dim=0)
    variances = x.var(dim=0, correction=0) + y.var(dim=0, correction=0)
    return 1 - (2 * covariance / (variances + (x_mean - y_mean) ** 2)).mean()


class Step:
    """Trains a twin by a batch at a time, with Adam."""

    def __init__(self, network: Twin, learning_rate: float, precision: str):
        self._network = network
        self._lower = precision == "bfloat16"
        # Of the three kinds that PyTorch has, the fused one is the fastest.
        self._adam = torch.optim.Adam(
            network.parameters(), learning_rate, eps=1e-7, fused=True
        )

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Returns the loss before the step."""
        self._network.train()
        self._adam.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=self._lower):
            values = self._network(batch["frames"], batch["landmarks"])
        loss = concordance_loss(batch["labels"], values)
        loss.backward()
        self._adam.step()
        return loss.detach()


def set_up(
    architecture: Architecture,
    weights: Mapping[str, np.ndarray],
    batch: Mapping[str, np.ndarray],
    precision: str,
    learning_rate: float,
    convolutions: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
) -> tuple[np.ndarray, float]:
    """Makes ready what `seconds` measures: "step", and convolutions.

    Args:
        architecture: of the network.
        weights: of the network, by name.
        batch: of the pipeline.
        precision: float32, tf32 or bfloat16.
        learning_rate: Adam's.
        convolutions: shapes of images [n, y, x, in] and kernel [y, x, in, out].

    Returns:
        Values and loss of the batch in float32, without dropout.
    """
    # PyTorch's own rounds the factors of convolutions alone.
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    network = Twin(architecture)
    network.take(weights)
    network.eval()
    batch = {name: torch.from_numpy(x).to(DEVICE) for name, x in batch.items()}
    with torch.no_grad():
        values = network(batch["frames"], batch["landmarks"])
        loss = concordance_loss(batch["labels"], values)
    _MEASURED.clear()
    _MEASURED["step"] = functools.partial(
        Step(network, learning_rate, precision), batch
    )
    for name, shapes in convolutions.items():
        _MEASURED[name] = _convolution(
            *shapes, getattr(torch, precision, torch.float32)
        )
    return values.cpu().numpy(), float(loss)


def seconds(name: str) -> float:
    """Runs something that is ready; returns how long it took."""
    begin = time.perf_counter()
    result = _MEASURED[name]()
    result[(0,) * result.ndim].item()  # waits for the device
    return time.perf_counter() - begin


def _convolution(images, kernel, dtype) -> Callable[[], torch.Tensor]:
    x = torch.ones(images, dtype=dtype, device=DEVICE).permute(0, 3, 1, 2)
    w = torch.ones(kernel, dtype=dtype, device=DEVICE).permute(3, 2, 0, 1)
    w = w.contiguous(memory_format=torch.channels_last)
    return lambda: nn.functional.conv2d(x, w, padding="same")
