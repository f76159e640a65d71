package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
)

// connections is how many each server is driven over: even ones speak RESP2, odd ones RESP3.
const connections = 4

// step is one command on one connection.
type step struct {
	conn    int
	args    []string
	expires bool // its key, args[1], expires at once: wait until it is gone on both servers
}

// difference is what the two servers do not agree on.
type difference struct {
	step  step // that shows it
	row   string
	what  string // which property, where a single step does not say it
	a, b  string // replies
	fatal bool   // the connection broke: nothing can be tried on it any more
}

// pair drives two servers with the same steps.
type pair struct {
	sides [2]*side // the server under test, the reference
	rows  map[string]*row
	stats map[string]*stat // nil: not counted
	// restart replaces the server under test, which hangs or has died, by a fresh one; nil where that is not ours to do.
	restart func() (addr string, err error)
	multi   [connections][]queuedStep
	open    [connections]bool // in MULTI
}

type queuedStep struct {
	row  *row
	args []string
}

type side struct {
	addr  string
	conns [connections]*testredis.Conn
	admin *testredis.Conn // RESP2, for looking at the data
}

func newPair(o options, rows []*row) *pair {
	p := &pair{rows: map[string]*row{}, restart: o.restart}
	p.sides[0], p.sides[1] = &side{addr: o.addrA}, &side{addr: o.addrB}
	for _, r := range rows {
		p.rows[r.name] = r
	}
	return p
}

// settings that the runs change, as they are at the start of each.
var settings = []string{
	"hash-max-listpack-entries", "128", "hash-max-listpack-value", "64", "set-max-intset-entries", "512",
	"zset-max-listpack-entries", "128", "zset-max-listpack-value", "64", "list-max-listpack-size", "-2",
}

// reset empties both servers and opens fresh connections.
func (p *pair) reset() error {
	p.multi, p.open = [connections][]queuedStep{}, [connections]bool{}
	for _, s := range p.sides {
		s.close()
		var err error
		if s.admin, err = s.dial(); err != nil {
			return err
		}
		if v, err := s.admin.Call("FLUSHALL"); err != nil || v.IsError() {
			return fmt.Errorf("%s: FLUSHALL: %s %w", s.addr, v.Text, orNil(err))
		}
		if v, err := s.admin.Call(append([]string{"CONFIG", "SET"}, settings...)...); err != nil || v.IsError() {
			return fmt.Errorf("%s: CONFIG SET %v: %s %w", s.addr, settings, v.Text, orNil(err))
		}
		for i := range s.conns {
			if s.conns[i], err = s.dial(); err != nil {
				return err
			}
			if i%2 == 1 {
				if v, err := s.conns[i].Call("HELLO", "3"); err != nil || v.IsError() {
					return fmt.Errorf("%s: HELLO 3: %s %w", s.addr, v.Text, orNil(err))
				}
			}
		}
	}
	return nil
}

// replyTimeout is when a server counts as hanging.
const replyTimeout = 5 * time.Second

func (s *side) dial() (*testredis.Conn, error) {
	c, err := testredis.Dial(s.addr)
	if err == nil {
		c.Timeout = replyTimeout
	}
	return c, err
}

// revive replaces the server under test after a fatal difference; false where it cannot.
func (p *pair) revive() bool {
	if p.restart == nil {
		return false
	}
	addr, err := p.restart()
	if err != nil {
		return false
	}
	p.sides[0].addr = addr
	return true
}

var errAnswer = errors.New("(an error reply)")

func orNil(err error) error {
	if err == nil {
		return errAnswer
	}
	return err
}

func (s *side) close() {
	for _, c := range append(s.conns[:], s.admin) {
		if c != nil {
			c.Close()
		}
	}
}

func (p *pair) close() {
	for _, s := range p.sides {
		s.close()
	}
}

// rowOf finds the row of a command line, nil for an unknown one.
func (p *pair) rowOf(args []string) *row {
	name := strings.ToLower(args[0])
	if len(args) > 1 {
		if r := p.rows[name+"|"+strings.ToLower(args[1])]; r != nil {
			return r
		}
	}
	return p.rows[name]
}

// do runs a step on both servers and compares.
func (p *pair) do(s step) *difference {
	r := p.rowOf(s.args)
	c := classOf(r, s.args)
	_, isLex := lexKey(s.args)
	switch {
	case s.expires:
		return p.doExpiry(s, r)
	case p.open[s.conn] && (c == popping || isLex):
		return nil // what these answer cannot be foreseen inside MULTI: not sent
	case !p.lexDefined(s) || p.sortConverts(s, r):
		return nil // unspecified: not sent
	case p.open[s.conn]:
		c = exact // QUEUED, or refused
	case c == scanning:
		return p.doScan(s, r)
	case c == popping:
		return p.doPop(s, r)
	}
	a, b, diff := p.both(s)
	if diff != nil {
		return diff
	}
	if len(s.args) == 1 && p.open[s.conn] && strings.EqualFold(s.args[0], "EXEC") {
		return p.endMulti(s, a, b)
	}
	if !same(c, r, a, b) {
		return p.differ(s, "", a, b)
	}
	if p.open[s.conn] && b.Kind == testredis.Simple && b.Text == "QUEUED" {
		p.multi[s.conn] = append(p.multi[s.conn], queuedStep{r, s.args})
		return nil
	}
	p.count(r, b)
	p.follow(s, b)
	if c == choosing {
		return p.checkChosen(s, a)
	}
	return nil
}

// lexKey is the sorted set that a command takes a range of members from; ok is false for other commands.
func lexKey(args []string) (key string, ok bool) {
	switch strings.ToLower(args[0]) {
	case "zrangebylex", "zrevrangebylex", "zremrangebylex", "zlexcount":
		return at(args, 1), true
	case "zrange":
		return at(args, 1), slices.ContainsFunc(args, isByLex)
	case "zrangestore":
		return at(args, 2), slices.ContainsFunc(args, isByLex)
	}
	return "", false
}

func isByLex(arg string) bool { return strings.EqualFold(arg, "BYLEX") }

// lexDefined reports whether a range of members means something: where scores differ, what Redis answers depends on the
// random levels of its skip list.
func (p *pair) lexDefined(s step) bool {
	key, isLex := lexKey(s.args)
	if !isLex {
		return true
	}
	ref := p.sides[1].conns[s.conn]
	first, err1 := ref.Call("ZRANGE", key, "0", "0", "WITHSCORES")
	last, err2 := ref.Call("ZRANGE", key, "-1", "-1", "WITHSCORES")
	if err1 != nil || err2 != nil || first.IsError() || len(first.Elems) == 0 {
		return true
	}
	return score(first) == score(last)
}

// sortConverts reports whether a step sorts a small sorted set. Redis gives it the large encoding by that, even in SORT_RO:
// an accident that we do not repeat.
func (p *pair) sortConverts(s step, r *row) bool {
	if r == nil || r.name != "sort" && r.name != "sort_ro" || len(s.args) < 2 {
		return false
	}
	if p.open[s.conn] {
		return true // it cannot be known what will be there
	}
	encoding, err := p.sides[1].conns[s.conn].Call("OBJECT", "ENCODING", s.args[1])
	if err != nil || encoding.Text != "listpack" {
		return false
	}
	kind, err := p.sides[1].conns[s.conn].Call("TYPE", s.args[1])
	return err == nil && kind.Text == "zset"
}

// score is that of the only member in a reply of ZRANGE WITHSCORES.
func score(v testredis.Value) string {
	for v.IsAggregate() && len(v.Elems) > 0 {
		v = v.Elems[len(v.Elems)-1]
	}
	return v.Text
}

// follow notes what a command that was answered does to its connection's MULTI.
func (p *pair) follow(s step, b testredis.Value) {
	switch name := strings.ToUpper(s.args[0]); {
	case name == "MULTI" && !b.IsError():
		p.open[s.conn] = true
	case name == "DISCARD" && !b.IsError(), name == "RESET" && !b.IsError(), name == "EXEC":
		p.open[s.conn], p.multi[s.conn] = false, nil
	}
}

func (p *pair) endMulti(s step, a, b testredis.Value) *difference {
	queue := p.multi[s.conn]
	p.follow(s, b)
	p.count(p.rows["exec"], b)
	if a.Kind != b.Kind || a.Nil != b.Nil || len(a.Elems) != len(b.Elems) {
		return p.differ(s, "", a, b)
	}
	if !b.IsAggregate() || len(b.Elems) != len(queue) {
		if !testredis.Equal(a, b) {
			return p.differ(s, "", a, b)
		}
		return nil
	}
	for i, q := range queue {
		if !same(classOf(q.row, q.args), q.row, a.Elems[i], b.Elems[i]) {
			d := p.differ(s, fmt.Sprintf("reply %d, to %s", i+1, testredis.Line(q.args)), a.Elems[i], b.Elems[i])
			if q.row != nil {
				d.row = q.row.name
			}
			return d
		}
		p.count(q.row, b.Elems[i])
	}
	return nil
}

// both sends a step to both servers and waits for both replies.
func (p *pair) both(s step) (a, b testredis.Value, diff *difference) {
	var replies [2]testredis.Value
	for i, side := range p.sides {
		conn := side.conns[s.conn]
		conn.Queue(s.args...)
		if err := conn.Flush(); err != nil {
			return a, b, p.broke(s, i, err)
		}
	}
	for i, side := range p.sides {
		var err error
		if replies[i], err = side.conns[s.conn].Receive(); err != nil {
			return a, b, p.broke(s, i, err)
		}
	}
	return replies[0], replies[1], nil
}

func (p *pair) broke(s step, i int, err error) *difference {
	d := p.differ(s, "the connection broke", testredis.Value{}, testredis.Value{})
	d.a, d.b, d.fatal = "(not known)", "(not known)", true
	if i == 0 {
		d.a = err.Error()
	} else {
		d.b = err.Error()
	}
	return d
}

func (p *pair) differ(s step, what string, a, b testredis.Value) *difference {
	d := &difference{step: s, what: what, a: shown(a), b: shown(b), row: strings.ToLower(s.args[0])}
	if r := p.rowOf(s.args); r != nil {
		d.row = r.name
	}
	return d
}

const (
	expiryTimeout = 5 * time.Second
	expiryPause   = time.Millisecond
)

// doExpiry runs a command that makes a key expire at once, and waits until both servers say that it is gone.
func (p *pair) doExpiry(s step, r *row) *difference {
	if p.open[s.conn] {
		return nil
	}
	a, b, diff := p.both(s)
	if diff != nil {
		return diff
	}
	if !testredis.Equal(a, b) {
		return p.differ(s, "", a, b)
	}
	p.count(r, b)
	if b.IsError() {
		return nil
	}
	deadline := time.After(expiryTimeout)
	pause := time.NewTicker(expiryPause)
	defer pause.Stop()
	exists := step{conn: s.conn, args: []string{"EXISTS", s.args[1]}}
	for {
		a, b, diff := p.both(exists)
		if diff != nil {
			return diff
		}
		if a.Text == "0" && b.Text == "0" {
			return nil
		}
		select {
		case <-deadline:
			return p.differ(exists, fmt.Sprintf("after %v", expiryTimeout), a, b)
		case <-pause.C:
		}
	}
}

func (p *pair) count(r *row, b testredis.Value) {
	if p.stats == nil || r == nil {
		return
	}
	st := p.stats[r.name]
	if st == nil {
		return
	}
	st.runs++
	if b.IsError() {
		st.errors++
	}
	if hit(b) {
		st.hits++
	}
}
