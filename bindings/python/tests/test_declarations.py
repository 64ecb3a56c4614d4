# SPDX-License-Identifier: MIT OR Apache-2.0
"""The binding cannot drift from the headers and the libraries."""
import dataclasses
import inspect
import os
import re

import pytest

import shardpredict as sp
from shardpredict import _core, _io, _sim, control, forecast, io, metrics, model, ops, profile, replay, sim  # noqa: F401
from shardpredict._base import STRUCTS, c_field

ROOT = os.environ["SPR_SOURCE_ROOT"]
MAPS = {"lib/shardpredict.map": _core, "lib/io/shardpredict-io.map": _io, "lib/backends/sim/shardpredict-sim.map": _sim}

# Fields that a dataclass leaves out: sizes, padding, counts beside a sequence, and what only C can be given.
LEFT_OUT = {"size", "reserved", "reserved2", "observed_count", "usage_count"}
LEFT_OUT_OF = {"spr_plan_opts": {"under_covered", "under_covered_count", "classes", "class_count",
                                 "unkept", "unkept_why", "unkept_count", "warm", "warm_count"},
               "spr_planner_config": {"reserve", "reserve_count", "given", "user"},
               "spr_scenario": {"fleet", "tuned_thresholds", "tuned_threshold_count", "tuned_holds_s", "tuned_hold_count"}}


@pytest.mark.parametrize("path", MAPS)
def test_every_exported_symbol_is_declared_and_can_be_called(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        names = re.findall(r"\b(spr_\w+)\s*;", re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S))
    assert len(names) > 3
    missing = [n for n in names if not hasattr(MAPS[path].lib, n)]
    assert not missing


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_a_dataclass_has_the_fields_of_its_struct(name):
    ffi = _io.ffi if name in ("spr_trace_vm",) else _core.ffi
    c = {n for n, _ in ffi.typeof("struct " + name).fields}
    assert {c_field(f.name) for f in dataclasses.fields(STRUCTS[name])} == c - LEFT_OUT - LEFT_OUT_OF.get(name, set())


@pytest.mark.parametrize("name,made_by,left_out", [
    ("spr_context_opts", sp.Context, {"allocator", "executor"}),
    ("spr_metrics_opts", sp.Metrics, set()),
    ("spr_profile_opts", sp.Profiler, set()),
    ("spr_forecaster_opts", sp.Forecaster, {"level_count", "config"}),
    ("spr_trainer_opts", sp.Trainer, {"level_count"}),
    ("spr_training_opts", sp.Trainer.add, {"signed_values"}),
    ("spr_model_opts", model.asks, {"signed_values"}),
    ("spr_controller_opts", sp.Controller, {"user", "steer"}),
    ("spr_trace_opts", io.Trace, {"file_count"}),
    ("spr_generate_opts", io.generate, set()),
    ("spr_scenario_opts", io.Scenario.read, set()),
    ("spr_replay_opts", replay.run, {"source", "driver", "router", "threads_reserved", "user", "forecaster_config"}),
    ("spr_world_config", sim.World, set()),
])
def test_every_option_is_a_keyword(name, made_by, left_out):
    ffi = _io.ffi if name in ("spr_trace_opts", "spr_generate_opts", "spr_scenario_opts") else _core.ffi
    fields = {n for n, _ in ffi.typeof("struct " + name).fields if not n.endswith("_config")} - LEFT_OUT - left_out
    assert fields <= set(inspect.signature(made_by).parameters)


def test_every_slot_of_every_table_has_its_python_function():
    kinds = {"driver": ops.Driver, "source": ops.Source, "router": ops.Router, "store": ops.Store,
             "forecaster": ops.ForecasterMethod, "planner": ops.PlannerMethod}
    for kind, base in kinds.items():
        for slot, field in _core.ffi.typeof("struct spr_%s_ops" % kind).fields:
            if field.type.kind == "function":
                assert hasattr(base, slot), (kind, slot)
                assert hasattr(_core.lib, "spr_py_%s_%s" % (kind, slot))


def test_codes_and_states_come_from_the_headers():
    assert sp.ErrorCode.E_FENCED == -14 and sp.ShardState.ADOPTED == 10 and sp.DriverVerb.OBSERVE == 1
    assert {r.name.lower() for r in sp.Resource if r < 6} == {sp.resource_name(r) for r in range(6)}
    assert sp.Amounts._fields[:6] == tuple(sp.resource_name(r) for r in range(6))
    assert len(sp.Amounts._fields) == _core.lib.SPR_RESOURCES_MAX
    assert re.fullmatch(r"\d+\.\d+\.\d+", sp.__version__)
