package main

import (
	"slices"
	"strings"
)

// story decides what happens next on each connection: single commands, MULTI blocks, keys that expire.
type story struct {
	*values
	rows   []*row
	total  int              // of the rows' weights
	inTx   [connections]int // commands still to come in this connection's MULTI; 0: not in one
	queue  []step           // steps that must come next, in order
	byName map[string]*row
	unseen []*row // not chosen yet: they get a turn before long, however small their weight
}

// Chances in 1,000 that a step begins something longer.
const (
	beginMulti  = 8
	beginExpiry = 2
	refill      = 8
	unseenTurn  = 50
)

func newStory(v *values, rows []*row) *story {
	s := &story{values: v, rows: rows, byName: map[string]*row{}}
	for _, r := range rows {
		s.total += weight(r)
		s.byName[r.name] = r
	}
	s.unseen = append(s.unseen, rows...)
	return s
}

// weight is how often a row is chosen, relative to the others.
func weight(r *row) int {
	switch r.name {
	case "flushall", "flushdb", "swapdb", "reset":
		return 1
	case "del", "unlink", "getdel":
		return 8
	case "scan", "keys", "config|set", "memory|malloc-stats", "command", "command|docs", "latency|doctor":
		return 3
	case "select":
		return 4
	}
	if r.group == "server" || r.group == "connection" {
		return 4
	}
	return 20
}

// preamble sets the scene: limits of the small encodings, databases, and some data of every kind.
func (s *story) preamble() []step {
	var steps []step
	add := func(conn int, args ...string) {
		if r := s.byName[strings.ToLower(args[0])]; r != nil || args[0] == "CONFIG" {
			steps = append(steps, step{conn: conn, args: args})
		}
	}
	if s.chance(70) {
		n := s.pick("2", "8", "8")
		add(0, "CONFIG", "SET", "hash-max-listpack-entries", n, "hash-max-listpack-value", "32", "set-max-intset-entries", n,
			"zset-max-listpack-entries", n, "zset-max-listpack-value", "32")
	}
	add(2, "SELECT", "1")
	add(3, "SELECT", s.number(0, 2))
	for conn := range connections {
		steps = append(steps, s.data(conn)...)
	}
	return steps
}

// data fills the database that a connection is in: something of every kind.
func (s *story) data(conn int) []step {
	var steps []step
	add := func(args ...string) {
		if s.byName[strings.ToLower(args[0])] != nil {
			steps = append(steps, step{conn: conn, args: args})
		}
	}
	for _, key := range []string{"1", "2", "3"} {
		add("SET", "s:"+key, s.value())
		add("SET", "i:"+key, s.number(-20, 100))
		add("HSET", "h:"+key, s.field(), s.value(), "f1", s.number(0, 30))
		add("RPUSH", "l:"+key, s.member(), s.member(), s.member())
		add("SADD", "t:"+key, s.member(), s.member(), s.number(0, 20))
		add("ZADD", "z:"+key, s.number(-5, 20), s.member(), s.number(-5, 20), s.member())
		add("SET", "w_"+s.number(0, 12), s.number(0, 30))
	}
	for _, key := range []string{"y:1", "y:2", "y:3"} {
		add("DEL", key)
		add("ZADD", key, "0", s.member(), "0", s.member(), "0", "m1", "0", "m5", "0", "a", "0", "1")
	}
	add("RPUSH", "n:1", "3", "1", s.number(0, 9), "2.5", "-7")
	add("SADD", "n:2", "5", "1", "12", "7")
	add("SADD", "n:3", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12")
	add("ZADD", "n:4", "3", "1", "1", "2", "2", "3")
	return steps
}

// next is the next step.
func (s *story) next() step {
	if len(s.queue) > 0 {
		st := s.queue[0]
		s.queue = s.queue[1:]
		return st
	}
	conn := s.IntN(connections)
	if s.inTx[conn] > 0 {
		if s.inTx[conn]--; s.inTx[conn] == 0 {
			if s.chance(15) {
				return step{conn: conn, args: []string{"DISCARD"}}
			}
			return step{conn: conn, args: []string{"EXEC"}}
		}
		return step{conn: conn, args: s.command(s.choose(true))}
	}
	switch n := s.IntN(1000); {
	case n < beginMulti && s.byName["exec"] != nil:
		return s.multi(conn)
	case n < beginMulti+beginExpiry && s.byName["pexpire"] != nil:
		return s.expiry(conn)
	case n < beginMulti+beginExpiry+refill:
		if s.queue = s.data(conn); len(s.queue) > 0 {
			return s.next()
		}
	}
	r := s.choose(false)
	if (r.name == "multi" || r.name == "exec" || r.name == "discard") && s.chance(80) && s.byName["multi"] != nil {
		return s.multi(conn)
	}
	args := s.command(r)
	if r.name == "multi" && len(args) == 1 {
		s.inTx[conn] = 1 // do not stay in it for long
	}
	return step{conn: conn, args: args}
}

// multi begins a transaction, sometimes with a watch that somebody may break.
func (s *story) multi(conn int) step {
	s.inTx[conn] = 2 + s.IntN(6)
	begin := step{conn: conn, args: []string{"MULTI"}}
	if !s.chance(40) || s.byName["watch"] == nil {
		return begin
	}
	key := s.key(' ')
	if s.chance(50) && s.byName["set"] != nil {
		if other := s.IntN(connections); s.inTx[other] == 0 || other == conn {
			s.queue = append(s.queue, step{conn: other, args: []string{"SET", key, s.value()}})
		}
	}
	s.queue = append(s.queue, begin)
	return step{conn: conn, args: []string{"WATCH", key}}
}

// expiry makes a key expire at once.
func (s *story) expiry(conn int) step {
	key := s.key(' ')
	if s.chance(30) {
		return step{conn: conn, args: []string{"SET", key, "v", "PX", "1"}, expires: true}
	}
	return step{conn: conn, args: []string{"PEXPIRE", key, "1"}, expires: true}
}

// choose picks a row by weight. Inside MULTI random choices cannot be mirrored, and some commands leave it.
func (s *story) choose(inTx bool) *row {
	for {
		r := s.weighted()
		if n := len(s.unseen); n > 0 && s.chance(unseenTurn) {
			r = s.unseen[s.IntN(n)]
		}
		if inTx && (classes[r.name] == popping || r.group == "transactions" || r.name == "reset" || r.name == "hello") {
			continue
		}
		s.unseen = slices.DeleteFunc(s.unseen, func(u *row) bool { return u == r })
		return r
	}
}

// weighted picks a row by weight.
func (s *story) weighted() *row {
	n := s.IntN(s.total)
	for _, r := range s.rows {
		if n -= weight(r); n < 0 {
			return r
		}
	}
	panic("differential: the rows weigh less than their total")
}
