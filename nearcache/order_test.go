//go:build invariants

package nearcache

import "testing"

// TestLeaseFirst steps in where Get has compared an entry with what is current and not yet looked at the clock. What
// happens there makes the entry stale and gives its node a lease, in this order: only who had loaded the lease before
// sees that the look-up has none.
func TestLeaseFirst(t *testing.T) {
	for what, meanwhile := range map[string]func(*rig){
		"an invalidation and the lease behind it arrive together": func(r *rig) {
			r.Invalidate("k")
			r.links[0].SetLease(Never)
		},
		"a connection ends and another begins": func(r *rig) {
			r.links[0].Close()
			r.OpenLink(0).SetLease(Never)
		},
		"the partition is invalidated, and the lease behind it arrives": func(r *rig) {
			r.InvalidatePartition(0)
			r.links[0].SetLease(Never)
		},
	} {
		r := newRig(t, nil)
		k := NewKey(0, "k")
		r.read(k, 0, "old")
		r.links[0].SetLease(10) // it has lapsed long ago when the look-up begins
		r.stepIn = func() { meanwhile(r) }
		if value, ok := r.Get(k, 1000); ok {
			t.Errorf("%s: a look-up under way answers %q", what, value)
		}
	}
}

// TestStoreKeepsSnapshot steps in where Store has found its snapshot current and not yet made the entry: what is invalidated
// there is stale.
func TestStoreKeepsSnapshot(t *testing.T) {
	for what, meanwhile := range map[string]func(*rig){
		"generation": func(r *rig) { r.Invalidate("k") },
		"partition":  func(r *rig) { r.InvalidatePartition(0) },
	} {
		r := newRig(t, nil)
		k := NewKey(0, "k")
		s := r.Snapshot(k, 0)
		r.stepIn = func() { meanwhile(r) }
		r.Store(k, s, []byte("old"), Never, 0)
		r.stepIn = nil
		r.want("invalidated while it was stored", k, 0, what)
	}
}
