package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestDriverEcho(t *testing.T) {
	eachDriver(t, nil, func(d *testDoor) {
		var conns []net.Conn
		for range 20 {
			conns = append(conns, d.dial())
		}
		for round := range 50 {
			for i, c := range conns {
				d.write(c, fmt.Appendf(nil, "conn %d round %d\n", i, round))
			}
			for i, c := range conns {
				d.expect(c, fmt.Appendf(nil, "conn %d round %d\n", i, round))
			}
		}
	})
}

func TestDriverConnInfo(t *testing.T) {
	eachDriver(t, nil, func(d *testDoor) {
		c := d.dial()
		got := wait(t, "the session", d.opened).info
		want := connInfo{Remote: c.LocalAddr().String(), Local: d.addr, FD: got.FD}
		if d.network == "unix" {
			want = connInfo{Remote: d.addr + ":0", Local: d.addr + ":0", Unix: true, FD: got.FD}
		}
		if got != want || got.FD <= 2 {
			d.Errorf("got %+v, want %+v and a descriptor", got, want)
		}
	})
}

func TestDriverPipeline(t *testing.T) {
	eachDriver(t, nil, func(d *testDoor) {
		c, sent := d.dial(), noise(4<<20)
		go func() {
			for p := sent; len(p) > 0; {
				n, err := c.Write(p[:min(len(p), 1+rand.IntN(200_000))])
				if err != nil {
					d.Error(err)
					return
				}
				p = p[n:]
			}
		}()
		d.expect(c, sent)
	})
}

func TestDriverOneByteWrites(t *testing.T) {
	eachDriver(t, nil, func(d *testDoor) {
		c, sent := d.dial(), noise(2000)
		go func() {
			for i := range sent {
				c.Write(sent[i : i+1])
			}
		}()
		d.expect(c, sent)
	})
}

func TestDriverBackPressure(t *testing.T) {
	const outMax = 100_000
	eachDriver(t, func(s *testSession) { s.outMax = outMax }, func(d *testDoor) {
		c, sent := d.dial(), noise(32<<20)
		s := wait(t, "the session", d.opened)
		written := make(chan error, 1)
		go func() {
			_, err := c.Write(sent)
			written <- err
		}()
		wait(t, "reading to pause", s.paused)
		other := d.dial() // others go on
		d.write(other, []byte("other"))
		d.expect(other, []byte("other"))
		select {
		case err := <-written:
			d.Fatalf("32 MiB were taken from a client that reads nothing (error %v)", err)
		default:
		}
		d.expect(c, sent)
		c.Close()
		wait(t, "Closed", s.closed)
		if limit := outMax + readSizeMax; s.outPeak > limit {
			d.Errorf("output reached %d bytes, want at most %d", s.outPeak, limit)
		}
	})
}

func TestDriverHalfClose(t *testing.T) {
	eachDriver(t, func(s *testSession) {
		s.onEOF = func() { // the reply is ready later, and large
			go s.loop.Post(func() {
				s.out, s.closing = append(s.out, noise(3<<20)...), true
				s.loop.Touch(s)
			})
		}
	}, func(d *testDoor) {
		c := d.dial()
		d.write(c, []byte("request"))
		c.(interface{ CloseWrite() error }).CloseWrite()
		d.expect(c, []byte("request"))
		d.expect(c, noise(3<<20))
		d.expectEnd(c)
		wait(t, "Closed", wait(t, "the session", d.opened).closed)
	})
}

func TestDriverReset(t *testing.T) {
	for name, outMax := range map[string]int{"while reading": 0, "while reading pauses": 1000} {
		t.Run(name, func(t *testing.T) {
			eachDriver(t, func(s *testSession) { s.outMax = outMax }, func(d *testDoor) {
				c := d.dial()
				s := wait(t, "the session", d.opened)
				if outMax > 0 {
					go c.Write(noise(32 << 20))
					wait(t, "reading to pause", s.paused)
				}
				if tcp, ok := c.(*net.TCPConn); ok {
					tcp.SetLinger(0)
				}
				c.Close()
				wait(t, "Closed", s.closed)
			})
		})
	}
}

func TestDriverSessionCloses(t *testing.T) {
	eachDriver(t, func(s *testSession) {
		s.onFeed = func([]byte) {
			if !s.closing {
				s.out, s.closing = append(s.out, "-ERR bye\r\n"...), true
			}
		}
	}, func(d *testDoor) {
		c := d.dial()
		written := make(chan struct{})
		go func() {
			c.Write(noise(700_000)) // more than the session reads; its end may fail
			close(written)
		}()
		wait(t, "Closed", wait(t, "the session", d.opened).closed)
		<-written
		d.expect(c, []byte("-ERR bye\r\n"))
		d.expectEnd(c)
	})
}

func TestDriverSessionCloseBoundsDiscard(t *testing.T) {
	eachDriver(t, func(s *testSession) { s.closing = true }, func(d *testDoor) {
		c := d.dial()
		p := noise(lingerBytesMax)
		for total := 0; ; total += len(p) {
			if total > 64<<20 {
				d.Fatalf("%d bytes were taken after the session had closed", total)
			}
			if _, err := c.Write(p); errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
				return
			} else if err != nil {
				d.Fatal(err)
			}
		}
	})
}

func TestDriverRefusal(t *testing.T) {
	eachDriver(t, func(s *testSession) { s.out, s.closing = []byte("-ERR max\r\n"), true }, func(d *testDoor) {
		c := d.dial()
		c.Write([]byte("PING\r\n"))
		d.expect(c, []byte("-ERR max\r\n"))
		d.expectEnd(c)
	})
}

// A session that is killed does not wait for a peer that reads nothing.
func TestDriverKill(t *testing.T) {
	eachDriver(t, func(s *testSession) { s.outMax = 1000 }, func(d *testDoor) {
		c := d.dial()
		s := wait(t, "the session", d.opened)
		go c.Write(noise(32 << 20))
		wait(t, "reading to pause", s.paused)
		begin := time.Now()
		s.loop.Post(func() { s.killed = true; s.loop.Touch(s) })
		wait(t, "Closed", s.closed)
		if took := time.Since(begin); took > closeStallMax/2 {
			d.Errorf("took %v", took)
		}
	})
}

func TestDriverTicks(t *testing.T) {
	eachDriver(t, nil, func(d *testDoor) {
		d.dial()
		s := wait(t, "the session", d.opened)
		for range 2 {
			wait(t, "a tick", s.ticked)
		}
	})
}

func TestDriverTickKills(t *testing.T) {
	eachDriver(t, nil, func(d *testDoor) {
		c := d.dial()
		s := wait(t, "the session", d.opened)
		s.loop.Post(func() { s.killed = true }) // and no Touch: the next tick finds out
		d.expectEnd(c)
		c.Close()
		wait(t, "Closed", s.closed)
	})
}

// A wake-up that is lost shows as posts that run only when a tick comes, and the time does not suffice.
func TestDriverPostsAllRun(t *testing.T) {
	const posters, each = 8, 3000
	eachDriver(t, nil, func(d *testDoor) {
		d.dial()
		s := wait(t, "the session", d.opened)
		ctx, cancel := context.WithTimeout(context.Background(), testPatience)
		defer cancel()
		ran := 0 // on the loop only
		var posting sync.WaitGroup
		for i := range posters {
			posting.Go(func() {
				done := make(chan struct{}, 1)
				for n := range each {
					if n%2 != i%2 {
						s.loop.Post(func() { ran++ })
						continue
					}
					s.loop.Post(func() { ran++; done <- struct{}{} })
					select { // half of the time one by one, so that the loop sleeps in between
					case <-done:
					case <-ctx.Done():
						return
					}
				}
			})
		}
		posting.Wait()
		if ctx.Err() != nil {
			d.Fatalf("%d posts have not run in %v", posters*each, testPatience)
		}
		total := make(chan int, 1)
		s.loop.Post(func() { total <- ran })
		if got := wait(t, "the last post", total); got != posters*each {
			d.Errorf("%d posts ran, want %d", got, posters*each)
		}
	})
}

func TestDriverPostFromLoop(t *testing.T) {
	eachDriver(t, func(s *testSession) {
		s.onFeed = func(p []byte) {
			reply := bytes.Clone(p)
			s.loop.Post(func() {
				s.loop.Post(func() { s.out = append(s.out, reply...); s.loop.Touch(s) })
			})
		}
	}, func(d *testDoor) {
		c := d.dial()
		for range 100 {
			d.write(c, []byte("ping"))
			d.expect(c, []byte("ping"))
		}
	})
}

func TestDriverShutdownDrains(t *testing.T) {
	reply := noise(8 << 20)
	eachDriver(t, func(s *testSession) { s.onFeed = func([]byte) { s.out = append(s.out, reply...) } }, func(d *testDoor) {
		var busy []net.Conn
		for range 3 {
			c := d.dial()
			d.write(c, []byte("go"))
			d.expect(c, reply[:1]) // it is executed
			busy = append(busy, c)
		}
		idle := d.dial()
		for range 4 {
			wait(t, "the session", d.opened)
		}
		stopped := make(chan error, 1)
		go func() { stopped <- d.shutdown(testPatience) }()
		d.expectEnd(idle)
		if c, err := net.Dial(d.network, d.addr); err == nil {
			d.Error("a connection was accepted after the shutdown began")
			c.Close()
		}
		for _, c := range busy {
			d.expect(c, reply[1:])
			d.expectEnd(c)
			c.Close()
		}
		idle.Close()
		if err := wait(t, "Shutdown", stopped); err != nil {
			d.Errorf("Shutdown: %v", err)
		}
	})
}

func TestDriverShutdownIsBounded(t *testing.T) {
	eachDriver(t, func(s *testSession) { s.onFeed = func([]byte) { s.out = append(s.out, noise(16<<20)...) } }, func(d *testDoor) {
		c := d.dial()
		d.write(c, []byte("go"))
		d.expect(c, noise(16 << 20)[:1]) // and reads no more
		if err := d.shutdown(10 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			d.Errorf("Shutdown: %v, want %v", err, context.DeadlineExceeded)
		}
		s := wait(t, "the session", d.opened)
		wait(t, "Closed", s.closed)
		s.loop.Post(func() {}) // harmless by now
	})
}

// onTurnEnd starts a door of each driver, with what its loops are to do at the ends of their turns.
func onTurnEnd(t *testing.T, f func(d *testDoor, atEnd func(flush func(), sleeps func() uint64))) {
	for name, makeDriver := range driverMakers {
		t.Run(name, func(t *testing.T) {
			ls, err := listen(Options{Listen: "127.0.0.1:0"})
			if err != nil {
				t.Fatal(err)
			}
			d := &testDoor{T: t, network: "tcp", addr: addrOf(ls.tcp), opened: newOpened()}
			if d.driver, err = makeDriver(ls, d.accept); err != nil {
				t.Fatal(err)
			}
			f(d, func(flush func(), sleeps func() uint64) {
				d.driver.OnTurnEnd(flush, sleeps)
				if err := d.driver.Start(); err != nil {
					t.Fatal(err)
				}
			})
			d.shutdown(0)
		})
	}
}

func TestDriverHooksRunBeforeReplies(t *testing.T) {
	onTurnEnd(t, func(d *testDoor, atEnd func(func(), func() uint64)) {
		var shipped atomic.Int64
		atEnd(func() {
			for len(d.opened) > 0 {
				s := <-d.opened
				d.opened <- s
				shipped.Store(s.fed.Load())
				return
			}
		}, nil)
		c := d.dial()
		for i := range int64(100) {
			d.write(c, []byte("x"))
			d.expect(c, []byte("x"))
			if got := shipped.Load(); got != i+1 {
				d.Fatalf("reply %d arrived when the hook had seen %d", i+1, got)
			}
		}
	})
}

// TestDriverSleptR9: what was executed in a turn in which the machine was suspended is not answered; who connects later is served.
func TestDriverSleptR9(t *testing.T) {
	onTurnEnd(t, func(d *testDoor, atEnd func(func(), func() uint64)) {
		var sleeps atomic.Uint64
		d.setUp = func(s *testSession) {
			s.onFeed = func(p []byte) {
				s.out = append(s.out, p...)
				if bytes.Contains(p, []byte("z")) {
					sleeps.Add(1)
				}
			}
		}
		atEnd(func() {}, sleeps.Load)
		// answers tells whether a new connection gets an answer, or ends instead.
		answers := func(request string) bool {
			c := d.dial()
			d.write(c, []byte(request))
			got := make([]byte, 1)
			n, err := c.Read(got)
			if errors.Is(err, os.ErrDeadlineExceeded) || n > 0 && got[0] != request[0] {
				d.Fatalf("read %d bytes, %q, error %v", n, got, err)
			}
			return n > 0
		}
		for range 3 {
			for loops := 0; !answers("x"); loops++ { // each loop looks for itself
				if loops == 10 {
					d.Fatal("no connection is answered after the suspension")
				}
			}
			if answers("z") {
				d.Fatal("what was executed before the machine was suspended was answered after that")
			}
		}
	})
}

// Connections come and go in every way while others post to them.
func TestDriverChurn(t *testing.T) {
	eachDriver(t, func(s *testSession) {
		s.onFeed = func(p []byte) {
			if bytes.Contains(p, []byte("quit")) {
				s.closing = true
			}
			reply := bytes.Clone(p)
			go s.loop.Post(func() {
				if !s.gone {
					s.out = append(s.out, reply...)
					s.loop.Touch(s)
				}
			})
		}
	}, func(d *testDoor) {
		var clients sync.WaitGroup
		for i := range 6 {
			clients.Go(func() {
				for n := range 60 {
					c, err := net.Dial(d.network, d.addr)
					if err != nil {
						d.Error(err)
						return
					}
					c.SetDeadline(time.Now().Add(testPatience))
					switch (i + n) % 4 {
					case 0:
						io.WriteString(c, "ping")
						if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
							d.Error(err)
						}
					case 1:
						io.WriteString(c, "quit")
						io.Copy(io.Discard, c)
					case 2:
						io.WriteString(c, "ping")
					}
					if tcp, ok := c.(*net.TCPConn); ok && n%3 == 0 {
						tcp.SetLinger(0)
					}
					c.Close()
				}
			})
		}
		clients.Wait()
		for range 6 * 60 {
			wait(t, "Closed", wait(t, "the session", d.opened).closed)
		}
	})
}
