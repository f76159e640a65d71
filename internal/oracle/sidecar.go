package main

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/neargrid/neargrid/internal/testgrid"
	"github.com/neargrid/neargrid/internal/testredis"
)

// sidecar is the reader that is no Go: RESP over the Unix socket of a `neargrid sidecar`. A look at all keys is one pipeline.
type sidecar struct {
	arena   *arena
	socket  string
	command []string
	log     string

	mu     sync.Mutex
	proc   *testgrid.Process
	idle   []*testredis.Conn
	counts map[string]*counter // of INFO
}

// counter is a number that begins anew with each start of the sidecar.
type counter struct{ earlier, latest int64 }

const (
	sidecarPlace = 199 // in a network
	// sidecarMax is how long a look at all keys may take: what was asked before the sidecar was stopped, and is answered afterwards, counts.
	sidecarMax = 2 * time.Second
	infoMax    = 200 * time.Millisecond
)

// hasSidecar tells whether the program has the command.
func (l *lab) hasSidecar(ctx context.Context) bool {
	return exec.CommandContext(ctx, l.program, "help", "sidecar").Run() == nil
}

func (a *arena) startSidecar(ctx context.Context) (*sidecar, error) {
	s := &sidecar{arena: a, socket: filepath.Join(a.grid.Dir, "sidecar.sock"), log: filepath.Join(a.grid.Dir, "sidecar.log"), counts: map[string]*counter{}}
	if a.network != nil {
		if err := a.network.Add(sidecarPlace); err != nil {
			return nil, err
		}
		s.command = a.network.Prefix(sidecarPlace)
	}
	s.command = append(s.command, a.lab.program, "sidecar", "--join", strings.Join(a.doors(), ","), "--listen", "off",
		"--unixsocket", s.socket, "--staleness", L.String(), "--near-memory", nearMemory, "--near-prefixes", nearPrefix, "--io-loops", "1")
	return s, s.start(ctx)
}

func (s *sidecar) start(ctx context.Context) error {
	p, err := testgrid.StartProcess(ctx, s.log, s.command)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc = p
	return nil
}

func (s *sidecar) process() *testgrid.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

// restart kills the sidecar and starts it again.
func (s *sidecar) restart(ctx context.Context) error {
	s.hits()
	s.flushes()
	s.process().Kill()
	s.mu.Lock()
	for _, c := range s.counts {
		c.earlier, c.latest = c.earlier+c.latest, 0
	}
	s.mu.Unlock()
	return s.start(ctx)
}

// call sends commands and has each reply taken; a connection that fails is not used again.
func (s *sidecar) call(timeout time.Duration, commands [][]string, take func(i int, v testredis.Value)) error {
	s.mu.Lock()
	var c *testredis.Conn
	if n := len(s.idle); n > 0 {
		c, s.idle = s.idle[n-1], s.idle[:n-1]
	}
	s.mu.Unlock()
	if c == nil {
		var err error
		if c, err = testredis.Dial(s.socket); err != nil {
			return err
		}
	}
	c.Timeout = timeout
	for _, words := range commands {
		c.Queue(words...)
	}
	err := c.Flush()
	for i := 0; i < len(commands) && err == nil; i++ {
		var v testredis.Value
		if v, err = c.Receive(); err == nil {
			take(i, v)
		}
	}
	if err != nil {
		return errors.Join(err, c.Close())
	}
	s.mu.Lock()
	s.idle = append(s.idle, c)
	s.mu.Unlock()
	return nil
}

func (s *sidecar) pass(_ context.Context, v *viewer, keys []*history) {
	commands, looks := make([][]string, len(keys)), make([]look, len(keys))
	for i, h := range keys {
		commands[i] = []string{"GET", h.key}
		looks[i] = v.begin(h)
	}
	left := len(keys)
	_ = s.call(sidecarMax, commands, func(i int, got testredis.Value) {
		if !got.IsError() {
			looks[i].end(got.Text, !got.IsNull())
			left--
		}
	})
	v.tally.failed.Add(int64(left))
}

func (s *sidecar) set(_ context.Context, key, value string, ttl time.Duration) outcome {
	words := []string{"SET", key, value}
	if ttl > 0 {
		words = append(words, "PX", strconv.FormatInt(ttl.Milliseconds(), 10))
	}
	o := unknown
	_ = s.call(writeMax, [][]string{words}, func(_ int, v testredis.Value) {
		switch {
		case v.IsError():
			o = outcomeOfText(v.Text)
		default:
			o = done
		}
	})
	return o
}

// info is a number of INFO's, of all starts.
func (s *sidecar) info(name string) int64 {
	s.mu.Lock()
	c := s.counts[name]
	if c == nil {
		c = &counter{}
		s.counts[name] = c
	}
	s.mu.Unlock()
	_ = s.call(infoMax, [][]string{{"INFO"}}, func(_ int, v testredis.Value) {
		if at, ok := testgrid.InfoNumber(v.Text, name); ok {
			s.mu.Lock()
			c.latest = at
			s.mu.Unlock()
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.earlier + c.latest
}

func (s *sidecar) hits() int64    { return s.info("near_hits") }
func (s *sidecar) flushes() int64 { return s.info("near_misses_partition") }

func (s *sidecar) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		s.proc.Kill()
	}
	for _, c := range s.idle {
		c.Close()
	}
}

// cutSidecar has nothing arrive between the sidecar and some nodes, one way or both, where the network can be cut.
func (a *arena) cutSidecar(nodes []*testgrid.Node, out, in bool) error {
	return a.eachOfSidecar(nodes, out, in, (*testgrid.Network).Cut)
}

func (a *arena) healSidecar(nodes []*testgrid.Node, out, in bool) error {
	return a.eachOfSidecar(nodes, out, in, (*testgrid.Network).Heal)
}

func (a *arena) eachOfSidecar(nodes []*testgrid.Node, out, in bool, do func(n *testgrid.Network, from, to int) error) (err error) {
	if a.side == nil || a.network == nil {
		return nil
	}
	for _, n := range nodes {
		if out {
			err = errors.Join(err, do(a.network, sidecarPlace, n.Number))
		}
		if in {
			err = errors.Join(err, do(a.network, n.Number, sidecarPlace))
		}
	}
	return err
}
