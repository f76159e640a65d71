package nearcache

import (
	"fmt"
	"testing"
)

// rig is a cache of 8 partitions on 2 nodes, partition p on node p%2, both with a link and a lease that does not end.
type rig struct {
	*Cache
	t     *testing.T
	links [2]*Link
}

const rigPartitions = 8

// newRig makes a rig; change may change the options first.
func newRig(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	o := Options{MemoryBytes: 8 << 20, Partitions: rigPartitions, Nodes: 2}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r := &rig{Cache: c, t: t}
	for p := range rigPartitions {
		c.AssignPartition(p, p%2)
	}
	for n := range r.links {
		r.links[n] = c.OpenLink(n)
		r.links[n].SetLease(Never)
	}
	return r
}

// read is a whole read that fills: snapshot, store.
func (r *rig) read(k Key, partition int, value string) {
	r.t.Helper()
	if !r.Store(k, r.Snapshot(k, partition), []byte(value), Never, 0) {
		r.t.Fatalf("%v was not stored: %+v", k, r.Stats())
	}
}

// find looks k up at a time and answers its value, or the reason of the miss.
func (r *rig) find(k Key, now Time) string {
	r.t.Helper()
	before := r.Stats()
	value, ok := r.Get(k, now)
	after := r.Stats()
	if ok {
		if after.Hits != before.Hits+1 || after.Misses() != before.Misses() {
			r.t.Errorf("a hit went into the statistics as %+v, before it they were %+v", after, before)
		}
		return string(value)
	}
	if value != nil || after.Misses() != before.Misses()+1 || after.Hits != before.Hits {
		r.t.Errorf("a miss answered %q and went into the statistics as %+v, before it they were %+v", value, after, before)
	}
	switch {
	case after.MissesAbsent > before.MissesAbsent:
		return "absent"
	case after.MissesPartition > before.MissesPartition:
		return "partition"
	case after.MissesGeneration > before.MissesGeneration:
		return "generation"
	case after.MissesExpired > before.MissesExpired:
		return "expired"
	}
	return "lease"
}

func (r *rig) want(what string, k Key, now Time, want string) {
	r.t.Helper()
	if got := r.find(k, now); got != want {
		r.t.Errorf("%s: a look-up of %s at %d gives %q, want %q", what, k, now, got, want)
	}
}

// String is for messages of tests.
func (k Key) String() string { return fmt.Sprintf("%d:%s(%s)", k.db, k.name, k.view) }
