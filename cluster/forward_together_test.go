package cluster

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/neargrid/neargrid/cluster/core"
)

// TestForwardTogether: what is answered in Together, in another one inside of it, by others meanwhile and behind it arrives, and nothing before
// the function has returned that answers it.
func TestForwardTogether(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		answers := map[string]func(){}
		b.executor.answers(func(f *Forwarded, answer func(Answer)) {
			reply := append([]byte{}, f.Args[0]...)
			answers[string(reply)] = func() { answer(Answer{Reply: reply}) }
		})
		for range 3 {
			var all []*asked
			for _, name := range []string{"one", "two", "inside", "meanwhile", "behind"} {
				all = append(all, a.ask(name, time.Second))
			}
			synctest.Wait()
			b.Together(func() {
				answers["one"]()
				answers["two"]()
				synctest.Wait()
				expect(t, "while it is told", all[0].now()+", "+all[1].now(), "waits, waits")
				b.Together(func() { answers["inside"]() })
				go answers["meanwhile"]()
				synctest.Wait()
			})
			synctest.Wait()
			answers["behind"]()
			for _, q := range all {
				expect(t, q.name, q.end(), "executed "+q.name)
			}
			if took := all[4].took; took > 0 {
				t.Errorf("the last answer took %v", took)
			}
		}
	})
}

// TestForwardTogetherSockets: over sockets, where answers are written by who gives them, none is left lying: at once, in Together by several, by
// others meanwhile.
func TestForwardTogetherSockets(t *testing.T) {
	running := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, running) }) // once the transports are closed
	table, began := &core.Table{Version: 1}, time.Now()
	waiting := make(chan func(), 1024)
	random := rand.New(rand.NewPCG(1, 2))
	executor := &testExecutor{do: func(f *Forwarded, answer func(Answer)) {
		if random.IntN(3) == 0 {
			answer(Answer{})
			return
		}
		waiting <- func() { answer(Answer{}) }
	}}
	var forwarders [2]*Forwarder
	for i, name := range []string{"a", "b"} {
		tr := open(t, Sockets(), "127.0.0.1:0", identity(name), NoSecret())
		id := identity(name).Member
		table.Nodes = append(table.Nodes, core.Node{ID: id.Node, Inc: id.Inc, Peer: tr.Addr().String()})
		forwarders[i] = NewForwarder(ForwarderConfig{
			Transport: tr, Table: func() *core.Table { return table }, Now: func() time.Duration { return time.Since(began) }, Executor: executor,
		})
		defer forwarders[i].Close()
	}
	var tellers sync.WaitGroup
	for i := range 3 {
		tellers.Go(func() {
			for tell := range waiting {
				if i == 0 {
					tell()
					continue
				}
				forwarders[1].Together(func() {
					tell()
					for len(waiting) > 0 {
						select {
						case tell = <-waiting:
							if tell != nil {
								tell()
							}
						default:
						}
					}
				})
			}
		})
	}
	const callers, each = 20, 300
	var callersDone sync.WaitGroup
	for i := range callers {
		callersDone.Go(func() {
			ended := make(chan Outcome, 1)
			for range each {
				f := &Forwarded{Session: uint64(i + 1), Resp: 2, Timeout: 10 * time.Second, Args: [][]byte{[]byte("x")}}
				forwarders[0].Forward("b", f, func(a Answer) { ended <- a.Outcome })
				if got := <-ended; got != Executed {
					t.Errorf("outcome %d", got)
					return
				}
			}
		})
	}
	callersDone.Wait()
	close(waiting)
	tellers.Wait()
}
