package main

import (
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/loadtest"
	"github.com/neargrid/neargrid/nearcache"
)

// TestRates is make bench-hits in short. The default policy draws no random numbers, so its rates do not change by
// themselves: who makes them better raises the floors.
func TestRates(t *testing.T) {
	for _, c := range []struct {
		file     string
		requests int // 0: all
		items    int
		floor    float64 // percent
	}{
		{"gli.txt.gz", 0, 1_000, 48.0},
		{"oltp.lis.zst", 200_000, 1_000, 36.5},
	} {
		requests, err := loadtest.ReadTrace("../../testdata/traces/" + c.file)
		if err != nil {
			t.Fatal(err)
		}
		if c.requests > 0 {
			requests = requests[:c.requests]
		}
		got, err := replay(requests, c.items, nearcache.PolicyDefault)
		if err != nil {
			t.Fatal(err)
		}
		plain := lru(requests, c.items)
		t.Logf("%s, %d requests, %d items: %.2f %%, LRU %.2f %%", c.file, len(requests), c.items, got, plain)
		if got < c.floor {
			t.Errorf("%s, %d requests, %d items: %.2f %% hits, want at least %.2f", c.file, len(requests), c.items, got, c.floor)
		}
		if got <= plain {
			t.Errorf("%s: %.2f %% hits, LRU has %.2f", c.file, got, plain)
		}
	}
}

func TestRatesRistretto(t *testing.T) {
	requests, err := loadtest.ReadTrace("../../testdata/traces/gli.txt.gz")
	if err != nil {
		t.Fatal(err)
	}
	got, err := replay(requests, 1_000, nearcache.PolicyRistretto)
	if err != nil || got < 15 {
		t.Errorf("%.2f %% hits, %v, want at least 15: LRU has 11", got, err)
	}
}

func TestLRU(t *testing.T) {
	for _, c := range []struct {
		requests []uint64
		items    int
		hits     int
	}{
		{[]uint64{1, 2, 1, 2}, 2, 2},
		{[]uint64{1, 2, 3, 1, 2, 3}, 2, 0},
		{[]uint64{1, 2, 1, 3, 1, 2}, 2, 2},
		{[]uint64{1, 1, 1}, 1, 2},
	} {
		if got, want := lru(c.requests, c.items), percent(c.hits, len(c.requests)); got != want {
			t.Errorf("lru(%v, %d) = %v, want %v", c.requests, c.items, got, want)
		}
	}
}

// TestVerdict: a rate below its target is a miss, on the page and in the exit status.
func TestVerdict(t *testing.T) {
	at := func(rate float64) result {
		byPolicy := map[nearcache.Policy]rates{nearcache.PolicyDefault: {rate}, nearcache.PolicyRistretto: {99, 97, 98}}
		return result{point: points[0], rates: byPolicy}
	}
	results := []result{at(points[0].target), at(points[0].target - 0.01)}
	if got := misses(results); got != 1 {
		t.Errorf("%d misses, want 1", got)
	}
	text := page(results, time.Minute)
	if strings.Count(text, " met |") != 1 || strings.Count(text, " MISSED |") != 1 ||
		!strings.Contains(text, "1 of 2 targets met") || !strings.Contains(text, " 98.00 (97.00-99.00) |") {
		t.Errorf("the page does not tell a hit from a miss:\n%s", text)
	}
}
