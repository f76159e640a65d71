package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/internal/clock"
	"github.com/neargrid/neargrid/partition"
)

// Options make a Server. The zero value of a field means its default, where one is named.
type Options struct {
	Listen         string // host:port of the grid door; empty = none
	ClusterListen  string // host:port of the cluster door; empty = none
	Unixsocket     string // path; empty = none
	UnixsocketPerm uint32 // 0 = 0700
	Partitions     int    // a power of two; 0 = 256
	MaxMemory      int64  // bytes; 0 = no limit
	RequirePass    string // empty = no password
	Loops          int    // event loops; 0 = one less than there are cores, at least one
	NodeID         string
	Seed           partition.Seed // zero: a random one
	Logger         *slog.Logger   // nil: slog.Default
	LogLevel       *slog.LevelVar // what Logger filters by, so that CONFIG SET loglevel can move it; nil: it moves nothing
	Insecure       bool           // a door that other machines reach may go without a password
	ConfigFile     string         // the file that Config is from, for INFO; empty = none
	Config         [][2]string    // CONFIG settings to begin with: names and values
	Router         Router         // nil: the node is alone
	Sink           partition.Sink // gets every batch, for other copies; nil: there are none
	Clock          *clock.Clock   // the one that Router is asked by; nil: one that begins now
	// Sleeps counts how often the machine was suspended, as Clock.Look does: what a loop has executed when that changes is not
	// answered, and the connection ends. nil: nothing that is answered rests on a lease.
	Sleeps func() uint64

	// Of simulations: see Attach.
	Timing Timing           // nil: Clock, and the system's timers
	Space  *partition.Space // where the data lies; nil: a space of its own
}

// Server is one node's doors, and the commands behind them.
type Server struct {
	options  Options
	config   *Config
	store    *partition.Store
	log      *slog.Logger
	router   Router        // nil: the node is alone
	upstream Upstream      // router, where it is one; else nil
	nearRows map[*Row]bool // whose replies it may hold
	guests   guests
	driver   driver
	addr     string // of the grid door, with its real port
	cluster  string // of the cluster door, the same
	started  time.Time
	timing   Timing       // nil: the system's
	offset   atomic.Int64 // wall clock - clock, in ns; never makes wallMs go back

	nextSessionID atomic.Int64
	calls         sync.Pool // of *Call
	gates         sync.Pool // of *gate
	stats         serverStats
	slow          slowLog
	pauses        pauseState
	latency       latencyMonitor
	rates         rates
	recent        recentPeaks
	largeDropped  atomic.Bool  // see dropped
	trackingOver  atomic.Int64 // how often in a row the tracking table was too large for what could be done about it
	relays        relays
	casts         casts
	family        uint64       // of its sessions: see origin
	readingGuests atomic.Int64 // nodes whose doors have had keys tracked here
	subscribers   atomic.Int64 // sessions that listen to invalidateChannel
	runID         string       // 40 hex digits, new at each start
	startupMemory atomic.Int64 // used memory when nothing was stored yet
	peakMemory    atomic.Int64

	sessions struct {
		sync.Mutex
		byID map[int64]*Session
	}
	done     chan struct{} // closed when SHUTDOWN was called
	doneOnce sync.Once
	stop     chan struct{} // closed by Shutdown
	stopOnce sync.Once
	crons    sync.WaitGroup

	nextExpire int // cron's: the partition that active expiry begins with
}

// serverStats are the counters of INFO that belong to no command.
type serverStats struct {
	connections, rejected, protocolErrors atomic.Int64
	bytesIn, bytesOut                     atomic.Int64
	readsBefore, writesBefore             atomic.Int64 // of the driver, when the statistics were last reset
	expireNanos, expireCapped             atomic.Int64 // active expiry: time taken, and turns that took all they may
	releasedBefore                        atomic.Int64 // of the store, the same
	exceeded                              exceeded
	mu                                    struct {
		sync.Mutex
		errors map[string]int64 // by the error's first word
	}
}

// errorKindsMax bounds the kinds of error that are counted one by one.
const errorKindsMax = 128

// New makes a server; Start opens its doors.
func New(o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Partitions == 0 {
		o.Partitions = 256
	}
	if o.Seed == (partition.Seed{}) {
		o.Seed = partition.RandomSeed()
	}
	if o.Clock == nil {
		o.Clock = clock.New()
	}
	config := newConfig(o)
	if err := config.Set(o.Config); err != nil {
		return nil, err
	}
	config.sealed = true
	if config.exposed && config.RequirePass() == "" {
		return nil, ErrExposed
	}
	store, err := partition.NewStore(partition.Options{Partitions: o.Partitions, Seed: o.Seed, Limits: config.limits, Sink: o.Sink, Track: o.Router != nil, Space: o.Space})
	if err != nil {
		return nil, err
	}
	srv := &Server{
		options: o, config: config, store: store, log: o.Logger, router: o.Router,
		started: o.Clock.Started(), timing: o.Timing, done: make(chan struct{}), stop: make(chan struct{}), family: drawFamily(),
	}
	if o.Timing != nil {
		srv.started = o.Timing.Started()
	}
	if up, ok := o.Router.(Upstream); ok {
		srv.upstream, srv.nearRows = up, nearRowsOf(up)
	}
	srv.runID = fmt.Sprintf("%016x%016x%08x", rand.Uint64(), rand.Uint64(), rand.Uint32())
	srv.offset.Store(srv.wallBase())
	srv.sessions.byID = map[int64]*Session{}
	srv.guests.byNode = map[NodeID]*guest{}
	srv.stats.mu.errors = map[string]int64{}
	srv.calls.New = func() any { return newCall(srv) }
	srv.gates.New = func() any { return newGate() }
	return srv, nil
}

// Start opens the doors and begins to serve.
func (srv *Server) Start() error {
	listeners, err := listen(srv.options)
	if err != nil {
		return err
	}
	srv.addr, srv.cluster = addrOf(listeners.tcp), addrOf(listeners.cluster)
	srv.config.setAddr(srv.addr)
	srv.driver, err = newDriver(srv.options.Loops, listeners, srv.newSession, srv.keepAliveSeconds, srv.log)
	if err != nil {
		listeners.close()
		return err
	}
	if srv.router != nil {
		srv.driver.OnTurnEnd(srv.router.Flush, srv.options.Sleeps)
	}
	firstHeap.Do(runtime.GC)
	readGoHeap()
	srv.startupMemory.Store(srv.usedMemory())
	if err := srv.driver.Start(); err != nil {
		return err
	}
	srv.crons.Add(1)
	go srv.cron()
	return nil
}

func (srv *Server) keepAliveSeconds() int { return int(srv.config.TCPKeepAlive.Load()) }

// Addr is the grid door's address, ClusterAddr the cluster door's; their ports are the real ones where port 0 was asked for.
func (srv *Server) Addr() string        { return srv.addr }
func (srv *Server) ClusterAddr() string { return srv.cluster }

// Store is the server's data, from New to Shutdown.
func (srv *Server) Store() *partition.Store { return srv.store }

// Done is closed when a client has called SHUTDOWN: the program is then to call Shutdown and exit.
func (srv *Server) Done() <-chan struct{} { return srv.done }

// Shutdown closes the doors, lets what is executed be answered, and returns when all connections are closed or ctx ends.
func (srv *Server) Shutdown(ctx context.Context) error {
	err := errors.New("server: shut down twice")
	srv.stopOnce.Do(func() {
		close(srv.stop)
		err = nil
		if srv.driver != nil {
			err = srv.driver.Shutdown(ctx)
		}
		srv.crons.Wait()
		srv.store.Close()
	})
	return err
}

// wallMs turns a time of clock into ms since 1970. It never goes back, whatever the system's clock does.
func (srv *Server) wallMs(at time.Duration) int64 {
	return (srv.offset.Load() + int64(at)) / int64(time.Millisecond)
}

func (srv *Server) register(s *Session) bool {
	srv.sessions.Lock()
	defer srv.sessions.Unlock()
	if int64(len(srv.sessions.byID)) >= srv.config.MaxClients.Load() {
		return false
	}
	srv.sessions.byID[s.id] = s
	return true
}

func (srv *Server) unregister(s *Session) {
	srv.sessions.Lock()
	defer srv.sessions.Unlock()
	delete(srv.sessions.byID, s.id)
}

// countError counts an error reply by its first word.
func (srv *Server) countError(text string) {
	kind := text
	for i := range len(text) {
		if text[i] == ' ' {
			kind = text[:i]
			break
		}
	}
	srv.stats.mu.Lock()
	defer srv.stats.mu.Unlock()
	if _, known := srv.stats.mu.errors[kind]; known || len(srv.stats.mu.errors) < errorKindsMax {
		srv.stats.mu.errors[kind]++
	}
}

// clockSlewShare is the share of a period by which it may slow the log's time when the wall clock is behind.
const clockSlewShare = 2000

// cronPeriod is the time between two turns of cron.
func (srv *Server) cronPeriod() time.Duration {
	return time.Second / time.Duration(srv.config.Hz.Load())
}

// slowPeriod is how often cron samples the rates of INFO and gives memory back to the system.
const slowPeriod = time.Second

// cron does what no client asks for: active expiry, tidying, returning memory, following the wall clock.
func (srv *Server) cron() {
	defer srv.crons.Done()
	period := srv.cronPeriod()
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	var slow time.Duration // when that was done last
	for {
		select {
		case <-srv.stop:
			return
		case <-ticker.C:
		}
		if p := srv.cronPeriod(); p != period {
			period = p
			ticker.Reset(period)
		}
		srv.followWallClock(period)
		srv.watchMemory()
		srv.watchExceeded()
		srv.expireDue(period)
		srv.limitTracking()
		srv.askCasts()
		srv.flush()
		if now := srv.clock(); now-slow >= slowPeriod {
			slow = now
			srv.sampleRates()
			srv.store.Space.Purge()
			srv.collectDropped()
		}
	}
}

// clockJump is from how far on the wall clock has been set, and has not just drifted.
const clockJump = 100 * time.Millisecond

// followWallClock moves log time to the wall clock: ahead at once, back by slowing down. Where that is far ahead, keys may have expired that
// active expiry comes to much later, and who holds copies of them counts their time on another clock: all are told to drop everything.
func (srv *Server) followWallClock(period time.Duration) {
	ahead := time.Now().UnixNano() - int64(srv.clock()) - srv.offset.Load()
	srv.offset.Add(max(ahead, -int64(period/clockSlewShare)))
	if ahead >= int64(clockJump) {
		srv.store.Tracking().InvalidateAll()
	}
}

// The share of its time that active expiry may take, in percent: as in Redis, by active-expire-effort.
const (
	expirePercent          = 25
	expirePercentPerEffort = 2
)

// expireDue runs active expiry over all partitions, for at most a share of a period. The next turn goes on with the
// partition after the last one, so that none has to wait for good while others have much to do.
func (srv *Server) expireDue(period time.Duration) {
	percent := expirePercent + expirePercentPerEffort*(srv.config.ActiveExpireEffort.Load()-1)
	begin := srv.clock()
	end := begin + period*time.Duration(percent)/100
	defer func() {
		took := srv.clock() - begin
		srv.stats.expireNanos.Add(int64(took))
		srv.noteLatency(eventExpireCycle, took)
	}()
	now := begin
	for range srv.store.Partitions() {
		p := srv.store.Partition(srv.nextExpire)
		srv.nextExpire = (srv.nextExpire + 1) % srv.store.Partitions()
		for p.ExpireDue(srv.wallMs(now)) {
			if now = srv.clock(); now > end {
				srv.stats.expireCapped.Add(1)
				return
			}
		}
	}
}

// flush has what was executed, other than by a loop, sent to the other copies.
func (srv *Server) flush() {
	if srv.router != nil {
		srv.router.Flush()
	}
}

// requestStop is what SHUTDOWN does.
func (srv *Server) requestStop() { srv.doneOnce.Do(func() { close(srv.done) }) }

// String names the server in logs.
func (srv *Server) String() string {
	return fmt.Sprintf("neargrid %s at %s", srv.options.NodeID, srv.addr)
}
