package main

import (
	"fmt"
	"strconv"

	"github.com/neargrid/neargrid/nearcache"
)

const (
	// memoryBytes is more than any trace needs: items bound the cache.
	memoryBytes = 1 << 30
	valueBytes  = 8
)

// replays is how often a trace is replayed with a policy: ristretto's hit rates depend on chance.
func replays(policy nearcache.Policy) int {
	if policy == nearcache.PolicyRistretto {
		return 3
	}
	return 1
}

// replay looks up every request in a near cache of that many items, stores what it does not find, and answers the hits in
// percent. The policy has the time it needs to take in each store, as between requests over a network.
func replay(requests []uint64, items int, policy nearcache.Policy) (float64, error) {
	o := nearcache.Options{MemoryBytes: memoryBytes, ItemsMax: items, Partitions: 1, Nodes: 1, Policy: policy}
	cache, err := nearcache.New(o)
	if err != nil {
		return 0, err
	}
	defer cache.Close()
	cache.AssignPartition(0, 0)
	cache.OpenLink(0).SetLease(nearcache.Never)

	var value [valueBytes]byte
	var name []byte
	hits := 0
	for i, request := range requests {
		now := nearcache.Time(i)
		name = strconv.AppendUint(name[:0], request, 10)
		k := nearcache.NewKeyBytes(0, name)
		if _, ok := cache.Get(k, now); ok {
			hits++
			continue
		}
		if !cache.Store(k, cache.Snapshot(k, 0), value[:], nearcache.Never, now) {
			return 0, fmt.Errorf("request %d was not stored: %+v", i, cache.Stats())
		}
		cache.Settle()
	}
	s := cache.Stats()
	switch {
	case s.Hits != int64(hits) || s.Misses() != int64(len(requests)-hits):
		return 0, fmt.Errorf("%d hits of %d requests, but statistics say %+v", hits, len(requests), s)
	case s.Misses() != s.MissesAbsent:
		return 0, fmt.Errorf("misses for other reasons than that nothing was there: %+v", s)
	case s.Items > int64(items):
		return 0, fmt.Errorf("%d items are held, %d are allowed", s.Items, items)
	}
	return percent(hits, len(requests)), nil
}

func percent(part, whole int) float64 { return 100 * float64(part) / float64(whole) }
