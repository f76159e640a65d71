package testredis

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"
)

// ReplyTimeout bounds the wait for one reply, unless a connection has a Timeout of its own.
const ReplyTimeout = 30 * time.Second

// Conn is a connection that keeps replies as they were on the wire. It is for one goroutine.
type Conn struct {
	net.Conn
	Timeout time.Duration // for one reply; from Flush on

	r   *bufio.Reader
	out []byte
}

// Dial connects to host:port, or to a Unix socket's path.
func Dial(addr string) (*Conn, error) {
	network := "tcp"
	if addr != "" && addr[0] == '/' {
		network = "unix"
	}
	c, err := net.DialTimeout(network, addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, Timeout: ReplyTimeout, r: bufio.NewReaderSize(c, 32<<10)}, nil
}

// Queue adds a command to what Flush will send.
func (c *Conn) Queue(args ...string) {
	c.out = append(c.out, '*')
	c.out = strconv.AppendInt(c.out, int64(len(args)), 10)
	c.out = append(c.out, '\r', '\n')
	for _, arg := range args {
		c.out = append(c.out, '$')
		c.out = strconv.AppendInt(c.out, int64(len(arg)), 10)
		c.out = append(c.out, '\r', '\n')
		c.out = append(c.out, arg...)
		c.out = append(c.out, '\r', '\n')
	}
}

// Flush sends what was queued.
func (c *Conn) Flush() error {
	if err := c.SetDeadline(time.Now().Add(c.Timeout)); err != nil {
		return err
	}
	_, err := c.Write(c.out)
	c.out = c.out[:0]
	return err
}

// Receive reads one reply.
func (c *Conn) Receive() (Value, error) { return Read(c.r) }

// Call sends a command and returns its reply. A server may answer and close before it has taken the whole command: then
// sending fails, and the reply is there all the same.
func (c *Conn) Call(args ...string) (Value, error) {
	c.Queue(args...)
	sendErr := c.Flush()
	v, err := c.Receive()
	if err != nil && sendErr != nil {
		err = sendErr
	}
	if err != nil {
		return v, fmt.Errorf("%s: %w", Line(args), err)
	}
	return v, nil
}

// Do is Call for tests: a broken connection fails the test.
func (c *Conn) Do(t testing.TB, args ...string) Value {
	t.Helper()
	v, err := c.Call(args...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return v
}
