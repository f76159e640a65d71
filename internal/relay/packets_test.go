package relay

import (
	"net"
	"testing"
	"time"
)

// TestSwallow: what is sent through a black hole arrives nowhere, and nobody is told, also not of the end of a connection.
func TestSwallow(t *testing.T) {
	ended := make(chan error, 1)
	r := started(t, answering(t, func(conn net.Conn) {
		echo(conn)
		ended <- nil
	}))
	conn := dialed(t, r)
	say := func(wait time.Duration) error {
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		_, err := conn.Read(make([]byte, 1))
		return err
	}
	if err := say(5 * time.Second); err != nil {
		t.Fatal("before:", err)
	}
	r.Swallow()
	if err, ok := say(100 * time.Millisecond).(net.Error); !ok || !err.Timeout() {
		t.Errorf("in a black hole: got %v, want no answer", err)
	}
	conn.Close()
	select {
	case <-ended:
		t.Error("the server was told of the end")
	case <-time.After(100 * time.Millisecond):
	}
}

// TestPackets: packets arrive, answers go to whom they are for, and neither once they are swallowed.
func TestPackets(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		buf := make([]byte, 16)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(buf[:n], from)
		}
	}()
	t.Cleanup(func() { server.Close(); <-served })
	p, err := StartPackets("127.0.0.1:0", server.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	say := func(conn net.Conn, text string, wait time.Duration) string {
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		buf := make([]byte, 16)
		n, _ := conn.Read(buf)
		return string(buf[:n])
	}
	var conns [3]net.Conn
	for i := range conns {
		if conns[i], err = net.Dial("udp", p.Addr()); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
		if text := string(rune('a' + i)); say(conns[i], text, 5*time.Second) != text {
			t.Errorf("no answer to %s", text)
		}
	}
	p.Swallow()
	if got := say(conns[0], "d", 100*time.Millisecond); got != "" {
		t.Errorf("in a black hole: got %q", got)
	}
}
