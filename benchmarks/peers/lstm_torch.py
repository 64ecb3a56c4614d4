# SPDX-License-Identifier: MIT OR Apache-2.0
"""PyTorch: an LSTM with 8 inputs and 6 outputs at each of 96 steps, inference and training, one thread.

usage: lstm_torch.py UNITS BATCH...     prints: lstm pytorch UNITS BATCH inference_us training_us windows_per_second

Microseconds of CPU time per series and step, the best of several rounds after one that is not counted. Training is
forward, back and Adam. Inference is timed as it stands and as a frozen TorchScript graph; the faster one counts."""
import sys
import time

import torch

STEPS, INPUTS, OUTPUTS, ROUNDS = 96, 8, 6, 5


class Net(torch.nn.Module):
    def __init__(self, units):
        super().__init__()
        self.cells, self.head = torch.nn.LSTM(INPUTS, units), torch.nn.Linear(units, OUTPUTS)

    def forward(self, x):
        return self.head(self.cells(x)[0])


def best(f):
    f()
    took, again = 9e9, 1
    for _ in range(ROUNDS):
        start = time.thread_time()
        for _ in range(again):
            f()
        one = (time.thread_time() - start) / again
        took, again = min(took, one), max(1, int(0.1 / one))
    return took


def measure(units, batch):
    net = Net(units)
    x, y = torch.randn(STEPS, batch, INPUTS), torch.randn(STEPS, batch, OUTPUTS)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)

    def learn():
        adam.zero_grad(set_to_none=True)
        torch.nn.functional.mse_loss(net(x), y).backward()
        adam.step()

    slow = best(learn)
    net.eval()
    with torch.no_grad():
        graph = torch.jit.freeze(torch.jit.trace(net, x))
        quick = min(best(lambda: net(x)), best(lambda: graph(x)))
    return quick, slow


torch.set_num_threads(1)
torch.manual_seed(1)
for b in map(int, sys.argv[2:]):
    u, points = int(sys.argv[1]), b * STEPS
    quick, slow = measure(u, b)
    print(f"lstm pytorch {u} {b} {1e6 * quick / points:.4f} {1e6 * slow / points:.4f} {b / slow:.0f}", flush=True)
