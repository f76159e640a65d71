package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

const (
	hostA = "10.0.0.1"
	hostB = "10.0.0.2"
	hostC = "10.0.0.3"
)

// TestMemConn holds a connection in memory to what every net.Conn does; this test waits in real time.
func TestMemConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		c1, c2 = memConns()
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}

// memStream opens a stream from hostA to hostB.
func memStream(t *testing.T, n *MemNetwork) (a, b net.Conn) {
	t.Helper()
	l, err := n.Host(hostB).Listen(hostB + ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = n.Host(hostA).Dial(t.Context(), l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// read is what a Read gives, and after how long.
func read(c net.Conn) string {
	start := time.Now()
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	got := fmt.Sprintf("%q after %v", buf[:n], time.Since(start))
	for _, known := range []error{io.EOF, os.ErrDeadlineExceeded, net.ErrClosed, syscall.ECONNRESET} {
		if errors.Is(err, known) {
			got = fmt.Sprintf("%v after %v", known, time.Since(start))
		}
	}
	return got
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

func TestMemStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a, b := memStream(t, n)
		io.WriteString(a, "hello")
		expect(t, "what was written", read(b), `"hello" after 0s`)

		n.SetLatency(hostA, hostB, 20*time.Millisecond)
		io.WriteString(a, "slow")
		n.SetLatency(hostA, hostB, time.Millisecond)
		io.WriteString(a, "fast")
		expect(t, "on a slow link, in order", read(b), `"slowfast" after 20ms`)
		io.WriteString(b, "back")
		expect(t, "the other way is as it was", read(a), `"back" after 0s`)

		b.SetReadDeadline(time.Now().Add(time.Second))
		expect(t, "nothing comes", read(b), "i/o timeout after 1s")
		b.SetReadDeadline(time.Time{})

		io.WriteString(a, "last")
		a.Close()
		expect(t, "written before the close", read(b), `"last" after 1ms`)
		expect(t, "the end", read(b), "EOF after 0s")
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to a closed end: %v", err)
		}
		expect(t, "own end closed", read(a), "use of closed network connection after 0s")
	})
}

func TestMemStreamFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memStream(t, NewMemNetwork())
		a.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := a.Write(make([]byte, memBufferMax+1))
		if n != memBufferMax || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("nobody reads: %d bytes, %v", n, err)
		}
		a.SetWriteDeadline(time.Time{})
		want := bytes.Repeat([]byte("0123456789"), 3*memBufferMax/10)
		go func() { a.Write(want); a.Close() }()
		if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got[memBufferMax:], want) {
			t.Errorf("%d bytes came through, %v", len(got)-memBufferMax, err)
		}
	})
}

func TestMemStreamCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a, b := memStream(t, n)
		io.WriteString(a, "arrived")
		n.Cut(hostA, hostB)
		io.WriteString(a, ", held")
		expect(t, "before the cut", read(b), `"arrived" after 0s`)
		io.WriteString(b, "back")
		expect(t, "one direction only", read(a), `"back" after 0s`)
		time.AfterFunc(time.Minute, func() { n.Heal(hostA, hostB) })
		expect(t, "as TCP sends again", read(b), `", held" after 1m0s`)

		n.Isolate(hostB)
		a.Close()
		b.SetReadDeadline(time.Now().Add(time.Hour))
		expect(t, "a close is not seen through a cut", read(b), "i/o timeout after 1h0m0s")
		b.SetReadDeadline(time.Time{})
		n.Rejoin(hostB)
		expect(t, "healed", read(b), "EOF after 0s")
	})
}

func TestMemReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a, b := memStream(t, n)
		io.WriteString(a, "lost")
		time.AfterFunc(time.Second, func() { n.Reset(hostB, hostA) })
		expect(t, "while it waits", read(a), "connection reset by peer after 1s")
		expect(t, "at the other end", read(b), "connection reset by peer after 0s")
	})
}

func TestMemDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a, b := n.Host(hostA), n.Host(hostB)
		if _, err := a.Dial(t.Context(), hostB+":1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		l, err := b.Listen(":1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Listen(hostB + ":1"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listen twice: %v", err)
		}
		if _, err := b.Listen(hostA + ":2"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("listen on another's address: %v", err)
		}

		n.Cut(hostB, hostA)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Dial(ctx, hostB+":1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no way back: %v", err)
		}
		n.SetLatency(hostA, hostB, time.Second)
		time.AfterFunc(time.Minute, func() { n.Heal(hostB, hostA) })
		start := time.Now()
		for range memBacklogMax {
			if _, err := a.Dial(t.Context(), hostB+":1"); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took != time.Minute+(memBacklogMax-1)*time.Second {
			t.Errorf("connecting took %v", took)
		}
		time.AfterFunc(time.Minute, func() { l.Accept() })
		start = time.Now()
		if c, err := a.Dial(t.Context(), hostB+":1"); err != nil || time.Since(start) != time.Minute {
			t.Errorf("with a full backlog: %v, %v after %v", c, err, time.Since(start))
		}
		l.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after close: %v", err)
		}
	})
}

func TestMemPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a, err := n.Host(hostA).ListenPacket(":7")
		if err != nil {
			t.Fatal(err)
		}
		b, err := n.Host(hostB).ListenPacket(":7")
		if err != nil {
			t.Fatal(err)
		}
		toB := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(hostB + ":7"))
		send := func(s string) {
			t.Helper()
			if _, err := a.WriteTo([]byte(s), toB); err != nil {
				t.Error(err)
			}
		}
		var got []string
		receive := func() {
			buf := make([]byte, 8)
			for {
				b.SetReadDeadline(time.Now().Add(time.Second))
				n, from, err := b.ReadFrom(buf)
				if err != nil {
					return
				}
				got = append(got, fmt.Sprintf("%s from %s", buf[:n], from))
			}
		}

		send("one")
		n.Cut(hostA, hostB)
		send("cut")
		n.Heal(hostA, hostB)
		n.DropPackets(func(_, to netip.AddrPort) bool { return to.String() == hostB+":7" })
		send("dropped")
		n.DropPackets(func(_, _ netip.AddrPort) bool { return false })
		n.SetLatency(hostA, hostB, 500*time.Millisecond)
		send("slow and long")
		a.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(hostC+":7")))
		receive()
		want := []string{"one from 10.0.0.1:7", "slow and from 10.0.0.1:7"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}

		n.SetLatency(hostA, hostB, 0)
		for range memPacketsMax + 100 {
			send("x")
		}
		got = nil
		receive()
		if len(got) != memPacketsMax {
			t.Errorf("nobody read, and then there were %d packets; %d are kept", len(got), memPacketsMax)
		}
		if _, err := a.WriteTo(make([]byte, PacketSizeMax+1), toB); !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("too large: %v", err)
		}
		b.Close()
		if _, _, err := b.ReadFrom(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after close: %v", err)
		}
		send("into the void")
		a.Close()
	})
}
