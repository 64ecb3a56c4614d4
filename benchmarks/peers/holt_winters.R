# SPDX-License-Identifier: MIT OR Apache-2.0
# R: stats::HoltWinters and the forecast of one season, additive, three parameters fitted.
#
# usage: Rscript holt_winters.R SERIES.csv M COUNT     the first COUNT columns of a file of columns without a header
# prints: hw r N M us_per_series, and a line "sse r N M column value" for each series
suppressMessages(library(forecast))
args <- commandArgs(trailingOnly = TRUE)
m <- as.integer(args[2])
y <- as.matrix(read.csv(args[1], header = FALSE))
count <- min(as.integer(args[3]), ncol(y))
cpu <- function() { p <- proc.time(); as.numeric(p[1] + p[2]) }
one <- function(v) { fit <- HoltWinters(ts(v, frequency = m)); forecast(fit, h = m); fit$SSE }
invisible(one(y[, 1])) # load what is loaded on first use
start <- cpu()
sse <- vapply(seq_len(count), function(i) one(y[, i]), 0)
cat(sprintf("hw r %d %d %.1f\n", nrow(y), m, 1e6 * (cpu() - start) / count))
cat(sprintf("sse r %d %d %d %.10g\n", nrow(y), m, seq_len(count) - 1, sse), sep = "")
