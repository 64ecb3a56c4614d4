/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/**
 * @file io.h
 * @defgroup io Input and output (libshardpredict-io)
 * @brief Files in and out: traces with maps, scenarios, fleets, JSON, the generator, the HTML report.
 *
 * The formats stand in doc/formats.md, their schemas in doc/schema/. Every parser says file, line and column
 * of what it cannot read. Whole documents appear only when they are complete: a file is written beside its
 * target and renamed; a target that is not a regular file is written in place.
 *
 * Threads: functions that take a context follow the context's rule.
 * @{
 */
#ifndef SHARDPREDICT_IO_H
#define SHARDPREDICT_IO_H

#include <shardpredict/replay.h>

#ifdef __cplusplus
extern "C" {
#endif

/** @name Output */
/**@{*/
/** A document under way: in memory until it is committed. Opaque; belongs to its creator. */
typedef struct spr_output spr_output;
/** Begin a document for a path ("-" = standard output: buffered until it is committed). @return 0, SPR_E_IO, SPR_E_NOMEM */
SPR_API int spr_output_create(spr_context *ctx, const char *path, spr_output **out);
/** Append bytes. Errors are kept and told by commit. */
SPR_API void spr_output_write(spr_output *o, const void *data, size_t bytes);
/** Append a text. */
SPR_API void spr_output_text(spr_output *o, const char *text);
/** Append a number as "%.*g" with a point, whatever the locale; NaN as nothing. */
SPR_API void spr_output_number(spr_output *o, double value, int digits);
/** Finish: the document appears whole or not at all. Frees the handle either way. @return 0, SPR_E_IO (names the file) */
SPR_API int spr_output_commit(spr_output *o);
/** Drop it: nothing appears. NULL is fine. */
SPR_API void spr_output_discard(spr_output *o);
/**@}*/

/** @name Traces */
/**@{*/
/** What was read from trace files. Opaque; belongs to its reader. */
typedef struct spr_trace spr_trace;
/** Options of spr_trace_read. */
struct spr_trace_opts {
    size_t size;              /**< sizeof this struct */
    const char *const *files; /**< trace files, .csv or .csv.gz */
    size_t file_count;        /**< at least 1 */
    const char *map;          /**< map file; NULL = the tool's own form */
    const char *where;        /**< COLUMN=VALUE row filter beside the map's, or NULL */
    const char *capacity;     /**< side file that replaces the map's capacities, or NULL */
    double capacity_cores;    /**< declared capacity of every VM that replaces the map's, cores; 0 = the map's */
    uint32_t resources;       /**< bit r: read resource r; 0 = all */
    int32_t reserved;         /**< must be 0 */
    double capacity_bytes;    /**< the same of memory, bytes; 0 = the map's */
};
/** What is known of a VM besides its samples (map capacities, FILE.vms.csv). */
struct spr_trace_vm {
    size_t size;                 /**< sizeof this struct, set by the caller */
    const char *id;              /**< name */
    struct spr_amounts capacity; /**< 0 = unknown */
    int32_t replica;             /**< ::spr_replica_policy, -1 = not said */
    int32_t reserved;            /**< 0 */
    double spillable;            /**< 0..1, -1 = not said */
    double capacity_factor[SPR_RESOURCES_MAX]; /**< what one trace unit of the resource is in its unit */
};
/** Read one or more trace files. Notes (duplicates, gaps, missing side files) go to the context's logger. */
SPR_API int spr_trace_read(spr_context *ctx, const struct spr_trace_opts *opts, spr_trace **out);
/** Forget it; the series lives on by its references. NULL is fine. */
SPR_API void spr_trace_destroy(spr_trace *t);
/** The series (a borrowed reference). */
SPR_API spr_series *spr_trace_series(const spr_trace *t);
/** VMs in trace order. */
SPR_API int64_t spr_trace_vm_count(const spr_trace *t);
/** One VM. @return 0 or SPR_E_ARG */
SPR_API int spr_trace_vm(const spr_trace *t, int64_t index, struct spr_trace_vm *out);
/** One past the last step that any file has a row for ("the trace's last row" + 1). */
SPR_API int64_t spr_trace_end(const spr_trace *t);
/** Name and unit of a resource of the trace: standard ones, and countable ones by the map's names. @return 0 or SPR_E_ARG */
SPR_API int spr_trace_resource(const spr_trace *t, int resource, struct spr_resource_info *out);
/**@}*/

/** @name A trace as a source */
/**@{*/
struct spr_source_ops;
/** Config of spr_trace_source; both must outlive the source. */
struct spr_trace_source_opts {
    size_t size;             /**< sizeof this struct */
    const spr_series *series;/**< rows of VMs by id and resource */
    const spr_fleet *fleet;  /**< the inventory it answers with */
};
/**
 * Source table ("csv") that plays a recorded series: asked for samples at a moment, it answers with the step that
 * ends there (or is running). It never shows a step that has not begun. Config: struct spr_trace_source_opts.
 */
SPR_API const struct spr_source_ops *spr_trace_source(void);
/**@}*/

/** @name Scenarios */
/**@{*/
/** A scenario with its trace and fleet. Opaque; belongs to its reader. */
typedef struct spr_scenario_file spr_scenario_file;
/** Where a scenario finds things. */
struct spr_scenario_opts {
    size_t size;          /**< sizeof this struct */
    const char *data_dir; /**< what $SPR_DATA stands for, or NULL */
    const char *maps_dir; /**< extra folder of maps ($SPR_MAPS), or NULL */
    const char *installed_dir; /**< the installed data folder (its maps/), or NULL */
    uint64_t seed;        /**< when the scenario names none; also for who may replicate by default */
    int32_t hosts;        /**< default scenario: number of hosts; 0 = VMs / 10 */
    int32_t reserved;     /**< must be 0 */
};
/** Read a scenario file (YAML or JSON), its trace, map and fleet. */
SPR_API int spr_scenario_read(spr_context *ctx, const char *path, const struct spr_scenario_opts *opts,
                              spr_scenario_file **out);
/** The default scenario around a trace: formats.md, "`--hosts N` without a scenario". */
SPR_API int spr_scenario_default(spr_context *ctx, const spr_trace *trace, const struct spr_scenario_opts *opts,
                                 spr_scenario_file **out);
/** Forget it. NULL is fine. */
SPR_API void spr_scenario_file_destroy(spr_scenario_file *s);
/** The scenario; lives as long as the file object. Its numbers may be changed by the caller before a run. */
SPR_API struct spr_scenario *spr_scenario_file_scenario(spr_scenario_file *s);
/** Its series (borrowed). */
SPR_API spr_series *spr_scenario_file_series(const spr_scenario_file *s);
/** Factor from the core's unit of a resource to the unit of the scenario's host capacity, and that unit's name. */
SPR_API double spr_scenario_file_unit(const spr_scenario_file *s, int resource, const char **name);
/**@}*/

/** @name Fleet files */
/**@{*/
/**
 * Read a fleet file (YAML or JSON) around the VMs of a trace: hosts, policies by match, declared demand.
 * VMs are placed greedily by their mean over steps [first, last) unless the file says where.
 */
SPR_API int spr_fleet_read(spr_context *ctx, const char *path, const spr_trace *trace, int64_t first, int64_t last,
                           spr_fleet **out);
/**@}*/

/** @name Calendars */
/**@{*/
/**
 * Read events from an iCalendar file (RFC 5545): VEVENT with DTSTART, DTEND or DURATION, RRULE (DAILY to YEARLY; INTERVAL,
 * COUNT, UNTIL, BYDAY, BYMONTHDAY, BYMONTH), RDATE, EXDATE, TZID with its VTIMEZONE. The kind is the first of CATEGORIES,
 * else SUMMARY; X-SHARDPREDICT-AMOUNT declares a multiplier, X-SHARDPREDICT-CONFIDENCE a chance (STATUS:TENTATIVE: 0.5).
 * @return 0, SPR_E_IO, SPR_E_FORMAT (file and line; what is not supported is named, never guessed), SPR_E_NOMEM
 */
SPR_API int spr_calendar_read(spr_context *ctx, const char *path, spr_calendar **out);
/**@}*/

/** @name The generator */
/**@{*/
/** Options of spr_generate; the mix is published in doc/generator.md and never tuned. */
struct spr_generate_opts {
    size_t size;         /**< sizeof this struct */
    int32_t vms;         /**< number of VMs; 0 = 200 */
    int32_t days;        /**< length; 0 = 28 */
    uint64_t seed;       /**< same seed, same bytes */
    int32_t stationary;  /**< 1: no change of level, season or bursts */
    int32_t reserved;    /**< must be 0 */
    const char *out;     /**< trace file; required */
    const char *truth;   /**< file for the truth, or NULL */
};
/** Write a fleet's trace, its side file and, where asked, the truth. */
SPR_API int spr_generate(spr_context *ctx, const struct spr_generate_opts *opts);
/**@}*/

/** @name Models */
/**@{*/
/** Read a model file. @return 0, SPR_E_NOT_FOUND, SPR_E_IO, or what spr_model_open says; every error names the path */
SPR_API int spr_model_load(spr_context *ctx, const char *path, spr_model **out);
/** Write a model: beside its target, then renamed over it; a full disk leaves the old file. @return 0, SPR_E_IO, SPR_E_NOMEM */
SPR_API int spr_model_save(spr_context *ctx, const spr_model *model, const char *path);
/**@}*/

/** @name JSON and HTML out */
/**@{*/
/** Profiles as JSON (doc/schema/profile.json). */
SPR_API int spr_profile_write(spr_context *ctx, const spr_profile *profile, spr_output *out);
/** A plan as JSON (doc/schema/plan.json). */
SPR_API int spr_plan_write(spr_context *ctx, const spr_plan *plan, uint64_t fence, spr_output *out);
/** The why of one action of a plan file: what is done, the forecast and the limit behind it, what undoes it. Text lines. */
SPR_API int spr_plan_explain(spr_context *ctx, const char *path, int64_t action, spr_output *out);
/** The same as JSON: the plan with this action only, 0 = with all (doc/schema/plan.json). @return as spr_plan_explain */
SPR_API int spr_plan_explain_json(spr_context *ctx, const char *path, int64_t action, spr_output *out);
/** What the result of a replay says besides the verdict. */
struct spr_result_extra {
    size_t size;            /**< sizeof this struct */
    double cpu_s;           /**< CPU time of the run, s */
    double wall_s;          /**< wall time of the run, s */
    int64_t peak_rss_bytes; /**< peak resident memory */
};
/** A verdict as JSON (doc/schema/result.json). */
SPR_API int spr_result_write(spr_context *ctx, const spr_scenario_file *scenario, const spr_verdict *verdict,
                             const struct spr_result_extra *extra, spr_output *out);
/** Collects a replay for the HTML page. Opaque; belongs to its creator. */
typedef struct spr_report spr_report;
/** Collects what a report shows while a replay runs: give its functions the run's events and steps. */
SPR_API int spr_report_create(spr_context *ctx, const spr_scenario_file *scenario, spr_report **out);
/** One ledger event. */
SPR_API int spr_report_event(spr_report *r, const struct spr_replay_event *event);
/** One step row. */
SPR_API int spr_report_step(spr_report *r, const struct spr_replay_step *step);
/** Write the page: one HTML file that opens without a network. */
SPR_API int spr_report_write(spr_report *r, const spr_verdict *verdict, spr_output *out);
/** Forget it. NULL is fine. */
SPR_API void spr_report_destroy(spr_report *r);
/** The verdict in one sentence that names the rival and the saving; returns its length as snprintf does. */
SPR_API int spr_verdict_sentence(const spr_verdict *v, char *text, size_t room);
/**@}*/

#ifdef __cplusplus
}
#endif
/** @} */
#endif
