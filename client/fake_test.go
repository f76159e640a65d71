package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

// fakeNet is a network of servers that are played: what each command is answered, and when, is up to the test.
type fakeNet struct {
	mu      sync.Mutex
	nodes   map[string]*fakeNode
	wg      sync.WaitGroup
	sockets bool // connections are the system's, in place of net.Pipe: not in a synctest bubble
}

func newFakeNet(t testing.TB, addrs ...string) *fakeNet {
	f := &fakeNet{nodes: map[string]*fakeNode{}}
	for _, addr := range addrs {
		f.nodes[addr] = &fakeNode{net: f, addr: addr, data: map[string]string{}, ttl: map[string]int64{}, grant: 1000, conns: map[*fakeConn]bool{}}
	}
	t.Cleanup(f.close)
	return f
}

func (f *fakeNet) close() {
	for _, n := range f.nodes {
		n.setDown(true)
	}
	f.wg.Wait()
}

func (f *fakeNet) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	f.mu.Lock()
	n := f.nodes[addr]
	f.mu.Unlock()
	if n == nil {
		return nil, fmt.Errorf("no route to %s", addr)
	}
	return n.accept()
}

// fakeNode is one server. mu guards all of it, and what its connections note.
type fakeNode struct {
	net  *fakeNet
	addr string

	mu      sync.Mutex
	data    map[string]string
	ttl     map[string]int64 // milliseconds that GRID.READ and PTTL tell; none = -1
	grant   int64            // milliseconds that GRID.LEASE grants
	plain   bool             // knows no GRID command
	table   []byte           // the reply to GRID.TABLE; nil = an error
	silent  bool             // sends no invalidations
	down    bool
	deaf    bool // accepts connections that nobody answers
	limit   int  // connections that are accepted from now on, where it is above 0; negative: none
	conns   map[*fakeConn]bool
	log     []string
	refused int // connections

	// script sees each command first; true: it has dealt with it. It is called without mu.
	script func(c *fakeConn, args []string) bool
}

// fakeConn is one connection to it. Its replies and pushes leave in the order of send.
type fakeConn struct {
	node     *fakeNode
	nc       net.Conn
	out      chan []byte
	gone     chan struct{}
	close1   sync.Once
	tracking bool
	tracked  map[string]bool
	multi    [][]string
	queueing bool
	asking   bool
}

const fakeQueue = 1 << 16

func (n *fakeNode) accept() (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down || n.limit < 0 {
		n.refused++
		return nil, errors.New("connection refused")
	}
	if n.limit > 0 {
		if n.limit--; n.limit == 0 {
			n.limit = -1
		}
	}
	client, server, err := n.net.pair()
	if err != nil {
		return nil, err
	}
	c := &fakeConn{node: n, nc: server, out: make(chan []byte, fakeQueue), gone: make(chan struct{}), tracked: map[string]bool{}}
	n.conns[c] = true
	n.net.wg.Go(c.read)
	n.net.wg.Go(c.write)
	return client, nil
}

// pair makes both ends of a connection.
func (f *fakeNet) pair() (client, server net.Conn, err error) {
	if !f.sockets {
		client, server = net.Pipe()
		return client, server, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	if server, err = l.Accept(); err != nil {
		client.Close()
	}
	return client, server, err
}

func (n *fakeNode) setDown(down bool) {
	n.mu.Lock()
	n.down = down
	conns := n.connsLocked()
	n.mu.Unlock()
	for _, c := range conns {
		if down {
			c.close()
		}
	}
}

func (n *fakeNode) connsLocked() (all []*fakeConn) {
	for c := range n.conns {
		all = append(all, c)
	}
	return all
}

// trackers returns the connections that track.
func (n *fakeNode) trackers() (all []*fakeConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if c.tracking {
			all = append(all, c)
		}
	}
	return all
}

func (c *fakeConn) close() {
	c.close1.Do(func() {
		close(c.gone)
		c.nc.Close()
		c.node.mu.Lock()
		delete(c.node.conns, c)
		c.node.mu.Unlock()
	})
}

func (c *fakeConn) write() {
	for {
		select {
		case b := <-c.out:
			if _, err := c.nc.Write(b); err != nil {
				c.close()
				return
			}
		case <-c.gone:
			return
		}
	}
}

func (c *fakeConn) read() {
	defer c.close()
	d := protocol.NewDecoder(c.nc)
	for {
		v, err := d.Decode()
		if err != nil {
			return
		}
		args := make([]string, len(v.Elems))
		for i, e := range v.Elems {
			args[i] = string(e.Str)
		}
		n := c.node
		n.mu.Lock()
		n.log = append(n.log, strings.Join(args, " "))
		script, deaf := n.script, n.deaf
		n.mu.Unlock()
		if deaf || script != nil && script(c, args) {
			continue
		}
		c.answer(args)
	}
}

// send sends protocol text, its line ends as "|".
func (c *fakeConn) send(format string, args ...any) {
	c.raw([]byte(strings.ReplaceAll(fmt.Sprintf(format, args...), "|", "\r\n")))
}

func (c *fakeConn) raw(b []byte) {
	select {
	case c.out <- b:
	case <-c.gone:
	}
}

func bulk(s string) string { return "$" + strconv.Itoa(len(s)) + "|" + s + "|" }

func (c *fakeConn) invalidate(keys ...string) {
	text := ">2|" + bulk("invalidate") + "*" + strconv.Itoa(len(keys)) + "|"
	for _, key := range keys {
		text += bulk(key)
	}
	c.send("%s", text)
}

// answer executes a command as a server does.
func (c *fakeConn) answer(args []string) {
	n := c.node
	if c.queueing && args[0] != "EXEC" && args[0] != "DISCARD" {
		c.multi = append(c.multi, args)
		c.send("+QUEUED|")
		return
	}
	switch args[0] {
	case "MULTI":
		c.queueing, c.multi = true, nil
		c.send("+OK|")
		return
	case "EXEC":
		text := "*" + strconv.Itoa(len(c.multi)) + "|"
		c.queueing = false
		for _, line := range c.multi {
			text += n.execute(c, line)
		}
		c.send("%s", text)
		return
	}
	c.send("%s", n.execute(c, args))
}

// execute returns the reply to a command, as text for send.
func (n *fakeNode) execute(c *fakeConn, args []string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	value := func(key string) string {
		if v, ok := n.data[key]; ok {
			return bulk(v)
		}
		return "_|"
	}
	ttl := func(key string) string {
		if _, ok := n.data[key]; !ok {
			return ":-2|"
		}
		if ms, ok := n.ttl[key]; ok {
			return fmt.Sprintf(":%d|", ms)
		}
		return ":-1|"
	}
	track := func(key string) {
		if c.tracking {
			c.tracked[key] = true
		}
	}
	name := args[0]
	if n.plain && strings.HasPrefix(name, "GRID.") {
		return "-ERR unknown command '" + name + "'|"
	}
	switch name {
	case "HELLO":
		return "%1|+proto|:3|"
	case "PING":
		return "+PONG|"
	case "ECHO":
		return bulk(args[1])
	case "SELECT", "ASKING", "WATCH", "UNWATCH":
		c.asking = name == "ASKING"
		return "+OK|"
	case "CLIENT":
		c.tracking = true
		return "+OK|"
	case "GRID.TABLE":
		if n.table == nil {
			return "-ERR This node is alone: it is not part of a grid|"
		}
		return string(n.table)
	case "CLUSTER":
		return "-ERR This instance has cluster support disabled|"
	case "GRID.LEASE":
		return fmt.Sprintf(":%d|", n.grant)
	case "GRID.READ":
		track(args[2])
		return "*2|" + value(args[2]) + ttl(args[2])
	case "GET":
		track(args[1])
		return value(args[1])
	case "PTTL":
		return ttl(args[1])
	case "MGET":
		text := fmt.Sprintf("*%d|", len(args)-1)
		for _, key := range args[1:] {
			text += value(key)
		}
		return text
	case "SET":
		n.setLocked(args[1], args[2])
		return "+OK|"
	case "MSET":
		for i := 1; i+1 < len(args); i += 2 {
			n.setLocked(args[i], args[i+1])
		}
		return "+OK|"
	case "DEL", "EXISTS":
		count := 0
		for _, key := range args[1:] {
			if _, ok := n.data[key]; ok {
				count++
				if name == "DEL" {
					delete(n.data, key)
					n.changedLocked(key)
				}
			}
		}
		return fmt.Sprintf(":%d|", count)
	case "DBSIZE":
		return fmt.Sprintf(":%d|", len(n.data))
	case "FLUSHALL":
		clear(n.data)
		return "+OK|"
	case "EVAL":
		return "_|"
	}
	return "-ERR unknown command '" + name + "'|"
}

func (n *fakeNode) setLocked(key, value string) {
	n.data[key] = value
	n.changedLocked(key)
}

// changedLocked pushes to who has read the key; each is told once.
func (n *fakeNode) changedLocked(key string) {
	for c := range n.conns {
		if c.tracked[key] && !n.silent {
			delete(c.tracked, key)
			c.invalidate(key)
		}
	}
}

// set changes a key as another client would.
func (n *fakeNode) set(key, value string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.setLocked(key, value)
}

// change does something to the node under its lock.
func (n *fakeNode) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// count returns how many commands beginning so were received.
func (n *fakeNode) count(prefix string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := 0
	for _, line := range n.log {
		if strings.HasPrefix(line, prefix) {
			count++
		}
	}
	return count
}

// gridTable is a reply to GRID.TABLE as the map of native clients: nodes by address, and the owner of each partition by index.
func gridTable(version int, addrs []string, owners ...int) []byte {
	text := fmt.Sprintf("%%4|%s:%d|%s:%d|%s*%d|", bulk("version"), version, bulk("partitions"), len(owners), bulk("nodes"), len(addrs))
	for i, addr := range addrs {
		host, port, _ := net.SplitHostPort(addr)
		text += fmt.Sprintf("*4|%s%s:%s|:0|", bulk("node-"+strconv.Itoa(i)), bulk(host), port)
	}
	text += bulk("owners") + fmt.Sprintf("*%d|", len(owners))
	for _, o := range owners {
		text += fmt.Sprintf(":%d|", o)
	}
	return []byte(text)
}

// keyOf returns a key of a partition, of so many; n tells several apart.
func keyOf(partition, partitions, n int) string {
	for i := 0; ; i++ {
		key := fmt.Sprintf("key:%d:%d", n, i)
		if Slot(key)/(slots/partitions) == partition {
			return key
		}
	}
}

// connect connects to played servers.
func (f *fakeNet) connect(t testing.TB, o Options, addrs ...string) *Client {
	t.Helper()
	o.Dial = f.dial
	if len(addrs) == 0 {
		for addr := range f.nodes {
			addrs = append(addrs, addr)
		}
		slices.Sort(addrs)
	}
	c, err := Connect(context.Background(), addrs, o)
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// within is a context for what should not take long.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
