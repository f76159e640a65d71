package main

import (
	"context"
	"fmt"
	"time"

	"github.com/neargrid/neargrid/loadtest"
)

const (
	peakFraction = 0.5 // the offered rate, of the lower of the two peaks
	warmUpShare  = 0.1 // of a run, at its beginning, sent but not recorded
	loadDepth    = 512 // commands under way while keys are stored
	keyPrefix    = "key:"
)

// openLoop measures latency at a rate that does not depend on how fast the server answers: package loadtest's open loop, whose
// latency counts from the time at which a request was due.
type openLoop struct {
	keys      int
	readShare float64
}

// latencyRounds are made for each round of what scatters less: a p99 is the kernel's scheduling as much as the server's.
const latencyRounds = 2

func (o openLoop) run(ctx context.Context, l *lab) (outcome, error) {
	keys := max(1, o.keys/l.scale.divisor)
	servers, err := l.startPair(ctx)
	if err != nil {
		return outcome{}, err
	}
	defer servers.stop()
	workload, err := o.workload(keys)
	if err != nil {
		return outcome{}, err
	}
	for _, srv := range servers {
		if _, err := srv.measure(ctx, loadtest.Options{Workload: workload.LoadPhase(), Clients: 1, Depth: loadDepth}); err != nil {
			return outcome{}, err
		}
	}

	peaks := series{metric: peakThroughput, unit: perSecond}
	for round := range l.rounds {
		for _, s := range turn(round) {
			m, err := servers[s].measure(ctx, loadtest.Options{Workload: workload, Clients: clientCount, Depth: 1, Duration: l.scale.runMin})
			if err != nil {
				return outcome{}, err
			}
			peaks.samples[s] = append(peaks.samples[s], m.PerSecond())
		}
	}
	rate := peakFraction * min(median(peaks.samples[ours]), median(peaks.samples[peer]))

	p99 := series{metric: latencyP99, unit: microseconds}
	p999 := series{metric: latencyP999, unit: microseconds}
	offered := series{metric: offeredRate, unit: perSecond}
	warmUp := time.Duration(warmUpShare * float64(l.scale.openLoopRun))
	limited := 0
	for round := range latencyRounds * l.rounds {
		workload.Seed = uint64(1 + round)
		for _, s := range turn(round) {
			m, err := servers[s].measure(ctx, loadtest.Options{
				Workload: workload, Clients: clientCount, Rate: rate, WarmUp: warmUp, Duration: l.scale.openLoopRun - warmUp,
			})
			if err != nil {
				return outcome{series: []series{peaks}}, err
			}
			if m.IsBottleneck() {
				limited++
			}
			offered.samples[s] = append(offered.samples[s], m.PerSecond())
			p99.samples[s] = append(p99.samples[s], float64(m.Quantile(99))/float64(time.Microsecond))
			p999.samples[s] = append(p999.samples[s], float64(m.Quantile(99.9))/float64(time.Microsecond))
		}
	}
	note := fmt.Sprintf("Open loop: %d keys, %d B values, %.0f %% GET, %d connections, Poisson arrivals at %.0f requests/s, half of the "+
		"lower peak. A peak is the closed-loop rate of the same generator and mix, one request at a time on each connection.",
		keys, valueSizeBytes, 100*o.readShare, clientCount, rate)
	if limited > 0 {
		note += fmt.Sprintf(" In %d of %d runs the generator was itself late by 1 ms or more in 1 of 100 sends.", limited, 2*latencyRounds*l.rounds)
	}
	return outcome{series: []series{peaks, offered, p99, p999}, notes: []string{note}}, nil
}

// workload is GET in the given share, otherwise SET, on uniformly drawn keys.
func (o openLoop) workload(keys int) (loadtest.Workload, error) {
	w, err := loadtest.NewWorkload(fmt.Sprintf("read=%g,update=%g", o.readShare, 1-o.readShare), uint64(keys))
	w.Choice, w.Sizes = loadtest.Uniform, loadtest.FixedSize(valueSizeBytes)
	return w, err
}

// measure runs a workload on the server, with keys of the benchmarks' own. No operation may fail.
func (s *server) measure(ctx context.Context, o loadtest.Options) (*loadtest.Measured, error) {
	return s.measureAs(ctx, &loadtest.RESP{Prefix: keyPrefix}, o)
}

// measureAs takes of a target what is not the server's address.
func (s *server) measureAs(ctx context.Context, settings *loadtest.RESP, o loadtest.Options) (*loadtest.Measured, error) {
	return s.measureAt(ctx, s.addr, settings, o)
}

// measureAt does so at another of the server's addresses.
func (s *server) measureAt(ctx context.Context, addr string, settings *loadtest.RESP, o loadtest.Options) (*loadtest.Measured, error) {
	settings.Verify, settings.Sizes = true, o.Workload.Sizes
	o.Target = settings.At(addr, loadtest.TargetForm{})
	m, err := loadtest.Run(ctx, o)
	switch {
	case err == nil && m.Interrupted:
		err = ctx.Err()
	case err == nil:
		err = m.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w%s", s.name, err, s.logTail())
	}
	return m, nil
}
