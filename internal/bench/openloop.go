package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	pacerCount   = 2    // threads that send on schedule, each over its share of the connections
	inFlightMax  = 4096 // requests awaiting a reply on one connection; at the bound its pacer waits, and latency shows it
	peakFraction = 0.5  // the offered rate, of the lower of the two peaks
	warmUpShare  = 0.1  // of a run, at its beginning, sent but not recorded

	latencyMin    = time.Microsecond
	latencyMax    = time.Minute
	latencyDigits = 3
)

// endOfRun is queued in place of an intended time, for the command that closes a lane.
const endOfRun time.Duration = -1

// openLoop measures latency at a rate that does not depend on how fast the server answers. Requests are scheduled in
// advance and sent when due whether or not earlier ones were answered; latency counts from the scheduled time, so that
// a server that stalls is charged for every request it delayed, those not yet sent included.
type openLoop struct {
	keys      int
	readShare float64
}

func (o openLoop) run(ctx context.Context, l *lab) (outcome, error) {
	keys := max(1, o.keys/l.scale.divisor)
	servers, err := l.startPair(ctx)
	if err != nil {
		return outcome{}, err
	}
	defer servers.stop()
	for _, srv := range servers {
		random := rand.New(rand.NewPCG(2, 2))
		err := srv.load(keys, func(dst []byte, i int) []byte {
			return appendCommand(dst, "SET", keyName(i), text(random, valueSizeBytes))
		})
		if err != nil {
			return outcome{}, err
		}
	}
	// The tool's threads that wait in the kernel must not wait again for one of Go's processors when they wake.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + pacerCount))
	mix := mix{keys: keys, readShare: o.readShare}

	peaks := series{metric: peakThroughput, unit: perSecond}
	for round := range l.rounds {
		for _, s := range turn(round) {
			rate, err := closedLoopRate(ctx, servers[s], mix, l.scale.runMin)
			if err != nil {
				return outcome{}, err
			}
			peaks.samples[s] = append(peaks.samples[s], rate)
		}
	}
	rate := peakFraction * min(median(peaks.samples[ours]), median(peaks.samples[peer]))

	p99 := series{metric: latencyP99, unit: microseconds}
	p999 := series{metric: latencyP999, unit: microseconds}
	offered := series{metric: offeredRate, unit: perSecond}
	for round := range l.rounds {
		for _, s := range turn(round) {
			h, err := openLoopLatency(ctx, servers[s], mix, rate, l.scale.openLoopRun, uint64(round))
			if err != nil {
				return outcome{series: []series{peaks}}, err
			}
			recorded := l.scale.openLoopRun.Seconds() * (1 - warmUpShare)
			offered.samples[s] = append(offered.samples[s], float64(h.TotalCount())/recorded)
			p99.samples[s] = append(p99.samples[s], float64(h.ValueAtQuantile(99))/1e3)
			p999.samples[s] = append(p999.samples[s], float64(h.ValueAtQuantile(99.9))/1e3)
		}
	}
	note := fmt.Sprintf("Open loop: %d keys, %d B values, %.0f %% GET, %d connections, Poisson arrivals at %.0f requests/s, half of the "+
		"lower peak. A peak is the closed-loop rate of the same generator and mix, one request at a time on each connection.",
		keys, valueSizeBytes, 100*o.readShare, clientCount, rate)
	return outcome{series: []series{peaks, offered, p99, p999}, notes: []string{note}}, nil
}

// mix draws requests: GET in the given share, otherwise SET, on uniformly drawn keys.
type mix struct {
	keys      int
	readShare float64
}

func (m mix) append(dst []byte, random *rand.Rand, value string) []byte {
	key := keyName(random.IntN(m.keys))
	if random.Float64() < m.readShare {
		return appendCommand(dst, "GET", key)
	}
	return appendCommand(dst, "SET", key, value)
}

// closedLoopRate is the rate at which connections that each wait for their reply get answers.
func closedLoopRate(ctx context.Context, srv *server, m mix, length time.Duration) (float64, error) {
	counts := make([]int, clientCount)
	group := newGroup(ctx)
	start := time.Now()
	for i := range counts {
		group.run(func(ctx context.Context) error {
			c, err := dial(srv.addr)
			if err != nil {
				return err
			}
			defer c.close()
			random := rand.New(rand.NewPCG(3, uint64(i)))
			value := text(random, valueSizeBytes)
			buf := make([]byte, 0, 256)
			for ctx.Err() == nil && time.Since(start) < length {
				buf = m.append(buf[:0], random, value)
				if err := c.exchange(buf, 1); err != nil {
					return err
				}
				counts[i]++
			}
			return ctx.Err()
		})
	}
	if err := group.wait(); err != nil {
		return 0, fmt.Errorf("%s: closed loop: %w", srv.name, err)
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / time.Since(start).Seconds(), nil
}

// openLoopLatency offers requests at the given rate and answers their latencies in nanoseconds.
func openLoopLatency(ctx context.Context, srv *server, m mix, rate float64, length time.Duration, seed uint64) (*hdrhistogram.Histogram, error) {
	lanes := make([]*lane, clientCount)
	for i := range lanes {
		c, err := dial(srv.addr)
		if err != nil {
			return nil, err
		}
		defer c.close()
		if err := c.conn.SetDeadline(time.Now().Add(length + replyTimeout)); err != nil {
			return nil, err
		}
		lanes[i] = newLane(c)
	}
	warmUp := time.Duration(warmUpShare * float64(length))
	group := newGroup(ctx)
	// After an error nobody waits for replies that will not come.
	defer context.AfterFunc(group.ctx, func() {
		for _, ln := range lanes {
			ln.client.close()
		}
	})()
	start := time.Now()
	for _, ln := range lanes {
		group.run(func(context.Context) error { return ln.read(start, warmUp) })
	}
	i := 0
	for share := range slices.Chunk(lanes, (len(lanes)+pacerCount-1)/pacerCount) {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		plan := arrivals{random: random, mean: float64(time.Second) / rate * float64(len(lanes)) / float64(len(share))}
		i++
		group.run(func(ctx context.Context) error { return pace(ctx, start, share, plan, m, length) })
	}
	if err := group.wait(); err != nil {
		return nil, fmt.Errorf("%s: open loop: %w", srv.name, err)
	}
	total := newHistogram()
	for _, ln := range lanes {
		total.Merge(ln.latencies)
	}
	return total, nil
}

// arrivals is a Poisson process: the intended send times, each after the last one by an exponentially drawn gap.
type arrivals struct {
	random *rand.Rand
	mean   float64 // gap, in nanoseconds
	last   float64
}

func (a *arrivals) next() time.Duration {
	a.last += a.random.ExpFloat64() * a.mean
	return time.Duration(a.last)
}

// pace sends every request when its time has come, over the lanes in turn, and closes the lanes after the last one.
// It has a thread to itself, whose sleeps end with the precision of the kernel's timers; Go's own are off by up to 1 ms.
func pace(ctx context.Context, start time.Time, lanes []*lane, plan arrivals, m mix, length time.Duration) error {
	runtime.LockOSThread() // never unlocked: the thread goes with its timer setting
	preciseSleeps()
	value := text(plan.random, valueSizeBytes)
	buf := make([]byte, 0, 256)
	for i := 0; ; i++ {
		intended := plan.next()
		if intended >= length {
			break
		}
		if early := intended - time.Since(start); early > 0 {
			sleep(early)
		}
		buf = m.append(buf[:0], plan.random, value)
		if err := lanes[i%len(lanes)].send(ctx, buf, intended); err != nil {
			return err
		}
	}
	for _, ln := range lanes {
		if err := ln.send(ctx, appendCommand(buf[:0], "PING"), endOfRun); err != nil {
			return err
		}
	}
	return nil
}

// lane is one connection: a pacer sends, read receives and records.
type lane struct {
	client    *client
	intended  chan time.Duration // of the requests awaiting replies, in order, as offsets from the start of the run
	latencies *hdrhistogram.Histogram
}

func newLane(c *client) *lane {
	return &lane{client: c, intended: make(chan time.Duration, inFlightMax), latencies: newHistogram()}
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(latencyMin.Nanoseconds(), latencyMax.Nanoseconds(), latencyDigits)
}

// send queues the intended time before it writes, so that the reply always finds it there.
func (ln *lane) send(ctx context.Context, command []byte, intended time.Duration) error {
	select {
	case ln.intended <- intended:
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err := ln.client.conn.Write(command)
	return err
}

// read takes replies until the one that closes the lane.
func (ln *lane) read(start time.Time, warmUp time.Duration) error {
	for {
		if _, err := readReply(ln.client.replies); err != nil {
			return err
		}
		answered := time.Since(start)
		intended := <-ln.intended
		if intended == endOfRun {
			return nil
		}
		if intended >= warmUp {
			ln.record(answered - intended)
		}
	}
}

func (ln *lane) record(latency time.Duration) {
	_ = ln.latencies.RecordValue(min(latency, latencyMax).Nanoseconds()) // in range by construction
}

// group runs goroutines that end together: the first error cancels the others' context.
type group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   sync.WaitGroup
}

func newGroup(ctx context.Context) *group {
	ctx, cancel := context.WithCancelCause(ctx)
	return &group{ctx: ctx, cancel: cancel}
}

func (g *group) run(f func(context.Context) error) {
	g.done.Go(func() {
		if err := f(g.ctx); err != nil {
			g.cancel(err)
		}
	})
}

// wait answers the first error.
func (g *group) wait() error {
	g.done.Wait()
	defer g.cancel(nil)
	if g.ctx.Err() == nil {
		return nil
	}
	return context.Cause(g.ctx)
}
