package loadtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/neargrid/neargrid/protocol"
	"github.com/tidwall/redcon"
)

const (
	dialTimeout  = 5 * time.Second
	redirectsMax = 5 // of one command
	detailMax    = 200

	// SourceMax bounds how long a source may take in read-through mode.
	SourceMax = time.Minute
)

// RESP is a target that speaks the Redis protocol: neargrid, redis-server or another. Its fields do not change once it is in use.
type RESP struct {
	Addr     string      // host:port, or the path of a Unix socket
	Cluster  bool        // Addr is one of the nodes of a Redis Cluster; commands go to their key's owner
	TLS      *tls.Config // nil: none
	Password string      // empty: none is sent
	Prefix   string      // of keys
	TTL      time.Duration
	Verify   bool // values read are held against what this package writes
	Sizes    Sizes

	// ReadThrough makes a Read that misses wait for Source, as long as the place takes where the data comes from, and store the
	// value.
	ReadThrough bool
	Source      time.Duration

	dial     func(ctx context.Context, network, addr string) (net.Conn, error) // for tests; nil is the system's
	topology topology
}

// UnreachableError: a server cannot be connected to, or refuses to be used.
type UnreachableError struct {
	Addr string
	Err  error
}

func (e *UnreachableError) Error() string { return fmt.Sprintf("cannot use %s: %v", e.Addr, e.Err) }
func (e *UnreachableError) Unwrap() error { return e.Err }

func (t *RESP) String() string {
	switch {
	case t.Cluster:
		return "cluster:" + t.Addr
	case t.TLS != nil:
		return "tls:" + t.Addr
	}
	return t.Addr
}

// Dial connects one client.
func (t *RESP) Dial(ctx context.Context, events Events) (Client, error) {
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &respClient{target: t, events: events, ctx: background, cancel: cancel, closing: make(chan struct{})}
	c.mu.lanes = map[string]*lane{}
	addrs := []string{t.Addr}
	if t.Cluster {
		if err := t.learn(ctx); err != nil {
			cancel()
			return nil, &UnreachableError{t.Addr, err}
		}
		addrs = t.topology.primaries()
	}
	for _, addr := range addrs {
		conn, err := t.connect(ctx, addr)
		if err != nil {
			c.Close()
			return nil, &UnreachableError{addr, err}
		}
		c.add(addr, conn)
	}
	return c, nil
}

// connect makes a connection and authenticates it.
func (t *RESP) connect(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	dial := t.dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, network, addr)
	if err != nil {
		return nil, plainNetError(err)
	}
	if sized, ok := conn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = sized.SetWriteBuffer(socketBufferSize) // what the system gives is enough to run
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if t.TLS != nil {
		config := t.TLS.Clone()
		if config.ServerName == "" {
			config.ServerName, _, _ = net.SplitHostPort(addr)
		}
		secured := tls.Client(conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, fmt.Errorf("TLS: %w", err)
		}
		conn = secured
	}
	if err := t.greet(conn); err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %s", dialTimeout)
		}
		return nil, err
	}
	return conn, nil
}

// greet authenticates, and learns whether the server answers at all.
func (t *RESP) greet(conn net.Conn) error {
	if t.Password != "" {
		if _, err := ask(conn, "AUTH", t.Password); err != nil {
			return err
		}
	}
	_, err := ask(conn, "PING")
	return err
}

// ask sends one command over a connection on which nothing else is under way.
func ask(conn net.Conn, words ...string) (protocol.Value, error) {
	request := redcon.AppendArray(nil, len(words))
	for _, word := range words {
		request = redcon.AppendBulkString(request, word)
	}
	if _, err := conn.Write(request); err != nil {
		return protocol.Value{}, plainNetError(err)
	}
	value, err := protocol.NewDecoder(conn).Decode()
	switch {
	case err != nil:
		return value, plainNetError(err)
	case value.IsError():
		return value, errors.New(string(value.Str))
	}
	return value, nil
}

// respClient is one user of the server: a connection, or with a cluster one to each node.
type respClient struct {
	target  *RESP
	events  Events
	ctx     context.Context // until Close
	cancel  context.CancelFunc
	closing chan struct{}
	helpers sync.WaitGroup // goroutines that end by themselves soon after closing
	readers sync.WaitGroup

	mu struct {
		sync.RWMutex
		lanes map[string]*lane // by address; a lane is never taken out
		all   []*lane
	}
}

// add makes a lane; conn may be nil, for the lane to connect by itself.
func (c *respClient) add(addr string, conn net.Conn) *lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ln := c.mu.lanes[addr]; ln != nil {
		return ln
	}
	ln := &lane{client: c, addr: addr}
	c.mu.lanes[addr] = ln
	c.mu.all = append(slices.Clip(c.mu.all), ln)
	select {
	case <-c.closing:
		ln.mu.closed = true
	default:
		c.readers.Go(func() { ln.run(conn) })
	}
	return ln
}

func (c *respClient) lanes() []*lane {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.mu.all
}

// laneTo is the lane to a node.
func (c *respClient) laneTo(addr string) *lane {
	c.mu.RLock()
	ln := c.mu.lanes[addr]
	c.mu.RUnlock()
	if ln == nil {
		ln = c.add(addr, nil)
	}
	return ln
}

// route is the lane on which a key's commands go.
func (c *respClient) route(key uint64) *lane {
	if !c.target.Cluster {
		return c.lanes()[0]
	}
	return c.laneTo(c.target.topology.owner(c.target.slot(key)))
}

func (c *respClient) Start(op Op) { c.route(op.Key).put(entry{op: op}, false) }

func (c *respClient) Flush() {
	for _, ln := range c.lanes() {
		ln.flush()
	}
}

func (c *respClient) Close() {
	c.cancel()
	c.mu.Lock()
	for _, ln := range c.mu.all {
		ln.close()
	}
	close(c.closing) // after them: a lane that sees it takes nothing any more
	c.mu.Unlock()
	c.readers.Wait()
	c.helpers.Wait()
}

// turn is called by a lane that has no further replies at the moment.
func (c *respClient) turn() {
	c.events.Turn()
	c.Flush()
}

func (c *respClient) done(e entry, r Result) {
	r.Hits += e.hits
	r.Misses += e.misses
	c.events.Done(e.op, r)
}

// answered goes on with an operation whose command was answered.
func (c *respClient) answered(ln *lane, e entry, answer reply) {
	switch {
	case e.step == stepAsking:
		return // its own reply tells nothing; if it was refused, so is the command behind it
	case answer.kind == '-':
		c.refused(ln, e, answer.text)
		return
	}
	result := Result{}
	if e.step == stepFirst && (e.op.Kind == Read || e.op.Kind == ReadModifyWrite || e.op.Kind == Scan) {
		result = c.target.judgeRead(e.op, answer)
		result.Detail = c.at(ln, result.Detail)
		if result.Failure == "" && c.goOn(e, result) {
			return
		}
	} else if answer.kind != '+' || string(answer.text) != "OK" {
		result = Result{Failure: WrongReply, Detail: c.at(ln, fmt.Sprintf("%s: %s, not OK", c.target.describe(e.op), answer))}
	}
	result.Filled = e.step == stepFill && result.Failure == ""
	c.done(e, result)
}

func (c *respClient) at(ln *lane, detail string) string {
	if detail == "" {
		return ""
	}
	return detail + " (from " + ln.addr + ")"
}

// goOn takes the next step of an operation, if it has one.
func (c *respClient) goOn(e entry, read Result) bool {
	e.hits, e.misses = read.Hits, read.Misses
	switch {
	case e.op.Kind == ReadModifyWrite:
		e.step = stepSecond // a record that was not there is written all the same
		c.route(e.op.Key).put(e, false)
		return true
	case e.op.Kind == Read && read.Misses > 0 && c.target.ReadThrough:
		e.step = stepFill
		if c.target.Source == 0 {
			c.route(e.op.Key).put(e, false)
			return true
		}
		c.helpers.Go(func() { // bounded by the operations that may be under way
			timer := time.NewTimer(c.target.Source)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-c.closing:
			}
			ln := c.route(e.op.Key)
			ln.put(e, false)
			ln.flush()
		})
		return true
	}
	return false
}

// refused handles an error reply: MOVED and ASK send a command to another node, all others end the operation.
func (c *respClient) refused(ln *lane, e entry, text []byte) {
	word, rest, _ := bytes.Cut(text, []byte(" "))
	if c.target.Cluster && (string(word) == "MOVED" || string(word) == "ASK") {
		t := c.target
		addr, slot, ok := t.topology.redirection(rest, ln.addr)
		if ok && e.tries < redirectsMax {
			e.tries++
			if string(word) == "MOVED" {
				t.topology.moved(slot, addr)
				c.helpers.Go(func() { _ = t.learn(c.ctx) }) // most return at once
			}
			to := c.laneTo(addr)
			to.put(e, string(word) == "ASK")
			return
		}
		word = []byte(Redirected)
	}
	c.done(e, Result{Failure: Failure(word), Detail: c.at(ln, fmt.Sprintf("%s: %.*q", c.target.describe(e.op), detailMax, text))})
}

// judgeRead holds what a Read or Scan brought against what it should bring.
func (t *RESP) judgeRead(op Op, answer reply) Result {
	wrong := func(want string) Result {
		return Result{Failure: WrongReply, Detail: fmt.Sprintf("%s: %s, not %s", t.describe(op), answer, want)}
	}
	if op.Kind == Scan {
		if answer.kind != '*' || answer.null || answer.size != int(op.Count) {
			return wrong(fmt.Sprintf("an array of %d elements", op.Count))
		}
		return Result{Hits: uint32(answer.size - answer.nulls), Misses: uint32(answer.nulls)}
	}
	switch {
	case answer.kind != '$':
		return wrong("a string")
	case answer.null:
		return Result{Misses: 1}
	case !t.Verify:
		return Result{Hits: 1}
	}
	mark := marker(op.Key)
	if low, high := t.Sizes.bounds(); answer.size < low || answer.size > high {
		return wrong("one of " + t.Sizes.String() + " bytes, as this run stores them (load them with the same sizes, or give --verify=no)")
	}
	if !bytes.Equal(answer.text, mark[:min(answer.size, markerSize)]) {
		return wrong("one that begins with " + strconv.Quote(string(mark[:])) +
			", as this program stores them (load them first, or give --verify=no)")
	}
	return Result{Hits: 1}
}

// String describes a reply for an error's text.
func (r reply) String() string {
	switch {
	case r.null:
		return "null"
	case r.kind == '*':
		return fmt.Sprintf("an array of %d elements", r.size)
	case r.kind == '$':
		return fmt.Sprintf("a string of %d bytes that begins with %q", r.size, r.text)
	}
	return fmt.Sprintf("%c%.*s", r.kind, detailMax, r.text)
}
