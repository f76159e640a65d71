package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	startTimeout = 10 * time.Second
	startPoll    = 20 * time.Millisecond
	logTailBytes = 1 << 10

	// The unit of utime and stime in /proc/PID/stat: 100 a second on every Linux.
	clockTick = 10 * time.Millisecond
)

// lab holds what the points share: the two programs, a directory that goes at the end, and the scale of the run.
type lab struct {
	dir      string
	programs [2]program // indexed by side
	rounds   int
	traces   string
	scale    scale
	startMax time.Duration // for a server to answer; 0 = startTimeout
}

// program is a server that can be started any number of times.
type program struct {
	name string
	path string
	args func(port int, dir string) []string
}

// scale is what -short changes.
type scale struct {
	runMin      time.Duration // each throughput sample lasts at least this
	settle      time.Duration // between a load and the reading of memory
	openLoopRun time.Duration
	divisor     int // of key counts
}

var (
	fullScale  = scale{runMin: 3 * time.Second, settle: 10 * time.Second, openLoopRun: 10 * time.Second, divisor: 1}
	shortScale = scale{runMin: 300 * time.Millisecond, settle: time.Second, openLoopRun: 2 * time.Second, divisor: 100}
)

func newLab(ctx context.Context, o options) (*lab, error) {
	for _, tool := range []string{"redis-server", "redis-benchmark"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s is not installed (Debian: redis-server and redis-tools)", tool)
		}
	}
	dir, err := os.MkdirTemp("", "neargrid-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, rounds: o.rounds, traces: o.traces, scale: fullScale}
	if o.short {
		l.scale = shortScale
	}
	redis := program{name: "Redis", path: "redis-server", args: redisArgs}
	if o.selfTest {
		standIn := redis
		standIn.name = standInName
		l.programs = [2]program{standIn, redis}
		return l, nil
	}
	node := program{name: "neargrid", path: filepath.Join(dir, "neargrid"), args: nodeArgs}
	build := exec.CommandContext(ctx, "go", "build", "-o", node.path, "./cmd/neargrid")
	if text, err := build.CombinedOutput(); err != nil {
		l.close()
		return nil, fmt.Errorf("go build ./cmd/neargrid: %w\n%s", err, text)
	}
	l.programs = [2]program{node, redis}
	return l, nil
}

func (l *lab) close() { os.RemoveAll(l.dir) }

func nodeArgs(port int, dir string) []string {
	return []string{"server", "--listen", "127.0.0.1:" + strconv.Itoa(port), "--cluster-listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0", "--data-dir", dir}
}

func redisArgs(port int, dir string) []string {
	return []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no"}
}

// pair is both servers, running. Indexed by side.
type pair [2]*server

func (l *lab) startPair(ctx context.Context) (pair, error) {
	var p pair
	for s := range p {
		srv, err := l.start(ctx, side(s))
		if err != nil {
			p.stop()
			return pair{}, err
		}
		p[s] = srv
	}
	return p, nil
}

func (p pair) stop() {
	for _, srv := range p {
		if srv != nil {
			srv.stop()
		}
	}
}

// turn answers the order in which the sides are measured in a round: whoever went first goes second next time.
func turn(round int) [2]side {
	if round%2 == 0 {
		return [2]side{ours, peer}
	}
	return [2]side{peer, ours}
}

// server is one running child process.
type server struct {
	name   string
	addr   string
	port   int
	pid    int
	dir    string
	kill   context.CancelFunc
	exited chan struct{} // closed once the process is gone and reaped

	clusterPort int       // of the cluster door; 0 = none
	peerPort    int       // of the peer port; 0 = none
	others      []*server // processes that serve together with this one
	runs        int       // of redis-benchmark so far
}

// processes are all that serve together.
func (s *server) processes() []*server { return append([]*server{s}, s.others...) }

// start runs one server in a directory of its own and waits until it answers PING.
func (l *lab) start(ctx context.Context, s side) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	return l.launch(ctx, l.programs[s], port)
}

// launch starts a program and waits until it answers PING.
func (l *lab) launch(ctx context.Context, prog program, port int) (*server, error) {
	dir, err := os.MkdirTemp(l.dir, "server-")
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		return nil, err
	}

	ctx, kill := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, prog.path, prog.args(port, data)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		kill()
		return nil, fmt.Errorf("start %s: %w", prog.name, err)
	}
	srv := &server{
		name: prog.name, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), port: port,
		pid: cmd.Process.Pid, dir: dir, kill: kill, exited: make(chan struct{}),
	}
	go func() {
		defer close(srv.exited)
		_ = cmd.Wait()
	}()
	if err := srv.awaitReady(ctx, cmp.Or(l.startMax, startTimeout)); err != nil {
		err = fmt.Errorf("start %s: %w%s", prog.name, err, srv.logTail())
		srv.stop()
		return nil, err
	}
	return srv, nil
}

func (s *server) stop() {
	for _, other := range s.others {
		other.stop()
	}
	s.kill()
	<-s.exited
	os.RemoveAll(s.dir)
}

func (s *server) awaitReady(ctx context.Context, limit time.Duration) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		if err := s.do("PING"); err == nil {
			return nil
		}
		select {
		case <-time.After(startPoll):
		case <-s.exited:
			return errors.New("it exited")
		case <-deadline.C:
			return fmt.Errorf("no answer to PING on %s within %s", s.addr, limit)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// logTail answers the end of what the server printed, on lines of its own.
func (s *server) logTail() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil || len(text) == 0 {
		return ""
	}
	return "\n" + strings.TrimSpace(string(text[max(0, len(text)-logTailBytes):]))
}

// cpu is the processor time so far of all processes that serve together, in user and kernel mode, all threads.
func (s *server) cpu() (sum time.Duration, err error) {
	for _, p := range s.processes() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
		if err != nil {
			return 0, err
		}
		used, err := parseCPU(string(text))
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// parseCPU reads utime and stime, fields 14 and 15 of /proc/PID/stat. The second field is the program's name in
// parentheses and may itself hold spaces and parentheses, so fields are counted from the last one.
func parseCPU(stat string) (time.Duration, error) {
	const afterName, utimeIndex, stimeIndex = 3, 14 - 3, 15 - 3
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= stimeIndex {
		return 0, fmt.Errorf("/proc stat has %d fields: %q", len(fields)+afterName-1, stat)
	}
	user, errUser := strconv.ParseInt(fields[utimeIndex], 10, 64)
	system, errSystem := strconv.ParseInt(fields[stimeIndex], 10, 64)
	if err := errors.Join(errUser, errSystem); err != nil {
		return 0, err
	}
	return time.Duration(user+system) * clockTick, nil
}

// residentBytes is the process's resident memory.
func (s *server) residentBytes() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		return 0, err
	}
	return parseResident(string(text))
}

func parseResident(status string) (int64, error) {
	for line := range strings.Lines(status) {
		rest, found := strings.CutPrefix(line, "VmRSS:")
		if !found {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		return kib << 10, err
	}
	return 0, errors.New("/proc status has no VmRSS line")
}

// portIsFree tells whether a port of the loopback can be listened on.
func portIsFree(port int) bool {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	ln.Close()
	return true
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// wait pauses for d, or until the run is interrupted.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
