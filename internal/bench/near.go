package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/internal/relay"
	"github.com/neargrid/neargrid/loadtest"
)

// The near suite's dimensions.
const (
	nearValueBytes = 100
	nearHeld       = 100_000 // keys, where all are held
	nearRecords    = 1_000_000
	nearTrip       = 250 * time.Microsecond // that the relay adds, where one is enough
	nearEntryBytes = 232                    // what an entry of these keys and values takes in a near cache, all included
	nearFillers    = 64                     // goroutines that fill a near cache
	nearDraws      = 1 << 18                // of keys by Zipf, read in turn; a power of two
	nearPings      = 400                    // of which a round trip is the median
)

const (
	hitMedian      metric = "median time of a hit"
	hitAllocations metric = "allocations of the process a hit"
	hitsAllCores   metric = "hits a second, all cores"
	hitsOneCore    metric = "hits a second, one goroutine"
	hitsRueidis    metric = "the same, against rueidis"
	hitsGoRedis    metric = "the same, against go-redis"
	readsInTurn    metric = "reads a second, one at a time"
	tripAdded      metric = "round trip that the relay adds"
	latencyMedian  metric = "median latency"
	againstOne     metric = "keys a second, against one request at a time"
	againstMany    metric = "keys a second, against pipelines of 512"
	freshMedian    metric = "old value served for, median"
	freshP99       metric = "old value served for, p99"
)

func absolute(m metric, r rule, limit float64) []target {
	return []target{{metric: m, rule: r, limit: limit, absolute: true}}
}

// nearPoints is the target table of near caches.
var nearPoints = []point{
	{"near hit", []target{
		{metric: hitMedian, rule: atMost, limit: 100, absolute: true},
		{metric: hitAllocations, rule: atMost, limit: 0, absolute: true},
		{metric: hitsAllCores, rule: atLeast, limit: 8e6, absolute: true},
	}, nearHit{}.run},
	{"near hit against others", []target{{metric: hitsOneCore, rule: atLeast, limit: 1.5}}, otherHits{}.run},
	{"speed-up in process", []target{{metric: readsInTurn, rule: atLeast, limit: 1500}}, speedUp{}.run},
	{"speed-up through a sidecar", []target{{metric: readsInTurn, rule: atLeast, limit: 10}}, sidecarSpeedUp{}.run},
	{"sidecar hit, Unix socket", []target{{metric: latencyMedian, rule: atMost, limit: 1.2}}, sidecarHit{}.run},
	{"sidecar hit, pipeline 16", []target{{metric: throughput, rule: atLeast, limit: 1}}, sidecarHit{pipelined: true}.run},
	{"aggregation of 100,000 keys", []target{{metric: againstOne, rule: atLeast, limit: 31}}, aggregation{}.run},
	{"write until not served", absolute(freshP99, atMost, 2+float64(nearTrip/2)/float64(time.Millisecond)), freshness{}.run},
	{"SET with 200 tracking clients", []target{{metric: throughput, rule: atLeast, limit: 0.9}}, writersCost{}.run},
	{"SET with 200 tracking clients, BCAST", nil, writersCost{bcast: true}.run},
	{"Zipf matrix", nil, zipfMatrix{}.run},
	{"50 nodes, 200 clients", []target{
		{metric: leaseCores, rule: atMost, limit: 0.1, absolute: true},
		{metric: wrongErrors, rule: atMost, limit: 0, absolute: true},
		{metric: staleReads, rule: atMost, limit: 0, absolute: true},
		{metric: backReads, rule: atMost, limit: 0, absolute: true},
	}, nearCrowd{}.run},
}

var nearFacts = []fact{
	{"servers", "`neargrid server`, one node, unless a point says otherwise; the client is package client, in the tool's own process"},
	{"keys", fmt.Sprintf("16 B with values of %d B; Zipf 0.99 as in YCSB, over %d keys where all are held, else over %d",
		nearValueBytes, nearHeld, nearRecords)},
	{"round trips", "a relay between client and node (internal/relay), calibrated; what it adds is measured by PINGs beside PINGs without it"},
	{"columns", "ours is the near cache; the second column is what a point's name or metric says, else the same client without a near cache"},
}

// nearRig is a node with records, and a longer way to it.
type nearRig struct {
	node    *server
	relay   *relay.Relay
	records int
	names   []string // of nearDraws keys, by Zipf
}

// startRig starts a node, stores the records, and draws keys.
func (l *lab) startRig(ctx context.Context, records int) (_ *nearRig, err error) {
	g := &nearRig{records: max(1, records/l.scale.divisor)}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	if g.node, err = l.startNode(ctx, nil); err != nil {
		return nil, err
	}
	w, err := g.workload()
	if err != nil {
		return nil, err
	}
	if err := g.node.store(ctx, w); err != nil {
		return nil, err
	}
	if g.relay, err = relay.Start(g.node.addr); err != nil {
		return nil, err
	}
	g.names, err = zipfNames(w)
	return g, err
}

func (g *nearRig) workload() (loadtest.Workload, error) {
	return loadtest.NewWorkload("c", uint64(g.records))
}

func (g *nearRig) close() {
	if g.relay != nil {
		g.relay.Close()
	}
	if g.node != nil {
		g.node.stop()
	}
}

// store stores a workload's records.
func (s *server) store(ctx context.Context, w loadtest.Workload) error {
	_, err := s.measure(ctx, loadtest.Options{Workload: w.LoadPhase(), Clients: 1, Depth: loadDepth})
	return err
}

// zipfNames are the names of the keys that a workload asks for, one behind the other in memory: a program that asks for a key has its
// bytes at hand.
func zipfNames(w loadtest.Workload) ([]string, error) {
	keys, err := w.Keys(nearDraws)
	if err != nil {
		return nil, err
	}
	var all strings.Builder
	for _, key := range keys {
		all.WriteString(keyName(int(key)))
	}
	names := make([]string, len(keys))
	size := len(keyName(0))
	for i := range names {
		names[i] = all.String()[i*size : (i+1)*size]
	}
	return names, nil
}

// allNames are the names of all keys, by key.
func allNames(records int) []string {
	names := make([]string, records)
	for i := range names {
		names[i] = keyName(i)
	}
	return names
}

// client connects a client with a near cache of so many bytes; at 0 with none. It goes through the relay unless straight.
func (g *nearRig) client(ctx context.Context, memory int64, straight bool) (*client.Client, error) {
	var o client.Options
	if memory > 0 {
		o.NearCache = &client.NearCache{Prefixes: []string{keyPrefix}, MemoryMax: memory}
	}
	if !straight {
		o.Dial = g.relay.Dial
	}
	return client.Connect(ctx, []string{g.node.addr}, o)
}

// roomForAll is a near cache that holds every record, and some more.
func (g *nearRig) roomForAll() int64 { return max(4<<20, int64(g.records)*nearEntryBytes*3/2) }

// holding connects a client that holds every record.
func (g *nearRig) holding(ctx context.Context, straight bool) (*client.Client, error) {
	c, err := g.client(ctx, g.roomForAll(), straight)
	if err != nil {
		return nil, err
	}
	get := func(name string) error { _, err := c.Get(ctx, name); return err }
	if err := readAll(g.records, get); err != nil {
		c.Close()
		return nil, err
	}
	before, _ := c.NearStats()
	if err := readAll(g.records, get); err != nil {
		c.Close()
		return nil, err
	}
	after, _ := c.NearStats()
	if missed := after.Misses() - before.Misses(); missed > int64(g.records)/100 {
		c.Close()
		return nil, fmt.Errorf("of %d keys that were read before, %d are not held: %+v", g.records, missed, after)
	}
	return c, nil
}

// readAll reads every record once, from many goroutines.
func readAll(records int, get func(name string) error) error {
	var readers sync.WaitGroup
	errs := make(chan error, nearFillers)
	for part := range nearFillers {
		readers.Go(func() {
			for i := part; i < records; i += nearFillers {
				if err := get(keyName(i)); err != nil {
					errs <- fmt.Errorf("read %s: %w", keyName(i), err)
					return
				}
			}
		})
	}
	readers.Wait()
	close(errs)
	return <-errs
}

// lookFirst is how many reads are made between the first looks at the clock; their number grows as long as they take less than lookEvery.
const (
	lookFirst = 4
	lookEvery = 200 * time.Microsecond
)

// readsPerSecond reads names in turn, beginning at from, one after the other, for so long.
func readsPerSecond(names []string, from int, length time.Duration, get func(name string) error) (float64, error) {
	done, batch := 0, lookFirst
	start := time.Now()
	for now := start; ; {
		for range batch {
			if err := get(names[(from+done)%len(names)]); err != nil {
				return 0, err
			}
			done++
		}
		last := now
		now = time.Now()
		if now.Sub(last) < lookEvery {
			batch *= 2
		}
		if took := now.Sub(start); took >= length {
			return float64(done) / took.Seconds(), nil
		}
	}
}

// getter reads strings for readsPerSecond.
func getter(ctx context.Context, c *client.Client) func(string) error {
	return func(name string) error { _, err := c.Get(ctx, name); return err }
}
