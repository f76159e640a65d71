package loadtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Target is what a run measures.
type Target interface {
	String() string // for reports, and as ParseTarget reads it
	// Dial makes one client, with connections of its own. Its operations' ends are told to events.
	Dial(ctx context.Context, events Events) (Client, error)
}

// Client carries out operations. Start and Flush may be called by several goroutines; Close comes last.
type Client interface {
	// Start begins an operation and does not wait for its end. A client that needs no network may end it before Start returns.
	Start(op Op)
	// Flush sends what Start has left in buffers.
	Flush()
	// Close ends what is still under way, as not answered, and then the client. No event comes after it has returned.
	Close()
}

// Events are told by a client.
type Events interface {
	// Done: an operation has ended. It comes once for each one that was started.
	Done(op Op, result Result)
	// Turn: all ends that are known at the moment have been told; it is time to start further operations.
	Turn()
}

// Options are one run.
type Options struct {
	Target   Target
	Workload Workload
	Clients  int

	// Rate is the number of operations a second that arrive, whether or not earlier ones are answered: an open loop. 0 is a
	// closed one, in which every client keeps Depth operations under way and starts the next one when one has ended.
	Rate  float64
	Even  bool // of an open loop: arrivals are evenly spaced. Otherwise they are a Poisson process, as of many users
	Depth int  // of a closed loop

	// InFlight is how many operations of one client may be under way in an open loop; 0 is InFlightDefault. Further ones wait, and
	// the wait counts.
	InFlight int

	WarmUp   time.Duration // at the beginning; not measured
	Duration time.Duration // after that; 0: until the workload ends
	Progress func(Progress)

	sleep func(time.Duration) // for tests; nil is the kernel's
}

const (
	// InFlightDefault is a bound that a server in good health does not come near.
	InFlightDefault = 4096

	ClientsMax  = 10_000
	DepthMax    = 10_000
	InFlightMax = 1 << 20
	RateMax     = 1e8

	progressEvery = time.Second
	openLag       = 16              // insertions of one client in an open loop that reads of the latest leave out
	drainMax      = 2 * time.Second // after the end of a run, for the operations still under way
)

// Progress is what a run tells about once a second.
type Progress struct {
	Target  string
	Elapsed time.Duration // since the warm-up's end; negative before
	Length  time.Duration // of what is measured; 0 where not known
	Last    Second        // what was measured since the last time
}

func (o Options) check() error {
	switch {
	case o.Clients < 1 || o.Clients > ClientsMax:
		return fmt.Errorf("there are to be 1 to %d clients", ClientsMax)
	case o.Rate < 0 || o.Rate > RateMax:
		return fmt.Errorf("the rate is to be from 0 to %g operations a second", RateMax)
	case o.Rate == 0 && (o.Depth < 1 || o.Depth > DepthMax):
		return fmt.Errorf("a client is to have 1 to %d operations under way", DepthMax)
	case o.InFlight < 0 || o.InFlight > InFlightMax:
		return fmt.Errorf("at most %d operations can be in flight", InFlightMax)
	case o.WarmUp < 0 || o.Duration < 0:
		return errors.New("a time is negative")
	case o.Duration == 0 && o.Workload.Limit == 0 && o.Workload.Choice != Replay:
		return errors.New("nothing says when the run is to end")
	}
	return nil
}

// Run measures a target. It returns when the workload or the time is over, or ctx: then what was measured so far is returned as
// well. An error means that the run is not possible: options, or a target that cannot be reached.
func Run(ctx context.Context, o Options) (*Measured, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.InFlight == 0 {
		o.InFlight = InFlightDefault
	}
	o.Workload.lag = uint64(o.Clients * o.Depth)
	if o.Rate > 0 {
		o.Workload.lag = uint64(o.Clients * openLag)
	}
	source, err := newSource(o.Workload)
	if err != nil {
		return nil, err
	}
	r := &run{options: o, source: source, recorder: newRecorder(), over: make(chan struct{}), complete: make(chan struct{})}
	if err := r.dial(ctx); err != nil {
		return nil, err
	}
	return r.measure(ctx), nil
}

// run is one run under way.
type run struct {
	options  Options
	source   *source
	recorder *recorder
	drivers  []*driver
	start    time.Time
	began    atomic.Bool

	over      chan struct{} // closed when nothing further is to be started
	stop      sync.Once
	halted    time.Duration // when over was closed, since the start
	under     atomic.Int64  // operations under way, and one for each that still starts some
	complete  chan struct{} // closed when under has come to 0
	closing   time.Duration // how long the last row is
	generator generator
	near      NearReads // when the measurement began
}

func (r *run) dial(ctx context.Context) error {
	for i := range r.options.Clients {
		d := &driver{run: r, number: i, room: make(chan struct{}, 1)}
		client, err := r.options.Target.Dial(ctx, d)
		if err != nil {
			r.close()
			return err
		}
		d.client = client
		r.drivers = append(r.drivers, d)
	}
	return nil
}

func (r *run) close() {
	var closing sync.WaitGroup
	for _, d := range r.drivers {
		closing.Go(d.client.Close)
	}
	closing.Wait()
}

// end is when the time is over, since the start; 0 where there is no such time.
func (r *run) end() time.Duration {
	if r.options.Duration == 0 {
		return 0
	}
	return r.options.WarmUp + r.options.Duration
}

// grace is what an open loop has beyond the end, so that an operation that was due in the last moment is not said to be left out.
func (r *run) grace() time.Duration {
	if r.options.Rate > 0 {
		return paceGrace
	}
	return 0
}

// elapsed is the time since the start, and whether that is past the end.
func (r *run) elapsed() (now time.Duration, past bool) {
	now = time.Since(r.start)
	end := r.end()
	return now, end > 0 && now >= end
}

func (r *run) measure(ctx context.Context) *Measured {
	begin := r.loop
	if r.options.Rate > 0 {
		begin = r.pace
		// Threads that wait in the kernel must not wait again for one of Go's processors when they wake.
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + pacerCount))
	}
	r.generator.begin()
	r.near = r.nearReads()
	r.start = time.Now()
	var starters sync.WaitGroup
	begin(&starters)
	interrupted := r.follow(ctx)
	r.halt()
	starters.Wait()
	near := r.nearReads()
	r.close()
	m := r.measured(interrupted)
	m.near = NearReads{near.Hits - r.near.Hits, near.Reads - r.near.Reads}
	return m
}

// nearReads are those so far of a target that has near caches.
func (r *run) nearReads() NearReads {
	if t, ok := r.options.Target.(interface{ nearReads() NearReads }); ok {
		return t.nearReads()
	}
	return NearReads{}
}

// follow collects a row each second until the run is complete, or over and drainMax has passed.
func (r *run) follow(ctx context.Context) (interrupted bool) {
	ticks := time.NewTicker(progressEvery)
	defer ticks.Stop()
	warmUp := time.After(r.options.WarmUp) // rows begin at the warm-up's end
	var timeUp, givenUp <-chan time.Time
	if end := r.end(); end > 0 {
		timeUp = time.After(end + r.grace())
	}
	stopping := ctx.Done()
	rowBegan := r.options.WarmUp
	halt := func() {
		r.halt()
		stopping, timeUp, givenUp = nil, nil, time.After(drainMax)
	}
	defer func() {
		if now := time.Since(r.start); now > rowBegan {
			r.closing = now - rowBegan
		}
	}()
	for {
		select {
		case <-warmUp:
			ticks.Reset(progressEvery)
			if r.options.WarmUp > 0 {
				r.near = r.nearReads()
			}
		case <-ticks.C:
			now := time.Since(r.start)
			row := Second{}
			if now-rowBegan >= rowMin {
				row = r.recorder.collect(now - rowBegan)
				rowBegan = now
			}
			if r.options.Progress != nil {
				r.options.Progress(Progress{r.options.Target.String(), now - r.options.WarmUp, r.options.Duration, row})
			}
		case <-timeUp:
			halt()
		case <-stopping:
			interrupted = true
			halt()
		case <-givenUp:
			return interrupted
		case <-r.complete:
			return interrupted
		}
	}
}

// halt makes everything end that starts operations.
func (r *run) halt() {
	r.stop.Do(func() {
		r.halted = time.Since(r.start)
		r.source.end()
		close(r.over)
	})
}

// leave takes back what was added to under.
func (r *run) leave() {
	if r.under.Add(-1) == 0 {
		close(r.complete)
	}
}

// driver starts the operations of one client, and is told of their ends.
type driver struct {
	run    *run
	number int
	client Client
	under  atomic.Int64 // operations started and not ended

	mu struct { // of a closed loop
		sync.Mutex
		ended bool
	}

	waiting atomic.Bool   // of an open loop: a pacer waits for room
	room    chan struct{} // holds a token when there may be some
}

func (d *driver) start(op Op) {
	d.under.Add(1)
	d.run.under.Add(1)
	d.client.Start(op)
}

func (d *driver) Done(op Op, result Result) {
	d.run.recorder.record(d.number, op, result, time.Since(d.run.start))
	d.under.Add(-1)
	if d.waiting.Load() {
		select {
		case d.room <- struct{}{}:
		default:
		}
	}
	d.run.leave()
}

// Turn goes on with a closed loop.
func (d *driver) Turn() {
	if d.run.options.Rate == 0 {
		d.refill()
	}
}

// loop starts a closed loop: every client on a goroutine of its own, which most leave at once, for their ends make the next
// beginnings.
func (r *run) loop(starters *sync.WaitGroup) {
	r.under.Add(int64(len(r.drivers)))
	r.began.Store(true)
	for _, d := range r.drivers {
		starters.Go(d.refill)
	}
}

// refill starts operations until as many are under way as there are to be.
func (d *driver) refill() {
	r := d.run
	if !r.began.Load() {
		return // a connection that was just made has told of it
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.mu.ended && d.under.Load() < int64(r.options.Depth) {
		now, past := r.elapsed()
		op, ok := Op{}, false
		if !past {
			op, ok = r.source.next()
		}
		if !ok {
			d.mu.ended = true
			r.leave()
			break
		}
		op.Due, op.charge = now, now >= r.options.WarmUp
		d.start(op)
	}
	d.client.Flush()
}
