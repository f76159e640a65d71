package loadtest

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/neargrid/neargrid/internal/exactsleep"
)

const (
	pacerCount = 2  // threads that start operations on schedule, each for its share of the clients
	burstMax   = 16 // operations that are due already and go out together on one connection
	pauseMax   = 50 * time.Millisecond
	paceGrace  = 250 * time.Millisecond // after the end of the time, for what was due just before it
)

// arrivals are the times at which operations are due: a Poisson process, whose gaps are drawn exponentially, or even ones.
type arrivals struct {
	random *rand.Rand // nil: even gaps
	mean   float64    // gap, in nanoseconds
	last   float64
}

func (a *arrivals) next() time.Duration {
	gap := a.mean
	if a.random != nil {
		gap *= a.random.ExpFloat64()
	}
	a.last += gap
	return time.Duration(a.last)
}

// pace starts an open loop's pacers.
func (r *run) pace(starters *sync.WaitGroup) {
	shares := slices.Collect(slices.Chunk(r.drivers, (len(r.drivers)+pacerCount-1)/pacerCount))
	r.under.Add(int64(len(shares)))
	r.began.Store(true)
	for i, share := range shares {
		plan := arrivals{mean: float64(time.Second) / r.options.Rate * float64(len(r.drivers)) / float64(len(share))}
		if !r.options.Even {
			plan.random = rand.New(rand.NewPCG(r.options.Workload.Seed, uint64(1+i)))
		} else {
			plan.last = -plan.mean * float64(i) / float64(len(shares)) // pacers take turns
		}
		starters.Go(func() {
			p := &pacer{run: r, drivers: share, plan: plan, lateness: newHistogram()}
			p.pace()
			r.generator.add(p)
		})
	}
}

// pacer starts operations when they are due, on a thread of its own, whose sleeps end with the precision of the kernel's timers;
// Go's own are off by up to 1 ms.
type pacer struct {
	run     *run
	drivers []*driver
	plan    arrivals

	released time.Duration           // until then it waited for room: what is late from before is not its own doing
	lateness *hdrhistogram.Histogram // of each start, as far as it was its own doing, in nanoseconds
	due      uint64                  // measured operations that were due
	delayed  uint64                  // of them, those that waited for room
	unsent   uint64                  // of them, those that were not started before the run was over
}

func (p *pacer) pace() {
	defer p.run.leave()
	pause, restore := p.run.options.pauses()
	defer restore()
	end := p.run.end()
	turn := 0
	for due := p.plan.next(); ; {
		now := time.Since(p.run.start)
		if p.run.isOver() || end > 0 && due >= end {
			p.leaveBehind(due)
			return
		}
		if due > now {
			pause(min(due-now, pauseMax))
			continue
		}
		d := p.drivers[turn%len(p.drivers)]
		turn++
		for range burstMax {
			if !p.send(d, due) {
				d.client.Flush()
				p.leaveBehind(due)
				return
			}
			if due = p.plan.next(); due > now || end > 0 && due >= end {
				break
			}
		}
		d.client.Flush()
	}
}

// pauses is how to sleep, and what to call when that is over.
func (o *Options) pauses() (pause func(time.Duration), restore func()) {
	if o.sleep != nil {
		return o.sleep, func() {}
	}
	return exactsleep.Sleep, exactsleep.OnThread()
}

// send starts the operation that is due. It answers false where the run is over, or the workload has ended.
func (p *pacer) send(d *driver, due time.Duration) bool {
	charge := due >= p.run.options.WarmUp
	if d.under.Load() >= int64(p.run.options.InFlight) {
		if charge {
			p.delayed++
		}
		d.client.Flush()
		room := d.awaitRoom()
		p.released = time.Since(p.run.start)
		if !room {
			return false
		}
	}
	op, ok := p.run.source.next()
	if !ok {
		return false
	}
	op.Due, op.charge = due, charge
	if charge {
		p.count(due, time.Since(p.run.start))
	}
	d.start(op)
	return true
}

// count notes that a measured operation was due, and started now, or never.
func (p *pacer) count(due, now time.Duration) {
	p.due++
	late := now - max(due, p.released)
	_ = p.lateness.RecordValue(int64(min(max(late, latencyMin), latencyMax))) // in range by construction
}

// awaitRoom waits until the client has fewer operations under way than it may. It answers false where the run is over before.
func (d *driver) awaitRoom() bool {
	d.waiting.Store(true)
	defer d.waiting.Store(false)
	for d.under.Load() >= int64(d.run.options.InFlight) {
		select {
		case <-d.room:
		case <-d.run.over:
			return false
		}
	}
	return true
}

// leaveBehind counts the operations that were due before the run was over and have not been started: they have waited, and nobody
// knows how long they still would have.
func (p *pacer) leaveBehind(due time.Duration) {
	if !p.run.isOver() {
		return // the workload has ended, or nothing further is due
	}
	now := time.Since(p.run.start)
	if end := p.run.end(); end > 0 {
		now = min(now, end)
	}
	random := rand.New(rand.NewPCG(p.run.options.Workload.Seed, 0))
	for ; due < now; due = p.plan.next() {
		op := Op{Kind: p.run.source.kind(random), Due: due, charge: due >= p.run.options.WarmUp}
		if !op.charge {
			continue
		}
		p.count(due, now)
		p.unsent++
		p.run.recorder.record(p.drivers[0].number, op, Result{Failure: notSent, Detail: notSentDetail}, now)
	}
}

const notSentDetail = "the run was over before its turn came: the server did not answer fast enough, or this program was too slow"

func (r *run) isOver() bool {
	select {
	case <-r.over:
		return true
	default:
		return false
	}
}
