package server

import (
	"context"
	"net"
	"sync"
	"time"
)

type listenersMin struct{ ls []net.Listener }

func (l *listenersMin) addr() string { return l.ls[0].Addr().String() }
func (l *listenersMin) close() {
	for _, x := range l.ls {
		x.Close()
	}
}
func listen(o Options) (*listenersMin, error) {
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	return &listenersMin{[]net.Listener{l}}, nil
}

type minDriver struct {
	l      *listenersMin
	accept acceptor
	wg     sync.WaitGroup
}
type minLoop struct {
	mu   sync.Mutex
	s    sessionIO
	c    net.Conn
	gone bool
}

func (l *minLoop) Post(f func()) {
	go func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		f()
		l.flush()
	}()
}
func (l *minLoop) Touch(sessionIO) {}
func (l *minLoop) flush() {
	if l.gone {
		return
	}
	for {
		_, w, cl := l.s.Wants()
		if w {
			n, err := l.c.Write(l.s.Out())
			if err != nil {
				cl = true
			} else {
				l.s.Sent(n)
				continue
			}
		}
		if cl {
			l.gone = true
			l.c.Close()
			l.s.Closed()
		}
		return
	}
}
func newDriver(_ int, l *listenersMin, a acceptor, _ func() int) (driver, error) {
	return &minDriver{l: l, accept: a}, nil
}
func (d *minDriver) CloseListeners()                { d.l.close() }
func (d *minDriver) Shutdown(context.Context) error { d.l.close(); return nil }
func (d *minDriver) Start() error {
	for _, ln := range d.l.ls {
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go d.serve(c)
			}
		}()
	}
	return nil
}
func (d *minDriver) serve(c net.Conn) {
	l := &minLoop{c: c}
	l.s = d.accept(l, connInfo{Remote: c.RemoteAddr().String(), Local: c.LocalAddr().String(), FD: 8})
	l.mu.Lock()
	l.flush()
	l.mu.Unlock()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		l.mu.Lock()
		if l.gone {
			l.mu.Unlock()
			return
		}
		if n > 0 {
			l.s.Feed(buf[:n])
		}
		if err != nil {
			l.s.EOF()
		}
		l.flush()
		gone := l.gone
		if err != nil && !gone {
			l.gone = true
			l.c.Close()
			l.s.Closed()
		}
		l.mu.Unlock()
		if err != nil || gone {
			return
		}
	}
}

var _ = time.Now
