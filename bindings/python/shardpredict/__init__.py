# SPDX-License-Identifier: MIT OR Apache-2.0
"""Predicts when VMs outgrow their hosts and holds shards of other hosts ready before.

The modules have the names of the library's headers, in the order in which data flows. `shardpredict.io`, `.replay`
and `.sim` load their own small C libraries and are imported by name.
"""
from . import control, events, fleet, forecast, metrics, model, ops, plan, profile, route
from ._base import NONE, Amounts, ArgumentError, Error, NoMemoryError, NotFoundError, Time, c_text
from ._core import ffi as _ffi
from ._core import lib as _lib
from ._enums import *  # noqa: F401,F403
from .context import Context, LogRecord
from .control import Controller
from .events import Calendar
from .fleet import VM, Declared, Fleet, FleetBuilder, Host, Shard
from .forecast import Forecast, Forecaster
from .metrics import Metrics, Series
from .model import Model, Trainer
from .plan import Action, Infeasible, Plan, Planner, PlanOpts
from .profile import Profile, Profiler
from .route import Routes

__version__ = c_text(_lib.spr_version_string())


def resource_name(resource: int) -> str:
    """Name of a standard resource, as the formats use it."""
    info = _ffi.new("struct spr_resource_info *", {"size": _ffi.sizeof("struct spr_resource_info")})
    if _lib.spr_resource_describe(resource, info) < 0:
        raise ValueError("resource %d is no standard one" % resource)
    return c_text(info.name)


__all__ = ["NONE", "VM", "Action", "Amounts", "ArgumentError", "Calendar", "Context", "Controller", "Declared", "Error", "Fleet",
           "FleetBuilder", "Forecast", "Forecaster", "Host", "Infeasible", "LogRecord", "Metrics", "Model", "NoMemoryError",
           "NotFoundError", "Plan", "PlanOpts", "Planner", "Profile", "Profiler", "Routes", "Series", "Shard", "Time", "Trainer",
           "__version__", "control", "events", "fleet", "forecast", "metrics", "model", "ops", "plan", "profile", "resource_name", "route"]
