package main

import (
	"bufio"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A server that stalls for 100 ms is charged for the whole delay of each request that was due meanwhile, also of the
// one that was sent late.
func TestLatencyCountsFromIntendedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		ln := newLane(&client{conn: near, replies: bufio.NewReader(near)})
		start := time.Now()

		go func() {
			defer far.Close()
			commands := bufio.NewReader(far)
			for range 4 {
				commands.ReadString('\n')
			}
			time.Sleep(100*time.Millisecond - time.Since(start))
			far.Write([]byte("+OK\r\n+OK\r\n$-1\r\n+PONG\r\n"))
		}()
		go func() {
			for _, intended := range []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond, endOfRun} {
				time.Sleep(intended + 30*time.Millisecond - time.Since(start)) // late by 30 ms
				if err := ln.send(t.Context(), []byte("x\n"), intended); err != nil {
					t.Error(err)
				}
			}
		}()
		if err := ln.read(start, 10*time.Millisecond); err != nil {
			t.Fatal(err)
		}

		h := ln.latencies
		if got := h.TotalCount(); got != 2 {
			t.Errorf("recorded %d, want 2: the one within the warm-up and the closing one do not count", got)
		}
		for _, c := range []struct {
			name      string
			got, want int64
		}{{"least", h.Min(), 60e6}, {"greatest", h.Max(), 80e6}} {
			if math.Abs(float64(c.got-c.want)) > 0.001*float64(c.want) {
				t.Errorf("%s latency %s, want %s", c.name, time.Duration(c.got), time.Duration(c.want))
			}
		}
	})
}

func TestLaneReportsErrorReply(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		defer far.Close()
		far.Write([]byte("-OOM command not allowed\r\n"))
	}()
	if err := newLane(&client{conn: near, replies: bufio.NewReader(near)}).read(time.Now(), 0); err == nil {
		t.Error("read of an error reply succeeded, want an error")
	}
}

func TestRecordKeepsWhatIsBeyondTheHistogram(t *testing.T) {
	ln := newLane(nil)
	ln.record(10 * latencyMax)
	if got := ln.latencies.TotalCount(); got != 1 {
		t.Errorf("recorded %d, want 1", got)
	}
}

func TestArrivals(t *testing.T) {
	const count = 200_000
	mean := float64(50 * time.Microsecond)
	plan := arrivals{random: rand.New(rand.NewPCG(1, 1)), mean: mean}
	var last time.Duration
	var longer int
	for range count {
		next := plan.next()
		if next < last {
			t.Fatalf("arrival at %s after one at %s", next, last)
		}
		if float64(next-last) > mean {
			longer++
		}
		last = next
	}
	if got := float64(last) / count; math.Abs(got/mean-1) > 0.02 {
		t.Errorf("mean gap %.0f ns, want %.0f", got, mean)
	}
	// Of exponential gaps, 1/e are longer than the mean; of even ones none would be.
	if got := float64(longer) / count; math.Abs(got-1/math.E) > 0.01 {
		t.Errorf("share of gaps above the mean %.3f, want %.3f", got, 1/math.E)
	}
}

func TestGroupAnswersFirstErrorAndCancels(t *testing.T) {
	broken := errors.New("broken")
	g := newGroup(t.Context())
	g.run(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	g.run(func(context.Context) error { return broken })
	if err := g.wait(); !errors.Is(err, broken) {
		t.Errorf("wait = %v, want %v", err, broken)
	}
}
