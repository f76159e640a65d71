// Command bench measures one neargrid node against redis-server on the same loopback, in the same run, and compares
// the outcome with the project's targets.
//
// The path of a run: main selects points from the table in points.go; each point starts a fresh pair of servers (run.go),
// measures them in turn for a number of rounds (drive.go throughput and CPU through redis-benchmark, memory.go and idle.go
// resident memory, openloop.go latency at a fixed rate, trace.go a recorded cache workload, both with package loadtest), and
// answers series, one sample a round for each server. report.go takes medians, holds them against the targets, prints the table
// and writes docs/bench/node.md. A missed target makes the exit status 1, trouble in the tool itself 2.
//
// Both servers get the same commands, in the same order, with the flags a user would give them. Nothing here knows
// which of the two it is talking to, except where a memory limit is derived from redis-server's own usage (trace.go).
package main
