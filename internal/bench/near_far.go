package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/neargrid/neargrid/client"
)

// speedUp measures reads of keys that are all held against the same client without a near cache, across nearTrip.
type speedUp struct{}

func (speedUp) run(ctx context.Context, l *lab) (outcome, error) {
	g, err := l.startRig(ctx, nearHeld)
	if err != nil {
		return outcome{}, err
	}
	defer g.close()
	added, err := g.relay.Calibrate(nearTrip, nearPings)
	if err != nil {
		return outcome{}, err
	}
	near, err := g.holding(ctx, false)
	if err != nil {
		return outcome{}, err
	}
	defer near.Close()
	return g.againstFar(ctx, l, added, getter(ctx, near))
}

// againstFar measures reads against those of a client without a near cache.
func (g *nearRig) againstFar(ctx context.Context, l *lab, added time.Duration, get func(string) error) (outcome, error) {
	far, err := g.client(ctx, 0, false)
	if err != nil {
		return outcome{}, err
	}
	defer far.Close()
	reads := [2]func(string) error{ours: get, peer: getter(ctx, far)}
	rates := series{metric: readsInTurn, unit: perSecond}
	for round := range l.rounds {
		for _, s := range turn(round) {
			rate, err := readsPerSecond(g.names, round*7919, l.scale.runMin/2, reads[s])
			if err != nil {
				return outcome{}, err
			}
			rates.samples[s] = append(rates.samples[s], rate)
		}
	}
	trip := series{metric: tripAdded, unit: microseconds, samples: [2][]float64{ours: nil, peer: {float64(added) / float64(time.Microsecond)}}}
	return outcome{series: []series{rates, trip}}, nil
}

// aggregation reads all keys and sums a field of each, next to the code and across nearTrip.
type aggregation struct{}

// aggregatePiece is how many keys a pipeline asks for.
const aggregatePiece = 512

// oneByOneShare: reading one key after the other across the relay takes half a minute; so few are read, in proportion.
const oneByOneShare = 20

func (aggregation) run(ctx context.Context, l *lab) (outcome, error) {
	g, err := l.startRig(ctx, nearHeld)
	if err != nil {
		return outcome{}, err
	}
	defer g.close()
	if err := g.node.load(g.records, func(dst []byte, i int) []byte { return appendCommand(dst, "SET", keyName(i), order(i)) }); err != nil {
		return outcome{}, err
	}
	added, err := g.relay.Calibrate(nearTrip, nearPings)
	if err != nil {
		return outcome{}, err
	}
	near, err := g.holding(ctx, false)
	if err != nil {
		return outcome{}, err
	}
	defer near.Close()
	far, err := g.client(ctx, 0, false)
	if err != nil {
		return outcome{}, err
	}
	defer far.Close()

	names := allNames(g.records)
	some := names[:max(1, len(names)/oneByOneShare)]
	one := series{metric: againstOne, unit: perSecond}
	many := series{metric: againstMany, unit: perSecond}
	for round := range l.rounds {
		for _, s := range turn(round) {
			if s == ours {
				rate, err := aggregate(names, func(sum *int) error { return sumInTurn(ctx, near, names, sum) })
				if err != nil {
					return outcome{}, err
				}
				one.samples[ours] = append(one.samples[ours], rate)
				many.samples[ours] = append(many.samples[ours], rate)
				continue
			}
			rate, err := aggregate(some, func(sum *int) error { return sumInTurn(ctx, far, some, sum) })
			if err != nil {
				return outcome{}, err
			}
			one.samples[peer] = append(one.samples[peer], rate)
			if rate, err = aggregate(names, func(sum *int) error { return sumInPieces(ctx, far, names, sum) }); err != nil {
				return outcome{}, err
			}
			many.samples[peer] = append(many.samples[peer], rate)
		}
	}
	note := fmt.Sprintf("aggregation: GET of %d keys in order, a number taken out of each value of %d B, the sum checked; ours from the near cache, "+
		"the second column across a relay that adds %.0f us. One at a time a %dth of the keys is read. Pipelines have %d keys, one under way.",
		g.records, nearValueBytes, float64(added)/float64(time.Microsecond), oneByOneShare, aggregatePiece)
	return outcome{series: []series{one, many}, notes: []string{note}}, nil
}

// order is a record with an amount in it, of nearValueBytes.
func order(i int) string {
	text := fmt.Sprintf(`{"order":%010d,"amount":%06d,"state":"shipped","customer":"`, i, amount(i))
	for len(text) < nearValueBytes-2 {
		text += "x"
	}
	return text + `"}`
}

func amount(i int) int { return i * 7919 % 1_000_000 }

// amountOf reads the amount where order puts it.
func amountOf(record string) (int, error) {
	const at = len(`{"order":0000000000,"amount":`)
	if len(record) < at+6 {
		return 0, fmt.Errorf("%q is not a record", record)
	}
	return strconv.Atoi(record[at : at+6])
}

// aggregate times a sum over the records of some names, from the first on, and checks it. It answers keys a second.
func aggregate(names []string, add func(sum *int) error) (float64, error) {
	want := 0
	for i := range names {
		want += amount(i)
	}
	sum := 0
	start := time.Now()
	if err := add(&sum); err != nil {
		return 0, err
	}
	took := time.Since(start)
	if sum != want {
		return 0, fmt.Errorf("the sum over %d records is %d, not %d", len(names), sum, want)
	}
	return float64(len(names)) / took.Seconds(), nil
}

func sumInTurn(ctx context.Context, c *client.Client, names []string, sum *int) error {
	for _, name := range names {
		record, err := c.Get(ctx, name)
		if err != nil {
			return err
		}
		n, err := amountOf(record)
		if err != nil {
			return err
		}
		*sum += n
	}
	return nil
}

func sumInPieces(ctx context.Context, c *client.Client, names []string, sum *int) error {
	for len(names) > 0 {
		piece := names[:min(aggregatePiece, len(names))]
		names = names[len(piece):]
		p := c.Pipeline()
		for _, name := range piece {
			p.Do("GET", name)
		}
		results, err := p.Exec(ctx)
		if err != nil {
			return err
		}
		for _, r := range results {
			record, err := r.Text()
			if err != nil {
				return err
			}
			n, err := amountOf(record)
			if err != nil {
				return err
			}
			*sum += n
		}
	}
	return nil
}
