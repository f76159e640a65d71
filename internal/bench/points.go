package main

import "context"

// The workload's dimensions, the same for every point that does not say otherwise.
const (
	clientCount    = 50
	valueSizeBytes = 64
	keySpace       = 100_000
)

// point is one thing measured, and what the project wants of it.
type point struct {
	name    string
	targets []target
	run     func(context.Context, *lab) (outcome, error)
}

// outcome is what a point measured. A point that failed half way answers what it had.
type outcome struct {
	series []series
	notes  []string // sentences for the report: what a reader must know to judge the figures

	sections []string // further parts of the report, as Markdown
}

// series is one metric of one point: a sample per round for each server.
type series struct {
	metric  metric
	unit    unit
	samples [2][]float64 // indexed by side
}

// side tells the two servers apart.
type side int

const (
	ours side = iota
	peer
)

type metric string

const (
	throughput     metric = "throughput"
	cpuPerCommand  metric = "server CPU per command"
	timePerCommand metric = "time per command"
	resident       metric = "resident above empty"
	peakThroughput metric = "peak throughput"
	offeredRate    metric = "offered rate"
	latencyP99     metric = "p99 latency"
	latencyP999    metric = "p99.9 latency"
	coresIdle      metric = "cores in use, idle"
	residentNode   metric = "resident memory a node"
	timeToStart    metric = "time until it serves"
)

// target is a bound on one metric of a point: on ours divided by Redis's, or on ours alone where absolute is set.
type target struct {
	metric   metric
	rule     rule
	limit    float64 // to be reached
	aim      float64 // to be worked towards; printed, not judged. 0 means none
	absolute bool
}

type rule string

const (
	atLeast rule = "at least"
	atMost  rule = "at most"
)

func (t target) met(v float64) bool {
	if t.rule == atLeast {
		return v >= t.limit
	}
	return v <= t.limit
}

// unpipelined are the targets where the kernel's share of the work leaves little to win.
var unpipelined = []target{
	{metric: throughput, rule: atLeast, limit: 0.9, aim: 1},
	{metric: cpuPerCommand, rule: atMost, limit: 1.1},
}

var pipelined = []target{
	{metric: throughput, rule: atLeast, limit: 1.4},
	{metric: cpuPerCommand, rule: atMost, limit: 0.7},
}

func faster(ratio float64) []target {
	return []target{{metric: throughput, rule: atLeast, limit: ratio}}
}

func smaller(ratio float64) []target { return []target{{metric: resident, rule: atMost, limit: ratio}} }

// nodePoints is the target table of one node.
var nodePoints = []point{
	{"SET", unpipelined, drive{test: "set", row: "SET", cpu: true}.run},
	{"GET", unpipelined, drive{test: "get", row: "GET", prepare: fillStrings, cpu: true}.run},
	{"SET pipeline 16", pipelined, drive{test: "set", row: "SET", pipeline: 16, cpu: true}.run},
	{"GET pipeline 16", pipelined, drive{test: "get", row: "GET", pipeline: 16, prepare: fillStrings, cpu: true}.run},
	{"LPUSH pipeline 16", faster(1.1), drive{test: "lpush", row: "LPUSH", pipeline: 16}.run},
	{"HSET pipeline 16", faster(1.1), drive{test: "hset", row: "HSET", pipeline: 16}.run},
	{"ZADD pipeline 16", faster(1.1), drive{test: "zadd", row: "ZADD", pipeline: 16}.run},
	{"INCR pipeline 16", faster(1.1), drive{test: "incr", row: "INCR", pipeline: 16}.run},
	{"SADD pipeline 16", faster(1.1), drive{test: "sadd", row: "SADD", pipeline: 16}.run},
	{"LRANGE_100 pipeline 16", faster(1.1), drive{test: "lrange_100", row: "LRANGE_100", pipeline: 16}.run},
	{"MSET 10 keys pipeline 16", faster(1.1), drive{test: "mset", row: "MSET", pipeline: 16}.run},

	{"memory 1.0 M keys", smaller(0.55), memory{stringKeys(1_000_000)}.run},
	{"memory 1.4 M keys", smaller(0.55), memory{stringKeys(1_400_000)}.run},
	{"memory 2.0 M keys", smaller(0.55), memory{stringKeys(2_000_000)}.run},
	{"memory 1 M hashes", smaller(0.65), memory{smallHashes(1_000_000)}.run},
	{"memory sorted set of 1 M", smaller(0.65), memory{sortedSetMembers(1_000_000)}.run},
	{"memory set of 1 M", smaller(0.65), memory{setMembers(1_000_000)}.run},
	{"memory 10,000 idle connections", []target{{metric: resident, rule: atMost, limit: 4096, absolute: true}}, idle{10_000}.run},

	{"APPEND to 100 MB", []target{{metric: timePerCommand, rule: atMost, limit: 3}},
		drive{command: []string{"APPEND", bigKey, "x"}, row: "APPEND", pipeline: 16, prepare: fillBig, perCommand: true}.run},
	{"open loop 10 M keys", []target{
		{metric: latencyP99, rule: atMost, limit: 1},
		{metric: latencyP999, rule: atMost, limit: 1},
	}, openLoop{keys: 10_000_000, readShare: 0.8}.run},
	{"trace OLTP", nil, replay{file: "oltp.lis.zst", share: 0.2}.run},
}
