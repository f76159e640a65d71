package nearcache

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// The benchmarks hold 100 B values of 16 B keys. "one" looks up one key, "zipf" keys by a Zipf distribution of 0.99 over
// 100,000 that are all held. What is timed is making the Key (its hash) and Get; BenchmarkHitClock reads the clock too.

const (
	benchKeys      = 100_000
	benchRequests  = 1 << 20 // a power of two
	benchNameBytes = 16
)

func benchCache(b *testing.B, policy Policy) *Cache {
	b.Helper()
	c, err := New(Options{MemoryBytes: 64 << 20, Partitions: 256, Policy: policy})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	for p := range 256 {
		c.AssignPartition(p, p%3)
	}
	for n := range 3 {
		c.OpenLink(n).SetLease(Never)
	}
	for i := range benchKeys {
		k := NewKey(0, benchName(i))
		if !c.Store(k, c.Snapshot(k, i%256), make([]byte, 100), Never, 0) {
			b.Fatalf("%d was not stored: %+v", i, c.Stats())
		}
		c.Settle()
	}
	return c
}

func benchName(i int) string { return fmt.Sprintf("page:%011d", i) }

// benchNames are the names of successive requests, one behind the other in memory: a program that asks for a key has its
// bytes at hand.
func benchNames(load string) []byte {
	names := make([]byte, 0, benchRequests*benchNameBytes)
	next := func() int { return 1 }
	if load == "zipf" {
		next = zipf(rand.New(rand.NewPCG(1, 1)), benchKeys, 0.99)
	}
	for range benchRequests {
		names = append(names, benchName(int(mix(uint64(next()))%benchKeys))...) // popular keys are not neighbours
	}
	return names
}

// benchKey is the key of request i.
func benchKey(names []byte, i int) Key {
	at := i & (benchRequests - 1) * benchNameBytes
	return NewKeyBytes(0, names[at:at+benchNameBytes])
}

// zipf draws from 0 to n-1, i with a probability proportional to 1/(i+1)^theta, as in YCSB (Gray et al., SIGMOD 1994).
func zipf(random *rand.Rand, n int, theta float64) func() int {
	zeta := 0.0
	for i := range n {
		zeta += 1 / math.Pow(float64(i+1), theta)
	}
	alpha := 1 / (1 - theta)
	eta := (1 - math.Pow(2/float64(n), 1-theta)) / (1 - (1+math.Pow(0.5, theta))/zeta)
	return func() int {
		u := random.Float64()
		switch uz := u * zeta; {
		case uz < 1:
			return 0
		case uz < 1+math.Pow(0.5, theta):
			return 1
		}
		return min(n-1, int(float64(n)*math.Pow(eta*u-eta+1, alpha)))
	}
}

func eachLoad(b *testing.B, run func(b *testing.B, c *Cache, names []byte)) {
	for _, policy := range Policies {
		c := benchCache(b, policy)
		for _, load := range []string{"one", "zipf"} {
			names := benchNames(load)
			b.Run(string(policy)+"/"+load, func(b *testing.B) {
				b.ReportAllocs()
				before := c.Stats()
				b.ResetTimer()
				run(b, c, names)
				b.StopTimer()
				after := c.Stats()
				b.ReportMetric(100*float64(after.Hits-before.Hits)/float64(after.Hits+after.Misses()-before.Hits-before.Misses()), "%hits")
			})
		}
	}
}

func BenchmarkHit(b *testing.B) {
	eachLoad(b, func(b *testing.B, c *Cache, names []byte) {
		for i := range b.N {
			c.Get(benchKey(names, i), 1)
		}
	})
}

func BenchmarkHitClock(b *testing.B) {
	start := time.Now()
	eachLoad(b, func(b *testing.B, c *Cache, names []byte) {
		for i := range b.N {
			c.Get(benchKey(names, i), Time(time.Since(start)))
		}
	})
}

// BenchmarkHitParallel: all cores; million/s is all of them together.
func BenchmarkHitParallel(b *testing.B) {
	eachLoad(b, func(b *testing.B, c *Cache, names []byte) {
		var goroutines atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for i := int(goroutines.Add(1)) * 7919; pb.Next(); i++ {
				c.Get(benchKey(names, i), 1)
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "million/s")
	})
}

// BenchmarkHitMedian times each hit by itself and answers median and 99th percentile, less what reading the clock takes:
// the median of two readings without a hit in between.
func BenchmarkHitMedian(b *testing.B) {
	eachLoad(b, func(b *testing.B, c *Cache, names []byte) {
		times := make([]time.Duration, b.N)
		for i := range times {
			start := time.Now()
			times[i] = time.Since(start)
		}
		slices.Sort(times)
		clock := times[len(times)/2]
		for i := range times {
			k := names[i&(benchRequests-1)*benchNameBytes:]
			start := time.Now()
			c.Get(NewKeyBytes(0, k[:benchNameBytes]), 1)
			times[i] = time.Since(start)
		}
		slices.Sort(times)
		b.ReportMetric(float64(times[len(times)/2]-clock), "p50-ns")
		b.ReportMetric(float64(times[len(times)*99/100]-clock), "p99-ns")
	})
}

func BenchmarkMiss(b *testing.B) {
	for _, policy := range Policies {
		b.Run(string(policy), func(b *testing.B) {
			c := benchCache(b, policy)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				c.Get(NewKey(0, "page:not there"), 1)
			}
		})
	}
}

// BenchmarkStore stores new keys all the time: each makes room for itself.
func BenchmarkStore(b *testing.B) {
	for _, policy := range Policies {
		b.Run(string(policy), func(b *testing.B) {
			c := benchCache(b, policy)
			value := make([]byte, 100)
			var name []byte
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				name = strconv.AppendInt(append(name[:0], "new:"...), int64(i), 10)
				k := NewKeyBytes(0, name)
				c.Store(k, c.Snapshot(k, i%256), value, Never, 1)
			}
		})
	}
}

func BenchmarkInvalidate(b *testing.B) {
	c := benchCache(b, PolicyDefault)
	names := benchNames("zipf")
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		c.InvalidateKey(benchKey(names, i))
	}
}
