package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// loadPlan is how much clients do.
type loadPlan struct {
	clients   int
	registers int           // keys that all clients read and write
	pause     time.Duration // of a client, between two commands
	avoid     *node         // no client begins there; nil: anywhere
	frozen    *node         // it is frozen meanwhile, for a while; nil: none is
}

// usualLoad is about a thousand commands a second: nodes, clients and judges share one machine.
var usualLoad = loadPlan{clients: 16, registers: 48, pause: 12 * time.Millisecond}

// load is clients that read and write while something happens to the grid, half of them at grid doors, half at cluster doors.
//
// Of ten commands seven are about registers: what is seen of each must be explained by some order of what was done. Three write a
// key that nobody else writes, once: what was acknowledged must be there from then on, and what was refused never.
type load struct {
	grid  *grid
	name  string
	plan  loadPlan
	began time.Time
	stop  func() // has the clients end
	ended sync.WaitGroup

	mu        sync.Mutex
	registers [][]operation
	once      []onceKey
	tally     tally
}

// onceKey is a key that was written once, and the outcome.
type onceKey struct {
	key     string
	outcome outcome
}

// tally counts what clients saw.
type tally struct {
	commands int
	slowest  time.Duration  // reply
	slow     int            // replies that came after slowReply, from nodes that were awake
	troubles map[string]int // by kind
	wrong    []string       // replies that nobody may get; the first few
}

const wrongMax = 10

func (t *tally) note(a answer, took time.Duration) {
	t.commands++
	if a.trouble != closedConnection && a.trouble != noReply && !a.frozen {
		t.slowest = max(t.slowest, took)
		if took > slowReply {
			t.slow++
		}
	}
	if a.trouble == "" {
		return
	}
	if t.troubles == nil {
		t.troubles = map[string]int{}
	}
	t.troubles[a.trouble]++
	_, known := allowed[a.trouble]
	if !known && a.trouble != closedConnection && a.trouble != noReplyFrozen && len(t.wrong) < wrongMax {
		t.wrong = append(t.wrong, a.detail)
	}
}

func (t *tally) add(o tally) {
	t.commands += o.commands
	t.slow += o.slow
	t.slowest = max(t.slowest, o.slowest)
	for kind, n := range o.troubles {
		if t.troubles == nil {
			t.troubles = map[string]int{}
		}
		t.troubles[kind] += n
	}
	t.wrong = append(t.wrong, o.wrong...)
}

// startLoad begins. name becomes part of all keys, and is used once in a grid.
func (g *grid) startLoad(name string, plan loadPlan) *load {
	l := &load{grid: g, name: name, plan: plan, began: time.Now(), registers: make([][]operation, plan.registers)}
	stop := make(chan struct{})
	l.stop = sync.OnceFunc(func() { close(stop) })
	for i := range plan.clients {
		c := g.client(door(i%2), plan.avoid, uint64(i)<<32|uint64(len(name)))
		c.frozen = plan.frozen
		l.ended.Go(func() {
			defer c.close()
			l.run(i, c, stop)
		})
	}
	return l
}

// run is one client's life.
func (l *load) run(number int, c *client, stop <-chan struct{}) {
	ticker := time.NewTicker(l.plan.pause)
	defer ticker.Stop()
	for count := 0; ; count++ {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		unique := strconv.Itoa(number) + "." + strconv.Itoa(count)
		switch c.rng.IntN(10) {
		case 0, 1, 2:
			l.writeOnce(c, "once:"+l.name+":"+unique)
		case 3, 4, 5:
			l.operate(c, c.rng.IntN(l.plan.registers), operation{kind: opRead})
		case 6, 7, 8:
			l.operate(c, c.rng.IntN(l.plan.registers), operation{kind: opWrite, value: unique})
		case 9:
			l.operate(c, c.rng.IntN(l.plan.registers), operation{kind: opSwap, value: unique})
		}
	}
}

func (l *load) writeOnce(c *client, key string) {
	began := time.Now()
	a := c.do(key, "SET", key, key)
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.once = append(l.once, onceKey{key, a.outcome})
	l.tally.note(a, took)
}

func (l *load) registerKey(number int) string {
	return "register:" + l.name + ":" + strconv.Itoa(number)
}

// operate does something to a register, and notes what came of it.
func (l *load) operate(c *client, number int, o operation) answer {
	key := l.registerKey(number)
	words := []string{"GET", key}
	switch o.kind {
	case opWrite:
		words = []string{"SET", key, o.value}
	case opSwap:
		words = []string{"SET", key, o.value, "GET"}
	}
	o.start = time.Since(l.began)
	a := c.do(key, words...)
	o.end = time.Since(l.began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.note(a, o.end-o.start)
	switch {
	case a.outcome == done:
		if o.kind != opWrite {
			o.seen = a.value.Text
		}
	case a.outcome == unknown && o.kind != opRead:
		o.unknown = true
	default:
		return a // not executed: if it shows all the same, no order explains it
	}
	l.registers[number] = append(l.registers[number], o)
	return a
}

// end stops the clients; again is no matter.
func (l *load) end() {
	l.stop()
	l.ended.Wait()
}

// finish ends the load, reads all that was written, and judges what was seen. The grid must be whole by then.
func (l *load) finish(f *findings) {
	l.end()
	c := l.grid.client(gridDoor, nil, 1)
	defer c.close()
	var insist insistence
	for number := range l.registers {
		if err := insist.on(func() answer { return l.operate(c, number, operation{kind: opRead}) }); err != nil {
			f.fault("%s cannot be read at the end: %v", l.registerKey(number), err)
		}
	}
	f.tally(l.tally)
	for number, history := range l.registers {
		f.count(countOps, len(history))
		switch judge(history) {
		case porcupine.Illegal:
			f.fault("no order explains what was seen of %s: %s", l.registerKey(number), l.keep(number, history))
		case porcupine.Unknown:
			f.fault("the history of %s is too hard to judge: %s", l.registerKey(number), l.keep(number, history))
		}
	}
	f.count(countHistories, len(l.registers))
	l.verify(f)
}

// keep writes a history to a file.
func (l *load) keep(number int, history []operation) (path string) {
	path = filepath.Join(l.grid.Dir, fmt.Sprintf("history-%s-%d", l.name, number))
	if err := os.WriteFile(path, []byte(describe(history)), 0o600); err != nil {
		return err.Error()
	}
	return path
}

const (
	insistMax   = 20 * time.Second // in which a whole grid must answer everything
	insistPause = 20 * time.Millisecond
)

// insistence repeats reads until they succeed. All of them together have insistMax.
type insistence struct{ until time.Time }

func (i *insistence) on(try func() answer) error {
	for {
		a := try()
		if a.outcome == done {
			return nil
		}
		if i.until.IsZero() {
			i.until = time.Now().Add(insistMax)
		}
		if time.Now().After(i.until) {
			return fmt.Errorf("%s: %s", a.trouble, a.detail)
		}
		time.Sleep(insistPause)
	}
}

// verify reads every key that was written once. It may be called again, after further faults.
func (l *load) verify(f *findings) {
	c := l.grid.client(gridDoor, nil, 2)
	defer c.close()
	acked := 0
	var insist insistence
	for _, o := range l.once {
		var a answer
		if err := insist.on(func() answer { a = c.do(o.key, "GET", o.key); return a }); err != nil {
			f.fault("%s cannot be read at the end: %v", o.key, err)
			continue
		}
		there, right := !a.value.IsNull(), a.value.Text == o.key
		switch {
		case there && !right:
			f.fault("%s holds %q", o.key, a.value.Text)
		case o.outcome == done && !there:
			f.lost(o.key)
		case o.outcome == refused && there:
			f.fault("%s was written, and its writer was told that it was not", o.key)
		}
		if o.outcome == done {
			acked++
		}
	}
	f.count(countAcked, acked)
}
