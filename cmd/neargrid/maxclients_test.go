package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// With maxclients as it is by itself, 10,000 clients are served and the next one gets Redis's error, until one of them leaves.
func TestMaxClientsDefault(t *testing.T) {
	const clients = 10_000
	needDescriptors(t, clients+500) // as many as the node needs
	n := serve(t, t.TempDir(), nil, "--listen", "127.0.0.1:0", "--peer-listen", "off")
	conns := make([]net.Conn, 0, clients)
	defer func() {
		for _, c := range conns {
			c.(*net.TCPConn).SetLinger(0) // or so many ports would rest for a minute
			c.Close()
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatalf("client %d: %v", len(conns)+1, err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	says := func(c net.Conn, want string) {
		t.Helper()
		c.Write([]byte("PING\r\n")) // one that is refused may be closed already
		answer := make([]byte, len(want))
		got, err := io.ReadFull(c, answer)
		if string(answer[:got]) != want {
			t.Fatalf("with %d clients, one gets %q, %v, want %q", len(conns), answer[:got], err, want)
		}
	}
	for range clients {
		conns = append(conns, dial())
	}
	says(conns[clients-1], "+PONG\r\n")
	over := dial()
	says(over, "-ERR max number of clients reached\r\n")
	if n, err := over.Read(make([]byte, 1)); err == nil {
		t.Errorf("the refused connection stays open: %d bytes more", n)
	}
	over.Close()
	says(conns[0], "+PONG\r\n") // the others notice nothing

	left := conns[clients-1]
	conns = conns[:clients-1]
	left.Close()
	for end := time.Now().Add(waitMax); ; {
		c := dial()
		c.Write([]byte("PING\r\n"))
		answer := make([]byte, 1)
		got, _ := c.Read(answer)
		c.Close()
		if got == 1 && answer[0] == '+' {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a client has left, and no other gets in")
		}
	}
}

// needDescriptors raises the limit of open files as far as it takes, or skips the test where that is not allowed.
func needDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if uint64(limit.Cur) >= n {
		return
	}
	raised := limit
	raised.Cur = max(raised.Cur, n)
	if raised.Max < raised.Cur {
		raised.Max = raised.Cur // root may
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised); err != nil {
		fmt.Fprintf(os.Stderr, "%s is left out: it needs %d file descriptors, and the limit is %d (%v)\n", t.Name(), n, limit.Max, err)
		t.Skipf("needs %d file descriptors, and the limit is %d", n, limit.Max)
	}
}
