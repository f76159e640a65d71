package relay

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answering is a server that does something with each connection.
func answering(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String()
}

func started(t *testing.T, target string) *Relay {
	t.Helper()
	r, err := Start(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func dialed(t *testing.T, r *Relay) net.Conn {
	t.Helper()
	conn, err := r.Dial(context.Background(), "tcp", "elsewhere:1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func echo(conn net.Conn) { io.Copy(conn, conn) }

// Everything arrives, in order, also the end; pieces wait side by side: so much would take minutes one after the other.
func TestHandsOnAllOfIt(t *testing.T) {
	for _, delay := range []time.Duration{0, 5 * time.Millisecond} {
		r := started(t, answering(t, echo))
		r.SetDelay(delay)
		conn := dialed(t, r)
		sent := make([]byte, 32<<20)
		rand.Read(sent)
		start := time.Now()
		go func() {
			conn.Write(sent)
			conn.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("delay %s: %d bytes came of %d, %v, or others than were sent", delay, len(got), len(sent), err)
		}
		if took := time.Since(start); took < 2*delay || took > 10*time.Second {
			t.Errorf("delay %s: it took %s", delay, took)
		}
	}
}

func TestDelays(t *testing.T) {
	r := started(t, answering(t, func(conn net.Conn) {
		buf := make([]byte, len("PING\r\n"))
		for {
			if _, err := io.ReadFull(conn, buf); err != nil {
				return
			}
			io.WriteString(conn, "+PONG\r\n")
		}
	}))
	r.SetDelay(20 * time.Millisecond)
	if took, err := RoundTrip(r.Addr(), 3); err != nil || took < 40*time.Millisecond {
		t.Errorf("a round trip takes %s, %v, want at least 40 ms", took, err)
	}
	added, err := r.Calibrate(10*time.Millisecond, 5)
	if err != nil || added < 5*time.Millisecond || r.Delay() > 6*time.Millisecond {
		t.Errorf("calibrated to add 10 ms it adds %s, with a delay of %s, %v", added, r.Delay(), err)
	}
	if added, err := r.Calibrate(0, 5); err != nil || r.Delay() != 0 {
		t.Errorf("calibrated to add nothing it adds %s, with a delay of %s, %v", added, r.Delay(), err)
	}
}

// Connections end together: the server's, the client's, and all when the relay does.
func TestEnds(t *testing.T) {
	served := make(chan error, 3)
	r := started(t, answering(t, func(conn net.Conn) {
		_, err := conn.Read(make([]byte, 1))
		served <- err
	}))
	conn := dialed(t, r)
	conn.Write([]byte("x")) // the server closes then
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the client's connection is open when the server's has ended")
	}
	<-served
	conn = dialed(t, r)
	conn.Close()
	if err := <-served; err == nil {
		t.Error("the server's connection is open when the client's has ended")
	}
	conn = dialed(t, r)
	r.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the client's connection is open when the relay has ended")
	}
}

func TestNoServer(t *testing.T) {
	r := started(t, "127.0.0.1:1")
	if _, err := RoundTrip(r.Addr(), 1); err == nil {
		t.Error("there is an answer and no server")
	}
	if _, err := r.Calibrate(time.Millisecond, 1); err == nil {
		t.Error("a relay is calibrated to a server that is not there")
	}
}
