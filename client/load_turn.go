package client

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

// One load for a key in the whole grid: GRID.LOAD answers the value, or a token with which to load it, or that somebody has that
// token. It is sent on a connection that tracks, laneLoad, so that who waits is told when the key has changed or the token was
// given back; and asks again, at the latest when the token's time is over:
//
//	GRID.LOAD k   ->  load 4711 10000    the loader runs;  GRID.FILL k 4711 value, or GRID.PASS k 4711 where it fails
//	GRID.LOAD k   ->  wait 9990 1        ....................................  push: invalidate k;  GRID.LOAD k  ->  value ...
//
// Where the node cannot tell, because another node has the key or a sidecar stands between, it says so ("wait 9990 0"), and the
// client asks again after pauses that grow.

// turn is what the grid says of a key that was missed.
type turn struct {
	there bool // it is there by now: value
	value string
	token int64         // with which to put it in; 0 = it is to be loaded, and cannot be put in
	wait  time.Duration // somebody else loads it, for no longer than this; 0 = nobody does
	told  bool          // a push comes as soon as that is over
	plain bool          // the server knows no tokens
}

// loadSpec is GRID.LOAD's: sent again whatever has happened to it, since a token that nobody has got is given back by the node, or runs out.
var loadSpec = spec{first: 1, last: 1, step: 1, flags: flagRead}

// awaitTurn returns what is to be done about a key, once nobody else does it.
func (c *Client) awaitTurn(ctx context.Context, l *load, key string) (turn, error) {
	for n := 0; ; n++ {
		woken := c.loads.listen(key)
		c.loads.step(l)
		t, err := c.askTurn(ctx, key)
		if err != nil || t.wait == 0 {
			c.loads.unlisten(key, woken)
			return t, err
		}
		pause := c.jitter(min(backoffFirst<<min(n, 16), backoffMax))
		if t.told {
			wait(ctx, woken, t.wait)
		}
		c.loads.unlisten(key, woken)
		if t.told && n == 0 { // told for the first time: at once
			pause = 0
		}
		if !sleep(ctx, min(pause, t.wait)) {
			return turn{}, ctx.Err()
		}
	}
}

// wait returns when it is woken, a time is over, or the context has ended.
func wait(ctx context.Context, woken <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-woken:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// askTurn asks whose turn it is, once.
func (c *Client) askTurn(ctx context.Context, key string) (t turn, err error) {
	if !c.used.Load() {
		c.used.Store(true)
	}
	args := []string{"GRID.LOAD", key, milliseconds(c.options.LoadTime)}
	var v protocol.Value
	err = c.try(ctx, trial{s: &loadSpec, args: args, slot: Slot(key), asks: true}, func(n *node, asking bool) (*ServerError, error) {
		conn, err := n.lanes[laneLoad].get(ctx)
		if err != nil {
			t.plain = cannotTrack(err)
			return nil, unless(t.plain, err)
		}
		if t.plain = conn.plain.Load(); t.plain {
			return nil, nil
		}
		v, err = c.sendTurn(ctx, conn, key, args, asking)
		if err != nil || !v.IsError() {
			return nil, err
		}
		if t.plain = isUnknownCommand(v); t.plain {
			conn.plain.Store(true)
			return nil, nil
		}
		return serverError(n.addr, v.Str), nil
	})
	c.near.answered(&loadSpec, args)
	if err != nil || t.plain {
		return t, err
	}
	return turnOf(v)
}

// sendTurn sends GRID.LOAD and returns the reply. Where the context ends before that is there, errAbandoned is returned, and a token that
// comes then is given back: nobody knows of it, and others would wait for who has it.
func (c *Client) sendTurn(ctx context.Context, conn *conn, key string, args []string, asking bool) (v protocol.Value, err error) {
	if err := ctx.Err(); err != nil {
		return v, &ConnError{Node: conn.node.addr, Op: "send", Err: err}
	}
	lines := [][]string{args}
	if asking {
		lines = [][]string{{"ASKING"}, args}
	}
	var late sync.Mutex // guards what follows: the reader may have the reply as the context ends
	var came turn
	left := false
	k := conn.newCall(len(lines))
	k.hook = func(i int, v protocol.Value) {
		if i < len(lines)-1 {
			return
		}
		t, err := turnOf(v)
		if err != nil {
			return
		}
		late.Lock()
		defer late.Unlock()
		if came = t; left {
			c.passTurn(key, came)
		}
	}
	if err := conn.enqueue(ctx, k, lines); err != nil {
		k.free()
		return v, err
	}
	switch err = conn.wait(ctx, k); err {
	case nil:
		v = k.replies[len(lines)-1]
	case errAbandoned:
		late.Lock()
		defer late.Unlock()
		left = true
		c.passTurn(key, came)
		return v, err
	}
	k.free()
	return v, err
}

func unless(so bool, err error) error {
	if so {
		return nil
	}
	return err
}

// turnOf reads a reply to GRID.LOAD.
func turnOf(v protocol.Value) (t turn, err error) {
	e := v.Elems
	switch {
	case len(e) == 2 && string(e[0].Str) == "value":
		t.there = true
		t.value, err = Reply{e[1]}.Text()
		return t, err
	case len(e) == 3 && e[1].Kind == ':' && e[2].Kind == ':':
		switch string(e[0].Str) {
		case "load":
			t.token = e[1].Int
			return t, nil
		case "wait":
			t.wait, t.told = max(1, time.Duration(e[1].Int))*time.Millisecond, e[2].Int == 1
			return t, nil
		}
	}
	return t, &TypeError{Want: "a reply to GRID.LOAD", Got: v.String()}
}

// cannotTrack tells whether a server has refused CLIENT TRACKING, and not the connection.
func cannotTrack(err error) bool {
	var e *ServerError
	return errors.As(err, &e) && (e.Code == "NOPERM" || strings.Contains(strings.ToLower(e.Text), "unknown"))
}

func isUnknownCommand(v protocol.Value) bool {
	return v.IsError() && bytes.Contains(bytes.ToLower(v.Str), []byte("unknown command"))
}

// passTurn gives a token back, so that others need not wait until its time is over. Where that fails, they do.
func (c *Client) passTurn(key string, t turn) {
	if t.token == 0 {
		return
	}
	c.spawn(func() {
		ctx, cancel := context.WithTimeout(c.ctx, passTimeout)
		defer cancel()
		c.Do(ctx, "GRID.PASS", key, itoa64(t.token))
	})
}

// openLoad connects to a node for GRID.LOAD.
func (c *Client) openLoad(ctx context.Context, n *node) (*conn, error) {
	conn, err := dialConn(ctx, n, laneLoad, append(c.greeting(c.own()), []string{"CLIENT", "TRACKING", "ON"}))
	if err != nil {
		return nil, err
	}
	conn.onPush, conn.onFail = c.loads.push, c.loads.wakeAll
	return conn, nil
}

// listen has who waits for a key woken. It is called before the grid is asked: the push may come right behind the reply.
func (l *loads) listen(key string) chan struct{} {
	woken := make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.waiting == nil {
		l.mu.waiting = map[string][]chan struct{}{}
	}
	l.mu.waiting[key] = append(l.mu.waiting[key], woken)
	return woken
}

func (l *loads) unlisten(key string, woken chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := slices.DeleteFunc(l.mu.waiting[key], func(w chan struct{}) bool { return w == woken })
	if len(rest) == 0 {
		delete(l.mu.waiting, key)
		return
	}
	l.mu.waiting[key] = rest
}

// push takes what a node says of keys that others load.
func (l *loads) push(v protocol.Value) {
	if len(v.Elems) < 2 || string(v.Elems[0].Str) != "invalidate" {
		return
	}
	if v.Elems[1].Null {
		l.wakeAll()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range v.Elems[1].Elems {
		wake(l.mu.waiting[string(key.Str)])
	}
}

// wakeAll is for a flush, and for a connection that has failed: nobody would be told on it any more.
func (l *loads) wakeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, waiting := range l.mu.waiting {
		wake(waiting)
	}
}

func wake(waiting []chan struct{}) {
	for _, woken := range waiting {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
}
