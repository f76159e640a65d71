package loadtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a server in the test's own process, reached over pipes, so that its time is the test's. handle answers a command with a
// reply as it is on the wire; an empty one closes the connection.
type fake struct {
	handle func(c *fakeConn, words []string) string

	mu     sync.Mutex
	values map[string]string
	conns  int
}

// fakeConn is one connection. Commands wait in it until they are handled, one after the other.
type fakeConn struct {
	server *fake
	addr   string
	number int           // in the order of connecting, from 0
	closed chan struct{} // closed when the client is gone
	queue  chan []string
}

const fakeQueueMax = 1 << 16

func (f *fake) dial(_ context.Context, _, addr string) (net.Conn, error) {
	near, far := net.Pipe()
	f.mu.Lock()
	c := &fakeConn{server: f, addr: addr, number: f.conns, closed: make(chan struct{}), queue: make(chan []string, fakeQueueMax)}
	f.conns++
	f.mu.Unlock()
	go c.read(far)
	go c.serve(far)
	return near, nil
}

func (c *fakeConn) read(far net.Conn) {
	defer close(c.closed)
	in := bufio.NewReader(far)
	for {
		words, err := readCommand(in)
		if err != nil {
			return
		}
		c.queue <- words
	}
}

func (c *fakeConn) serve(far net.Conn) {
	defer far.Close()
	for {
		select {
		case <-c.closed:
			return
		case words := <-c.queue:
			answer := "+PONG\r\n"
			if words[0] != "PING" {
				answer = c.server.handle(c, words)
			}
			if answer == "" {
				return
			}
			if _, err := io.WriteString(far, answer); err != nil {
				return
			}
		}
	}
}

// store answers GET, MGET and SET as Redis does.
func (f *fake) store(_ *fakeConn, words []string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	bulk := func(key string) string {
		if value, ok := f.values[key]; ok {
			return fmt.Sprintf("$%d\r\n%s\r\n", len(value), value)
		}
		return "$-1\r\n"
	}
	switch words[0] {
	case "GET":
		return bulk(words[1])
	case "MGET":
		answer := fmt.Sprintf("*%d\r\n", len(words)-1)
		for _, key := range words[1:] {
			answer += bulk(key)
		}
		return answer
	case "SET":
		if f.values == nil {
			f.values = map[string]string{}
		}
		f.values[words[1]] = words[2]
		return "+OK\r\n"
	}
	return "-ERR unknown command " + words[0] + "\r\n"
}

// fill stores records as the load phase does.
func (f *fake) fill(t *RESP, records, size int) {
	f.values = map[string]string{}
	for key := range uint64(records) {
		f.values[string(t.appendName(nil, key))] = string(appendValue(nil, key, size))
	}
}

// target is the fake as a target of a run.
func (f *fake) target() *RESP {
	if f.handle == nil {
		f.handle = f.store
	}
	return &RESP{Addr: "fake:1", Prefix: "k:", Verify: true, Sizes: FixedSize(100), dial: f.dial}
}

// readCommand reads an array of strings.
func readCommand(in *bufio.Reader) ([]string, error) {
	number := func(kind byte) (int, error) {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if line[0] != kind {
			return 0, fmt.Errorf("%q where %c should be", line, kind)
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	count, err := number('*')
	if err != nil {
		return nil, err
	}
	words := make([]string, count)
	for i := range words {
		size, err := number('$')
		if err != nil {
			return nil, err
		}
		word := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(in, word); err != nil {
			return nil, err
		}
		words[i] = string(word[:size])
	}
	return words, nil
}

// measure runs within a test whose time is virtual.
func measure(t *testing.T, o Options) *Measured {
	t.Helper()
	return measureUntil(t, t.Context(), o)
}

func measureUntil(t *testing.T, ctx context.Context, o Options) *Measured {
	t.Helper()
	if o.sleep == nil {
		o.sleep = time.Sleep
	}
	m, err := Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// failure is how often a kind of error came, and the first one's text.
func (m *Measured) failure(kind Failure) (uint64, string) {
	for _, f := range m.failures {
		if f.Kind == kind {
			return f.Count, f.First
		}
	}
	return 0, ""
}
