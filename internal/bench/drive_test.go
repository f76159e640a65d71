package main

import (
	"testing"
	"time"
)

const benchmarkHeader = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"` + "\n"

func TestParseRate(t *testing.T) {
	for _, c := range []struct {
		name, output, title string
		want                float64 // 0 for an error
	}{
		{"one row", benchmarkHeader + `"SET","61782.50","0.4","0.1","0.4","0.9","1.0","2.5"` + "\n", "SET", 61782.5},
		{"the row asked for, not the one that fills the list", benchmarkHeader +
			`"LPUSH (needed to benchmark LRANGE)","769230.75","0.892","0.320","0.847","1.439","2.047","2.527"` + "\n" +
			`"LRANGE_100 (first 100 elements)","132450.34","4.017","0.424","3.391","6.919","10.079","10.615"` + "\n", "LRANGE_100", 132450.34},
		{"title with a remark", benchmarkHeader + `"MSET (10 keys)","588235.25","1.253"` + "\n", "MSET", 588235.25},
		{"a command of our own", benchmarkHeader + `"APPEND bench:big x","1538461.50","0.385"` + "\n", "APPEND", 1538461.5},
		{"row absent", benchmarkHeader + `"GET","1.00","1"` + "\n", "SET", 0},
		{"header only", benchmarkHeader, "SET", 0},
		{"no output", "", "SET", 0},
		{"not CSV", "ERROR: failed to fetch CONFIG from 127.0.0.1:1\n", "SET", 0},
		{"infinite rate is no number of requests", benchmarkHeader + `"SET","nan","1"` + "\n", "SET", 0},
		{"rate of zero", benchmarkHeader + `"SET","0.00","1"` + "\n", "SET", 0},
	} {
		got, err := parseRate(c.output, c.title)
		if got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("%s: parseRate(%q, %q) = %v, %v, want %v", c.name, c.output, c.title, got, err, c.want)
		}
	}
}

func TestRequestCountLastsLongEnough(t *testing.T) {
	for _, rate := range []float64{900, 60_000, 1_500_000} {
		const length = 3 * time.Second
		count := requestCount(rate, length)
		if got := lasted(count, rate); got < length || got > 2*length {
			t.Errorf("at %.0f/s, %d requests last %s, want at least %s and not twice that", rate, count, got, length)
		}
	}
}
