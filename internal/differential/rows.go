package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/neargrid/neargrid/internal/testredis"
)

// row is a command as its server describes it.
type row struct {
	name  string   // "get", "client|list"
	words []string // "CLIENT", "LIST"
	group string
	args  []*arg
	flags map[string]bool
	tips  map[string]bool
}

// arg is a node of a command's argument tree.
type arg struct {
	name     string
	kind     string // string, integer, double, key, pattern, unix-time, pure-token, oneof, block
	token    string
	optional bool
	multiple bool
	manyTok  bool // the token is repeated with each value
	children []*arg
}

// readRows asks a server for its commands, containers of subcommands left out.
func readRows(addr string) ([]*row, error) {
	conn, err := testredis.Dial(addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if v, err := conn.Call("HELLO", "3"); err != nil || v.IsError() {
		return nil, fmt.Errorf("HELLO 3: %s %w", v.Text, err)
	}
	docs, err := conn.Call("COMMAND", "DOCS")
	if err != nil {
		return nil, err
	}
	if docs.Kind != testredis.Map || len(docs.Elems) == 0 {
		return nil, fmt.Errorf("COMMAND DOCS answers %.80s", testredis.Format(docs))
	}
	all, err := conn.Call("COMMAND")
	if err != nil {
		return nil, err
	}
	rows := map[string]*row{}
	for i := 0; i+1 < len(docs.Elems); i += 2 {
		addDocs(rows, docs.Elems[i].Text, docs.Elems[i+1])
	}
	for _, info := range all.Elems {
		addInfo(rows, info)
	}
	list := make([]*row, 0, len(rows))
	for _, r := range rows {
		if r.flags == nil {
			return nil, fmt.Errorf("COMMAND says nothing about %s", r.name)
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *row) int { return cmp.Compare(a.name, b.name) })
	if len(list) == 0 {
		return nil, errors.New("COMMAND DOCS names no command")
	}
	return list, nil
}

func addDocs(rows map[string]*row, name string, docs testredis.Value) {
	f := fields(docs)
	if subs := f["subcommands"]; len(subs.Elems) > 0 {
		for i := 0; i+1 < len(subs.Elems); i += 2 {
			addDocs(rows, subs.Elems[i].Text, subs.Elems[i+1])
		}
		if name != "command" { // the one container that is a command too
			return
		}
	}
	name = strings.ToLower(name)
	rows[name] = &row{
		name: name, words: strings.Split(strings.ToUpper(name), "|"), group: f["group"].Text, args: readArgs(f["arguments"]),
	}
}

func readArgs(list testredis.Value) []*arg {
	var args []*arg
	for _, v := range list.Elems {
		f := fields(v)
		flags := set(f["flags"])
		args = append(args, &arg{
			name: f["name"].Text, kind: f["type"].Text, token: f["token"].Text,
			optional: flags["optional"], multiple: flags["multiple"], manyTok: flags["multiple_token"],
			children: readArgs(f["arguments"]),
		})
	}
	return args
}

// Positions in an entry of COMMAND's reply.
const (
	infoName  = 0
	infoFlags = 2
	infoTips  = 7
	infoSubs  = 9
)

func addInfo(rows map[string]*row, info testredis.Value) {
	if len(info.Elems) <= infoSubs {
		return
	}
	if r := rows[strings.ToLower(info.Elems[infoName].Text)]; r != nil {
		r.flags, r.tips = set(info.Elems[infoFlags]), set(info.Elems[infoTips])
	}
	for _, sub := range info.Elems[infoSubs].Elems {
		addInfo(rows, sub)
	}
}

func fields(v testredis.Value) map[string]testredis.Value {
	m := map[string]testredis.Value{}
	for i := 0; i+1 < len(v.Elems); i += 2 {
		m[v.Elems[i].Text] = v.Elems[i+1]
	}
	return m
}

func set(v testredis.Value) map[string]bool {
	m := map[string]bool{}
	for _, text := range v.Strings() {
		m[strings.ToLower(text)] = true
	}
	return m
}

// known keeps the rows that a server knows: those it does not answer with an unknown command or subcommand.
func known(rows []*row, addr string) ([]*row, error) {
	conn, err := testredis.Dial(addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var kept []*row
	for _, r := range rows {
		v, err := conn.Call("COMMAND", "INFO", r.name)
		if err != nil {
			return nil, err
		}
		if v.IsError() {
			return nil, fmt.Errorf("COMMAND INFO %s: %s", r.name, v.Text)
		}
		if len(v.Elems) == 1 && !v.Elems[0].IsNull() {
			kept = append(kept, r)
		}
	}
	return kept, nil
}
