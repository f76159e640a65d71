package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/neargrid/neargrid/client"
)

// zipfMatrix measures reads by Zipf over more keys than a near cache holds, while others write: for round trips, shares held and shares
// written. It publishes what is gained, beside what docs/near-cache.md says that is to be expected of the hit rate.
type zipfMatrix struct{}

var (
	matrixTrips  = []time.Duration{0, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond}
	matrixHeld   = []float64{5, 10, 20} // percent of the keys
	matrixWrites = []float64{0, 1, 5}   // percent of all requests
)

const (
	matrixPasses  = 2       // at most; each cell is measured once a pass
	matrixWarm    = 1 << 20 // draws
	matrixDraws   = 1 << 23 // more than a run needs: what is read again and again is held whatever the room
	matrixHits    = 1 << 17 // draws of which those that are held are read, to measure hits alone
	matrixWriters = 16      // goroutines of the client that writes
	matrixQueue   = 64      // writes that wait for them; then the reader waits

	predictedOff metric = "speed-up, measured over predicted: furthest from 1"
)

// cell is one combination.
type cell struct {
	trip         time.Duration // that the relay is to add
	held, writes float64       // percent
}

// cellRun is what one pass gave for a cell.
type cellRun struct {
	rate float64 // reads a second
	hits float64 // of them, the share from the near cache
}

// matrix is the measuring under way.
type matrix struct {
	lab    *lab
	rig    *nearRig
	writer *client.Client
	length time.Duration // of one cell

	keys  []uint64 // drawn by Zipf, in order
	names []string // by key
	drawn int      // of keys; goes round

	added map[time.Duration]time.Duration // by trip: as measured
	far   map[time.Duration][]float64     // reads a second without a near cache
	hit   map[float64][]float64           // by share held: hits a second
	items map[float64]int64               // that a near cache has held
	runs  map[cell][]cellRun
}

func (zipfMatrix) run(ctx context.Context, l *lab) (outcome, error) {
	g, err := l.startRig(ctx, nearRecords)
	if err != nil {
		return outcome{}, err
	}
	defer g.close()
	writer, err := g.client(ctx, 0, true)
	if err != nil {
		return outcome{}, err
	}
	defer writer.Close()
	w, err := g.workload()
	if err != nil {
		return outcome{}, err
	}
	keys, err := w.Keys(max(nearDraws, matrixDraws/l.scale.divisor))
	if err != nil {
		return outcome{}, err
	}
	m := &matrix{lab: l, rig: g, writer: writer, length: l.scale.runMin / 5, keys: keys, names: allNames(g.records), added: map[time.Duration]time.Duration{},
		far: map[time.Duration][]float64{}, hit: map[float64][]float64{}, items: map[float64]int64{}, runs: map[cell][]cellRun{}}
	for _, held := range matrixHeld {
		for _, straight := range []bool{true, false} {
			if err := m.measure(ctx, held, straight); err != nil {
				return outcome{}, err
			}
		}
	}
	return m.outcome(), nil
}

// measure goes through the cells of one near cache: straight the one without a round trip, else all others.
func (m *matrix) measure(ctx context.Context, held float64, straight bool) error {
	memory := max(2<<20, int64(held/100*float64(m.rig.records)*nearEntryBytes))
	near, err := m.rig.client(ctx, memory, straight)
	if err != nil {
		return err
	}
	defer near.Close()
	far, err := m.rig.client(ctx, 0, straight)
	if err != nil {
		return err
	}
	defer far.Close()
	m.rig.relay.SetDelay(0)
	if err := m.warm(ctx, near); err != nil {
		return err
	}
	stats, _ := near.NearStats()
	m.items[held] = stats.Items
	trips := matrixTrips[:1]
	if !straight {
		trips = matrixTrips[1:]
	}
	for range min(matrixPasses, m.lab.rounds) {
		for _, trip := range trips {
			if !straight {
				if m.added[trip], err = m.rig.relay.Calibrate(trip, nearPings); err != nil {
					return err
				}
			}
			rate, err := m.reads(getter(ctx, far))
			if err != nil {
				return err
			}
			m.far[trip] = append(m.far[trip], rate)
			for _, writes := range matrixWrites {
				if err := m.cell(ctx, near, cell{trip, held, writes}); err != nil {
					return err
				}
			}
		}
	}
	rate, err := m.hitsOf(ctx, near)
	m.hit[held] = append(m.hit[held], rate)
	return err
}

// next is the next draw's name.
func (m *matrix) next() string {
	m.drawn++
	return m.names[m.keys[m.drawn%len(m.keys)]]
}

// reads are reads a second of what is drawn next.
func (m *matrix) reads(get func(string) error) (float64, error) {
	return readsPerSecond([]string{""}, 0, m.length, func(string) error { return get(m.next()) })
}

// warm reads until what is held does not depend on how it began.
func (m *matrix) warm(ctx context.Context, near *client.Client) error {
	names := make([]string, max(1, matrixWarm/m.lab.scale.divisor))
	for i := range names {
		names[i] = m.next()
	}
	var readers sync.WaitGroup
	errs := make(chan error, nearFillers)
	for part := range nearFillers {
		readers.Go(func() {
			for i := part; i < len(names); i += nearFillers {
				if _, err := near.Get(ctx, names[i]); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	readers.Wait()
	close(errs)
	return <-errs
}

// cell measures one combination once. The reader hands each write to others when its share is due, so that the shares are kept whatever the
// reader's speed.
func (m *matrix) cell(ctx context.Context, near *client.Client, c cell) error {
	writes := make(chan string, matrixQueue)
	failed := make(chan error, matrixWriters)
	var writers sync.WaitGroup
	value := strings.Repeat("w", nearValueBytes)
	for range matrixWriters {
		writers.Go(func() {
			for name := range writes {
				if err := m.writer.Set(ctx, name, value, 0); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	perRead := c.writes / (100 - c.writes)
	due := 0.0
	get := getter(ctx, near)
	before, _ := near.NearStats()
	rate, err := m.reads(func(name string) error {
		if due += perRead; due >= 1 {
			due--
			writes <- m.next()
		}
		return get(name)
	})
	after, _ := near.NearStats()
	close(writes)
	writers.Wait()
	close(failed)
	if err == nil {
		err = <-failed
	}
	hits, misses := float64(after.Hits-before.Hits), float64(after.Misses()-before.Misses())
	m.runs[c] = append(m.runs[c], cellRun{rate, hits / (hits + misses)})
	return err
}

// hitsOf measures hits alone: draws of keys that are held, again and again.
func (m *matrix) hitsOf(ctx context.Context, near *client.Client) (float64, error) {
	var held []string
	for range max(1, matrixHits/m.lab.scale.divisor) {
		name := m.next()
		before, _ := near.NearStats()
		if _, err := near.Get(ctx, name); err != nil {
			return 0, err
		}
		if after, _ := near.NearStats(); after.Hits > before.Hits {
			held = append(held, name)
		}
	}
	if len(held) == 0 {
		return 0, fmt.Errorf("of %d draws none is held", matrixHits)
	}
	return readsPerSecond(held, 0, m.length, getter(ctx, near))
}

// outcome makes the table. Predicted is 1 / ((1 - h) + h r), of the hit rate h of the same run and r, the time of a hit over that of a far read.
func (m *matrix) outcome() outcome {
	var b strings.Builder
	b.WriteString("## Zipf 0.99 over a near cache that does not hold all\n\n")
	fmt.Fprintf(&b, "%d keys of 16 B with values of %d B; one goroutine reads, others write the given share of all requests, by the same Zipf. "+
		"h is the measured hit rate, r the time of a hit (%s) over that of a far read. Predicted is 1 / ((1 - h) + h r).\n\n",
		m.rig.records, nearValueBytes, m.hitTimes())
	writeRow(&b, []string{"round trip added", "far read", "held", "written", "h", "r", "reads a second", "speed-up", "predicted", "measured over predicted"})
	writeRow(&b, []string{"---", "---", "---", "---", "---", "---", "---", "---", "---", "---"})
	worst := 1.0
	rates := series{metric: "hit rate, 5 % held, read-only", unit: percent}
	for _, trip := range matrixTrips {
		for _, held := range matrixHeld {
			for _, writes := range matrixWrites {
				var rate, share []float64
				for _, run := range m.runs[cell{trip, held, writes}] {
					rate, share = append(rate, run.rate), append(share, run.hits)
				}
				far, h := median(m.far[trip]), median(share)
				r := far / median(m.hit[held])
				speed, predicted := median(rate)/far, 1/((1-h)+h*r)
				if off := speed / predicted; math.Abs(math.Log(off)) > math.Abs(math.Log(worst)) {
					worst = off
				}
				if trip == nearTrip && held == matrixHeld[0] && writes == 0 {
					rates.samples[ours] = []float64{100 * h}
				}
				writeRow(&b, []string{micros(m.added[trip]), micros(time.Duration(float64(time.Second) / far)), fmt.Sprintf("%g %%", held),
					fmt.Sprintf("%g %%", writes), fmt.Sprintf("%.1f %%", 100*h), fmt.Sprintf("%.4f", r), perSecond.format(median(rate)),
					fmt.Sprintf("%.2f", speed), fmt.Sprintf("%.2f", predicted), fmt.Sprintf("%.2f", speed/predicted)})
			}
		}
	}
	off := series{metric: predictedOff, unit: unit{"", 2}, samples: [2][]float64{ours: {worst}}}
	return outcome{series: []series{rates, off}, sections: []string{b.String()}}
}

func (m *matrix) hitTimes() string {
	var texts []string
	for _, held := range matrixHeld {
		texts = append(texts, fmt.Sprintf("%.0f ns with %g %% held, %d keys", 1e9/median(m.hit[held]), held, m.items[held]))
	}
	return strings.Join(texts, ", ")
}

func micros(d time.Duration) string {
	return fmt.Sprintf("%.0f us", float64(d)/float64(time.Microsecond))
}
