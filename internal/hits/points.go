package main

import "fmt"

// point is a trace replayed through a cache of a number of items, with the rate to reach.
type point struct {
	trace, file string
	items       int
	target      float64 // percent, of the default policy
	published   published
}

// published are hit rates in percent from published charts, good to half a point; testdata/traces/README.md.
type published struct{ ristretto, lru, arc, otter float64 }

// lruWithin is how far, in points, LRU may be from what is published for it.
const lruWithin = 0.5

var points = []point{
	{"OLTP", "oltp.lis.zst", 1_000, 38, published{29.3, 32.9, 39.2, 39.8}},
	{"OLTP", "oltp.lis.zst", 2_000, 44, published{37.7, 42.5, 46.2, 45.9}},
	{"scarab-recs", "scarab-recs.i64.xz", 1_000, 32, published{22.4, 27.0, 33.3, 34.3}},
	{"scarab-recs", "scarab-recs.i64.xz", 25_000, 60, published{55.4, 60.0, 62.0, 59.5}},
	{"gli", "gli.txt.gz", 1_000, 46, published{47.5, 11.2, 19.4, 50.1}},
	{"P3", "p3.lis.zst", 100_000, 39, published{32.8, 29.5, 40.8, 41.4}},
}

func (p point) name() string { return fmt.Sprintf("%s@%d", p.trace, p.items) }
