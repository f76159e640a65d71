package server

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// With the tables of the door and of the owner full, copies are still never out of date once all is told, and the tables keep their bounds.
func TestRelayFull(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		const keysMax, keys, steps = 5, 20, 1500
		door, owner := r.nodes["a"].server, r.nodes["b"].server
		door.config.TrackingTableMaxKeys.Store(keysMax)
		owner.config.TrackingTableMaxKeys.Store(keysMax / 2)
		readers := []*client{r.a, door.tracking(), door.tracking("NOLOOP")}
		held := make([]map[string]string, len(readers))
		values := map[string]string{}
		hear := func(i int, reply string) {
			for _, word := range strings.Fields(reply) {
				if key, ok := strings.CutPrefix(word, "push:[invalidate,["); ok {
					delete(held[i], strings.TrimSuffix(key, "]]"))
				} else if word == "push:[invalidate,(null)]" {
					clear(held[i])
				}
			}
		}
		evicted := 0
		for i := range held {
			held[i] = map[string]string{}
			hear(i, readers[i].heard())
		}
		random := rand.New(rand.NewPCG(1, 2))
		for step := range steps {
			i, key := random.IntN(len(readers)), "{b}"+strconv.Itoa(random.IntN(keys))
			if random.IntN(4) == 0 {
				values[key] = strconv.Itoa(step)
				writer := r.w
				if random.IntN(2) == 0 {
					writer = readers[i]
					if i == 2 { // it knows its own changes, and is not told; nor of others' until it reads again
						delete(held[i], key)
					}
				}
				reply := writer.tell("SET", key, values[key])
				r.settle()
				if writer == readers[i] {
					hear(i, reply+" "+writer.heard())
				}
			} else {
				value := values[key]
				reply := readers[i].tell("GET", key)
				r.settle()
				if held[i][key] = value; value == "" {
					held[i][key] = "none"
				}
				hear(i, reply+" "+readers[i].heard())
			}
			if random.IntN(10) == 0 {
				r.pass(10 * relayPause * keysMax)
				for i, c := range readers {
					before := len(held[i])
					hear(i, c.heard())
					evicted += before - len(held[i])
					for key, value := range held[i] {
						if now := values[key]; now != value && !(now == "" && value == "none") {
							r.T.Fatalf("step %d: reader %d still holds %s = %s; it is %s", step, i, key, value, now)
						}
					}
				}
			}
			relay := door.relayTo("b")
			relay.mu.Lock()
			tracked := len(relay.mu.readers)
			relay.mu.Unlock()
			owner.limitTracking()
			if n := owner.store.Tracking().Keys(); tracked > keysMax || n > keysMax/2 {
				r.T.Fatalf("step %d: the door has %d keys, the owner %d", step, tracked, n)
			}
		}
		most := 0
		for _, h := range held {
			most = max(most, len(h))
		}
		if evicted == 0 || most == 0 {
			r.T.Errorf("%d copies were dropped, %d are held at the end: the test shows nothing", evicted, most)
		}
	})
}

// Sessions that come, read a key and go do not add up at the door.
func TestRelayReadersGo(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		for range 200 {
			c := r.nodes["a"].server.tracking()
			c.tell("GET", "b")
			r.settle()
			c.session.Closed()
		}
		relay := r.nodes["a"].server.relayTo("b")
		relay.mu.Lock()
		n := len(relay.mu.readers["b"])
		relay.mu.Unlock()
		if n > 16 {
			r.T.Errorf("%d sessions are readers of the key", n)
		}
		r.says("a change", r.w, "SET b 1", "OK")
		r.hears("is told to who is there", "push:[invalidate,[b]]")
	})
}
