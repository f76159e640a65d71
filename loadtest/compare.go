package loadtest

import (
	"context"
	"time"
)

// RoundsMax bounds the turns of a target.
const RoundsMax = 100

// Compare measures targets in turn, so many rounds, whoever went first in a round going last in the next one, and reports on
// them. With one target and one round it is a Run. Where ctx ends it, the report is of what was measured until then. What it
// cannot know of the report is the caller's: Generator, Command, and of Options what targets do by themselves.
func Compare(ctx context.Context, o Options, targets []Target, rounds int) (*Report, error) {
	report := &Report{Format: FormatVersion, Started: time.Now(), Options: o.report(rounds), Notes: []string{}}
	sums := make([]*Measured, len(targets))
	turns := make([][]Turn, len(targets))
	for _, target := range targets { // an hour of the first is not wasted because the second is not there
		client, err := target.Dial(ctx, nobody{})
		if err != nil {
			return nil, err
		}
		client.Close()
	}
	measured := 0
	for _, i := range order(len(targets), rounds) {
		if ctx.Err() != nil && measured > 0 {
			break
		}
		o.Target = targets[i]
		m, err := Run(ctx, o)
		switch {
		case err != nil && ctx.Err() != nil && measured > 0:
			continue // interrupted on its way to a further turn
		case err != nil:
			return nil, err
		}
		measured++
		turns[i] = append(turns[i], m.turn())
		if sums[i] == nil {
			sums[i] = m
		} else {
			sums[i].add(m)
		}
	}
	report.Interrupted = ctx.Err() != nil
	for i, m := range sums {
		if m == nil {
			continue // its first turn did not come
		}
		t := newTargetReport(targets[i].String(), m)
		t.Turns = turns[i]
		report.Targets = append(report.Targets, t)
	}
	report.compare()
	return report, nil
}

// nobody wants to know what becomes of operations: there are none.
type nobody struct{}

func (nobody) Done(Op, Result) {}
func (nobody) Turn()           {}

// order is whose turn it is, one after the other.
func order(targets, rounds int) (turns []int) {
	for round := range rounds {
		for i := range targets {
			if round%2 == 1 {
				i = targets - 1 - i
			}
			turns = append(turns, i)
		}
	}
	return turns
}

func (o Options) report(rounds int) OptionsReport {
	w := o.Workload
	r := OptionsReport{
		Workload: w.Name, Loop: "closed", Clients: o.Clients, Pipeline: o.Depth,
		Keys: w.Choice, Records: w.Records, ValueSize: w.Sizes.String(),
		Limit: w.Limit, Seed: w.Seed, WarmUp: o.WarmUp.Seconds(), Duration: o.Duration.Seconds(), Rounds: rounds,
	}
	if w.Records == 0 {
		r.Records = w.Limit // they are inserted
	}
	if w.Choice == Zipf || w.Choice == Latest {
		r.Theta = w.Theta
	}
	if o.Rate > 0 {
		r.Loop, r.Rate, r.Arrivals, r.InFlight, r.Pipeline = "open", o.Rate, "poisson", o.InFlight, 0
		if r.InFlight == 0 {
			r.InFlight = InFlightDefault
		}
		if o.Even {
			r.Arrivals = "even"
		}
	}
	return r
}
