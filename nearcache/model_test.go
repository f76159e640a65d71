package nearcache

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// model is what a cache should answer, kept in the plainest way: each event that makes something stale has a number, and an
// entry is stale if one that concerns it is newer than its snapshot.
type model struct {
	events     int
	byStripe   map[uint64]int // when a counter's stripe was last invalidated
	byPart     [rigPartitions]int
	node       [rigPartitions]int
	leases     [2]Time
	entries    map[string]modelEntry
	generation *generations // only to know which names share a counter
}

type modelEntry struct {
	value     string
	partition int
	snapshot  int
	expiry    Time
}

func (m *model) stripe(k Key) uint64 { return k.stripeHash & uint64(len(m.generation.counters)-1) }

func (m *model) fresh(k Key, partition, snapshot int) (reason string) {
	switch {
	case m.byPart[partition] > snapshot:
		return "partition"
	case m.byStripe[m.stripe(k)] > snapshot:
		return "generation"
	}
	return ""
}

func (m *model) find(k Key, now Time) string {
	e, held := m.entries[k.String()]
	if !held {
		return "absent"
	}
	if reason := m.fresh(k, e.partition, e.snapshot); reason != "" {
		return reason
	}
	switch {
	case now >= e.expiry:
		return "expired"
	case now >= m.leases[m.node[e.partition]]:
		return "lease"
	}
	return e.value
}

func (m *model) bump(partition int) {
	m.events++
	m.byPart[partition] = m.events
}

func (m *model) bumpNode(node int) {
	for p, of := range m.node {
		if of == node {
			m.bump(p)
		}
	}
}

// flight is a read whose reply is not there yet.
type flight struct {
	key       Key
	partition int
	snapshot  Snapshot
	taken     int // the model's events by then
}

// TestModel compares a cache with the model over random events: everything found, and each miss with its reason. There is
// room for all, and few counters, so that keys share them.
func TestModel(t *testing.T) {
	for policy, seeds := range map[Policy]uint64{PolicyWindowLFU: 20, PolicyRistretto: 5} {
		for seed := range seeds {
			t.Run(fmt.Sprintf("%s/%d", policy, seed), func(t *testing.T) { testModel(t, policy, seed) })
		}
	}
}

func testModel(t *testing.T, policy Policy, seed uint64) {
	const rounds = 3000
	r := newRig(t, func(o *Options) { o.Policy = policy; o.ItemsExpected = 16 })
	m := &model{byStripe: map[uint64]int{}, entries: map[string]modelEntry{}, generation: &r.generations}
	m.leases = [2]Time{Never, Never}
	for p := range m.node {
		m.node[p] = p % 2
	}
	random := rand.New(rand.NewPCG(seed, 0))
	now := Time(0)
	var flights []flight
	key := func() (Key, int) {
		i := random.IntN(40)
		return NewKey(i%2, fmt.Sprint("key ", i/2)).View([]string{"", "v"}[random.IntN(2)]), i / 2 % rigPartitions
	}
	for i := range rounds {
		now += Time(random.IntN(10))
		k, p := key()
		n := random.IntN(2)
		did := ""
		switch do := random.IntN(64); {
		case do < 24: // a request is sent
			flights = append(flights, flight{k, p, r.Snapshot(k, p), m.events})
			did = fmt.Sprintf("snapshot of %s", k)
		case do < 50: // a reply arrives
			if len(flights) == 0 {
				continue
			}
			j := random.IntN(len(flights))
			f := flights[j]
			flights = append(flights[:j], flights[j+1:]...)
			value, expiry := fmt.Sprint("value ", i), Never
			if random.IntN(2) == 0 {
				expiry = now + Time(random.IntN(200))
			}
			want := m.fresh(f.key, f.partition, f.taken) == "" && expiry > now
			if got := r.Store(f.key, f.snapshot, []byte(value), expiry, now); got != want {
				t.Fatalf("round %d: Store of %s at %d answers %v, want %v", i, f.key, now, got, want)
			}
			if want {
				m.entries[f.key.String()] = modelEntry{value, f.partition, f.taken, expiry}
			} else if m.byPart[f.partition] > f.taken {
				m.events++
				m.byStripe[m.stripe(f.key)] = m.events
			}
			did = fmt.Sprintf("store of %s until %d", f.key, expiry)
		case do < 55:
			r.InvalidateKey(k)
			m.events++
			m.byStripe[m.stripe(k)] = m.events
			did = "invalidation of " + k.name
		case do < 56:
			r.InvalidatePartition(p)
			m.bump(p)
			did = fmt.Sprint("invalidation of partition ", p)
		case do < 57:
			r.AssignPartition(p, n)
			if m.node[p] != n {
				m.node[p] = n
				m.bump(p)
			}
			did = fmt.Sprint("partition ", p, " to node ", n)
		case do < 58:
			switch random.IntN(3) {
			case 0:
				r.InvalidateNode(n)
			case 1:
				r.links[n].Close()
				m.leases[n] = 0
			}
			m.bumpNode(n)
			r.links[n] = r.OpenLink(n)
			m.leases[n] = 0
			did = fmt.Sprint("another link of node ", n)
		default:
			m.leases[n] = now + Time(random.IntN(300))
			r.links[n].SetLease(m.leases[n])
			did = fmt.Sprintf("lease of node %d until %d", n, m.leases[n])
		}
		for range 3 {
			k, _ := key()
			if got, want := r.find(k, now), m.find(k, now); got != want {
				t.Fatalf("round %d, after %s: a look-up of %s at %d gives %q, want %q", i, did, k, now, got, want)
			}
		}
	}
	if s := r.Stats(); s.Hits < rounds/10 || s.MissesLease == 0 || s.MissesExpired == 0 || s.Evictions > 0 {
		t.Errorf("the run was too tame, or something was evicted: %+v", s)
	}
}
