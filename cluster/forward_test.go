package cluster

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/protocol"
)

// forwardGrid is nodes with forwarders over a network in memory, and a table that the test writes.
type forwardGrid struct {
	*testing.T
	network *MemNetwork
	began   time.Time

	mu    sync.Mutex
	table *core.Table
}

type forwardNode struct {
	*Forwarder
	grid      *forwardGrid
	host      string
	self      core.Member
	transport *Transport
	executor  *testExecutor
	slept     atomic.Uint64 // how often its machine was suspended
}

// testExecutor notes what it executes, as the first argument; do answers, or has it answered later. Without do the reply is the
// first argument.
type testExecutor struct {
	mu   sync.Mutex
	log  []string
	gone []core.Member
	do   func(f *Forwarded, answer func(Answer))
}

func (e *testExecutor) Execute(_ core.Member, f *Forwarded, answer func(Answer)) {
	e.mu.Lock()
	e.log = append(e.log, string(f.Args[0]))
	do := e.do
	e.mu.Unlock()
	if do == nil {
		answer(Answer{Reply: f.Args[0]})
		return
	}
	do(f, answer)
}

func (e *testExecutor) Gone(from core.Member) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.log = append(e.log, "gone")
	e.gone = append(e.gone, from)
}

func (e *testExecutor) answers(do func(f *Forwarded, answer func(Answer))) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.do = do
}

// executed lists what was, in order.
func (e *testExecutor) executed() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.log, " ")
}

// onForwarders runs a test with two nodes, a and b.
func onForwarders(t *testing.T, f func(t *testing.T, g *forwardGrid, a, b *forwardNode)) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		g := &forwardGrid{T: t, network: n, began: time.Now().Add(-time.Hour), table: &core.Table{Version: 7}}
		f(t, g, g.start("a", 1, hostA), g.start("b", 1, hostB))
	})
}

// start adds a node to the table, or a new incarnation of it in place of the old one.
func (g *forwardGrid) start(name string, inc byte, host string) *forwardNode {
	n := &forwardNode{grid: g, host: host, executor: &testExecutor{}}
	n.self = core.Member{Node: core.NodeID(name), Inc: core.Incarnation{inc}}
	id := Identity{Member: n.self, FeatureMin: 1, FeatureMax: 1}
	n.transport = open(g.T, g.network.Host(host), host+":0", id, NoSecret())
	n.Forwarder = NewForwarder(ForwarderConfig{
		Transport: n.transport, Table: g.current, Now: func() time.Duration { return time.Since(g.began) }, Executor: n.executor,
		Sleeps: n.slept.Load,
	})
	g.Cleanup(n.Close)
	g.register(n)
	return n
}

func (g *forwardGrid) current() *core.Table {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.table
}

func (g *forwardGrid) register(n *forwardNode) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := &core.Table{Version: g.table.Version + 1}
	for _, other := range g.table.Nodes {
		if other.ID != n.self.Node {
			t.Nodes = append(t.Nodes, other)
		}
	}
	t.Nodes = append(t.Nodes, core.Node{ID: n.self.Node, Inc: n.self.Inc, Peer: n.transport.Addr().String()})
	slices.SortFunc(t.Nodes, func(a, b core.Node) int { return strings.Compare(string(a.ID), string(b.ID)) })
	g.table = t
}

// setStatus makes a table in which a node has another status.
func (g *forwardGrid) setStatus(name core.NodeID, status core.NodeStatus) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := &core.Table{Version: g.table.Version + 1, Nodes: slices.Clone(g.table.Nodes)}
	t.Node(name).Status = status
	g.table = t
}

// asked is a command that was sent, and what has become of it.
type asked struct {
	t     *testing.T
	name  string
	sent  time.Time
	ended chan struct{}

	mu     sync.Mutex
	answer *Answer
	took   time.Duration
}

// ask sends a command to b with its name as the first argument.
func (n *forwardNode) ask(name string, timeout time.Duration, more ...[]byte) *asked {
	a := &asked{t: n.grid.T, name: name, sent: time.Now(), ended: make(chan struct{})}
	n.Forward("b", &Forwarded{Session: 1, Resp: 2, Timeout: timeout, Args: append([][]byte{[]byte(name)}, more...)}, a.done)
	return a
}

func (a *asked) done(answer Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.answer != nil {
		a.t.Errorf("%s: done again, with %s", a.name, outcomeText(answer))
		return
	}
	a.answer, a.took = &answer, time.Since(a.sent)
	close(a.ended)
}

// now is the outcome, or that there is none yet.
func (a *asked) now() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.answer == nil {
		return "waits"
	}
	return outcomeText(*a.answer)
}

func (a *asked) end() string {
	<-a.ended
	return a.now()
}

func outcomeText(a Answer) string {
	switch a.Outcome {
	case Executed:
		return fmt.Sprintf("executed %.40s", a.Reply)
	case NotExecuted:
		return fmt.Sprintf("not executed, version %d", a.Version)
	}
	return "unknown"
}

// stall has b's host take no more, and fills what the network holds, so that the next Write does not return.
func (n *forwardNode) stall(timeout time.Duration) *asked {
	n.grid.Helper()
	expect(n.grid.T, "before the stall", n.ask("before", timeout).end(), "executed before")
	n.grid.network.Cut(n.host, hostB)
	big := n.ask("big", timeout, make([]byte, 2*memBufferMax))
	synctest.Wait()
	return big
}

// TestForward sends commands with every field, and answers of every kind.
func TestForward(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		sent := []Forwarded{
			{
				Session: 1<<64 - 1, Partition: 270, First: true, DB: 15, Resp: 3, Timeout: time.Second, Kind: ForwardWalk, By: [2]uint64{1<<64 - 1, 7},
				Args: [][]byte{{0}, {}, []byte("x")},
			},
			{Partition: -1, DB: -1, Resp: 2, By: [2]uint64{0, 1}, Timeout: 24 * 365 * time.Hour, Kind: ForwardWatch, Args: [][]byte{[]byte("y")}},
			{Timeout: time.Microsecond, Kind: ForwardExec, Args: [][]byte{{}}},
		}
		var got []Forwarded
		b.executor.answers(func(f *Forwarded, answer func(Answer)) {
			c := *f
			c.Args = nil
			for _, arg := range f.Args {
				c.Args = append(c.Args, append([]byte{}, arg...))
			}
			got = append(got, c)
			answer([]Answer{{Outcome: NotExecuted, Version: 1 << 40}, {Outcome: Unknown}, {Reply: []byte{}}}[len(got)-1])
		})
		want := []string{"not executed, version 1099511627776", "unknown", "executed "}
		for i := range sent {
			q := &asked{t: t, ended: make(chan struct{})}
			a.Forward("b", &sent[i], q.done)
			expect(t, "answer", q.end(), want[i])
		}
		sent[1].Timeout, sent[2].Timeout = 1<<31*time.Millisecond-time.Millisecond, time.Millisecond // the longest, and rounded up
		if !reflect.DeepEqual(got, sent) {
			t.Errorf("got  %+v\nwant %+v", got, sent)
		}
		q := &asked{t: t, ended: make(chan struct{})}
		a.Forward("nobody", &sent[0], q.done)
		expect(t, "to a node that the table does not know", q.now(), "not executed, version 9")
		expect(t, "without any time", a.ask("late", 0).now(), "not executed, version 9")
	})
}

// TestForwardSleptR9: what was answered while the machine was suspended is not sent, and what comes after is.
func TestForwardSleptR9(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		b.executor.answers(func(f *Forwarded, answer func(Answer)) {
			if string(f.Args[0]) == "sleep" {
				b.slept.Add(1)
			}
			answer(Answer{Reply: f.Args[0]})
		})
		for range 2 {
			expect(t, "before", a.ask("before", time.Second).end(), "executed before")
			expect(t, "in its sleep", a.ask("sleep", time.Second).end(), "unknown")
			expect(t, "after", a.ask("after", time.Second).end(), "executed after")
		}
	})
}

// TestForwardOrder: commands arrive in the order of the calls, whatever the order of the answers.
func TestForwardOrder(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		const count = 1000
		var answers []func()
		b.executor.answers(func(f *Forwarded, answer func(Answer)) {
			reply := bytes.Clone(f.Args[0])
			answers = append(answers, func() { answer(Answer{Reply: reply}) })
		})
		var all []*asked
		var names []string
		for i := range count {
			names = append(names, fmt.Sprint(i))
			all = append(all, a.ask(names[i], time.Second))
		}
		synctest.Wait()
		expect(t, "executed", b.executor.executed(), strings.Join(names, " "))
		for _, i := range rand.Perm(count) {
			go answers[i]()
		}
		for i, q := range all {
			expect(t, "answer", q.end(), "executed "+names[i])
		}
	})
}

// TestForwardBig sends values of several frames both ways, among small ones.
func TestForwardBig(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		b.executor.answers(func(f *Forwarded, answer func(Answer)) { go answer(Answer{Reply: f.Args[len(f.Args)-1]}) })
		const frame = protocol.FrameSizeMax
		for _, size := range []int{frame - 100, frame - 9, frame, 3*frame + 1, 5 << 20} {
			value := bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size]
			small, big, behind := a.ask("small", time.Minute), a.ask("big", time.Minute, value), a.ask("behind", time.Minute)
			expect(t, "small", small.end()+", "+behind.end(), "executed small, executed behind")
			big.end()
			if big.answer.Outcome != Executed || !bytes.Equal(big.answer.Reply, value) {
				t.Errorf("size %d: outcome %d, %d bytes", size, big.answer.Outcome, len(big.answer.Reply))
			}
		}
	})
}

// TestForwardUnsentTimeout: what is over before it was sent is not executed, and never will be (R24).
func TestForwardUnsentTimeout(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		g.network.Isolate(hostB)
		over := a.ask("over", time.Second)
		waits := a.ask("waits", time.Minute)
		large := a.ask("large", time.Second, make([]byte, 3*protocol.FrameSizeMax))
		behind := a.ask("behind", time.Minute)
		expect(t, "no connection", over.end()+", "+large.end(), "not executed, version 9, not executed, version 9")
		if late := over.took - time.Second; late < 0 || late > forwardSweep {
			t.Errorf("done %v after its time", late)
		}
		expect(t, "the others", waits.now()+", "+behind.now(), "waits, waits")
		g.network.Rejoin(hostB)
		expect(t, "connected", waits.end()+", "+behind.end(), "executed waits, executed behind")
		expect(t, "executed", b.executor.executed(), "waits behind")
	})
}

// TestForwardStalled: the same behind a Write that does not return. What that one carries is of unknown outcome.
func TestForwardStalled(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		big := a.stall(600 * time.Millisecond)
		over := a.ask("over", 600*time.Millisecond)
		waits := a.ask("waits", time.Minute)
		expect(t, "written", big.end(), "unknown")
		expect(t, "unsent", over.end(), "not executed, version 9")
		g.network.Heal(hostA, hostB)
		expect(t, "after", waits.end(), "executed waits")
		expect(t, "executed", b.executor.executed(), "before big waits")
	})
}

// TestForwardCut: when a stream breaks nobody knows of what was written; the rest goes on the next one, in its order.
func TestForwardCut(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		big := a.stall(time.Minute)
		one, two := a.ask("one", time.Minute), a.ask("two", time.Minute)
		g.network.Reset(hostA, hostB)
		synctest.Wait()
		expect(t, "written", big.now(), "unknown")
		expect(t, "unsent", one.now()+", "+two.now(), "waits, waits")
		g.network.Heal(hostA, hostB)
		expect(t, "unsent", one.end()+", "+two.end(), "executed one, executed two")
		expect(t, "executed", b.executor.executed(), "before gone one two")
	})
}

// TestForwardSilence: what was sent and gets no answer is of unknown outcome at its time; a stream on which nothing comes is
// replaced.
func TestForwardSilence(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		expect(t, "before", a.ask("before", time.Second).end(), "executed before")
		pass(time.Hour) // silence while nothing is asked is none
		b.executor.answers(func(*Forwarded, func(Answer)) {})
		lost := a.ask("lost", 300*time.Millisecond)
		expect(t, "without an answer", lost.end(), "unknown")
		if late := lost.took - 300*time.Millisecond; late < 0 || late > forwardSweep {
			t.Errorf("done %v after its time", late)
		}
		synctest.Wait()
		expect(t, "one silence does not end the stream", b.executor.executed(), "before lost")
		pass(forwardQuietMax)
		a.ask("again", 300*time.Millisecond).end()
		synctest.Wait()
		expect(t, "silence", b.executor.executed(), "before lost again gone")
		b.executor.answers(nil)
		expect(t, "after", a.ask("after", time.Second).end(), "executed after")
	})
}

// TestForwardNoSilence: a stream on which others are answered is not silent.
func TestForwardNoSilence(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		b.executor.answers(func(f *Forwarded, answer func(Answer)) {
			if string(f.Args[0]) != "lost" {
				answer(Answer{})
			}
		})
		lost := a.ask("lost", 2*forwardQuietMax)
		pass(time.Millisecond)
		expect(t, "another", a.ask("another", time.Second).end(), "executed ")
		expect(t, "without an answer", lost.end(), "unknown")
		synctest.Wait()
		expect(t, "executed", b.executor.executed(), "lost another")
	})
}

// TestForwardLate: an answer that comes after its command was over is not taken for another's.
func TestForwardLate(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		var late []func(Answer)
		b.executor.answers(func(_ *Forwarded, answer func(Answer)) { late = append(late, answer) })
		one := a.ask("one", 100*time.Millisecond)
		expect(t, "one", one.end(), "unknown")
		two := a.ask("two", time.Second)
		synctest.Wait()
		late[0](Answer{Reply: []byte("one")})
		synctest.Wait()
		expect(t, "two", two.now(), "waits")
		late[1](Answer{Reply: []byte("two")})
		expect(t, "two", two.end(), "executed two")
	})
}

// TestForwardIncarnation: a link is to one start of a node.
func TestForwardIncarnation(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		big := a.stall(time.Minute)
		unsent := a.ask("unsent", time.Minute)
		next := g.start("b", 2, hostC)
		at := a.ask("at once", time.Second)
		expect(t, "to the new one, before any sweep", at.end(), "executed at once")
		expect(t, "written", big.end(), "unknown")
		expect(t, "unsent", unsent.end(), "not executed, version 10")
		expect(t, "to the new one", a.ask("new", time.Second).end(), "executed new")
		g.network.Heal(hostA, hostB)
		pass(time.Minute)
		expect(t, "executed by the old one", b.executor.executed(), "before gone")
		expect(t, "executed by the new one", next.executor.executed(), "at once new")

		// An address at which another start is than the table shows.
		g.register(b)
		g.mu.Lock()
		g.table.Node("b").Peer = next.transport.Addr().String()
		g.mu.Unlock()
		expect(t, "for the old one", a.ask("old", time.Second).end(), "not executed, version 11")
		if log := next.executor.executed(); strings.Contains(log, "old") {
			t.Errorf("the new one executed %s", log)
		}
	})
}

// TestForwardFenced: nothing waits for a node that is fenced; once it is back, commands go there again.
func TestForwardFenced(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		big := a.stall(time.Minute)
		unsent := a.ask("unsent", time.Minute)
		g.setStatus("b", core.Fenced)
		expect(t, "written", big.end(), "unknown")
		expect(t, "unsent", unsent.end(), "not executed, version 10")
		if unsent.took > 3*forwardSweep {
			t.Errorf("it waited for %v", unsent.took)
		}
		expect(t, "while it is fenced", a.ask("fenced", time.Minute).now(), "not executed, version 10")
		g.network.Heal(hostA, hostB)
		pass(time.Minute)
		g.setStatus("b", core.Alive)
		expect(t, "once it is back", a.ask("back", time.Second).end(), "executed back")
		if log := b.executor.executed(); strings.Contains(log, "unsent") || strings.Contains(log, "fenced") {
			t.Errorf("it executed %s", log)
		}
	})
}

// TestForwardBounds: a link that is full takes no more, until it has room again.
func TestForwardBounds(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		g.network.Isolate(hostB)
		var all []*asked
		for range forwardPendingMax {
			all = append(all, a.ask("small", time.Second))
		}
		expect(t, "the last", all[forwardPendingMax-1].now(), "waits")
		expect(t, "one more", a.ask("more", time.Second).now(), "not executed, version 9")
		for _, q := range all {
			expect(t, "over", q.end(), "not executed, version 9")
		}
		value := make([]byte, 1<<20)
		for i := range forwardBytesMax/len(value) - 1 {
			if q := a.ask("large", time.Second, value); q.now() != "waits" {
				t.Fatalf("large %d: %s", i, q.now())
			}
		}
		expect(t, "one more", a.ask("more", time.Second, value).now(), "not executed, version 9")
		expect(t, "a small one", a.ask("small", 2*time.Second).end(), "not executed, version 9")
		alone := a.ask("alone", time.Minute, make([]byte, forwardBytesMax+1))
		expect(t, "beside one that is too large", a.ask("more", time.Second).now(), "not executed, version 9")
		g.network.Rejoin(hostB)
		expect(t, "one that is too large, alone", alone.end(), "executed alone")
		expect(t, "with room again", a.ask("after", time.Second).end(), "executed after")
		expect(t, "executed", b.executor.executed(), "alone after")
	})
}

// TestForwardClose ends all that waits.
func TestForwardClose(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		big := a.stall(time.Minute)
		unsent := a.ask("unsent", time.Minute)
		a.Close()
		expect(t, "written", big.now(), "unknown")
		expect(t, "unsent", unsent.now(), "not executed, version 9")
		expect(t, "afterwards", a.ask("after", time.Minute).now(), "not executed, version 9")
		g.network.Heal(hostA, hostB)
		pass(time.Minute)
		expect(t, "executed", b.executor.executed(), "before gone")
	})
}

// TestForwardCloseServing: who closes leaves the commands of others with an unknown outcome, and answers go nowhere.
func TestForwardCloseServing(t *testing.T) {
	onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
		var late func(Answer)
		b.executor.answers(func(_ *Forwarded, answer func(Answer)) { late = answer })
		q := a.ask("q", time.Minute)
		synctest.Wait()
		b.Close()
		expect(t, "executed", b.executor.executed(), "q gone")
		expect(t, "at the end", q.end(), "unknown")
		late(Answer{})
		expect(t, "to who serves no more", a.ask("after", time.Second).end(), "not executed, version 9")
	})
}

// TestForwardTurmoil breaks streams while commands with all kinds of times are under way: each ends once and in time, what ends
// as not executed is not executed later either, what ends as executed was, and each stream's are in order.
func TestForwardTurmoil(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			onForwarders(t, func(t *testing.T, g *forwardGrid, a, b *forwardNode) {
				turmoil(t, g, a, b, rand.New(rand.NewPCG(seed, 0)))
			})
		})
	}
}

func turmoil(t *testing.T, g *forwardGrid, a, b *forwardNode, r *rand.Rand) {
	delays := rand.New(rand.NewPCG(r.Uint64(), 0)) // of the executor's goroutine, one stream at a time
	b.executor.answers(func(f *Forwarded, answer func(Answer)) {
		reply := bytes.Clone(f.Args[0])
		if delay := delays.IntN(400); delay > 100 {
			time.AfterFunc(time.Duration(delay)*time.Millisecond, func() { answer(Answer{Reply: reply}) })
			return
		}
		answer(Answer{Reply: reply})
	})
	var all []*asked
	var timeouts []time.Duration
	for i := range 2000 {
		var more []byte
		if r.IntN(20) == 0 {
			more = make([]byte, r.IntN(600<<10))
		}
		timeouts = append(timeouts, time.Duration(1+r.IntN(500))*time.Millisecond)
		all = append(all, a.ask(fmt.Sprint(i), timeouts[i], more))
		switch r.IntN(100) {
		case 0:
			g.network.Reset(hostA, hostB)
		case 1:
			g.network.Cut(hostA, hostB)
		case 2:
			g.network.Cut(hostB, hostA)
		case 3, 4, 5, 6:
			g.network.Rejoin(hostB)
		case 7:
			g.network.SetLatency(hostA, hostB, time.Duration(r.IntN(20))*time.Millisecond)
		}
		pass(time.Duration(r.IntN(8)) * time.Millisecond)
	}
	g.network.Rejoin(hostB)
	pass(time.Minute)
	expect(t, "afterwards", a.ask("last", time.Second).end(), "executed last")

	executed, last, outcomes := map[string]int{}, -1, map[Outcome]int{}
	for _, name := range strings.Fields(b.executor.executed()) {
		i := 0
		if _, err := fmt.Sscan(name, &i); err == nil {
			if executed[name]++; i < last {
				t.Errorf("%d is executed after %d", i, last)
			}
			last = i
		}
	}
	for i, q := range all {
		a := q.answer
		if a == nil {
			t.Errorf("%s is not done", q.name)
			continue
		}
		outcomes[a.Outcome]++
		count := executed[q.name]
		switch {
		case count > 1, a.Outcome == Executed && count != 1, a.Outcome == NotExecuted && count > 0:
			t.Errorf("%s: %s, and was executed %d times", q.name, q.now(), count)
		case a.Outcome == Executed && string(a.Reply) != q.name:
			t.Errorf("%s got the answer of %s", q.name, a.Reply)
		case q.took > timeouts[i]+forwardSweep:
			t.Errorf("%s took %v, with %v", q.name, q.took, timeouts[i])
		}
	}
	if len(outcomes) < 3 {
		t.Errorf("outcomes %v: too few kinds to mean much", outcomes)
	}
}
