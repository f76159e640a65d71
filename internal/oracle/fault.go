package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/neargrid/neargrid/cluster"
	"github.com/neargrid/neargrid/internal/testgrid"
)

// fault is a kind of what is done to an arena while all write and read.
type fault struct {
	name, about string
	share       int // of a long run, in thousandths
	run         func(ctx context.Context, a *arena) error
	needs       func(a *arena) string // what is missing for it; nil or "": nothing
}

func needsNetwork(a *arena) string {
	if a.network == nil {
		return "this machine allows no network namespaces"
	}
	return ""
}

func needsSidecar(a *arena) string {
	if a.side == nil {
		return "there is no sidecar"
	}
	return ""
}

const queueFault = "push queue of 1"

// nodeFaults is where in faults those begin that are done to nodes.
const nodeFaults = 8

// faults, in the order in which a short run has them.
var faults = []fault{
	{name: "flush", about: "FLUSHALL", share: 120, run: flush},
	{name: "expiry", about: "all keys are written with 40 to 150 ms to live", share: 100, run: expire},
	{name: "eviction", about: "maxmemory is reached, keys at random are evicted", share: 70, run: evict},
	{name: "table of 1", about: "tracking-table-max-keys 1", share: 110, run: smallTable},
	{name: queueFault, about: "grid-push-max-keys 1, many keys written at once", share: 110, run: smallQueue},
	{name: "black hole", about: "nothing arrives, of the client, of nodes, or of both, for 0.5 to 3 L", share: 200, run: blackHole},
	{name: "frozen sidecar", about: "SIGSTOP of the sidecar for 0.5 to 4 L", share: 60, run: freezeSidecar, needs: needsSidecar},
	{name: "killed sidecar", about: "SIGKILL of the sidecar, and a new start", share: 20, run: killSidecar, needs: needsSidecar},
	{name: "frozen node", about: "SIGSTOP of a node, for 0.5 to 1.5 L or for 1.2 to 2.5 s", share: 70, run: freezeNode},
	{name: "killed primary", about: "SIGKILL of a node, and a new start, at once or when others have taken over", share: 50, run: killNode},
	{name: "isolated primary", about: "a node is cut off from the others for 1.2 to 3 s, and clients reach all", share: 50, run: isolate, needs: needsNetwork},
	{name: "join", about: "a node joins, and partitions move to it", share: 20, run: join},
	{name: "drain", about: "the node is drained, and partitions move back", share: 20, run: drain},
}

// between is a duration at random.
func (a *arena) between(low, high time.Duration) time.Duration {
	return low + time.Duration(a.rng.Int64N(int64(high-low)))
}

// last lets a fault last.
func last(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// removal is something that is done to all keys.
func (a *arena) removal(kind eventKind, do func() outcome) {
	numbers := make([]int, len(a.keys))
	for i, h := range a.keys {
		numbers[i], _ = h.begin(kind, 0)
	}
	o := do()
	for i, h := range a.keys {
		h.end(numbers[i], o)
	}
}

func flush(ctx context.Context, a *arena) (err error) {
	a.removal(removed, func() outcome {
		_, err = a.far.c.Do(ctx, "FLUSHALL")
		return outcomeOf(err)
	})
	return errors.Join(err, last(ctx, L))
}

func expire(ctx context.Context, a *arena) error {
	a.ttl.Store(int64(a.between(40*time.Millisecond, 150*time.Millisecond)))
	defer a.ttl.Store(0)
	return last(ctx, 3*L)
}

// configure sets something at all nodes.
func (a *arena) configure(pairs ...string) (err error) {
	for _, n := range a.grid.Running() {
		_, e := n.Ask(append([]string{"CONFIG", "SET"}, pairs...)...)
		err = errors.Join(err, e)
	}
	return err
}

const (
	evictRoom   = 64 << 10 // bytes above what is used now
	evictValue  = 4 << 10
	evictValues = 200                    // written at a time
	evictAfter  = 200 * time.Millisecond // for evictions that were begun to end
)

func evict(ctx context.Context, a *arena) (err error) {
	a.removal(evicted, func() outcome {
		for _, n := range a.grid.Running() {
			used, e := n.InfoField("memory", "used_memory")
			if e == nil {
				_, e = n.Ask("CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", strconv.FormatInt(used+evictRoom, 10))
			}
			err = errors.Join(err, e)
		}
		filler := string(make([]byte, evictValue))
		for until := now() + 2*L; err == nil && now() < until && ctx.Err() == nil; {
			p := a.far.c.Pipeline()
			for range evictValues {
				p.Do("SET", "filler:"+strconv.Itoa(a.rng.IntN(10*evictValues)), filler)
			}
			_, _ = p.Exec(ctx) // that there is no room is no trouble
		}
		err = errors.Join(err, a.configure("maxmemory", "0"), last(ctx, evictAfter))
		return done
	})
	return err
}

func smallTable(ctx context.Context, a *arena) error {
	err := a.configure("tracking-table-max-keys", "1")
	return errors.Join(err, last(ctx, 2*L), a.configure("tracking-table-max-keys", "1000000"))
}

const burstPause = 20 * time.Millisecond

func smallQueue(ctx context.Context, a *arena) error {
	err := a.configure("grid-push-max-keys", "1")
	for until := now() + 2*L; err == nil && now() < until; {
		a.burst(ctx)
		err = last(ctx, burstPause)
	}
	return errors.Join(err, a.configure("grid-push-max-keys", "8192"))
}

// burst writes all keys of the viewer without a near cache at once: what is to be told of them waits together.
func (a *arena) burst(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, writeMax)
	defer cancel()
	v := a.viewers[len(a.viewers)-1]
	var mine []*history
	var numbers []int
	var seqs []int64
	p := a.far.c.Pipeline()
	for _, h := range a.keys {
		if h.owner != v {
			continue
		}
		h.turn.Lock()
		defer h.turn.Unlock()
		number, seq := h.begin(written, 0)
		mine, numbers, seqs = append(mine, h), append(numbers, number), append(seqs, seq)
		p.Do("SET", h.key, value(seq, now()))
	}
	results, err := p.Exec(ctx)
	for i, h := range mine {
		o := outcomeOf(err)
		if i < len(results) {
			o = outcomeOf(results[i].Err)
		}
		h.end(numbers[i], o)
		a.judge.writes[o].Add(1)
		if o == done {
			v.sees(h.key, 2*seqs[i])
		}
	}
}

// blackHole has nothing arrive between clients and nodes: one node or all, one way or both.
func blackHole(ctx context.Context, a *arena) error {
	ways := [][2]bool{{true, true}, {false, true}, {true, false}}
	way := ways[a.rng.IntN(len(ways))]
	out, in := way[0], way[1]
	victims := a.grid.Running()
	if a.rng.IntN(2) == 0 {
		i := a.rng.IntN(len(victims))
		victims = victims[i : i+1]
	}
	var doors []string
	for _, n := range victims {
		doors = append(doors, n.Door)
	}
	a.holes.open(doors, out, in)
	err := a.cutSidecar(victims, out, in)
	err = errors.Join(err, last(ctx, a.between(L/2, 3*L)))
	a.holes.close()
	return errors.Join(err, a.healSidecar(victims, out, in))
}

func freezeSidecar(ctx context.Context, a *arena) error {
	err := a.side.process().Freeze()
	return errors.Join(err, last(ctx, a.between(L/2, 4*L)), a.side.process().Thaw(), last(ctx, L))
}

func killSidecar(ctx context.Context, a *arena) error {
	return errors.Join(a.side.restart(ctx), last(ctx, L))
}

// victim is a node at random, of those that are there from the beginning.
func (a *arena) victim() *testgrid.Node { return a.grid.All()[a.rng.IntN(nodesUsual)] }

func freezeNode(ctx context.Context, a *arena) error {
	d := a.between(L/2, L+L/2)
	if a.rng.IntN(2) == 0 {
		d = a.between(1200*time.Millisecond, 2500*time.Millisecond)
	}
	p := a.victim().Process()
	return errors.Join(p.Freeze(), last(ctx, d), p.Thaw(), a.whole(ctx))
}

func killNode(ctx context.Context, a *arena) error {
	n := a.victim()
	id, before := n.ID(), ""
	s, err := n.Status()
	if err != nil {
		return err
	}
	before = incarnation(s, id)
	n.Kill()
	if a.rng.IntN(2) == 0 {
		err = last(ctx, a.between(1500*time.Millisecond, 2500*time.Millisecond))
	}
	err = errors.Join(err, n.Start(ctx))
	for _, other := range a.grid.Running() { // where it was back at once, others may not know yet that its copies are gone
		err = errors.Join(err, other.Until(ctx, testgrid.WholeMax, "the new start is known", func(s cluster.Status) bool {
			return incarnation(s, id) != before
		}))
	}
	return errors.Join(err, a.whole(ctx))
}

func incarnation(s cluster.Status, id string) string {
	for _, m := range s.Members {
		if string(m.ID) == id {
			return m.Incarnation
		}
	}
	return ""
}

// isolate cuts a node off from the other nodes: all, or only what it sends.
func isolate(ctx context.Context, a *arena) error {
	victim, oneWay := a.victim(), a.rng.IntN(3) == 0
	each := func(do func(from, to int) error) (err error) {
		for _, n := range a.grid.Running() {
			if n == victim {
				continue
			}
			err = errors.Join(err, do(victim.Number, n.Number))
			if !oneWay {
				err = errors.Join(err, do(n.Number, victim.Number))
			}
		}
		return err
	}
	err := errors.Join(each(a.network.Cut), last(ctx, a.between(1200*time.Millisecond, 3*time.Second)))
	return errors.Join(err, each(a.network.Heal), a.whole(ctx))
}

func join(ctx context.Context, a *arena) error {
	_, err := a.grid.Add(ctx)
	return errors.Join(err, a.whole(ctx))
}

// drain has the node leave that has joined.
func drain(ctx context.Context, a *arena) error {
	all := a.grid.All()
	n := all[len(all)-1]
	if _, err := n.Ask("GRID.DRAIN"); err != nil {
		return err
	}
	select {
	case <-n.Process().Exited:
	case <-time.After(testgrid.WholeMax):
		return fmt.Errorf("drain %s: it has not left after %v", n.Name, testgrid.WholeMax)
	case <-ctx.Done():
		return ctx.Err()
	}
	return errors.Join(n.Off().Wait(), a.whole(ctx))
}
