package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/neargrid/neargrid/internal/testredis"
)

// Commands that choose elements by themselves, as SCAN, SPOP and RANDOMKEY do: replies may differ, but not in what they may be chosen from.

// scanRoundsMax bounds an iteration: far more calls than any key or database here needs.
const scanRoundsMax = 100_000

// doScan iterates to the end on both servers: the same elements must come, however they are spread over the calls.
func (p *pair) doScan(s step, r *row) *difference {
	at := len(r.words)
	if r.name != "scan" {
		at++
	}
	whole := at < len(s.args) && s.args[at] == "0"
	var found [2]testredis.Value
	for i, side := range p.sides {
		args := slices.Clone(s.args)
		elems := map[string]testredis.Value{}
		for round := 0; ; round++ {
			v, err := side.conns[s.conn].Call(args...)
			if err != nil {
				return p.broke(s, i, err)
			}
			if !whole || v.IsError() || len(v.Elems) != 2 {
				found[i] = v
				break
			}
			collect(elems, v.Elems[1].Elems, r.name == "hscan" || r.name == "zscan")
			if args[at] = v.Elems[0].Text; args[at] == "0" {
				found[i] = asReply(v, elems)
				break
			}
			if round == scanRoundsMax {
				found[i] = testredis.Value{Kind: testredis.Error, Text: fmt.Sprintf("no end after %d calls", round)}
				break
			}
		}
	}
	c := exact
	if !whole {
		c = shape
	}
	if !same(c, r, found[0], found[1]) {
		return p.differ(s, "the whole iteration", found[0], found[1])
	}
	count := found[1]
	if len(count.Elems) == 2 {
		count = count.Elems[1]
	}
	p.count(r, count)
	return nil
}

func collect(into map[string]testredis.Value, elems []testredis.Value, pairs bool) {
	step := 1
	if pairs && len(elems)%2 == 0 {
		step = 2
	}
	for i := 0; i < len(elems); i += step {
		v := testredis.Value{Kind: testredis.Array, Elems: elems[i : i+step]}
		into[testredis.Format(v)] = v
	}
}

func asReply(v testredis.Value, elems map[string]testredis.Value) testredis.Value {
	all := testredis.Value{Kind: v.Elems[1].Kind}
	for _, e := range elems {
		all.Elems = append(all.Elems, e)
	}
	return testredis.Value{Kind: v.Kind, Elems: []testredis.Value{v.Elems[0], testredis.Sorted(all, false)}}
}

// doPop lets the server under test choose, checks its choice against the reference, and removes it there too.
func (p *pair) doPop(s step, r *row) *difference {
	test, ref := p.sides[0].conns[s.conn], p.sides[1].conns[s.conn]
	a, err := test.Call(s.args...)
	if err != nil {
		return p.broke(s, 0, err)
	}
	if a.IsError() || a.IsNull() || a.IsAggregate() && len(a.Elems) == 0 || len(s.args) < 2 {
		b, err := ref.Call(s.args...)
		if err != nil {
			return p.broke(s, 1, err)
		}
		if !testredis.Equal(a, b) {
			return p.differ(s, "", a, b)
		}
		p.count(r, b)
		return nil
	}
	key, members := s.args[1], a.Strings()
	if len(s.args) == 2 {
		members = []string{a.Text}
	}
	size, err := ref.Call("SCARD", key)
	if err != nil {
		return p.broke(s, 1, err)
	}
	want := int64(1)
	if len(s.args) > 2 {
		n, _ := strconv.ParseInt(s.args[2], 10, 64)
		want = min(n, size.Int())
	}
	removed, err := ref.Call(append([]string{"SREM", key}, members...)...)
	if err != nil {
		return p.broke(s, 1, err)
	}
	if (len(s.args) > 2) != a.IsAggregate() || int64(len(members)) != want || removed.Int() != want {
		d := p.differ(s, fmt.Sprintf("%d members of the reference's %d were to be removed", want, size.Int()), a, removed)
		d.b = "it removed of these: " + d.b
		return d
	}
	p.count(r, a)
	if left := size.Int() - want; left > 0 && len(s.args) > 2 && left*popRebuildRatio <= want {
		return p.rebuild(s, key)
	}
	return nil
}

// popRebuildRatio: where this times as many members are popped as stay, Redis moves those that stay to a new set, which
// may then have a small encoding again.
const popRebuildRatio = 5

// rebuild does the same to a set of the reference.
func (p *pair) rebuild(s step, key string) *difference {
	ref := p.sides[1].conns[s.conn]
	members, err := ref.Call("SMEMBERS", key)
	if err != nil {
		return p.broke(s, 1, err)
	}
	expiry, err := ref.Call("PEXPIRETIME", key)
	if err != nil {
		return p.broke(s, 1, err)
	}
	commands := [][]string{{"DEL", key}, append([]string{"SADD", key}, members.Strings()...)}
	if expiry.Int() > 0 {
		commands = append(commands, []string{"PEXPIREAT", key, expiry.Text})
	}
	for _, command := range commands {
		if _, err := ref.Call(command...); err != nil {
			return p.broke(s, 1, err)
		}
	}
	return nil
}

// checkChosen checks the random members that the server under test has named: each must be in the reference.
func (p *pair) checkChosen(s step, a testredis.Value) *difference {
	if a.IsError() || a.IsNull() {
		return nil
	}
	ref := p.sides[1].conns[s.conn]
	name := strings.ToLower(s.args[0])
	members, values := chosen(a, name, s.args)
	if len(members) == 0 {
		return nil
	}
	var ask []string
	switch name {
	case "randomkey":
		ask = []string{"EXISTS"}
	case "srandmember":
		ask = []string{"SMISMEMBER", s.args[1]}
	case "hrandfield":
		ask = []string{"HMGET", s.args[1]}
	case "zrandmember":
		ask = []string{"ZMSCORE", s.args[1]}
	}
	b, err := ref.Call(append(ask, members...)...)
	if err != nil {
		return p.broke(s, 1, err)
	}
	there := name == "randomkey" && b.Text == "1" || name != "randomkey" && len(b.Elems) == len(members)
	for i, e := range b.Elems {
		there = there && !e.IsNull() && (name != "srandmember" || e.Text == "1")
		if values != nil && there {
			there = values[i].Text == e.Text
		}
	}
	if count, err := strconv.Atoi(at(s.args, 2)); err == nil && there {
		distinct := slices.Compact(slices.Sorted(slices.Values(members)))
		switch {
		case count < 0:
			there = len(members) == -count
		case len(distinct) != len(members) || len(members) > count:
			there = false
		}
	}
	if !there {
		d := p.differ(s, "not a choice that the reference could make", a, b)
		d.b = "its answer to " + testredis.Line(append(ask, members...)) + ":\n" + d.b
		return d
	}
	return nil
}

func at(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}

// chosen splits a random reply into members and, where asked for, their values.
func chosen(a testredis.Value, name string, args []string) (members []string, values []testredis.Value) {
	if !a.IsAggregate() {
		return []string{a.Text}, nil
	}
	withValues := len(args) > 3 && name != "srandmember"
	for i := 0; i < len(a.Elems); i++ {
		e := a.Elems[i]
		switch {
		case e.IsAggregate() && len(e.Elems) == 2: // RESP3 nests the pairs
			members, values = append(members, e.Elems[0].Text), append(values, e.Elems[1])
		case withValues && i+1 < len(a.Elems):
			members, values = append(members, e.Text), append(values, a.Elems[i+1])
			i++
		default:
			members = append(members, e.Text)
		}
	}
	return members, values
}
