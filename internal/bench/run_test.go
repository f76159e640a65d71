package main

import (
	"testing"
	"time"
)

func TestParseCPU(t *testing.T) {
	const rest = " S 1 4242 4242 0 -1 4194560 1500 0 0 0 371 129 7 9 20 0 4 0 99 70000000 2000"
	for _, c := range []struct {
		name, stat string
		want       time.Duration // negative for an error
	}{
		{"plain name", "4242 (redis-server)" + rest, 5 * time.Second},
		{"name with spaces and parentheses", "4242 (a b) c (d)" + rest, 5 * time.Second},
		{"children's time does not count", "1 (x) S 1 1 1 0 -1 0 0 0 0 0 0 3 5000 5000 20", 30 * time.Millisecond},
		{"too short", "4242 (redis-server) S 1 4242", -1},
		{"not a number", "4242 (x) S 1 1 1 0 -1 0 0 0 0 0 a b 0 0", -1},
	} {
		got, err := parseCPU(c.stat)
		if (err != nil) != (c.want < 0) || err == nil && got != c.want {
			t.Errorf("%s: parseCPU(%q) = %s, %v, want %s", c.name, c.stat, got, err, c.want)
		}
	}
}

func TestParseResident(t *testing.T) {
	got, err := parseResident("Name:\tredis-server\nVmHWM:\t   99999 kB\nVmRSS:\t   12345 kB\nThreads:\t5\n")
	if want := int64(12345 << 10); err != nil || got != want {
		t.Errorf("parseResident = %d, %v, want %d", got, err, want)
	}
	if got, err := parseResident("Name:\tkthreadd\n"); err == nil {
		t.Errorf("parseResident without VmRSS = %d, want an error", got)
	}
}

func TestTurnAlternates(t *testing.T) {
	if a, b := turn(0), turn(1); a[0] != b[1] || a[1] != b[0] {
		t.Errorf("turns of two rounds: %v and %v, want them reversed", a, b)
	}
}
