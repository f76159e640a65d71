package server_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
)

// These clients send nothing wrong: they take too much. Others must not notice.

// eachServer runs f against ours and against a redis-server.
func eachServer(t *testing.T, f func(t *testing.T, addr string)) {
	t.Run("neargrid", func(t *testing.T) { f(t, startServer(t)) })
	t.Run("redis", func(t *testing.T) { f(t, testredis.Start(t).Addr) })
}

func TestMaxClients(t *testing.T) {
	eachServer(t, func(t *testing.T, addr string) {
		r := newBadRunner(t, addr)
		defer r.configure([][2]string{{"maxclients", "5"}})()
		var inside []*testredis.Conn
		for range 3 { // with the bystander and the runner's own
			c := dialPatient(t, addr)
			c.Do(t, "PING")
			inside = append(inside, c)
		}
		for range 3 {
			c := dialPatient(t, addr)
			const want = "-ERR max number of clients reached\r\n"
			if got, err := io.ReadAll(c); err != nil || string(got) != want {
				t.Errorf("one client too many: got %q, error %v; want %q and the end", got, err, want)
			}
		}
		for i, c := range inside {
			if v := c.Do(t, "PING"); v.Text != "PONG" {
				t.Errorf("client %d after others were refused: %s", i, testredis.Format(v))
			}
		}
		inside[0].Close()
		waitFor(t, "a place to become free", func() bool {
			v, err := dialPatient(t, addr).Call("PING")
			return err == nil && v.Text == "PONG"
		})
		r.bystander.check()
	})
}

// dialPatient connects for the length of the test; what takes longer than badPatience fails.
func dialPatient(t *testing.T, addr string) *testredis.Conn {
	t.Helper()
	c, err := testredis.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(badPatience))
	t.Cleanup(func() { c.Close() })
	return c
}

func TestIdleClientIsClosed(t *testing.T) {
	eachServer(t, func(t *testing.T, addr string) {
		t.Parallel()
		r := newBadRunner(t, addr)
		idle, half := dialPatient(t, addr), dialPatient(t, addr)
		idle.Do(t, "PING")
		io.WriteString(half, "*2\r\n$4\r\nECHO\r\n$10\r\nabc")
		defer r.configure([][2]string{{"timeout", "1"}})()
		stop := keepBusy(t, r.admin)
		for name, c := range map[string]*testredis.Conn{"idle": idle, "half a command": half} {
			if got, err := io.ReadAll(c); err != nil || len(got) > 0 {
				t.Errorf("%s: got %q, error %v; want the end", name, got, err)
			}
		}
		stop()
		r.bystander.check()
	})
}

// keepBusy has a connection work until stop is called.
func keepBusy(t *testing.T, c *testredis.Conn) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		again := time.NewTicker(100 * time.Millisecond)
		defer again.Stop()
		for {
			if v, err := c.Call("PING"); err != nil || v.Text != "PONG" {
				t.Errorf("a busy client: PING: got %s, error %v", testredis.Format(v), err)
				return
			}
			select {
			case <-done:
				return
			case <-again.C:
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
	}
}

// A client that never reads is not executed any further; what waits for it stays small. Once it reads it gets everything.
func TestClientThatNeverReads(t *testing.T) {
	const (
		valueBytes = 1 << 20
		requests   = 100
		// What the server may hold for it: outputPauseBytes, one reply, and as much again for growing the buffer.
		waitingMax = 2 * (1<<20 + valueBytes)
	)
	r := newBadRunner(t, startServer(t))
	value := strings.Repeat("v", valueBytes)
	r.admin.Do(t, "SET", "big", value)
	c := dialPatient(t, r.addr)
	id := c.Do(t, "CLIENT", "ID").Text
	for range requests {
		c.Queue("GET", "big")
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	before := 0
	waitFor(t, "the server to stop executing", func() bool {
		r.bystander.pass()
		line := r.admin.Do(t, "CLIENT", "LIST", "ID", id).Text
		waiting := field(t, line, "obl") + field(t, line, "omem")
		if waiting > waitingMax {
			t.Fatalf("%d bytes wait for a client that reads nothing, want at most %d: %s", waiting, waitingMax, line)
		}
		settled := waiting > 0 && waiting == before
		before = waiting
		return settled
	})
	if slowest := r.bystander.check(); slowest > bystanderBound {
		t.Errorf("another client waited %v for a reply, want at most %v", slowest, bystanderBound)
	}
	for i := range requests {
		v, err := c.Receive()
		if err != nil || v.Text != value {
			t.Fatalf("reply %d: %d bytes, error %v", i, len(v.Text), err)
		}
	}
}

// field is a number in a line of CLIENT LIST.
func field(t *testing.T, line, name string) int {
	t.Helper()
	_, rest, _ := strings.Cut(line, " "+name+"=")
	text, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("CLIENT LIST: %s in %q: %v", name, line, err)
	}
	return n
}

// Clients that vanish, most of them with a reset, in every state: what they had is released.
func TestVanishingClients(t *testing.T) {
	r := newBadRunner(t, startServer(t))
	r.admin.Do(t, "SET", "big", strings.Repeat("v", 1<<20))
	before := r.used()
	states := []string{
		"", "PI", "PING\r\n", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\nabc", "MULTI\r\nSET k v\r\n", "WATCH a b c\r\n",
		strings.Repeat("GET big\r\n", 20), "KEYS *\r\n", "CLIENT REPLY OFF\r\nGET big\r\n", "CLIENT LIST\r\nINFO\r\n", "QUIT\r\n",
	}
	for round := range 10 {
		for _, state := range states {
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, state)
			if round%2 == 0 {
				r.bystander.pass()
			}
			if round%3 != 0 {
				c.(*net.TCPConn).SetLinger(0)
			}
			c.Close()
		}
	}
	r.checkClosed()
	if slowest := r.bystander.check(); slowest > bystanderBound {
		t.Errorf("another client waited %v for a reply, want at most %v", slowest, bystanderBound)
	}
	if grown := r.used() - before; grown > usedBase {
		t.Errorf("%d bytes more are in use, want at most %d", grown, int64(usedBase))
	}
}

// A refusal arrives although the client is still sending, and reads only then: closing must not cut it off.
func TestRefusalReachesClientThatIsSending(t *testing.T) {
	r := newBadRunner(t, startServer(t))
	for _, size := range []int{1 << 10, 100 << 10, 1 << 20, 8 << 20} {
		c := dialPatient(t, r.addr)
		c.Write([]byte("*2\r\n$4\r\nECHO\r\n$600000000\r\n"))
		c.Write(bytes.Repeat([]byte("x"), size)) // its end may fail
		const want = "-ERR Protocol error: invalid bulk length\r\n"
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Errorf("%d bytes behind a bad length: got %q, error %v; want %q", size, got, err, want)
		}
	}
	r.checkClosed()
}

// Many slow clients at once, byte by byte, take neither time nor memory from the others.
func TestManySlowClients(t *testing.T) {
	const clients = 300
	r := newBadRunner(t, startServer(t))
	var conns []*testredis.Conn
	for range clients {
		conns = append(conns, dialPatient(t, r.addr))
	}
	for i := range 20 {
		for n, c := range conns {
			request := fmt.Sprintf("*2\r\n$4\r\nECHO\r\n$3\r\n%03d\r\n", n)
			if _, err := io.WriteString(c, request[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n, c := range conns {
		want := fmt.Sprintf("%03d", n)
		if _, err := io.WriteString(c, fmt.Sprintf("*2\r\n$4\r\nECHO\r\n$3\r\n%s\r\n", want)[20:]); err != nil {
			t.Fatal(err)
		}
		if v, err := c.Receive(); err != nil || v.Text != want {
			t.Errorf("client %d: got %s, error %v; want %q", n, testredis.Format(v), err, want)
		}
	}
	if slowest := r.bystander.check(); slowest > bystanderBound {
		t.Errorf("another client waited %v for a reply, want at most %v", slowest, bystanderBound)
	}
}
