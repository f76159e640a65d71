package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/neargrid/neargrid/loadtest"
	"github.com/neargrid/neargrid/server"
)

var loadCommand = command{
	name:    "load",
	summary: "measures a server under load, and reports latency and throughput",
	about: `neargrid load sends operations to a server that speaks the Redis protocol, ours or another, and reports how
fast they were answered, as text, JSON or a page with charts.

Store the records, then measure reads and updates in equal parts for 10 seconds:
  neargrid load --load

As a service sees its store: 20,000 requests arrive each second, whether or not earlier ones are answered:
  neargrid load --load --workload b --rate 20000 --html report.html

Two servers in turn, with ratios:
  neargrid load --load --addr 127.0.0.1:6379,127.0.0.1:6380 --workload b --duration 5s

As a cache in front of a slow source: what is not there is awaited for 5 ms and stored, for a minute:
  neargrid load --read-through --source-latency 5ms --ttl 1m --workload c

With a near cache and without, as a Go program sees both:
  neargrid load --load --addr 127.0.0.1:6379,near:127.0.0.1:6379 --workload b --clients 1 --pipeline 16

Without --rate the loop is closed: each client sends when it has its answer, so a slow server is asked less. Only with
--rate do latencies tell what users would see. Ctrl-C ends a run early, with the report of what was measured.`,
	flags: loadFlags,
	run:   runLoad,
}

var loadFlags = []flagSpec{
	{name: "addr", placeholder: "TARGET,...", value: "127.0.0.1:6379",
		help: "HOST:PORT, cluster:, tls: or near:HOST:PORT, or the path of a Unix socket; several are compared"},
	passwordFlag,
	{name: "tls-ca", placeholder: "FILE", help: "certificates that a tls: target's is checked against; without it the system's"},
	{name: "workload", placeholder: "NAME", value: "a",
		help: "a: half reads, half updates; b: 95 % reads; c: reads; d: reads of the latest, 5 % inserts; e: scans, 5 % inserts;\n" +
			"      f: reads, and reads that are followed by an update; load: stores the records; or weights: read=80,update=20"},
	{name: "records", placeholder: "N", value: "100000", help: "how many records there are"},
	{name: "load", help: "store the records first; its speed is not part of the report"},
	{name: "keys", placeholder: "CHOICE", help: "how records are chosen: uniform, zipf, latest or sequential; without it as the workload has it"},
	{name: "theta", placeholder: "X", help: "how uneven zipf and latest are, above 0; without it 0.99"},
	{name: "trace", placeholder: "FILE", help: "choose records as FILE has them: .lis, .txt or .i64, also with .gz, .zst or .xz; ends the run"},
	{name: "value-size", placeholder: "SIZES", value: "100", help: "bytes of a value: 100, or 10-1000, or with weights 100:9,10000:1"},
	{name: "scan-max", placeholder: "N", help: "records of a scan at most; without it 100"},
	{name: "key-prefix", placeholder: "TEXT", value: "load:", help: "what keys begin with; 12 digits follow"},
	{name: "ttl", placeholder: "TIME", help: "what is stored lives so long; without it for good"},
	{name: "read-through", help: "store what a read did not find, as a cache does"},
	{name: "source-latency", placeholder: "TIME", help: "with --read-through: how long the source takes; without it no time"},
	{name: "verify", placeholder: "yes|no", value: "yes", help: "check that values read are those that this program stores"},
	{name: "near-prefixes", placeholder: "TEXT,...", help: "of near: targets: which keys they keep copies of; without it all of this run"},
	{name: "near-memory", placeholder: "SIZE", help: "of near: targets: memory of each client's near cache; without it 64mb"},
	{name: "near-staleness", placeholder: "TIME", help: "of near: targets: how old what they read may be; without it 1s"},
	{name: "rate", placeholder: "N", help: "an open loop: so many operations arrive each second; without it a closed loop"},
	{name: "arrivals", placeholder: "KIND", help: "of an open loop: poisson, as of many users, or even; without it poisson"},
	{name: "in-flight", placeholder: "N", help: "of an open loop: operations of one client under way at most, further ones wait; without it 4096"},
	{name: "clients", placeholder: "N", value: "50", help: "connections, in a cluster to each node"},
	{name: "pipeline", placeholder: "N", help: "of a closed loop: operations that a client has under way; without it 1"},
	{name: "warm-up", placeholder: "TIME", value: "1s", help: "time before the measurement"},
	{name: "duration", placeholder: "TIME", help: "how long is measured; without it 10s, or until --operations or --trace are done"},
	{name: "operations", placeholder: "N", help: "end after so many operations, the warm-up's among them"},
	{name: "rounds", placeholder: "N", help: "how often each target has its turn; without it 1, with several targets 4"},
	{name: "seed", placeholder: "N", value: "1", help: "the same seed makes the same sequence of operations"},
	{name: "json", placeholder: "FILE", help: "write the report as JSON to FILE; -: to standard output, in place of the text"},
	{name: "html", placeholder: "FILE", help: "write the report as a page with charts to FILE"},
	configFlag,
}

// The load phase is a closed loop of few clients with much under way: the fastest way to store records.
const (
	loadClients  = 8
	loadPipeline = 64

	progressLineEvery = 5 * time.Second // where standard error is no terminal
)

func runLoad(env environment, in inputs) error {
	plan, err := planLoad(in)
	if err != nil {
		return err
	}
	signals := watchSignals()
	done := make(chan error, 1)
	go func() { done <- plan.run(signals.first, env) }()
	select {
	case err := <-done:
		return err
	case <-signals.second.Done():
		return errors.New("stopped at once, without a report")
	}
}

// run stores the records where that was asked for, measures, and writes the reports.
func (p *loadPlan) run(ctx context.Context, env environment) error {
	show := newProgressLine(env.stderr)
	if p.load {
		for _, target := range p.targets {
			if err := p.store(ctx, target, show); err != nil {
				return err
			}
		}
	}
	o := p.options
	o.Progress = show.measuring
	report, err := loadtest.Compare(ctx, o, p.targets, p.rounds)
	show.end()
	if err != nil {
		return loadError(ctx, err)
	}
	report.Generator, report.Command = "neargrid "+server.Version, p.command
	p.describe(&report.Options)
	if err := p.write(env.stdout, report); err != nil {
		return err
	}
	for _, t := range report.Targets {
		if t.Operations == 0 && len(t.Failures) > 0 {
			return fmt.Errorf("%s: no operation succeeded: %s", t.Target, t.Failures[0].First)
		}
	}
	return nil
}

// store is the load phase.
func (p *loadPlan) store(ctx context.Context, target loadtest.Target, show *progressLine) error {
	defer show.end()
	m, err := loadtest.Run(ctx, loadtest.Options{
		Target: target, Workload: p.options.Workload.LoadPhase(), Clients: min(loadClients, p.options.Clients), Depth: loadPipeline,
		Progress: show.storing,
	})
	switch {
	case err != nil:
		return loadError(ctx, err)
	case m.Interrupted:
		return errors.New("interrupted while records were stored; nothing was measured")
	case m.Check() != nil:
		return fmt.Errorf("%s: the records are not all stored: %w", target, m.Check())
	}
	return nil
}

func loadError(ctx context.Context, err error) error {
	var unreachable *loadtest.UnreachableError
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted before anything was measured")
	case errors.As(err, &unreachable):
		return fmt.Errorf("%w (name a server with --addr)", err)
	}
	return err
}

// write prints the report, and writes the files that were asked for.
func (p *loadPlan) write(stdout io.Writer, report *loadtest.Report) error {
	text := report.Text
	if p.json == "-" {
		text = report.JSON
	}
	err := text(stdout)
	if p.json != "" && p.json != "-" {
		err = errors.Join(err, writeReport("--json", p.json, report.JSON))
	}
	if p.html != "" {
		err = errors.Join(err, writeReport("--html", p.html, report.HTML))
	}
	return err
}

func writeReport(flag, path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	if err := errors.Join(write(file), file.Close()); err != nil {
		return fmt.Errorf("%s: %s: %w", flag, path, err)
	}
	return nil
}

// progressLine shows how a run goes: on a terminal one line that is written over, elsewhere a line now and then.
type progressLine struct {
	w        io.Writer
	terminal bool
	last     time.Time
	open     bool // the terminal's line has no end yet
}

func newProgressLine(w io.Writer) *progressLine {
	line := &progressLine{w: w, last: time.Now()}
	if file, ok := w.(*os.File); ok {
		info, err := file.Stat()
		line.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return line
}

func (l *progressLine) measuring(p loadtest.Progress) { l.show(p.Line()) }

func (l *progressLine) storing(p loadtest.Progress) { l.show("storing records: " + p.Line()) }

func (l *progressLine) show(text string) {
	if l.terminal {
		fmt.Fprintf(l.w, "\r%s\x1b[K", text)
		l.open = true
		return
	}
	if time.Since(l.last) >= progressLineEvery {
		l.last = time.Now()
		fmt.Fprintln(l.w, text)
	}
}

// end leaves the line for what comes next.
func (l *progressLine) end() {
	if l.open {
		fmt.Fprint(l.w, "\r\x1b[K")
		l.open = false
	}
}
