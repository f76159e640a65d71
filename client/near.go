package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/nearcache"
	"github.com/neargrid/neargrid/protocol"
)

// NearCache says of what a client keeps copies, in how much memory, and how old they may be.
//
// What a copy may be used for is said by two guarantees, where the servers are neargrid's. At any time t, what a near read returns was the
// current value at some moment after t - Staleness, whatever connections, nodes and partitions do meanwhile. And for each key reads never go
// back, and this client reads its own acknowledged writes. Machines that are suspended are excepted, unless SuspendSafe is set;
// so is what SCAN, KEYS, RANDOMKEY and DBSIZE tell.
//
// With other servers the lease rests on PING: that is as good as long as one server serves its keys, and weaker through a failover
// or while slots of a Redis Cluster move, as the server that is deposed does not know it at once. They must have CLIENT TRACKING (Redis 6 or
// later): Connect fails otherwise.
type NearCache struct {
	// Prefixes of the keys that are kept; one that is "" means all keys.
	Prefixes []string
	// MemoryMax bounds the memory of all copies, in bytes: keys, values and what is needed to find them. 0 means 64 MiB.
	MemoryMax int64
	// Staleness is L, the age that a near read may have at most. 0 means 1 s. A node may grant less.
	Staleness time.Duration
	// SuspendSafe has the clock go on while the machine is suspended; it makes a hit slower, about 0.3 µs. Linux alone has it.
	SuspendSafe bool
	// Watch, where it is set, is told what the servers say of what was read.
	Watch *NearWatch
}

const (
	nearMemory = 64 << 20
	staleness  = time.Second
	// StalenessMin and StalenessMax bound NearCache.Staleness.
	StalenessMin = 10 * time.Millisecond
	StalenessMax = time.Hour

	// nearNodesMax is how many nodes near reads may come from; further ones are read past the near cache.
	nearNodesMax = 1024
	// leaseShare is the part of a granted lease after which it is renewed.
	leaseShare = 3
	// leasePauseMin is the shortest time between renewals.
	leasePauseMin = 5 * time.Millisecond
	// nearTriesMax is how often a read looks for its node while the table changes, before it goes past the near cache.
	nearTriesMax = 8
	// mgetFlightsMax is how many reads of one MGET are under way at a time.
	mgetFlightsMax = 256
)

func (o NearCache) withDefaults() (NearCache, error) {
	if o.MemoryMax == 0 {
		o.MemoryMax = nearMemory
	}
	if o.Staleness == 0 {
		o.Staleness = staleness
	}
	o.Prefixes = append([]string(nil), o.Prefixes...)
	switch {
	case len(o.Prefixes) == 0:
		return o, errors.New(`neargrid: NearCache.Prefixes is empty; name the keys to keep, or give "" for all`)
	case o.Staleness < StalenessMin || o.Staleness > StalenessMax:
		return o, fmt.Errorf("neargrid: NearCache.Staleness is %v; it may be %v to %v", o.Staleness, StalenessMin, StalenessMax)
	case o.MemoryMax < nearcache.MemoryBytesMin:
		return o, fmt.Errorf("neargrid: NearCache.MemoryMax is %d bytes; at least %d are needed", o.MemoryMax, nearcache.MemoryBytesMin)
	}
	return o, nil
}

// near joins the near cache to connections: it decides what is looked up there, reads what is not, and tells it what was written.
type near struct {
	client  *Client
	options NearCache
	now     func() nearcache.Time
	state   atomic.Pointer[nearState] // nil before the first table

	mu struct {
		sync.Mutex
		err     error         // why there is no cache for the table
		numbers map[*node]int // of the table's nodes
		flights map[flightID]*flight
		caches  []*nearcache.Cache // all that were made: close ends them
	}
}

// nearState is the cache for one number of partitions. Another grid at the same addresses may have another: it gets a new one.
type nearState struct {
	cache      *nearcache.Cache
	partitions int
	shift      int
}

func (st *nearState) partition(key string) int { return Slot(key) >> st.shift }

func newNear(c *Client, o *NearCache) (*near, error) {
	n := &near{client: c, options: *o}
	clock, err := monotonic(o.SuspendSafe)
	if err != nil {
		return nil, err
	}
	n.now = func() nearcache.Time { return nearcache.Time(clock()) }
	n.mu.numbers, n.mu.flights = map[*node]int{}, map[flightID]*flight{}
	return n, nil
}

// check tells whether a node can be read near: Connect says so rather than that nothing is ever found.
func (n *near) check(ctx context.Context) error {
	n.mu.Lock()
	err := n.mu.err
	n.mu.Unlock()
	if err != nil {
		return fmt.Errorf("neargrid: NearCache: %w", err)
	}
	node := n.client.anyNode(n.client.table.Load(), nil)
	_, err = node.lanes[laneNear].get(ctx)
	var e *ServerError
	if errors.As(err, &e) && (e.Code == "ERR" || e.Code == "NOPERM") {
		return fmt.Errorf("%w (NearCache needs CLIENT TRACKING, of Redis 6 or later; leave out Options.NearCache for this server)", err)
	}
	return err
}

func (n *near) close() {
	n.state.Store(nil)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, cache := range n.mu.caches {
		cache.Close()
	}
	n.mu.caches = nil
}

// matches tells whether a key is one of those that are kept.
func (n *near) matches(key string) bool {
	for _, prefix := range n.options.Prefixes {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// takes tells whether a command is answered by way of the near cache.
func (n *near) takes(s *spec, args []string) bool {
	if len(args) < 2 {
		return false
	}
	if s.is(flagPure) {
		return n.matches(args[1])
	}
	if !strings.EqualFold(args[0], "MGET") {
		return false
	}
	for _, key := range args[1:] {
		if n.matches(key) {
			return true
		}
	}
	return false
}

// sending is told before a command is sent past the near cache, answered before its outcome is handed on: its reply, its
// error, or that its time is over. What it changes must not be found in the near cache from then on. That goes for reads too, in the
// end: they may have seen something newer than what is held, and a later near read would go back behind it.
func (n *near) sending(s *spec, args []string) {
	if n != nil && !s.is(flagRead) {
		n.invalidate(s, args)
	}
}

func (n *near) answered(s *spec, args []string) {
	if n != nil {
		n.invalidate(s, args)
	}
}

// invalidate makes stale what is held of a command's keys; everything, where they are not known.
func (n *near) invalidate(s *spec, args []string) {
	st := n.state.Load()
	if st == nil {
		return
	}
	if s.is(flagVague|flagScript|flagUnlisted) || wipes(args) {
		st.cache.InvalidateAll()
		return
	}
	s.eachKey(args, func(i int) {
		if n.matches(args[i]) {
			st.cache.Invalidate(args[i])
		}
	})
}

// get is GET of a key that matches. A hit allocates nothing.
func (n *near) get(ctx context.Context, key string) (string, error) {
	st := n.state.Load()
	if st == nil {
		v, err := n.past(ctx, specOf("GET"), []string{"GET", key})
		if err != nil {
			return "", err
		}
		return Reply{v}.Text()
	}
	k := nearcache.NewKey(n.client.options.DB, key)
	if held, ok := st.cache.Get(k, n.now()); ok {
		if held[0] == '$' {
			return shared(held[1:]), nil
		}
		return "", ErrNil
	}
	v, err := n.fetch(ctx, st, k, "", []string{"GET", key})
	if err != nil {
		return "", err
	}
	return Reply{v}.Text()
}

// read answers a command that it takes: from the cache, or from its node.
func (n *near) read(ctx context.Context, s *spec, args []string) (protocol.Value, error) {
	st := n.state.Load()
	switch {
	case st == nil:
		return n.past(ctx, s, args)
	case s.is(flagSplit):
		return n.readMany(ctx, st, args)
	}
	view := viewOf(args)
	k := nearcache.NewKey(n.client.options.DB, args[1]).View(view)
	if held, ok := st.cache.Get(k, n.now()); ok {
		return decodeHeld(held)
	}
	return n.fetch(ctx, st, k, view, args)
}

// viewOf is what a command asks of its key: "" for GET, else its words but for the key.
func viewOf(args []string) string {
	name := strings.ToUpper(args[0])
	if name == "GET" && len(args) == 2 {
		return ""
	}
	var b strings.Builder
	b.WriteString(name)
	for _, arg := range args[2:] {
		b.WriteByte(' ')
		b.WriteString(itoa(len(arg)))
		b.WriteByte(' ')
		b.WriteString(arg)
	}
	return b.String()
}

// readMany is MGET: each key on its own, what is not held all at the same time.
func (n *near) readMany(ctx context.Context, st *nearState, args []string) (protocol.Value, error) {
	get := specOf("GET")
	return n.readEach(args, func(line []string) (protocol.Value, error) {
		if !n.matches(line[1]) {
			return n.past(ctx, get, line)
		}
		return n.fetch(ctx, st, nearcache.NewKey(n.client.options.DB, line[1]), "", line)
	})
}

// readEach answers MGET from the cache, and what is not held by GETs of a key each, all at the same time.
func (n *near) readEach(args []string, read func(line []string) (protocol.Value, error)) (protocol.Value, error) {
	joined := protocol.Value{Kind: '*', Elems: make([]protocol.Value, len(args)-1)}
	failures := make([]error, len(args)-1)
	var wg sync.WaitGroup
	slots := make(chan struct{}, mgetFlightsMax)
	st := n.state.Load()
	for i, key := range args[1:] {
		if st != nil && n.matches(key) {
			if held, ok := st.cache.Get(nearcache.NewKey(n.client.options.DB, key), n.now()); ok {
				joined.Elems[i], _ = decodeHeld(held)
				continue
			}
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			joined.Elems[i], failures[i] = read([]string{"GET", key})
			if IsCode(failures[i], "WRONGTYPE") { // MGET has no value for it, where GET has an error
				joined.Elems[i], failures[i] = protocol.Value{Kind: '_', Null: true}, nil
			}
		})
	}
	wg.Wait()
	for _, err := range failures {
		if err != nil {
			return protocol.Value{}, err
		}
	}
	return joined, nil
}

// past reads past the near cache.
func (n *near) past(ctx context.Context, s *spec, args []string) (protocol.Value, error) {
	v, err := n.client.route(ctx, s, args)
	n.answered(s, args)
	return v, err
}
