package nearcache

import (
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// The validity rule, a test for each part of it. Each fails when its part is taken out (internal/mutants/testdata).

func TestHit(t *testing.T) {
	r := newRig(t, nil)
	k := NewKey(0, "page:1")
	r.want("empty", k, 5, "absent")
	r.read(k, 3, "one")
	r.want("stored", k, 5, "one")
	r.read(k, 3, "two")
	r.want("stored again", k, 5, "two")
	r.read(NewKey(0, "empty"), 3, "")
	if value, ok := r.Get(NewKey(0, "empty"), 5); !ok || value == nil || len(value) != 0 {
		t.Errorf("an empty value is found as %v, %v", value, ok)
	}
}

// TestValueIsCopied: the caller's buffer may change after Store, and what Get answered stays.
func TestValueIsCopied(t *testing.T) {
	r := newRig(t, nil)
	k := NewKey(0, "k")
	buffer := []byte("first")
	r.Store(k, r.Snapshot(k, 0), buffer, Never, 0)
	copy(buffer, "XXXXX")
	held, _ := r.Get(k, 0)
	r.read(k, 0, "other")
	if string(held) != "first" {
		t.Errorf("what was found is now %q, want first", held)
	}
	_ = append(held, "more"...)
	if cap(held) != len(held) {
		t.Errorf("a value of %d bytes can be appended to in place up to %d", len(held), cap(held))
	}
}

// TestKeyBytes: keys that differ are different, though their hashes be equal.
func TestKeyBytes(t *testing.T) {
	for _, policy := range Policies {
		r := newRig(t, func(o *Options) { o.Policy = policy })
		k := NewKey(1, "name").View("view")
		r.read(k, 0, "value")
		r.want(string(policy), k, 0, "value")
		for _, change := range []func(*Key){
			func(k *Key) { k.name = "nam_" },
			func(k *Key) { k.name = "names" },
			func(k *Key) { k.view = "vie_" },
			func(k *Key) { k.view = "" },
			func(k *Key) { k.db = 2 },
			func(k *Key) { k.name, k.view = "namev", "iew" },
		} {
			other := k
			change(&other)
			r.want(string(policy)+": another key of the same hash", other, 0, "absent")
		}
	}
}

func TestKeyHash(t *testing.T) {
	a, b := NewKey(0, "a"), NewKey(0, "b")
	if k := NewKeyBytes(0, []byte("a")); k.hash != a.hash || k.stripeHash != a.stripeHash || k.name != "a" {
		t.Errorf("NewKeyBytes makes %+v, NewKey %+v", k, a)
	}
	if a.stripeHash != xxhash.Sum64String("a") || NewKey(7, "a").View("v").stripeHash != a.stripeHash {
		t.Error("a key's stripe is not by the unkeyed xxhash64 of its name alone")
	}
	seen := map[uint64]Key{}
	for _, k := range []Key{a, b, NewKey(1, "a"), NewKey(2, "a"), a.View("x"), a.View("y"), b.View("x"), NewKey(1, "a").View("x"),
		NewKey(0, "x").View("a")} {
		if other, twice := seen[k.hash]; twice {
			t.Errorf("%s and %s have the same hash", k, other)
		}
		seen[k.hash] = k
	}
	if got := a.View("x").View(""); got != a {
		t.Errorf("a key with its view taken off is %+v, want %+v", got, a)
	}
}

// TestGeneration: an invalidation makes stale what is held of a key, in all databases and views, and of no other key.
func TestGeneration(t *testing.T) {
	invalidations := map[string]func(*rig){
		"Invalidate":       func(r *rig) { r.Invalidate("k") },
		"InvalidateBytes":  func(r *rig) { r.InvalidateBytes([]byte("k")) },
		"InvalidateKey":    func(r *rig) { r.InvalidateKey(NewKey(9, "k").View("other")) },
		"InvalidateStripe": func(r *rig) { r.InvalidateStripe(int(xxhash.Sum64String("k")%1024), 1024) },
	}
	for what, invalidate := range invalidations {
		r := newRig(t, nil)
		held := []Key{NewKey(0, "k"), NewKey(1, "k"), NewKey(0, "k").View("v")}
		for _, k := range held {
			r.read(k, 0, "old")
		}
		r.read(NewKey(0, "other"), 0, "stays")
		invalidate(r)
		for _, k := range held {
			r.want(what, k, 0, "generation")
			r.read(k, 0, "new")
			r.want(what+", read again", k, 0, "new")
		}
		r.want(what, NewKey(0, "other"), 0, "stays")
	}
}

// TestStripes: stripes of any number are translated into counters.
func TestStripes(t *testing.T) {
	for _, stripes := range []int{1, 2, 1 << 10, 1 << 20, 1 << 30} {
		r := newRig(t, nil)
		k := NewKey(0, "k")
		r.read(k, 0, "held")
		own := int(k.stripeHash % uint64(stripes))
		if stripes > 1 {
			r.InvalidateStripe(own^1, stripes)
			r.want("another stripe", k, 0, "held")
		}
		r.InvalidateStripe(own, stripes)
		r.want("its stripe", k, 0, "generation")
	}
	for _, c := range [][2]int{{0, 1000}, {0, 0}, {-1, 1024}, {1024, 1024}} {
		r := newRig(t, nil)
		r.read(NewKey(0, "k"), 0, "held")
		r.InvalidateStripe(c[0], c[1])
		if _, ok := r.Get(NewKey(0, "k"), 0); ok {
			t.Errorf("InvalidateStripe(%d, %d), which names no stripe, left something valid", c[0], c[1])
		}
	}
}

// TestGenerationComesRound: a counter that has come round makes nothing valid again.
func TestGenerationComesRound(t *testing.T) {
	r := newRig(t, nil)
	k := NewKey(0, "k")
	counter := r.generations.of(k.stripeHash)
	for _, start := range []uint32{0, 7, halfWay - 1, halfWay, 1<<32 - 1} {
		counter.Store(start)
		r.read(k, 0, "held")
		// 2^32 invalidations, of which those that change nothing but the counter are left out.
		for _, next := range []uint32{halfWay - 1, 1<<32 - 1} {
			if start <= next {
				counter.Store(next)
				r.Invalidate("k")
			}
		}
		counter.Store(start)
		r.want("after 2^32 invalidations", k, 0, "partition")
	}
}

// TestPartition: a partition's epoch makes stale what is held of it, and of no other.
func TestPartition(t *testing.T) {
	of := func(p int) Key { return NewKey(0, "of partition "+string(rune('0'+p))) }
	for _, c := range []struct {
		what  string
		do    func(*rig)
		stale string // partitions, by number
	}{
		{"InvalidatePartition", func(r *rig) { r.InvalidatePartition(2) }, "2"},
		{"InvalidatePartition of none", func(r *rig) { r.InvalidatePartition(rigPartitions) }, "01234567"},
		{"InvalidateNode", func(r *rig) { r.InvalidateNode(1) }, "1357"},
		{"InvalidateAll", func(r *rig) { r.InvalidateAll() }, "01234567"},
		{"assigned to another node", func(r *rig) { r.AssignPartition(4, 1) }, "4"},
		{"assigned to another node and back", func(r *rig) { r.AssignPartition(4, 1); r.AssignPartition(4, 0) }, "4"},
		{"assigned to the node that has it", func(r *rig) { r.AssignPartition(4, 0) }, ""},
		{"assigned to nobody and back", func(r *rig) { r.AssignPartition(4, NoNode); r.AssignPartition(4, 0) }, "4"},
		{"a new connection", func(r *rig) { r.OpenLink(0).SetLease(Never) }, "0246"},
		{"a connection ends", func(r *rig) { r.links[0].Close() }, "0246"},
		{"a connection ends, another begins", func(r *rig) { r.links[0].Close(); r.OpenLink(0).SetLease(Never) }, "0246"},
		{"a connection ends late", func(r *rig) { l := r.OpenLink(0); r.links[0].Close(); l.SetLease(Never) }, "0246"},
	} {
		r := newRig(t, nil)
		for p := range rigPartitions {
			r.read(of(p), p, "held")
		}
		c.do(r)
		for p := range rigPartitions {
			want := "held"
			if strings.ContainsRune(c.stale, rune('0'+p)) {
				want = "partition"
			}
			r.want(c.what, of(p), 0, want)
		}
	}
}

// TestLateClose: the end of an older connection leaves what a newer one brought.
func TestLateClose(t *testing.T) {
	r := newRig(t, nil)
	newer := r.OpenLink(0)
	newer.SetLease(Never)
	k := NewKey(0, "k")
	r.read(k, 0, "by the newer one")
	r.links[0].Close()
	r.want("the older one has ended", k, 0, "by the newer one")
}

// TestLease: nothing is used at or beyond the end of its node's lease; a later lease makes it valid again.
func TestLease(t *testing.T) {
	r := newRig(t, nil)
	k, other := NewKey(0, "k"), NewKey(0, "other node's")
	r.read(k, 0, "held")
	r.read(other, 1, "held")
	r.links[0].SetLease(100)
	if got := r.links[0].Lease(); got != 100 {
		t.Errorf("the lease ends at %d, want 100", got)
	}
	r.want("before the lease's end", k, 99, "held")
	r.want("at the lease's end", k, 100, "lease")
	r.want("another node's lease", other, 100, "held")
	r.links[0].SetLease(200)
	r.want("renewed", k, 150, "held")
	r.links[0].SetLease(120)
	r.want("shortened", k, 150, "lease")
	r.links[0].SetLease(0)
	r.want("ended", k, 0, "lease")
}

// TestLateLease: a connection that is not the node's any more cannot give it a lease.
func TestLateLease(t *testing.T) {
	r := newRig(t, nil)
	newer := r.OpenLink(0)
	k := NewKey(0, "k")
	r.read(k, 0, "by the newer one")
	if r.links[0].SetLease(Never) || r.links[0].Lease() != 0 {
		t.Error("a link that another has followed took a lease")
	}
	r.want("the older one's lease", k, 0, "lease")
	if !newer.SetLease(Never) {
		t.Error("the node's link took no lease")
	}
	r.want("the newer one's lease", k, 0, "by the newer one")
	newer.Close()
	if newer.SetLease(Never) || newer.Lease() != 0 {
		t.Error("a link that is closed took a lease")
	}
}

func TestExpiry(t *testing.T) {
	r := newRig(t, nil)
	k := NewKey(0, "k")
	r.Store(k, r.Snapshot(k, 0), []byte("held"), 100, 0)
	r.want("before expiry", k, 99, "held")
	r.want("at expiry", k, 100, "expired")
	r.links[0].SetLease(50)
	r.want("the lease ends first", k, 99, "lease")
	if r.Store(k, r.Snapshot(k, 0), []byte("late"), 100, 100) {
		t.Error("a value that has expired was stored")
	}
	if got := r.Stats().RefusedExpired; got != 1 {
		t.Errorf("%d values refused as expired, want 1", got)
	}
}

// TestSnapshot: an answer is stored as of the time before its request was sent.
func TestSnapshot(t *testing.T) {
	for what, meanwhile := range map[string]func(*rig){
		"the key is invalidated":     func(r *rig) { r.Invalidate("k") },
		"the partition moves":        func(r *rig) { r.AssignPartition(0, 1) },
		"the partition is flushed":   func(r *rig) { r.InvalidatePartition(0) },
		"the connection is replaced": func(r *rig) { r.OpenLink(0).SetLease(Never) },
	} {
		r := newRig(t, nil)
		k := NewKey(0, "k")
		s := r.Snapshot(k, 0)
		if !r.Current(s) {
			t.Errorf("%s: the snapshot is not current at first", what)
		}
		meanwhile(r)
		if r.Current(s) {
			t.Errorf("%s: the snapshot is current still: a flight could be joined", what)
		}
		if r.Store(k, s, []byte("old"), Never, 0) {
			t.Errorf("%s between snapshot and store, and the answer was stored", what)
		}
		r.want(what, k, 0, "absent")
		if got := r.Stats().RefusedStale; got != 1 {
			t.Errorf("%s: %d answers refused as stale, want 1", what, got)
		}
	}
}

// TestLateAnswer is of a node that served the partition when it was asked, and does not any more: what is held may be older.
func TestLateAnswer(t *testing.T) {
	for what, meanwhile := range map[string]func(*rig){
		"another node": func(r *rig) { r.AssignPartition(0, 1) },
		"another link": func(r *rig) { r.links[0] = r.OpenLink(0); r.links[0].SetLease(Never) },
	} {
		r := newRig(t, nil)
		k, other := NewKey(0, "k"), NewKey(0, "k of another stripe")
		late := r.Snapshot(k, 0)
		meanwhile(r)
		r.read(k, 0, "held")
		r.read(other, 0, "held")
		if r.Store(k, late, []byte("newer"), Never, 0) {
			t.Errorf("%s: a late answer was stored", what)
		}
		r.want(what+", once a late answer is handed on", k, 0, "generation")
		r.want(what+", another key", other, 0, "held")
		r.read(k, 0, "newer")
		r.want(what+", read again", k, 0, "newer")
	}
	r := newRig(t, nil)
	k := NewKey(0, "k")
	late := r.Snapshot(k, 0)
	r.Invalidate("k")
	r.read(k, 0, "held") // asked for later on the same connection, so it is no older
	r.Store(k, late, []byte("old"), Never, 0)
	r.want("a late answer of the same connection", k, 0, "held")
}

// TestNobodyServes: nothing is stored of a partition that has no node.
func TestNobodyServes(t *testing.T) {
	r := newRig(t, nil)
	r.AssignPartition(0, NoNode)
	k := NewKey(0, "k")
	if s := r.Snapshot(k, 0); r.Current(s) || r.Store(k, s, []byte("v"), Never, 0) {
		t.Error("an answer was stored of a partition that nobody serves")
	}
}

// TestUsed: a link knows whether look-ups rested on its lease.
func TestUsed(t *testing.T) {
	r := newRig(t, nil)
	k := NewKey(0, "k")
	check := func(what string, want bool) {
		t.Helper()
		if got := r.links[0].TakeUsed(); got != want {
			t.Errorf("%s: used is %v, want %v", what, got, want)
		}
		if r.links[0].TakeUsed() || r.links[1].TakeUsed() {
			t.Errorf("%s: a link is used without a look-up", what)
		}
	}
	r.want("absent", k, 0, "absent")
	check("a miss of what is absent", false)
	r.read(k, 0, "held")
	check("stored", false)
	r.want("held", k, 0, "held")
	check("a hit", true)
	r.links[0].SetLease(10)
	r.want("lapsed", k, 10, "lease")
	check("a hit but for the lease", true)
	r.Invalidate("k")
	r.want("stale", k, 0, "generation")
	check("a miss of what is stale", false)
}

func TestStoreRefuses(t *testing.T) {
	r := newRig(t, nil)
	k := NewKey(0, "k")
	large := make([]byte, r.ItemBytesMax()-entryBytes-1)
	if !r.Store(k, r.Snapshot(k, 0), large, Never, 0) {
		t.Errorf("an entry of ItemBytesMax was refused: %+v", r.Stats())
	}
	if r.Store(k, r.Snapshot(k, 0), append(large, 0), Never, 0) || r.Stats().RefusedTooLarge != 1 {
		t.Errorf("an entry larger than ItemBytesMax was not refused: %+v", r.Stats())
	}
	defer func() {
		if recover() == nil {
			t.Error("another key's snapshot was taken")
		}
	}()
	r.Store(NewKey(0, "other"), r.Snapshot(k, 0), nil, Never, 0)
}

func TestOptions(t *testing.T) {
	good := Options{MemoryBytes: 8 << 20, Partitions: 1}
	for _, c := range []struct {
		change func(*Options)
		word   string // of the error; empty for none
	}{
		{func(o *Options) {}, ""},
		{func(o *Options) { o.Policy = PolicyWindowLFU }, ""},
		{func(o *Options) { o.MemoryBytes = MemoryBytesMin }, ""},
		{func(o *Options) { o.MemoryBytes = MemoryBytesMin - 1 }, "bytes of memory"},
		{func(o *Options) { o.Partitions = 0 }, "partitions"},
		{func(o *Options) { o.Partitions = PartitionsMax + 1 }, "partitions"},
		{func(o *Options) { o.Nodes = -1 }, "nodes"},
		{func(o *Options) { o.Nodes = NodesMax + 1 }, "nodes"},
		{func(o *Options) { o.ItemsMax = -1 }, "items"},
		{func(o *Options) { o.ItemsExpected = -1 }, "items"},
		{func(o *Options) { o.ItemsExpected = 1 << 20 }, "more than half"},
		{func(o *Options) { o.Policy = "fifo" }, "no policy"},
		{func(o *Options) { o.ItemsMax = 1 }, ""},
		{func(o *Options) { o.Policy = PolicyRistretto; o.ItemsMax = 1 }, "2 items"},
		{func(o *Options) { o.Policy = PolicyRistretto; o.ItemsExpected = 100_000 }, "ristretto"},
	} {
		o := good
		c.change(&o)
		cache, err := New(o)
		if c.word == "" && err != nil || c.word != "" && (err == nil || !strings.Contains(err.Error(), c.word)) {
			t.Errorf("New(%+v): %v, want an error with %q", o, err, c.word)
		}
		if err == nil {
			cache.Close()
		}
	}
}
