package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/neargrid/neargrid/client"
)

// loop is one client under load: it reads a few keys most of the time, else any, and writes those that are its own to write.
func (b *busy) loop(ctx context.Context, number int) {
	random := rand.New(rand.NewPCG(uint64(number), 2))
	seen := make([]int, crowdRecords)
	var often [busyOwn]int
	for i := range often {
		often[i] = random.IntN(crowdRecords)
	}
	for next := time.Duration(random.Int64N(int64(busyPause))); wait(ctx, next) == nil; next = busyPause {
		key := random.IntN(crowdRecords)
		if random.Float64() < busyWrites {
			b.write(number, key-key%len(b.crowd.clients)+number)
			continue
		}
		if random.Float64() < busyShare {
			key = often[random.IntN(len(often))]
		}
		b.read(number, key, seen)
	}
}

// write writes the next number to a key that nobody else writes. Beyond the last key there is none.
func (b *busy) write(writer, key int) {
	if key >= len(b.histories) {
		return
	}
	h := &b.histories[key]
	h.Lock()
	h.last++
	number := h.last
	h.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), callMax)
	defer cancel()
	if err := b.crowd.clients[writer].Set(ctx, keyName(key), strconv.Itoa(number), 0); err != nil {
		b.failed(err)
		return
	}
	h.Lock()
	h.acked = append(h.acked, ackedNumber{number, time.Now()})
	h.Unlock()
}

// read reads a key, and holds what it finds against its history.
func (b *busy) read(reader, key int, seen []int) {
	ctx, cancel := context.WithTimeout(context.Background(), callMax)
	defer cancel()
	began := time.Now()
	text, err := b.crowd.clients[reader].Get(ctx, keyName(key))
	if err != nil {
		b.failed(err)
		return
	}
	b.reads.Add(1)
	number, err := strconv.Atoi(text)
	if err != nil {
		number = 0 // what was stored at the beginning
	}
	if number < seen[key] {
		b.back.Add(1)
	}
	seen[key] = max(seen[key], number)
	if b.histories[key].stale(number, began) {
		b.stale.Add(1)
	}
}

// failed counts an error, and keeps an example of those that nobody is to expect.
func (b *busy) failed(err error) {
	kind, expected := errorKind(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errors[kind]++
	if !expected {
		b.wrong[kind] = err.Error()
	}
}

// errorKind names an error, and tells whether it is one that clients are to expect when a node fails: a closed connection, an outcome that is
// not known, or one of R14's.
func errorKind(err error) (kind string, expected bool) {
	var server *client.ServerError
	var conn *client.ConnError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no reply", false
	case client.IsIndeterminate(err):
		return "INDETERMINATE", true
	case errors.As(err, &server):
		switch server.Code {
		case "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS", "LOADING":
			return server.Code, true
		}
		return server.Code, false
	case errors.As(err, &conn):
		return "closed connection", true
	}
	return "other", false
}
