package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

const (
	driveTimeout = 3 * time.Minute // for one run of redis-benchmark

	// A run's request count comes from a probe: requests are multiplied by probeGrowth until it lasts probeMin.
	probeFirst  = 2_000
	probeGrowth = 4
	probeMin    = 250 * time.Millisecond

	// A run is planned longer than the least by this factor, and repeated with more requests when it was still short.
	runMargin   = 1.15
	runTriesMax = 5
)

// drive measures throughput and server CPU by running redis-benchmark: one of its tests, or a command of our own.
type drive struct {
	test       string   // redis-benchmark -t
	command    []string // used where test is empty
	row        string   // how the title of the row of interest begins in redis-benchmark's output
	pipeline   int      // commands in flight a client; 0 means 1
	prepare    func(*server) error
	cpu        bool // report CPU per command. Only where redis-benchmark sends nothing but the commands counted
	perCommand bool // report time per command in place of throughput

	start func(context.Context, *lab) (pair, error) // nil: a server of each side
	door  door                                      // of a grid
}

// door is where a grid is asked.
type door int

const (
	oneDoor    door = iota // the first node's
	eachInTurn             // another node's in each run
	ownerDoors             // the cluster doors: each key at its owner's
)

// sample is one run against one server.
type sample struct {
	rate float64       // commands a second
	cpu  time.Duration // per command
}

func (d drive) run(ctx context.Context, l *lab) (outcome, error) {
	start := d.start
	if start == nil {
		start = func(ctx context.Context, l *lab) (pair, error) { return l.startPair(ctx) }
	}
	servers, err := start(ctx, l)
	if err != nil {
		return outcome{}, err
	}
	defer servers.stop()

	// One count for both: they get the same work, and the faster one still runs long enough.
	count := 0
	for _, srv := range servers {
		rate, err := d.probe(ctx, srv)
		if err != nil {
			return outcome{}, err
		}
		count = max(count, requestCount(rate, l.scale.runMin))
	}

	var rate, cost, latency series
	for round := range l.rounds {
		for _, s := range turn(round) {
			var one sample
			one, count, err = d.measure(ctx, servers[s], count, l.scale.runMin)
			if err != nil {
				return outcome{}, err
			}
			rate.samples[s] = append(rate.samples[s], one.rate)
			cost.samples[s] = append(cost.samples[s], float64(one.cpu)/float64(time.Microsecond))
			latency.samples[s] = append(latency.samples[s], 1e6/one.rate)
		}
	}
	rate.metric, rate.unit = throughput, perSecond
	cost.metric, cost.unit = cpuPerCommand, microseconds
	latency.metric, latency.unit = timePerCommand, microseconds
	switch {
	case d.perCommand:
		return outcome{series: []series{latency}}, nil
	case d.cpu:
		return outcome{series: []series{rate, cost}}, nil
	}
	return outcome{series: []series{rate}}, nil
}

// probe estimates the rate at which a server answers, from short runs.
func (d drive) probe(ctx context.Context, srv *server) (float64, error) {
	for count := probeFirst; ; count *= probeGrowth {
		rate, err := d.once(ctx, srv, count, nil)
		if err != nil {
			return 0, err
		}
		if lasted(count, rate) >= probeMin {
			return rate, nil
		}
	}
}

// measure takes one sample of at least runMin, and answers the request count that sufficed.
func (d drive) measure(ctx context.Context, srv *server, count int, runMin time.Duration) (sample, int, error) {
	for range runTriesMax {
		var used time.Duration
		rate, err := d.once(ctx, srv, count, &used)
		if err != nil {
			return sample{}, count, err
		}
		if lasted(count, rate) >= runMin {
			return sample{rate: rate, cpu: used / time.Duration(count)}, count, nil
		}
		count = max(count, requestCount(rate, runMin))
	}
	return sample{}, count, fmt.Errorf("%s: no run of redis-benchmark lasted %s in %d tries", srv.name, runMin, runTriesMax)
}

// requestCount is how many requests a run of the given length is planned with.
func requestCount(rate float64, length time.Duration) int {
	return int(rate * length.Seconds() * runMargin)
}

func lasted(count int, rate float64) time.Duration {
	return time.Duration(float64(count) / rate * float64(time.Second))
}

// once empties the server, prepares it and runs redis-benchmark. Emptying also bounds what grows, such as the list
// that LPUSH pushes to. Where used is given it gets the CPU time that the server spent during the run.
func (d drive) once(ctx context.Context, srv *server, count int, used *time.Duration) (float64, error) {
	if err := srv.do("FLUSHALL"); err != nil {
		return 0, err
	}
	if d.prepare != nil {
		if err := d.prepare(srv); err != nil {
			return 0, fmt.Errorf("%s: prepare: %w", srv.name, err)
		}
	}
	before, err := srv.cpu()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, driveTimeout)
	defer cancel()
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(ctx, "redis-benchmark", d.args(srv, count)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if ctx.Err() == context.DeadlineExceeded {
		return 0, fmt.Errorf("%s: %s: not done after %s", srv.name, strings.Join(cmd.Args, " "), driveTimeout)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: redis-benchmark: %s (%w)\n%s%s", srv.name, strings.TrimSpace(stderr.String()), err,
			strings.Join(cmd.Args, " "), srv.logTail())
	}
	after, err := srv.cpu()
	if err != nil {
		return 0, err
	}
	if used != nil {
		*used = after - before
	}
	return parseRate(stdout.String(), d.row)
}

func (d drive) args(srv *server, count int) []string {
	port := srv.port
	var args []string
	switch processes := srv.processes(); {
	case d.door == ownerDoors && srv.clusterPort != 0:
		port, args = srv.clusterPort, []string{"--cluster"}
	case d.door == eachInTurn:
		port = processes[srv.runs%len(processes)].port
	}
	srv.runs++
	args = append(args, "-h", "127.0.0.1", "-p", strconv.Itoa(port), "--csv",
		"-c", strconv.Itoa(clientCount), "-n", strconv.Itoa(count), "-P", strconv.Itoa(max(1, d.pipeline)),
		"-d", strconv.Itoa(valueSizeBytes), "-r", strconv.Itoa(keySpace))
	if d.test != "" {
		return append(args, "-t", d.test)
	}
	return append(args, d.command...)
}

// parseRate finds requests per second in redis-benchmark's CSV, in the row whose title begins as given. Other rows
// may come with it: a test that first fills a list reports that too.
func parseRate(output, title string) (float64, error) {
	if at := strings.Index(output, "\"test\",\"rps\""); at > 0 { // what is known of a cluster stands before it
		output = output[at:]
	}
	rows := csv.NewReader(strings.NewReader(output))
	rows.FieldsPerRecord = -1
	records, err := rows.ReadAll()
	if err != nil {
		return 0, fmt.Errorf("redis-benchmark's output: %w: %q", err, output)
	}
	if len(records) == 0 || len(records[0]) < 2 || records[0][0] != "test" || records[0][1] != "rps" {
		return 0, fmt.Errorf("redis-benchmark's output has no header of test and rps: %q", output)
	}
	for _, record := range records[1:] {
		if len(record) < 2 || !strings.HasPrefix(record[0], title) {
			continue
		}
		rate, err := strconv.ParseFloat(record[1], 64)
		if err != nil || !(rate > 0) {
			return 0, fmt.Errorf("redis-benchmark's rate %q is not a positive number", record[1])
		}
		return rate, nil
	}
	return 0, fmt.Errorf("redis-benchmark's output has no row %s: %q", title, output)
}

// bigKey holds the value that APPEND grows.
const (
	bigKey       = "bench:big"
	bigSizeBytes = 100_000_000
)

func fillBig(srv *server) error {
	return srv.do("SET", bigKey, strings.Repeat("v", bigSizeBytes))
}

// fillStrings stores every key that redis-benchmark's GET may ask for, so that each of them is a hit.
func fillStrings(srv *server) error {
	value := strings.Repeat("v", valueSizeBytes)
	return srv.load(keySpace, func(dst []byte, i int) []byte {
		return appendCommand(dst, "SET", fmt.Sprintf("key:%012d", i), value)
	})
}
