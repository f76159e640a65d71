package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/internal/exactsleep"
	"github.com/neargrid/neargrid/protocol"
)

// freshness measures for how long a near cache serves a value when another client writes: from when that one sends the write to the
// first read that is not answered with the old value. The near cache is across nearTrip, the writer is not.
type freshness struct{}

const (
	freshWrites = 2000
	freshPause  = 20 * time.Microsecond // between the near reads that look
	freshMax    = 5 * time.Second       // after which the old value will be served for good
)

func (freshness) run(ctx context.Context, l *lab) (outcome, error) {
	g, err := l.startRig(ctx, nearHeld/10)
	if err != nil {
		return outcome{}, err
	}
	defer g.close()
	added, err := g.relay.Calibrate(nearTrip, nearPings)
	if err != nil {
		return outcome{}, err
	}
	near, err := g.holding(ctx, false)
	if err != nil {
		return outcome{}, err
	}
	defer near.Close()
	writer, err := g.client(ctx, 0, true)
	if err != nil {
		return outcome{}, err
	}
	defer writer.Close()

	restore := exactsleep.OnThread()
	defer restore()
	var served []time.Duration
	for i := range max(20, freshWrites/l.scale.divisor) {
		name, value := keyName(i%g.records), strconv.Itoa(i)
		old, err := near.Get(ctx, name) // held from here on
		if err != nil {
			return outcome{}, err
		}
		written := make(chan error, 1)
		start := time.Now()
		go func() { written <- writer.Set(ctx, name, value, 0) }()
		for {
			looked := time.Now()
			got, err := near.Get(ctx, name)
			if err != nil {
				return outcome{}, err
			}
			if got != old {
				served = append(served, looked.Sub(start))
				break
			}
			if looked.Sub(start) > freshMax {
				return outcome{}, fmt.Errorf("%s after a write of %s the near cache serves the old value", freshMax, name)
			}
			exactsleep.Sleep(freshPause)
		}
		if err := <-written; err != nil {
			return outcome{}, err
		}
	}
	slices.Sort(served)
	at := func(percent int) [2][]float64 {
		return [2][]float64{ours: {float64(served[len(served)*percent/100]) / float64(time.Millisecond)}}
	}
	note := fmt.Sprintf("write until not served: %d writes to held keys, from when the writer begins to send; the near cache is looked at every %s, "+
		"across a relay that adds %.0f us, the writer is beside the node. The target is 2 ms and the way from the node to the near cache.",
		len(served), freshPause, float64(added)/float64(time.Microsecond))
	return outcome{notes: []string{note}, series: []series{
		{metric: freshMedian, unit: milliseconds, samples: at(50)}, {metric: freshP99, unit: milliseconds, samples: at(99)}}}, nil
}

// writersCost measures what tracking costs those who write: redis-benchmark's SET with 200 clients that track, against none. Of the keys
// written 1 in 100 is held by one of them, which reads it again when it is told of the write. With bcast they are told of every write.
type writersCost struct{ bcast bool }

const (
	trackingClients        = 200
	trackedEvery           = 100 // of redis-benchmark's keys
	toldPerWrite    metric = "tracking clients told of a write"
)

func (w writersCost) run(ctx context.Context, l *lab) (outcome, error) {
	srv, err := l.start(ctx, ours)
	if err != nil {
		return outcome{}, err
	}
	defer srv.stop()
	d := drive{test: "set", row: "SET"}
	rate, err := d.probe(ctx, srv)
	if err != nil {
		return outcome{}, err
	}
	count := requestCount(rate, l.scale.runMin)
	rates := series{metric: throughput, unit: perSecond}
	told := series{metric: toldPerWrite, unit: allocations}
	for round := range l.rounds {
		for _, s := range turn(round) {
			var t *trackers
			if s == ours {
				if t, err = startTrackers(srv.addr, w.bcast); err != nil {
					return outcome{}, err
				}
			}
			var one sample
			one, count, err = d.measure(ctx, srv, count, l.scale.runMin)
			if s == ours {
				err = errors.Join(err, t.stop())
				told.samples[s] = append(told.samples[s], float64(t.told.Load())/float64(count))
			}
			if err != nil {
				return outcome{}, err
			}
			rates.samples[s] = append(rates.samples[s], one.rate)
		}
	}
	return outcome{series: []series{rates, told}, notes: []string{
		"SET with tracking clients: redis-benchmark's SET of " + strconv.Itoa(keySpace) + " keys, 50 clients, unpipelined; the second column is the " +
			"same node without tracking clients. They run in the tool's process, on the same processors as node and redis-benchmark."}}, nil
}

// trackers are clients that track what they have read, each on a connection of its own.
type trackers struct {
	conns []net.Conn
	told  atomic.Int64 // keys that they were told of
	ended sync.WaitGroup
	mu    sync.Mutex
	err   error
}

// startTrackers returns once each has what it is to hold.
func startTrackers(addr string, bcast bool) (*trackers, error) {
	t := &trackers{}
	ready := make(chan error, trackingClients)
	for i := range trackingClients {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, errors.Join(err, t.stop())
		}
		t.conns = append(t.conns, conn)
		t.ended.Go(func() { t.follow(conn, i, bcast, ready) })
	}
	for range trackingClients {
		if err := <-ready; err != nil {
			return nil, errors.Join(err, t.stop())
		}
	}
	return t, nil
}

// follow is one client's life: it reads its keys, and again each one that it is told of.
func (t *trackers) follow(conn net.Conn, number int, bcast bool, ready chan<- error) {
	mode := []string{"CLIENT", "TRACKING", "ON"}
	var keys []string
	if bcast {
		mode = append(mode, "BCAST")
	} else {
		for key := number * trackedEvery; key < keySpace; key += trackingClients * trackedEvery {
			keys = append(keys, keyName(key))
		}
	}
	out := appendCommand(appendCommand(nil, "HELLO", "3"), mode...)
	for _, key := range keys {
		out = appendCommand(out, "GET", key)
	}
	due := 2 + len(keys) // replies
	in := protocol.NewDecoder(conn)
	_, err := conn.Write(out)
	for err == nil {
		var v protocol.Value
		if v, err = in.Decode(); err != nil {
			break
		}
		if v.IsError() {
			err = errors.New(string(v.Str))
			break
		}
		if v.Kind != '>' {
			if due--; due == 0 {
				ready <- nil
			}
			continue
		}
		err = t.read(conn, v, keys)
	}
	if due > 0 {
		ready <- err
	}
	if !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.EOF) {
		t.mu.Lock()
		t.err = errors.Join(t.err, err)
		t.mu.Unlock()
	}
}

// read answers a push: what it names is read again, for a client that holds keys.
func (t *trackers) read(conn net.Conn, push protocol.Value, keys []string) error {
	if len(push.Elems) < 2 {
		return nil
	}
	var out []byte
	if push.Elems[1].Null { // a flush
		for _, key := range keys {
			out = appendCommand(out, "GET", key)
		}
	}
	for _, key := range push.Elems[1].Elems {
		t.told.Add(1)
		if keys != nil {
			out = appendCommand(out, "GET", string(key.Str))
		}
	}
	if len(out) == 0 {
		return nil
	}
	_, err := conn.Write(out)
	return err
}

// stop ends all of them, and returns what went wrong with any.
func (t *trackers) stop() error {
	for _, conn := range t.conns {
		conn.Close()
	}
	t.ended.Wait()
	return t.err
}
