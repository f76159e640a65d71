package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/loadtest"
	"github.com/neargrid/neargrid/nearcache"
)

// nearCrowd measures 200 near-cached clients on 50 nodes: what their leases cost where they are mostly idle, and what they see when one of
// the nodes is killed under load. 49 nodes are in one process; the one that is killed is a process of its own.
type nearCrowd struct{}

const (
	crowdNodes   = 50
	crowdClients = 200
	crowdRecords = 500
	crowdMemory  = 1 << 20
	crowdLease   = time.Second // L
	crowdConnect = 16          // clients that connect at a time

	idlePause  = time.Second           // of a client that is mostly idle, between two reads of one key
	idleRounds = 3                     // at most
	busyPause  = 50 * time.Millisecond // of a client under load, between two commands
	busyOwn    = 10                    // keys of which a client reads busyShare of the time, else any
	busyShare  = 0.9
	busyTime   = time.Minute
	busyWrites = 0.02 // the share of commands that write
	callMax    = 15 * time.Second
)

const (
	leaseCores  metric = "cores in use by clients, and by nodes above silence"
	nodeCores   metric = "cores in use by nodes, against silent clients"
	leasesGiven metric = "leases granted a second"
	busyReads   metric = "reads under load"
	busyHits    metric = "of them, near"
	wrongErrors metric = "errors other than those to expect"
	rightErrors metric = "errors to expect"
	staleReads  metric = "reads older than L"
	backReads   metric = "reads that went back"
)

func (nearCrowd) run(ctx context.Context, l *lab) (outcome, error) {
	nodes, clients := max(3, crowdNodes/l.scale.divisor), max(2, crowdClients/l.scale.divisor)
	if err := allowDescriptors(min(20_000, 2*nodes*clients+descriptorSpare)); err != nil {
		return outcome{}, err
	}
	grid, err := l.startDev(ctx, nodes-1)
	if err != nil {
		return outcome{}, err
	}
	defer grid.stop()
	victim, err := l.startNode(ctx, grid)
	if err != nil {
		return outcome{}, err
	}
	grid.others = append(grid.others, victim)
	if err := grid.awaitGrid(ctx, nodes); err != nil {
		return outcome{}, err
	}
	w, err := loadtest.NewWorkload("c", crowdRecords)
	if err != nil {
		return outcome{}, err
	}
	if err := grid.store(ctx, w); err != nil {
		return outcome{}, err
	}
	idle, err := grid.coresOver(ctx, l.scale.settle)
	if err != nil {
		return outcome{}, err
	}
	c, err := connectCrowd(ctx, grid, nodes, clients)
	if err != nil {
		return outcome{}, err
	}
	defer c.close()
	out, err := c.leases(ctx, l, idle)
	if err != nil {
		return out, err
	}
	busy, err := c.underLoad(ctx, l, victim)
	out.series, out.notes = append(out.series, busy.series...), append(out.notes, busy.notes...)
	return out, err
}

// clientCrowd are the clients.
type clientCrowd struct {
	grid    *server
	nodes   int
	clients []*client.Client
}

// connectCrowd connects the clients, each at one of the nodes, and has each read every record.
func connectCrowd(ctx context.Context, grid *server, nodes, count int) (*clientCrowd, error) {
	c := &clientCrowd{grid: grid, nodes: nodes, clients: make([]*client.Client, count)}
	errs := make(chan error, count)
	turns := make(chan struct{}, crowdConnect)
	var connecting sync.WaitGroup
	for i := range c.clients {
		turns <- struct{}{}
		connecting.Go(func() {
			defer func() { <-turns }()
			addr := "127.0.0.1:" + strconv.Itoa(grid.port+i%(nodes-1))
			near, err := client.Connect(ctx, []string{addr}, client.Options{
				NearCache: &client.NearCache{Prefixes: []string{keyPrefix}, MemoryMax: crowdMemory, Staleness: crowdLease}})
			if err != nil {
				errs <- err
				return
			}
			c.clients[i] = near
			for key := range crowdRecords {
				if _, err := near.Get(ctx, keyName(key)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	connecting.Wait()
	close(errs)
	if err := <-errs; err != nil {
		c.close()
		return nil, fmt.Errorf("%d near-cached clients: %w", count, err)
	}
	return c, nil
}

func (c *clientCrowd) close() {
	var closing sync.WaitGroup
	for _, near := range c.clients {
		if near != nil {
			closing.Go(near.Close)
		}
	}
	closing.Wait()
}

// each runs a loop for each client, and ends them all after a time.
func (c *clientCrowd) each(ctx context.Context, length time.Duration, loop func(ctx context.Context, number int)) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var loops sync.WaitGroup
	for i := range c.clients {
		loops.Go(func() { loop(ctx, i) })
	}
	loops.Wait()
}

// leases compares what nodes use while each client reads a held key a second with what they use while the same clients are silent, in turn:
// what nodes use by themselves changes slowly. What the clients use counts in full.
func (c *clientCrowd) leases(ctx context.Context, l *lab, before float64) (outcome, error) {
	above := series{metric: leaseCores, unit: cores}
	node := series{metric: nodeCores, unit: cores}
	given := series{metric: leasesGiven, unit: perSecond}
	reads := c.reads()
	for round := range min(idleRounds, l.rounds) {
		var nodes [2]float64
		var clients float64
		for _, s := range turn(round) {
			w, err := c.window(ctx, l.scale.settle, s == ours)
			if err != nil {
				return outcome{}, err
			}
			nodes[s] = w.nodes
			node.samples[s] = append(node.samples[s], w.nodes)
			given.samples[s] = append(given.samples[s], w.leases)
			if s == ours {
				clients = w.clients
			}
		}
		above.samples[ours] = append(above.samples[ours], clients+nodes[ours]-nodes[peer])
	}
	now := c.reads()
	hits := 100 * float64(now.Hits-reads.Hits) / float64(now.Hits-reads.Hits+now.MissesAbsent-reads.MissesAbsent)
	note := fmt.Sprintf("50 nodes, 200 clients, leases: %d clients on %d nodes, each connected to all, holding %d keys and reading one of them each %s, %.1f %% "+
		"near; beside it the same clients, silent. Before there were clients the nodes used %.3f cores.", len(c.clients), c.nodes, crowdRecords, idlePause, hits, before)
	return outcome{series: []series{above, node, given}, notes: []string{note}}, nil
}

// window is what was used in some time.
type window struct{ nodes, clients, leases float64 }

// window measures some time in which the clients are mostly idle, or silent.
func (c *clientCrowd) window(ctx context.Context, length time.Duration, reading bool) (w window, err error) {
	leases, err := c.leasesGranted()
	if err != nil {
		return w, err
	}
	nodes, err := c.grid.cpu()
	if err != nil {
		return w, err
	}
	clients, from := selfCPU(), time.Now()
	failed := make(chan error, len(c.clients))
	c.each(ctx, length, func(ctx context.Context, number int) {
		if !reading {
			<-ctx.Done()
		} else if err := c.idle(ctx, number); err != nil {
			failed <- fmt.Errorf("a client that is mostly idle: %w", err)
		}
	})
	close(failed)
	took := float64(time.Since(from))
	w.clients = float64(selfCPU()-clients) / took
	nodesAfter, err := c.grid.cpu()
	if err != nil {
		return w, err
	}
	leasesAfter, err := c.leasesGranted()
	if err != nil {
		return w, err
	}
	w.nodes, w.leases = float64(nodesAfter-nodes)/took, float64(leasesAfter-leases)/took*float64(time.Second)
	return w, <-failed
}

// idle is a client that is mostly idle: it reads the same key now and then.
func (c *clientCrowd) idle(ctx context.Context, number int) error {
	random := rand.New(rand.NewPCG(uint64(number), 1))
	for next := time.Duration(random.Int64N(int64(idlePause))); wait(ctx, next) == nil; next = idlePause {
		if _, err := c.clients[number].Get(context.Background(), keyName(number%crowdRecords)); err != nil {
			return err
		}
	}
	return nil
}

// leasesGranted sums over all processes how often GRID.LEASE was executed: nodes of one process count together.
func (c *clientCrowd) leasesGranted() (sum int64, err error) {
	for _, p := range c.grid.processes() {
		text, err := p.ask("INFO", "commandstats")
		if err != nil {
			return 0, err
		}
		_, rest, found := strings.Cut(text, "cmdstat_grid.lease:calls=")
		if !found {
			continue
		}
		digits, _, _ := strings.Cut(rest, ",")
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("INFO commandstats: %w", err)
		}
		sum += n
	}
	return sum, nil
}

// selfCPU is the processor time that this process has used.
func selfCPU() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// history is what has become of a key's writes: one client writes it, with a number that grows.
type history struct {
	sync.Mutex
	last  int           // number that was tried
	acked []ackedNumber // in order
}

type ackedNumber struct {
	number int
	at     time.Time
}

// stale tells whether a read that began at a time may not have found a number any more: a later one was acknowledged longer than L before.
func (h *history) stale(number int, began time.Time) bool {
	h.Lock()
	defer h.Unlock()
	i, _ := slices.BinarySearchFunc(h.acked, number+1, func(a ackedNumber, n int) int { return a.number - n })
	return i < len(h.acked) && h.acked[i].at.Before(began.Add(-crowdLease))
}

// busy is the state of a run under load.
type busy struct {
	crowd     *clientCrowd
	histories []history
	reads     atomic.Int64
	stale     atomic.Int64
	back      atomic.Int64

	mu     sync.Mutex
	errors map[string]int
	wrong  map[string]string // an example of each kind
}

// underLoad has all clients read and write for a while, and kills a node in the middle of it.
func (c *clientCrowd) underLoad(ctx context.Context, l *lab, victim *server) (outcome, error) {
	b := &busy{crowd: c, histories: make([]history, crowdRecords), errors: map[string]int{}, wrong: map[string]string{}}
	length := busyTime
	if l.scale.divisor > 1 {
		length = 4 * l.scale.openLoopRun
	}
	hits := c.reads().Hits
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		if wait(ctx, length/2) == nil {
			victim.kill()
		}
	}()
	c.each(ctx, length, b.loop)
	<-killed
	if ctx.Err() != nil {
		return outcome{}, ctx.Err()
	}
	expected, wrong := 0, 0
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(b.errors)) {
		kinds = append(kinds, fmt.Sprintf("%s x %d", kind, b.errors[kind]))
		if b.wrong[kind] == "" {
			expected += b.errors[kind]
		} else {
			wrong += b.errors[kind]
			kinds = append(kinds, b.wrong[kind])
		}
	}
	one := func(m metric, u unit, v float64) series {
		return series{metric: m, unit: u, samples: [2][]float64{ours: {v}}}
	}
	note := fmt.Sprintf("50 nodes, 200 clients, under load: a command each %s from each client, %g %% of them writes, for %s, with kill -9 of a node in "+
		"the middle. Errors: %s.", busyPause, 100*busyWrites, length, strings.Join(append(kinds, "no others"), "; "))
	if b.reads.Load() == 0 {
		return outcome{}, errors.New("nothing was read under load")
	}
	return outcome{notes: []string{note}, series: []series{
		one(busyReads, counted, float64(b.reads.Load())), one(busyHits, percent, 100*float64(c.reads().Hits-hits)/float64(b.reads.Load())),
		one(rightErrors, counted, float64(expected)), one(wrongErrors, counted, float64(wrong)),
		one(staleReads, counted, float64(b.stale.Load())), one(backReads, counted, float64(b.back.Load()))}}, nil
}

// reads are the look-ups in near caches so far.
func (c *clientCrowd) reads() (sum nearcache.Stats) {
	for _, near := range c.clients {
		stats, _ := near.NearStats()
		sum.Hits += stats.Hits
		sum.MissesAbsent += stats.Misses()
	}
	return sum
}
