package main

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/neargrid/neargrid/internal/testredis"
)

// databases is how many there are; the steps use the first few.
const databases = 16

// compareState compares all data of both servers: keys, types, encodings, expiries, values. The order of lists, sorted
// sets, and of sets and hashes in their small encodings is part of the value.
func (p *pair) compareState() *difference {
	for db := range databases {
		var keys [2][]string
		for i, side := range p.sides {
			if _, err := side.admin.Call("SELECT", strconv.Itoa(db)); err != nil {
				return p.broke(step{args: []string{"SELECT", strconv.Itoa(db)}}, i, err)
			}
			v, err := side.admin.Call("KEYS", "*")
			if err != nil {
				return p.broke(step{args: []string{"KEYS", "*"}}, i, err)
			}
			keys[i] = v.Strings()
			slices.Sort(keys[i])
		}
		if !slices.Equal(keys[0], keys[1]) {
			return &difference{
				step: step{args: []string{"KEYS", "*"}}, row: "(data)", what: fmt.Sprintf("the keys of database %d", db),
				a: fmt.Sprintf("%q", keys[0]), b: fmt.Sprintf("%q", keys[1]),
			}
		}
		for _, key := range keys[0] {
			if d := p.compareKey(key); d != nil {
				d.what = fmt.Sprintf("in database %d", db)
				return d
			}
		}
	}
	return nil
}

// compareKey compares what both servers hold under a key of the database that the admin connections are in.
func (p *pair) compareKey(key string) *difference {
	typ, d := p.ask(exact, "TYPE", key)
	if d != nil {
		return d
	}
	encoding, d := p.ask(exact, "OBJECT", "ENCODING", key)
	if d != nil {
		return d
	}
	if _, d := p.ask(near, "PEXPIRETIME", key); d != nil {
		return d
	}
	large := encoding.Text == "hashtable"
	switch typ.Text {
	case "string":
		_, d = p.ask(exact, "GET", key)
	case "list":
		_, d = p.ask(exact, "LRANGE", key, "0", "-1")
	case "hash":
		_, d = p.ask(either(large, pairs), "HGETALL", key)
	case "set":
		_, d = p.ask(either(large, unordered), "SMEMBERS", key)
	case "zset":
		_, d = p.ask(exact, "ZRANGE", key, "0", "-1", "WITHSCORES")
	}
	return d
}

func either(large bool, c class) class {
	if large {
		return c
	}
	return exact
}

func (p *pair) ask(c class, args ...string) (testredis.Value, *difference) {
	s := step{args: args}
	a, err := p.sides[0].admin.Call(args...)
	if err != nil {
		return a, p.broke(s, 0, err)
	}
	b, err := p.sides[1].admin.Call(args...)
	if err != nil {
		return b, p.broke(s, 1, err)
	}
	if !same(c, &row{name: "pexpiretime"}, a, b) {
		d := p.differ(s, "", a, b)
		d.row = "(data)"
		return b, d
	}
	return b, nil
}
