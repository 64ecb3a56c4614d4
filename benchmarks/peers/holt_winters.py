# SPDX-License-Identifier: MIT OR Apache-2.0
"""statsforecast: HoltWinters (additive) and the forecast of one season, one thread.

usage: holt_winters.py SERIES.csv M COUNT     the first COUNT columns of a file of columns without a header
prints: hw statsforecast N M us_per_series, and a line "sse statsforecast N M column value" for each series"""
import sys
import time

import numpy as np
from statsforecast.models import HoltWinters

y, m = np.loadtxt(sys.argv[1], delimiter=",", ndmin=2), int(sys.argv[2])
count = min(int(sys.argv[3]), y.shape[1])


def one(v):
    model = HoltWinters(season_length=m, error_type="A").fit(v)
    model.predict(h=m)
    return model


one(np.ascontiguousarray(y[:, 0]))  # compile and load what is loaded on first use
start = time.thread_time()
models = [one(np.ascontiguousarray(y[:, i])) for i in range(count)]
print(f"hw statsforecast {len(y)} {m} {1e6 * (time.thread_time() - start) / count:.1f}")
for i, model in enumerate(models):  # errors from the second season on, as R counts them
    e = np.asarray(model.model_["residuals"], dtype=float)[m:]
    print(f"sse statsforecast {len(y)} {m} {i} {float(e @ e):.10g}")
