package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

// TestRouteRandom: sessions of all nodes pipeline random commands on keys of their own, while partitions change hands, nodes learn of
// that late, leases are away for a moment, commands and answers take their time and commits too. Nothing gets lost; so each session's
// replies are those of a server that is alone, byte for byte.
func TestRouteRandom(t *testing.T) {
	const runs, sessions = 120, 5
	for seed := range uint64(runs) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			g := newTestGrid(t, nil)
			plain := newInProcess(t, Options{Partitions: gridPartitions, Seed: g.nodes["a"].server.options.Seed})
			inputs, got, want := make([][]byte, sessions), make([]*client, sessions), make([]*client, sessions)
			for i := range sessions {
				for range 40 {
					for _, args := range routeCommand(rng, i) {
						inputs[i] = protocol.AppendCommand(inputs[i], args...)
					}
				}
				want[i] = plain.connect()
				want[i].feed(inputs[i])
				plain.settle()
				got[i] = g.nodes[g.ids[rng.IntN(len(g.ids))]].server.connect()
			}
			for left := true; left; {
				left = false
				for i, c := range got {
					if n := len(inputs[i]); n > 0 {
						n = 1 + rng.IntN(min(n, 150))
						c.feed(inputs[i][:n])
						inputs[i] = inputs[i][n:]
						left = true
					}
					if rng.IntN(2) == 0 {
						g.disturb(rng)
					}
				}
			}
			g.calm()
			for i, c := range got {
				if !bytes.Equal(c.out, want[i].out) {
					at := 0
					for at < min(len(c.out), len(want[i].out)) && c.out[at] == want[i].out[at] {
						at++
					}
					from := max(0, at-40)
					t.Fatalf("seed %d, session %d: %d bytes of replies, want %d; from byte %d on\ngot  %.120q\nwant %.120q",
						seed, i, len(c.out), len(want[i].out), at, c.out[from:], want[i].out[from:])
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}

// disturb does something to the grid that makes no command fail.
func (g *testGrid) disturb(rng *rand.Rand) {
	node := func() *gridNode { return g.nodes[g.ids[rng.IntN(len(g.ids))]] }
	link := func() *gridLink {
		from := rng.IntN(len(g.ids))
		return g.links[[2]NodeID{g.ids[from], g.ids[(from+1+rng.IntN(2))%len(g.ids)]}]
	}
	switch rng.IntN(13) {
	case 0:
		g.settle() // what is executed must not be interrupted
		g.move(rng.IntN(gridPartitions), g.ids[rng.IntN(len(g.ids))])
	case 12: // while commands to its node are under way
		g.settle()
		for _, from := range g.ids {
			for _, to := range g.ids {
				if from == to {
					continue
				}
				if p, ok := g.links[[2]NodeID{from, to}].next(); ok {
					g.move(p, g.ids[rng.IntN(len(g.ids))])
					g.see(from)
				}
			}
		}
	case 1:
		g.see(node().id)
	case 2:
		g.see()
	case 3:
		g.settle()
		node().lapse(rng.IntN(gridPartitions), &gridLapse{times: 1 + rng.IntN(3)})
	case 4:
		link().hold()
	case 5:
		link().holdAnswers()
	case 6:
		link().release()
	case 7:
		link().releaseAnswers()
	case 8:
		node().hold()
	case 9:
		node().release(nil)
	case 10:
		l := link()
		l.mu.Lock()
		l.mu.faults = append(l.mu.faults, "full")
		l.mu.Unlock()
	default:
		g.settle()
		time.Sleep(time.Duration(rng.IntN(5)) * time.Millisecond)
	}
}

// calm ends all that disturbs, and has everything be answered.
func (g *testGrid) calm() {
	for _, l := range g.links {
		l.mu.Lock()
		l.mu.faults = nil
		l.mu.Unlock()
		l.release()
		l.releaseAnswers()
	}
	g.settle()
	for _, n := range g.nodes {
		n.release(nil)
		for p := range gridPartitions {
			n.lapse(p, nil)
		}
	}
	g.see()
	g.settle()
	g.pass(time.Second)
}

// routeCommand is a command, or a transaction, of a session, whose replies tell what it has seen of the session's own keys. Some
// sessions send only what others need not wait for.
func routeCommand(rng *rand.Rand, session int) [][]string {
	base := func() string { return fmt.Sprintf("%d%c", session, 'a'+rng.IntN(4+6*(session%2))) }
	key := func() string { return base() }
	number := func() string { return fmt.Sprint(rng.IntN(1000)) }
	kind := rng.IntN(16)
	if session%2 == 0 {
		kind = []int{0, 1, 13, 15}[rng.IntN(4)]
	}
	switch kind {
	case 0:
		return [][]string{{"SET", key(), number()}}
	case 1:
		return [][]string{{"GET", key()}}
	case 2:
		return [][]string{{"MGET", key(), key(), key()}}
	case 3:
		return [][]string{{"MSET", key(), number(), key(), number()}}
	case 4:
		return [][]string{{"PING", number()}}
	case 5:
		k := key()
		return [][]string{{"MULTI"}, {"INCR", k}, {"APPEND", "x{" + k + "}", "1"}, {"GET", k}, {"EXEC"}}
	case 6:
		return [][]string{{"DEL", key(), key()}}
	case 7:
		return [][]string{{"EXISTS", key(), key(), key()}}
	case 8:
		k := "l" + key()
		return [][]string{{"RPUSH", k, number()}, {"SORT", k}}
	case 9:
		return [][]string{{"RPUSH", key(), number()}} // most often of the wrong type
	case 10:
		return [][]string{{"SELECT", fmt.Sprint(rng.IntN(2))}}
	case 11:
		return [][]string{{"MULTI"}, {"SET", key(), number()}, {"DISCARD"}}
	case 12:
		return [][]string{{"CLIENT", "REPLY", "SKIP"}, {"INCR", key()}}
	case 13:
		return [][]string{{"APPEND", key(), number()}}
	default:
		return [][]string{{"INCR", key()}}
	}
}
