package main

import (
	"slices"
	"strings"

	"github.com/neargrid/neargrid/internal/testredis"
)

// class says when two replies to one command are the same.
type class int

const (
	exact     class = iota // byte for byte
	unordered              // the elements in any order
	pairs                  // field and value pairs in any order
	deep                   // the elements at every depth in any order
	collated               // exact, but for texts with a NUL byte, which Redis compares as far as that only
	lengths                // the number of elements
	shape                  // only the type, or the error's text
	near                   // times that passed differently on both
	scanning               // a cursor: what a whole iteration gives
	popping                // random members, which are then removed from the reference as well
	choosing               // random members: they must be in the reference
)

// classes of rows by name; the others follow from their tips.
var classes = map[string]class{
	"ttl": near, "pttl": near, "expiretime": near, "pexpiretime": near,
	"scan": scanning, "hscan": scanning, "sscan": scanning, "zscan": scanning,
	"spop": popping, "srandmember": choosing, "hrandfield": choosing, "zrandmember": choosing, "randomkey": choosing,
	"hgetall":      pairs,
	"command|info": deep, "command|getkeysandflags": deep, "command|docs": shape, "command|list": shape, "command|count": shape, "command": shape,
	"hello": shape, "client|id": shape, "client|info": shape, "client|list": shape,
	"memory|usage": shape, "memory|doctor": shape, "memory|stats": shape, "memory|malloc-stats": shape,
	"info": shape, "time": shape, "lastsave": shape, "object|idletime": shape, "object|freq": shape, "object|refcount": shape,
	"slowlog|get": shape, "slowlog|len": shape,
	"latency|doctor": shape, "latency|history": shape, "latency|latest": shape, "latency|graph": shape, "latency|histogram": shape, "latency|reset": shape,
	"config|get": pairs,
}

func classOf(r *row, args []string) class {
	if r == nil {
		return exact
	}
	if r.name == "command|info" && len(args) < 3 {
		return shape // all commands: we have fewer
	}
	if c, ok := classes[r.name]; ok {
		return c
	}
	switch {
	case strings.HasSuffix(r.name, "|help"):
		return shape // the sentences are our own
	case r.group == "generic" && strings.HasPrefix(r.name, "sort"):
		return sortClass(args)
	case r.tips["nondeterministic_output"]:
		return shape
	case r.tips["nondeterministic_output_order"]:
		return unordered
	}
	return exact
}

// sortClass: what SORT leaves open. BY a constant takes the key's own order, which for a large set means nothing; equal
// weights under ALPHA BY keep no order.
func sortClass(args []string) class {
	by, nosort, alpha, limit, gets, store := false, false, false, false, false, false
	for i := 2; i < len(args); i++ {
		switch strings.ToUpper(args[i]) {
		case "BY":
			by = true
			nosort = i+1 < len(args) && !strings.Contains(args[i+1], "*")
			i++
		case "ALPHA":
			alpha = true
		case "LIMIT":
			limit = true
			i += 2
		case "GET":
			gets = true
			i++
		case "STORE":
			store = true
			i++
		}
	}
	if !store && !by && alpha {
		return collated
	}
	if store || !by || !nosort && !alpha {
		return exact
	}
	if limit || gets {
		return lengths
	}
	return unordered
}

// timeSkew is how far times on both servers may be apart, in the unit of the reply.
func timeSkew(name string) int64 {
	if strings.HasPrefix(name, "p") {
		return 5000 // ms
	}
	return 5 // s
}

// same compares two replies to one command.
func same(c class, r *row, a, b testredis.Value) bool {
	if a.Kind != b.Kind || a.Nil != b.Nil {
		return false
	}
	if a.IsError() {
		return a.Text == b.Text
	}
	switch c {
	case shape, scanning, popping, choosing:
		return !a.IsAggregate() || len(a.Elems) == 0 || len(b.Elems) == 0 || a.Elems[0].Kind == b.Elems[0].Kind
	case collated:
		nul := slices.ContainsFunc(b.Elems, func(v testredis.Value) bool { return strings.ContainsRune(v.Text, 0) })
		return testredis.Equal(a, b) || nul && len(a.Elems) == len(b.Elems)
	case lengths:
		return len(a.Elems) == len(b.Elems)
	case near:
		x, y := a.Int(), b.Int()
		if a.Kind != testredis.Integer || x < 0 || y < 0 {
			return testredis.Equal(a, b)
		}
		return max(x-y, y-x) <= timeSkew(r.name)
	case unordered, pairs:
		return testredis.Equal(testredis.Sorted(a, c == pairs), testredis.Sorted(b, c == pairs))
	case deep:
		return testredis.Equal(sortedDeep(a), sortedDeep(b))
	}
	return testredis.Equal(a, b)
}

// sortedDeep sorts at every depth. The notes in Redis's key specs are its own sentences and are left out.
func sortedDeep(v testredis.Value) testredis.Value {
	var elems []testredis.Value
	for i := 0; i < len(v.Elems); i++ {
		if v.Elems[i].Kind == testredis.Bulk && v.Elems[i].Text == "notes" {
			i++
			continue
		}
		elems = append(elems, sortedDeep(v.Elems[i]))
	}
	v.Elems = elems
	return testredis.Sorted(v, false)
}

// hit reports whether a reply says that there was something.
func hit(v testredis.Value) bool {
	switch {
	case v.IsError() || v.IsNull():
		return false
	case v.IsAggregate():
		return len(v.Elems) > 0
	case v.Kind == testredis.Integer:
		return v.Text != "0" && v.Text != "-2"
	}
	return v.Kind != testredis.Bulk || v.Text != ""
}
