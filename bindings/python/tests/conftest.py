# SPDX-License-Identifier: MIT OR Apache-2.0
import gc

import pytest

import shardpredict as sp


@pytest.fixture
def context():
    c = sp.Context(seed=11)
    yield c
    c.close()
    gc.collect()
