package main

import (
	"errors"
	"math"
	"testing"
)

func TestEqualItems(t *testing.T) {
	// A server with a fixed cost, so that proportion alone does not find the answer at once.
	items := func(budget int64) float64 { return float64(budget-500_000) / 100 }
	replays := 0
	replay := func(budget int64) (replayed, error) {
		replays++
		return replayed{items: items(budget)}, nil
	}
	for _, want := range []float64{20_000, 35_000, 60_000} {
		got, budget, err := equalItems(want, replayed{items: items(4_000_000)}, 4_000_000, replay)
		if err != nil || got.items < 0.99*want || got.items > 1.01*want || math.Abs(got.items-items(budget)) > 1 {
			t.Errorf("want %.0f items: got %.0f with budget %d, %v", want, got.items, budget, err)
		}
	}

	// Where most of the memory holds no items proportion leads astray, and the line does not.
	replays = 0
	items = func(budget int64) float64 { return float64(budget-3_000_000) / 100 }
	if got, _, err := equalItems(3_000, replayed{items: items(4_000_000)}, 4_000_000, replay); err != nil || replays > 3 {
		t.Errorf("a large fixed cost: %.0f items after %d replays, %v", got.items, replays, err)
	}

	// Replays of one budget differ.
	replays = 0
	items = func(budget int64) float64 {
		return float64(budget-500_000) / 100 * []float64{1.014, 0.985, 1.012, 0.988, 1}[replays%5]
	}
	if got, _, err := equalItems(33_000, replayed{items: 40_000}, 4_000_000, replay); err != nil {
		t.Errorf("noisy replays: %.0f items after %d, %v", got.items, replays, err)
	}

	// Two replays, one with less and one with more.
	replays = 0
	pair := []replayed{{items: 96, hitRate: 70, requests: 10}, {items: 104, hitRate: 72, requests: 20}}
	between := func(int64) (replayed, error) { replays++; return pair[replays-1], nil }
	if got, _, err := equalItems(100, replayed{items: 200}, 4_000_000, between); err != nil || got != (replayed{items: 100, hitRate: 71, requests: 15}) {
		t.Errorf("between two replays: %+v, %v", got, err)
	}

	replays = 0
	if _, budget, err := equalItems(1000, replayed{items: 995}, 77, replay); err != nil || budget != 77 || replays != 0 {
		t.Errorf("already equal: budget %d after %d replays, %v, want 77 after none", budget, replays, err)
	}
	stuck := func(int64) (replayed, error) { replays++; return replayed{items: 10}, nil }
	if _, _, err := equalItems(1000, replayed{items: 10}, 77, stuck); err == nil || replays != equalItemsTries {
		t.Errorf("out of reach: %v after %d replays, want an error after %d", err, replays, equalItemsTries)
	}
	if _, _, err := equalItems(1000, replayed{}, 77, stuck); err == nil {
		t.Error("no items at all: want an error")
	}
	broken := errors.New("broken")
	if _, _, err := equalItems(1000, replayed{items: 10}, 77, func(int64) (replayed, error) { return replayed{}, broken }); !errors.Is(err, broken) {
		t.Errorf("failing replay: %v, want %v", err, broken)
	}
}
