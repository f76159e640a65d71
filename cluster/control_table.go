package cluster

import (
	"sync"
	"sync/atomic"

	"github.com/neargrid/neargrid/cluster/core"
)

// tableFollower keeps the newest table that this node knows to be committed, wherever it heard of it: raft's state machine, or
// another node. Tables and deltas may come in any order; versions sort them. Tables in here are never changed.
type tableFollower struct {
	onTable func(core.Delta)
	onNews  func() // something newer is known; must not wait
	wake    chan struct{}

	mu struct {
		sync.Mutex
		newest *core.Table
		frozen bool // nothing is taken any more
	}
	current atomic.Pointer[core.Table] // the newest that onTable was called for, or is being called for
	applied atomic.Uint64              // the newest version that onTable has returned for
}

func newTableFollower(onTable func(core.Delta), onNews func()) *tableFollower {
	f := &tableFollower{onTable: onTable, onNews: onNews, wake: make(chan struct{}, 1)}
	f.mu.newest = &core.Table{}
	f.current.Store(f.mu.newest)
	return f
}

// newest is the newest table that is known, whether or not it has been handed out.
func (f *tableFollower) newest() *core.Table {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.newest
}

// offer takes a whole table, which nobody may change any more.
func (f *tableFollower) offer(t *core.Table) {
	f.mu.Lock()
	newer := t.Version > f.mu.newest.Version && !f.mu.frozen
	if newer {
		f.mu.newest = t
	}
	f.mu.Unlock()
	if newer {
		f.notify()
	}
}

// freeze has the newest table stay the newest (R34).
func (f *tableFollower) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.frozen = true
}

// offerDelta takes a delta. One that begins after the newest table is of no use here: it is an error.
func (f *tableFollower) offerDelta(d core.Delta) error {
	t := f.newest()
	if d.Version <= t.Version {
		return nil
	}
	next, err := applyDelta(t, d)
	if err != nil {
		return err
	}
	f.offer(next)
	return nil
}

func (f *tableFollower) notify() {
	signal(f.wake)
	f.onNews()
}

// run hands out what is new until stop is closed: in order, several versions in one delta where they came close together.
func (f *tableFollower) run(stop <-chan struct{}) {
	for {
		select {
		case <-f.wake:
		case <-stop:
			return
		}
		t, before := f.newest(), f.current.Load()
		if t.Version == before.Version {
			continue
		}
		f.current.Store(t)
		f.onTable(t.Since(before.Version))
		f.applied.Store(t.Version)
	}
}

// signal wakes who receives from c, now or when it looks next.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
