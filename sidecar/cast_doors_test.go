package sidecar

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neargrid/neargrid/internal/testgrid"
	"github.com/neargrid/neargrid/internal/testredis"
)

// Clients that track by prefixes, where what is behind the sidecar is no grid with grid doors.

// withRedis is a sidecar of a redis-server.
func withRedis(t *testing.T) (*rig, *testredis.Server) {
	t.Helper()
	s := testredis.Start(t)
	return started(t, func(o *Options) { o.Join = []string{s.Addr} }), s
}

// TestBcastRedis: of what changes in a Redis clients are told as of a grid, whoever changes it; what is held is never older than that; and
// they are told to drop everything when the connection by which it tells is lost.
func TestBcastRedis(t *testing.T) {
	r, s := withRedis(t)
	node, plain := s.Dial(t), r.conn()
	c := r.beginsByPrefix("PREFIX rd:")
	var keys []string
	for i := range 20 {
		keys = append(keys, fmt.Sprintf("rd:%02d", i))
	}
	for round, writer := range []*testredis.Conn{node, plain} {
		for _, key := range keys {
			want(t, writer, "+OK", fmt.Sprintf("SET %s %d", key, round))
		}
		if got := toldKeys(t, c, len(keys)); got != strings.Join(keys, " ") {
			t.Fatalf("told %s", got)
		}
		for _, key := range keys {
			want(t, c, fmt.Sprintf("$%d", round), "GET "+key)
			r.holds(plain, key, fmt.Sprint(round))
		}
		silent(t, c, "reading")
	}
	want(t, c, "+OK", "SET rd:00 own")
	if got := toldKeys(t, c, 1); got != "rd:00" {
		t.Errorf("told %s, want its own change", got)
	}
	for _, line := range []string{"SET other 1", "SET rd 1"} {
		want(t, node, "+OK", line)
	}
	silent(t, c, "other keys")
	for _, test := range []struct{ line, keys string }{
		{"PEXPIRE rd:00 1", "rd:00"}, {"MSET rd:01 a rd:02 b", "rd:01 rd:02"}, {"DEL rd:03", "rd:03"},
	} {
		node.Do(t, strings.Fields(test.line)...)
		if got := toldKeys(t, c, len(strings.Fields(test.keys))); got != test.keys {
			t.Errorf("%s: told %s", test.line, got)
		}
	}
	eventually(t, "rd:00 has expired", func() bool { return node.Do(t, "EXISTS", "rd:00").Int() == 0 })
	if got := toldKeys(t, c, 1); got != "rd:00" {
		t.Errorf("told %s, want that rd:00 has expired", got)
	}
	want(t, node, "+OK", "FLUSHALL")
	if v := pushed(t, c); short(v) != everything {
		t.Fatalf("FLUSHALL: told %s", short(v))
	}
	if n := node.Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Int(); n == 0 {
		t.Fatal("no connection was killed")
	}
	if v := pushed(t, c); short(v) != everything {
		t.Fatalf("the connection was lost: told %s", short(v))
	}
	eventually(t, "there is another", func() bool { return r.CastLeft() > 0 })
	want(t, node, "+OK", "SET rd:again 1")
	v := pushed(t, c)
	for short(v) == everything { // once more, unless that came together with the loss
		v = pushed(t, c)
	}
	if short(v) != ">[$invalidate *[$rd:again]]" {
		t.Errorf("told %s", short(v))
	}
}

// TestNoloopRedis: a Redis does not tell who has changed a key, so NOLOOP is refused rather than not kept; other modes go on.
func TestNoloopRedis(t *testing.T) {
	r, s := withRedis(t)
	c := r.conn()
	c.Do(t, "HELLO", "3")
	refused := "-ERR CLIENT TRACKING NOLOOP is not possible at this sidecar: " + s.Addr +
		" is no node of neargrid, and does not tell who has changed a key; leave it out, and be told of own changes, too"
	want(t, c, refused, "CLIENT TRACKING ON NOLOOP")
	want(t, c, refused, "CLIENT TRACKING ON BCAST NOLOOP")
	want(t, c, "+OK", "CLIENT TRACKING ON")
	want(t, c, "_", "GET nl:k")
	want(t, c, "+OK", "SET nl:k 1")
	if v := pushed(t, c); short(v) != ">[$invalidate *[$nl:k]]" {
		t.Errorf("told %s", short(v))
	}
}

// TestBcastClusterDoors: where nodes have cluster doors alone, each tells of its own keys, so BCAST is refused; tracking what was read works, NOLOOP
// too. Where there is one node it tells of all.
func TestBcastClusterDoors(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	program, err := testredis.Program()
	if err != nil {
		t.Fatal(err)
	}
	g, err := testgrid.New(program, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	sockets := t.TempDir()
	var doors []string
	add := func() {
		t.Helper()
		n, err := g.Add(ctx, "--listen", "off", "--unixsocket", filepath.Join(sockets, fmt.Sprint(len(doors))))
		if err != nil {
			t.Fatal(err)
		}
		doors = append(doors, n.Cluster)
	}
	add()
	door := dial(t, doors[0])
	eventually(t, "it serves", func() bool { return !door.Do(t, "SET", "cd:k", "0").IsError() })
	join := func(o *Options) { o.Join = doors }
	one := started(t, join).beginsByPrefix("PREFIX cd: NOLOOP")
	want(t, door, "+OK", "SET cd:k 1")
	if got := toldKeys(t, one, 1); got != "cd:k" {
		t.Errorf("one node: told %s", got)
	}
	add()
	untilQuiet(t, door, 2)
	r := started(t, join)
	c := r.conn()
	c.Do(t, "HELLO", "3")
	refused := "-ERR CLIENT TRACKING BCAST is not possible at this sidecar: the nodes have cluster doors alone, each of which tells of its own keys"
	want(t, c, refused, "CLIENT TRACKING ON BCAST")
	want(t, c, refused, "CLIENT TRACKING ON BCAST PREFIX cd:")
	want(t, c, "+OK", "CLIENT TRACKING ON NOLOOP")
	other := r.conn()
	for i := range 50 { // of both nodes
		key := fmt.Sprint("cd:", i)
		c.Do(t, "GET", key)
		want(t, c, "+OK", "SET "+key+" 1")
		want(t, c, "$1", "GET "+key)
		silent(t, c, "its own change")
		want(t, other, "+OK", "SET "+key+" 2")
		if v := pushed(t, c); short(v) != ">[$invalidate *[$"+key+"]]" {
			t.Fatalf("told %s, want that %s has changed", short(v), key)
		}
		want(t, c, "$2", "GET "+key)
	}
}
