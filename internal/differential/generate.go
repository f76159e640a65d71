package main

import (
	"fmt"
	"strconv"
	"strings"
)

// generator makes command lines of one row.
type generator struct {
	*values
	row  *row
	kind byte     // of the keys in this command; ' ' any
	keys int      // what numkeys said; 0: it said nothing
	out  []string // the command so far
}

const (
	optionalPercent = 35 // an optional argument appears
	repeatPercent   = 45 // one more of a repeated argument
	repeatMax       = 6
	longPercent     = 4 // instead, so many that a small encoding's limit is passed
	longRepeat      = 15
	mutatePercent   = 4 // the finished command is damaged
	dropKeysPercent = 3 // numkeys is not the number of keys that follow
)

// covers checks that there are values for all of a row's arguments.
func covers(r *row) error {
	if special[r.name] != nil {
		return nil
	}
	var check func(args []*arg) error
	check = func(args []*arg) error {
		for _, a := range args {
			switch a.kind {
			case "oneof", "block":
				if err := check(a.children); err != nil {
					return err
				}
			case "key", "pure-token":
			default:
				if a.name != "numkeys" && maker(r, a) == nil {
					return fmt.Errorf("%s has no generator: nothing makes values for its argument %q of type %s", r.name, a.name, a.kind)
				}
			}
		}
		return nil
	}
	return check(r.args)
}

// command makes one command line.
func (v *values) command(r *row) []string {
	g := &generator{values: v, row: r, kind: kindOf(r), out: append([]string(nil), r.words...)}
	if g.kind == ' ' && v.chance(95) {
		g.kind = kinds[v.IntN(len(kinds))] // both keys of RENAME, COPY ... most often of one kind
	}
	if v.chance(20) {
		g.out[0] = strings.ToLower(g.out[0])
	}
	if f := special[r.name]; f != nil {
		f(g)
	} else {
		g.list(r.args)
	}
	if v.chance(mutatePercent) {
		g.mutate()
	}
	return g.out
}

func (g *generator) add(words ...string) { g.out = append(g.out, words...) }

// list makes arguments in their order; neighbours that are optional and have tokens may change places.
func (g *generator) list(args []*arg) {
	order := append([]*arg(nil), args...)
	for i := 1; i < len(order); i++ {
		if movable(order[i-1]) && movable(order[i]) && g.chance(25) {
			order[i-1], order[i] = order[i], order[i-1]
		}
	}
	for _, a := range order {
		g.arg(a)
	}
}

func movable(a *arg) bool { return a.optional && (a.token != "" || a.kind == "oneof") }

func (g *generator) arg(a *arg) {
	if a.optional && !g.chance(optionalPercent) {
		return
	}
	for i := range g.repeats(a) {
		if a.token != "" && a.kind != "pure-token" && (i == 0 || a.manyTok) {
			g.token(a.token)
		}
		g.value(a)
	}
}

func (g *generator) repeats(a *arg) int {
	switch {
	case !a.multiple:
		return 1
	case g.keys > 0 && (a.kind == "key" || a.name == "weight"):
		return g.keys
	case g.chance(longPercent):
		return longRepeat
	}
	n := 1
	for n < repeatMax && g.chance(repeatPercent) {
		n++
	}
	return n
}

func (g *generator) value(a *arg) {
	switch a.kind {
	case "oneof":
		g.arg(a.children[g.IntN(len(a.children))])
	case "block":
		g.list(a.children)
	case "pure-token":
		g.token(a.token)
	case "key":
		g.add(g.key(g.kind))
	default:
		if a.name == "numkeys" {
			g.numkeys()
			return
		}
		g.add(maker(g.row, a)(g.values))
	}
}

func (g *generator) token(t string) {
	if g.chance(25) {
		t = strings.ToLower(t)
	}
	g.add(t)
}

func (g *generator) numkeys() {
	g.keys = 1 + g.IntN(3)
	n := strconv.Itoa(g.keys)
	if g.chance(dropKeysPercent) {
		n = g.pick("0", "-1", "abc", "4", "9223372036854775807")
	}
	g.add(n)
}

// mutate damages the command: the ways a client gets it wrong. No damage makes a short expiry or a large allocation out
// of a harmless command.
func (g *generator) mutate() {
	first := len(g.row.words)
	if len(g.out) <= first || g.chance(20) {
		g.add(g.pick("x", "", "NX", "0", "WITHSCORES", "COUNT"))
		return
	}
	i := first + g.IntN(len(g.out)-first)
	switch g.IntN(3) {
	case 0:
		g.out = g.out[:len(g.out)-1]
	case 1:
		g.out = append(g.out[:i+1], g.out[i:]...)
	case 2:
		g.out[i] = g.pick("", "abc", "9223372036854775807", "-9223372036854775808", "1.5", "nan", "-1", "0", "\x00", "99999999999999999999")
	}
}
