package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/partition"
)

// clientWait is how long a client waits for a reply. A node answers within about 5 s whatever happens (R14).
const clientWait = 10 * time.Second

// slowReply: a node that has its wits about it answers sooner than this, whatever is broken: within 5 s (R14), and what a busy machine adds.
const slowReply = 5500 * time.Millisecond

// frozenWait is how long clients of cluster doors wait for a node that is frozen.
const frozenWait = time.Second

// door is a kind of listener.
type door uint8

const (
	gridDoor door = iota
	clusterDoor
)

// outcome is what has become of a command, as far as its client knows.
type outcome uint8

const (
	done    outcome = iota
	refused         // not executed, and never will be
	unknown         // it may have been executed, or may yet be
)

// Kinds of trouble that a client may have, besides the words with which errors begin.
const (
	closedConnection = "closed connection"
	noReply          = "no reply"
	noReplyFrozen    = "no reply from a node that is frozen"
)

// allowed are the errors that clients may see when nodes fail; with true, where the outcome is unknown.
var allowed = map[string]bool{
	"INDETERMINATE": true, "TRYAGAIN": false, "CLUSTERDOWN": false, "NOREPLICAS": false, "LOADING": false,
}

// answer is the end of a command.
type answer struct {
	outcome outcome
	value   testredis.Value // where done
	trouble string          // where not: its kind
	detail  string
	frozen  bool // a node that is frozen for a while was asked
}

// client sends commands about one key, one at a time. Whatever fails it reports, and begins anew at another node.
type client struct {
	grid   *grid
	kind   door
	frozen *node  // it is frozen for a while; nil: none is
	avoid  *node  // it does not begin there; nil: anywhere
	stay   string // the one door that it uses; "": any
	rng    *rand.Rand

	conns map[string]*testredis.Conn
	home  string         // where it sends what it does not know an owner of
	slots map[int]string // of a cluster client: the doors of owners
}

func (g *grid) client(kind door, avoid *node, seed uint64) *client {
	return &client{
		grid: g, kind: kind, avoid: avoid, rng: rand.New(rand.NewPCG(g.lab.seed, seed)),
		conns: map[string]*testredis.Conn{}, slots: map[int]string{},
	}
}

func (c *client) close() {
	for _, conn := range c.conns {
		conn.Close()
	}
}

// What cluster clients do about redirections: two nodes may for a moment send a client to each other, as one of them has an older table.
const (
	redirectsMax  = 8
	redirectPause = 2 * time.Millisecond // before the second, doubled each time
)

// do sends a command about a key, once; a redirection is followed, for it means that the command was not executed.
func (c *client) do(key string, words ...string) answer {
	slot := partition.Slot([]byte(key))
	var a answer
	frozen := false
	for i := range redirectsMax {
		if i > 1 {
			time.Sleep(redirectPause << i)
		}
		addr := c.addressOf(slot)
		if addr == "" {
			return answer{outcome: refused, trouble: closedConnection, detail: "no node runs"}
		}
		a = c.send(addr, words)
		frozen = frozen || c.isFrozen(addr)
		a.frozen = frozen
		moved, ok := strings.CutPrefix(a.detail, "MOVED ")
		if !ok || c.kind != clusterDoor {
			return a
		}
		_, c.slots[slot], _ = strings.Cut(moved, " ")
	}
	return a
}

// addressOf is where to send commands about a slot.
func (c *client) addressOf(slot int) string {
	if addr := c.slots[slot]; addr != "" {
		return addr
	}
	if c.stay != "" {
		return c.stay
	}
	if c.home == "" {
		c.home = c.choose()
	}
	return c.home
}

// choose picks a node that runs.
func (c *client) choose() string {
	nodes := c.grid.Running()
	for range len(nodes) {
		i := c.rng.IntN(len(nodes))
		if n := nodes[i]; n != c.avoid {
			if c.kind == clusterDoor {
				return n.Cluster
			}
			return n.Door
		}
		nodes = append(nodes[:i], nodes[i+1:]...)
	}
	return ""
}

// forget has the client begin anew, at another node.
func (c *client) forget(addr string) {
	if conn := c.conns[addr]; conn != nil {
		conn.Close()
		delete(c.conns, addr)
	}
	c.home = ""
	for slot, at := range c.slots {
		if at == addr {
			delete(c.slots, slot)
		}
	}
}

func (c *client) send(addr string, words []string) answer {
	conn := c.conns[addr]
	if conn == nil {
		var err error
		if conn, err = testredis.Dial(addr); err != nil {
			c.forget(addr)
			return answer{outcome: refused, trouble: c.troubleAt(addr, err), detail: err.Error()}
		}
		conn.Timeout = c.waitAt(addr)
		c.conns[addr] = conn
	}
	v, err := conn.Call(words...)
	switch {
	case err != nil:
		c.forget(addr)
		return answer{outcome: unknown, trouble: c.troubleAt(addr, err), detail: err.Error()}
	case !v.IsError():
		return answer{outcome: done, value: v}
	}
	word, _, _ := strings.Cut(v.Text, " ")
	a := answer{outcome: refused, trouble: word, detail: v.Text}
	if uncertain, known := allowed[word]; uncertain || !known && word != "MOVED" {
		a.outcome = unknown
	}
	if c.kind == clusterDoor && word != "MOVED" {
		clear(c.slots) // as clients do that are told that something is wrong
		c.home = ""
	}
	return a
}

// isFrozen tells whether an address is one of the node that is frozen.
func (c *client) isFrozen(addr string) bool {
	return c.frozen != nil && (addr == c.frozen.Door || addr == c.frozen.Cluster)
}

// waitAt is how long to wait for a reply. Clients of grid doors wait for a frozen node too: what it says once it awakes is of interest.
func (c *client) waitAt(addr string) time.Duration {
	if c.kind == clusterDoor && c.isFrozen(addr) {
		return frozenWait
	}
	return clientWait
}

func (c *client) troubleAt(addr string, err error) string {
	kind := troubleOf(err)
	if kind == noReply && c.isFrozen(addr) {
		return noReplyFrozen
	}
	return kind
}

// troubleOf names an error of a connection.
func troubleOf(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, net.ErrClosed):
		return closedConnection
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return noReply
	}
	return fmt.Sprintf("%T", err)
}
