package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/server"
)

// Options make a Sidecar.
type Options struct {
	// Server is for the doors: Listen, Unixsocket, RequirePass, Insecure, Logger and the like. Router, Sink and Partitions are the sidecar's.
	Server server.Options
	// Join are the addresses to find the grid at: of nodes' doors, or, without Client.TLS, of their peer ports, which are 10000 above.
	Join []string
	// Client says how nodes are connected to. NearCache, Direct and RetryTime are the sidecar's.
	Client client.Options
	// Near is the near cache; its Prefixes are all keys where there are none.
	Near client.NearCache
}

const (
	// partitions are how finely the sidecar tells keys apart: up to so many partitions of a grid each command goes to its node, beyond some
	// take one more step.
	partitions = 1024
	// joinPauseMin and joinPauseMax are the shortest and longest pause between attempts to find the grid; joinTimeout bounds one.
	joinPauseMin = 50 * time.Millisecond
	joinPauseMax = time.Second
	joinTimeout  = 5 * time.Second
	// joinSayPeriod is how often it says that it is waiting still.
	joinSayPeriod = 10 * time.Second
)

// Sidecar is one process's near cache and its doors.
type Sidecar struct {
	options Options
	log     *slog.Logger
	srv     *server.Server
	grid    atomic.Pointer[client.Client] // nil until the grid was found
	waiting atomic.Pointer[string]        // what commands are told until then
	top     atomic.Pointer[topology]
	watch   *client.NearWatch
	casts   casts

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu struct {
		sync.Mutex
		sessions map[uint64]*session // of those that have sent something
		closed   bool                // nothing is spawned any more
	}
}

// New makes a sidecar; Start opens its doors.
func New(o Options) (*Sidecar, error) {
	if o.Server.Logger == nil {
		o.Server.Logger = slog.Default()
	}
	if len(o.Join) == 0 {
		return nil, errors.New("sidecar: Join is empty: name the nodes of the grid")
	}
	if len(o.Near.Prefixes) == 0 {
		o.Near.Prefixes = []string{""}
	}
	s := &Sidecar{options: o, log: o.Server.Logger}
	s.mu.sessions = map[uint64]*session{}
	s.casts.wake = make(chan struct{}, 1)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.options.Server.Router, s.options.Server.Partitions = s, partitions
	s.watch = &client.NearWatch{Changed: s.changed, Lost: s.lost, Rests: s.rests}
	s.wait(errors.New("not asked yet"))
	var err error
	s.srv, err = server.New(s.options.Server)
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.watch.Family = s.srv.Family()
	return s, nil
}

// Start opens the doors, and looks for the grid from then on. Commands that need it are answered with an error until it is found.
func (s *Sidecar) Start() error {
	if err := s.srv.Start(); err != nil {
		return err
	}
	s.spawn(s.join)
	s.spawn(s.watchLapses)
	s.spawn(s.keepCasts)
	return nil
}

// Addr is the door's address, with its real port; "" where there is none but a Unix socket.
func (s *Sidecar) Addr() string { return s.srv.Addr() }

// Done is closed when a client has called SHUTDOWN.
func (s *Sidecar) Done() <-chan struct{} { return s.srv.Done() }

// Close closes the doors, lets what is under way be answered within the context's time, and ends the connections to the grid.
func (s *Sidecar) Close(ctx context.Context) error {
	err := s.srv.Shutdown(ctx)
	s.cancel()
	s.mu.Lock()
	s.mu.closed = true
	s.mu.Unlock()
	s.wg.Wait()
	if c := s.grid.Load(); c != nil {
		c.Close()
	}
	return err
}

// spawn runs f on a goroutine that Close waits for, or returns false where the sidecar is being closed: commands whose time is not over are
// sent once more then, too.
func (s *Sidecar) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return false
	}
	s.wg.Go(f)
	return true
}

// answerSoon is spawn of what has a command answered; where it cannot be, nothing is executed.
func (s *Sidecar) answerSoon(done func(server.Answer), f func()) {
	if !s.spawn(f) {
		done(server.Answer{Outcome: server.NotExecuted})
	}
}

// join looks for the grid until it is found.
func (s *Sidecar) join() {
	said, why := time.Time{}, ""
	for pause := joinPauseMin; ; pause = min(2*pause, joinPauseMax) {
		c, err := s.connect()
		if err == nil {
			s.found(c)
			return
		}
		if s.ctx.Err() != nil {
			return
		}
		s.wait(err)
		if now := time.Now(); now.Sub(said) >= joinSayPeriod || err.Error() != why {
			said, why = now, err.Error()
			s.log.Warn("waiting for the grid", "join", s.options.Join, "error", err)
		}
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
			return
		}
	}
}

// staleness is the age bound.
func (s *Sidecar) staleness() time.Duration {
	if s.options.Near.Staleness > 0 {
		return s.options.Near.Staleness
	}
	return time.Second // package client's
}

// found begins to use the grid.
func (s *Sidecar) found(c *client.Client) {
	s.grid.Store(c)
	s.waiting.Store(nil)
	s.wakeCasts()
	s.log.Info("the grid is found", "nodes", c.Nodes())
}

// wait notes why there is no grid yet.
func (s *Sidecar) wait(err error) {
	text := fmt.Sprintf("LOADING The sidecar waits for the grid at %s: %v", list(s.options.Join), err)
	text = oneLine(text)
	s.waiting.Store(&text)
}

// connect makes the client of the grid.
func (s *Sidecar) connect() (*client.Client, error) {
	o, near := s.options.Client, s.options.Near
	near.Watch = s.watch
	o.NearCache, o.DB, o.Direct, o.GridDoors = &near, 0, false, true
	o.RetryTime = -1 // the sessions see to that
	if o.ClientName == "" {
		o.ClientName = "neargrid-sidecar"
	}
	ctx, cancel := context.WithTimeout(s.ctx, joinTimeout)
	defer cancel()
	join := s.options.Join
	if o.TLS == nil { // else they are doors: peer ports speak another TLS
		join = doors(ctx, join)
	}
	return client.Connect(ctx, join, o)
}
