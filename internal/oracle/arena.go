package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/internal/testgrid"
)

// L is the age that a near read may have at most.
const L = 300 * time.Millisecond

const (
	recently   = 2                // a key is hot for so many L after a write
	nodesUsual = 3                // of a grid
	partitions = "32"             // of a grid
	connectMax = 20 * time.Second // for a client to connect
	writeMax   = 3 * time.Second  // for a write to have an outcome

	keysEach   = 10 // keys that each viewer writes, the one without a near cache too
	goroutines = 2  // that read for each viewer
	readPause  = 4 * time.Millisecond
	looks      = 4                     // at all keys, one after the other; then a pause: what the first has fetched the others find
	passUsual  = 20 * time.Millisecond // of one pass: keys of a node that does not answer must not hold up the others
	passMax    = L / 2                 // of one pass, where one key alone takes longer than usual
	farPause   = time.Millisecond      // between two reads past near caches
	writeLow   = 20 * time.Millisecond // between two writes of a key
	writeHigh  = 120 * time.Millisecond
	nearMemory = "8mb"
	nearPrefix = "k:"
)

// arena is a grid, those who write and read there all the time, and what is done to it meanwhile.
type arena struct {
	name    string
	lab     *lab
	rng     *rand.Rand
	network *testgrid.Network // nil: this machine allows none, and nodes cannot be cut off
	grid    *testgrid.Grid
	holes   *holes
	side    *sidecar // nil: the program has none
	far     *clientReader
	judge   *judge

	keys    []*history
	viewers []*viewer // each with a reader; the last one is far
	readers []reader
	ttl     atomic.Int64 // time.Duration that writes give their keys; 0: none

	stop    chan struct{}
	running sync.WaitGroup
}

// lab is what arenas have in common.
type lab struct {
	dir, program string
	log          func(format string, args ...any)
}

// open starts a grid and all who use it.
func (l *lab) open(ctx context.Context, name string, seed uint64, j *judge) (a *arena, err error) {
	a = &arena{
		name: name, lab: l, rng: rand.New(rand.NewPCG(seed, 0)), holes: newHoles(), judge: j, stop: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if a.grid, err = testgrid.New(l.program, l.dir, "--partitions", partitions, "--io-loops", "1"); err != nil {
		return nil, err
	}
	a.network, err = testgrid.OpenNetwork()
	switch {
	case err == nil:
		err = a.grid.StartOn(ctx, a.network, nodesUsual)
	case errors.Is(err, testgrid.ErrLeftOut):
		l.log("%s: nodes cannot be cut off from each other: %v", name, err)
		a.network = nil
		err = a.grid.Start(ctx, nodesUsual)
	}
	if err != nil {
		return nil, err
	}
	if err := a.connect(ctx); err != nil {
		return nil, err
	}
	a.place()
	a.run()
	return a, nil
}

const farKind = "far"

// readerKinds are the kinds of readers, and what they are.
var readerKinds = map[string]string{
	"client":   "package client, in process",
	"go-redis": "go-redis with the hook of client/goredis, in process",
	"one door": "package client with Direct: one node reads for it at the others",
	"sidecar":  "RESP over the Unix socket of a sidecar",
	farKind:    "package client without a near cache",
}

// connect makes the readers.
func (a *arena) connect(ctx context.Context) error {
	doors := a.doors()
	near := client.NearCache{Prefixes: []string{nearPrefix}, Staleness: L, MemoryMax: 8 << 20}
	add := func(kind string, limit time.Duration, r reader, err error) error {
		if err == nil {
			name := kind + " of " + a.name
			a.viewers = append(a.viewers, &viewer{name: name, kind: kind, arena: a.name, limit: limit, judge: a.judge, seen: map[string]*atomic.Int64{}})
			a.readers = append(a.readers, r)
		}
		return err
	}
	r, err := newClient(ctx, doors, client.Options{Dial: a.holes.Dial, NearCache: &near})
	if err := add("client", L, r, err); err != nil {
		return err
	}
	hook, err := newHook(ctx, doors[1], a.holes, near)
	if err := add("go-redis", L, hook, err); err != nil {
		return err
	}
	r, err = newClient(ctx, doors[2:], client.Options{Direct: true, Dial: a.holes.Dial, NearCache: &near})
	if err := add("one door", L, r, err); err != nil {
		return err
	}
	if a.lab.hasSidecar(ctx) {
		side, err := a.startSidecar(ctx)
		if err := add("sidecar", L, side, err); err != nil {
			return err
		}
		a.side = side
	}
	a.far, err = newClient(ctx, doors, client.Options{})
	return add(farKind, 0, a.far, err)
}

func (a *arena) doors() (doors []string) {
	for _, n := range a.grid.Running() {
		doors = append(doors, n.Door)
	}
	return doors
}

// place makes the keys.
func (a *arena) place() {
	for i, v := range a.viewers {
		for k := range keysEach {
			a.keys = append(a.keys, newHistory(nearPrefix+strconv.Itoa(i)+"."+strconv.Itoa(k), v))
		}
	}
	for _, v := range a.viewers {
		for _, h := range a.keys {
			v.seen[h.key] = new(atomic.Int64)
		}
	}
}

// run starts all who write and read.
func (a *arena) run() {
	for i, r := range a.readers {
		v := a.viewers[i]
		for _, h := range a.keys {
			if h.owner == v {
				seed := a.rng.Uint64()
				a.running.Go(func() { a.write(r, h, rand.New(rand.NewPCG(seed, 1))) })
			}
		}
		if r == reader(a.far) {
			a.running.Go(func() { a.readFar(v) })
			continue
		}
		for range goroutines {
			seed := a.rng.Uint64()
			a.running.Go(func() { a.read(r, v, rand.New(rand.NewPCG(seed, 2))) })
		}
	}
}

// close ends all.
func (a *arena) close() {
	close(a.stop)
	a.holes.close()
	a.running.Wait()
	for _, r := range a.readers {
		r.close()
	}
	if a.grid != nil {
		a.grid.Close()
	}
	if a.network != nil {
		a.network.Close()
	}
}

// pause waits; false: it is over.
func (a *arena) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-a.stop:
		return false
	}
}

// write writes one key again and again.
func (a *arena) write(r reader, h *history, rng *rand.Rand) {
	for a.pause(writeLow + time.Duration(rng.Int64N(int64(writeHigh-writeLow)))) {
		h.turn.Lock()
		a.writeOnce(r, h)
		h.turn.Unlock()
	}
}

func (a *arena) writeOnce(r reader, h *history) {
	ctx, cancel := context.WithTimeout(context.Background(), writeMax)
	defer cancel()
	ttl := time.Duration(a.ttl.Load())
	number, seq := h.begin(written, ttl)
	o := r.set(ctx, h.key, value(seq, now()), ttl)
	h.end(number, o)
	a.judge.writes[o].Add(1)
	if o == done {
		h.owner.sees(h.key, 2*seq) // read your writes
	}
}

// read looks at keys again and again: at as many as can be fetched in time, which on a busy machine are few.
func (a *arena) read(r reader, v *viewer, rng *rand.Rand) {
	keys := append([]*history(nil), a.keys...)
	p := pace{count: len(keys), limit: passUsual}
	for a.pause(readPause) {
		rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		ctx, cancel := context.WithTimeout(context.Background(), p.limit)
		for range looks {
			r.pass(ctx, v, keys[:p.count])
		}
		p.adapt(ctx.Err() == nil, len(keys))
		cancel()
	}
}

// pace is how many keys a pass looks at, and how long it may last.
type pace struct {
	count int
	limit time.Duration
}

// adapt is called after a pass that came to its end in time or not, of keysMax keys at most.
func (p *pace) adapt(inTime bool, keysMax int) {
	switch {
	case inTime && p.limit > passUsual:
		p.limit /= 2
	case inTime:
		p.count = min(2*p.count, keysMax)
	case p.count > 1:
		p.count /= 2
	default:
		p.limit = min(2*p.limit, passMax)
	}
}

// readFar looks at one key after the other, past all near caches: what it sees is the truth.
func (a *arena) readFar(v *viewer) {
	for i := 0; a.pause(farPause); i++ {
		ctx, cancel := context.WithTimeout(context.Background(), passUsual)
		a.far.pass(ctx, v, a.keys[i%len(a.keys):][:1])
		cancel()
	}
}

// whole waits until the grid is whole.
func (a *arena) whole(ctx context.Context) error {
	if err := a.grid.Whole(ctx); err != nil {
		return fmt.Errorf("%s: %w", a.name, err)
	}
	return nil
}
