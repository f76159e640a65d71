package nearcache

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

const (
	coherenceKeys   = 64
	coherenceLease  = 1000
	coherenceRounds = 4000 // of each goroutine; readers do ten look-ups in each
)

// coherence is a made-up grid, versions of a few keys, with a cache in front of it, and a clock. Goroutines read, write,
// move and break things, and check that no look-up answers what was replaced before its time, less the lease where
// pushes get lost (G1), and that a key's versions never go back for one reader (G2).
type coherence struct {
	*rig
	clock    atomic.Int64
	keys     [coherenceKeys]Key
	versions [coherenceKeys]uint64        // what the grid has; under the lock of the key's node
	replaced [coherenceKeys]atomic.Uint64 // the oldest version that a look-up may still answer

	// nodes are locked while a node executes something and what it says arrives: the order on its connection.
	nodes [2]sync.RWMutex
}

// reader is one goroutine that reads: what it has seen of each key, and a reply that it has got and not yet stored.
type reader struct {
	*coherence
	random *rand.Rand
	last   [coherenceKeys]uint64
	store  func()
}

func (c *coherence) reader(seed uint64) *reader {
	return &reader{coherence: c, random: rand.New(rand.NewPCG(1, seed)), store: func() {}}
}

func newCoherence(t *testing.T, change func(*Options)) *coherence {
	c := &coherence{rig: newRig(t, change)}
	for k := range c.keys {
		c.keys[k] = NewKey(0, string(rune('A'+k)))
	}
	return c
}

// lookUp checks what it finds for some key. Where it finds nothing it reads the key from its node.
func (c *reader) lookUp() {
	k := c.random.IntN(coherenceKeys)
	oldest := c.replaced[k].Load() // before the clock, so that it was replaced by then
	now := Time(c.clock.Load())
	value, ok := c.Get(c.keys[k], now)
	if !ok {
		c.fill(k)
		return
	}
	version := binary.LittleEndian.Uint64(value)
	if version < oldest {
		c.t.Errorf("key %d: version %d was found at %d, when %d had replaced it", k, version, now, oldest)
	}
	if version < c.last[k] {
		c.t.Errorf("key %d: version %d was found, after %d", k, version, c.last[k])
	}
	c.last[k] = version
}

// fill is a read: a snapshot, the node executes it, the reply is stored, half of the time not before the next reply is there.
func (c *reader) fill(k int) {
	s := c.Snapshot(c.keys[k], k%rigPartitions)
	var value [8]byte
	c.nodes[k%2].RLock()
	binary.LittleEndian.PutUint64(value[:], c.versions[k])
	c.nodes[k%2].RUnlock()
	c.store()
	c.store = func() { c.Store(c.keys[k], s, value[:], Never, Time(c.clock.Load())) }
	if c.random.IntN(2) == 0 {
		c.store()
		c.store = func() {}
	}
}

// write is a write by somebody else, of which the node tells before any reply that shows it.
func (c *coherence) write(k int) {
	c.nodes[k%2].Lock()
	c.versions[k]++
	version := c.versions[k]
	c.Invalidate(c.keys[k].name)
	c.nodes[k%2].Unlock()
	c.replaced[k].Store(version)
}

// TestCoherence has readers, writers whose pushes arrive, and connections, leases and partitions that change, all at once.
func TestCoherence(t *testing.T) {
	for _, policy := range Policies {
		t.Run(string(policy), func(t *testing.T) { testCoherence(t, policy) })
	}
}

func testCoherence(t *testing.T, policy Policy) {
	c := newCoherence(t, func(o *Options) { o.Policy = policy; o.ItemsMax = coherenceKeys / 2 })
	var all sync.WaitGroup
	for n := range 2 {
		all.Go(func() { // reads
			r := c.reader(uint64(n))
			for range 10 * coherenceRounds {
				r.lookUp()
			}
		})
		all.Go(func() { // reads and writes
			r := c.reader(uint64(2 + n))
			for range coherenceRounds {
				r.lookUp()
				c.write(2*r.random.IntN(coherenceKeys/2) + n) // one goroutine writes a key
				r.lookUp()
			}
		})
	}
	all.Go(func() { // leases, connections, partitions, time
		r := c.reader(4)
		links := c.links
		for range coherenceRounds {
			c.clock.Add(r.random.Int64N(coherenceLease / 4))
			n, p := r.random.IntN(2), r.random.IntN(rigPartitions)
			switch r.random.IntN(20) {
			case 0:
				links[n].Close()
				links[n] = c.OpenLink(n)
			case 1:
				c.InvalidateNode(n)
			case 2:
				c.AssignPartition(p, n)
			case 3:
				c.InvalidatePartition(p)
			default:
				links[n].SetLease(Time(c.clock.Load() + coherenceLease))
			}
			r.lookUp()
		}
	})
	all.Wait()
	if s := c.Stats(); s.Hits < coherenceRounds || s.MissesGeneration == 0 || s.MissesPartition == 0 {
		t.Errorf("the run was too tame: %+v", s)
	}
}

// TestCoherenceLostPushes has no pushes at all: a connection breaks with every write, and the lease alone protects. What was
// written counts from the end of the lease.
func TestCoherenceLostPushes(t *testing.T) {
	c := newCoherence(t, nil)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for n := range uint64(2) {
		readers.Go(func() {
			r := c.reader(n)
			for {
				select {
				case <-done:
					return
				default:
					r.lookUp()
				}
			}
		})
	}
	r := c.reader(5)
	random := r.random
	links := c.links
	for n := range links {
		links[n].SetLease(coherenceLease)
	}
	for range coherenceRounds {
		k := random.IntN(coherenceKeys)
		n := k % 2
		c.nodes[n].Lock()
		c.versions[k]++
		c.clock.Store(max(c.clock.Load(), int64(links[n].Lease())))
		c.replaced[k].Store(c.versions[k])
		if _, ok := c.Get(c.keys[k], Time(c.clock.Load())); ok {
			t.Errorf("key %d was found after the end of the lease", k)
		}
		if random.IntN(2) == 0 {
			links[n].Close()
		}
		links[n] = c.OpenLink(n)
		c.nodes[n].Unlock()
		links[n].SetLease(Time(c.clock.Load() + coherenceLease))
		for range 20 {
			c.clock.Add(coherenceLease / 100)
			r.lookUp()
		}
	}
	close(done)
	readers.Wait()
	if s := c.Stats(); s.Hits < coherenceRounds || s.MissesPartition == 0 || s.MissesLease == 0 {
		t.Errorf("the run was too tame: %+v", s)
	}
}
