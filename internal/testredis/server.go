package testredis

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Version is the release of redis-server that we compare with; another 7.0.x is taken too.
const Version = "7.0.15"

const (
	startTimeout = 20 * time.Second
	stopTimeout  = 5 * time.Second
	startTries   = 5 // another process may take the free port before the server does
)

// ErrMissing says that there is no redis-server to compare with on this machine.
var ErrMissing = errors.New("no redis-server " + Version + " is installed")

// Server is a server process of our own. Stop ends it.
type Server struct {
	Addr string // host:port

	cmd    *exec.Cmd
	output *tail
	exited chan struct{}
	dir    string
}

// Start starts a private redis-server for the length of the test. Without one installed the test is skipped; in CI
// (CI=true) it fails, since there nothing may be left out.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	s, err := LaunchRedis(flags...)
	if errors.Is(err, ErrMissing) && os.Getenv("CI") != "true" {
		t.Skipf("left out: %v", err)
	}
	return started(t, s, err)
}

// StartNeargrid builds ./cmd/neargrid, once for the test binary, and starts a node for the length of the test.
func StartNeargrid(t testing.TB, flags ...string) *Server {
	t.Helper()
	s, err := LaunchNeargrid(flags...)
	return started(t, s, err)
}

// StartDev starts a grid of so many nodes for the length of the test.
func StartDev(t testing.TB, nodes int) *Server {
	t.Helper()
	s, err := LaunchDev(nodes)
	return started(t, s, err)
}

func started(t testing.TB, s *Server, err error) *Server {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Dial connects for the length of the test.
func (s *Server) Dial(t testing.TB) *Conn {
	t.Helper()
	c, err := Dial(s.Addr)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.output)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// LaunchRedis starts a redis-server that keeps nothing on disk, on a free port of the loopback.
func LaunchRedis(flags ...string) (*Server, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, ErrMissing
	}
	version, err := exec.Command(path, "--version").Output()
	if err != nil {
		return nil, err
	}
	if minor := Version[:strings.LastIndexByte(Version, '.')+1]; !strings.Contains(string(version), "v="+minor) {
		return nil, fmt.Errorf("%w (%s is %s)", ErrMissing, path, strings.TrimSpace(string(version)))
	}
	return launch(func(port int, dir string) *exec.Cmd {
		args := []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
			"--daemonize", "no", "--dir", dir}
		return exec.Command(path, append(args, flags...)...)
	})
}

// LaunchNeargrid builds ./cmd/neargrid, once for this process, and starts a node on a free port of the loopback.
func LaunchNeargrid(flags ...string) (*Server, error) {
	path, err := binary()
	if err != nil {
		return nil, err
	}
	return launch(func(port int, dir string) *exec.Cmd {
		args := []string{"server", "--listen", "127.0.0.1:" + strconv.Itoa(port), "--cluster-listen", "off", "--peer-listen", "127.0.0.1:0", "--data-dir", filepath.Join(dir, "data")}
		return exec.Command(path, append(args, flags...)...)
	})
}

// LaunchDev builds ./cmd/neargrid, once for this process, and starts a grid of so many nodes in one process; Addr is the grid door of
// the first.
func LaunchDev(nodes int) (*Server, error) {
	path, err := binary()
	if err != nil {
		return nil, err
	}
	for range startTries { // its other ports may be taken, or too high, where the first is free
		var s *Server
		s, err = launchOnce(func() (int, error) { return freePorts(nodes) }, func(port int, dir string) *exec.Cmd {
			return exec.Command(path, "dev", "--nodes", strconv.Itoa(nodes), "--port", strconv.Itoa(port), "--data-dir", filepath.Join(dir, "data"))
		})
		if err == nil {
			return s, nil
		}
	}
	return nil, err
}

// binary builds neargrid. The directory it is built into is removed by RemoveBinary, or else left to the system.
var binary = sync.OnceValues(func() (string, error) {
	gomod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "neargrid-build-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "neargrid")
	build := exec.Command("go", "build", "-o", path, "./cmd/neargrid")
	build.Dir = filepath.Dir(strings.TrimSpace(string(gomod)))
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/neargrid: %w\n%s", err, out)
	}
	built = dir
	return path, nil
})

// Program is what LaunchNeargrid runs: neargrid, built once for this process.
func Program() (string, error) { return binary() }

var built string // the directory that binary made

// RemoveBinary removes what LaunchNeargrid built; for the end of a TestMain or main.
func RemoveBinary() {
	if built != "" {
		os.RemoveAll(built)
	}
}

// Exit ends a TestMain whose tests have ended with a code: it removes what LaunchNeargrid built, and fails where goroutines are left behind.
func Exit(code int) {
	RemoveBinary()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left behind:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func launch(command func(port int, dir string) *exec.Cmd) (*Server, error) {
	var err error
	for range startTries {
		var s *Server
		if s, err = launchOnce(freePort, command); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func launchOnce(find func() (port int, err error), command func(port int, dir string) *exec.Cmd) (*Server, error) {
	port, err := find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "neargrid-test-")
	if err != nil {
		return nil, err
	}
	s := &Server{
		Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), cmd: command(port, dir), output: &tail{},
		exited: make(chan struct{}), dir: dir,
	}
	s.cmd.Dir = dir
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	dieWithParent(s.cmd)
	if err := s.cmd.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	go func() {
		s.cmd.Wait()
		close(s.exited)
	}()
	if err := s.ready(); err != nil {
		s.Stop()
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(s.cmd.Args, " "), err, s.output)
	}
	return s, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Where the ports of grids are looked for: they and those that follow from them, up to 10000 above, are below those that systems give to
// connections, which come and go.
const (
	gridPortMin = 11000
	gridPortMax = 21000
	gridTries   = 100
)

// freePorts finds the first of consecutive free ports for nodes, whose other ports are 1000 and 10000 above.
func freePorts(nodes int) (int, error) {
	for range gridTries {
		port := gridPortMin + rand.IntN(gridPortMax-gridPortMin)
		free := true
		for i := range nodes {
			for _, step := range []int{0, 1000, 10000} {
				l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i+step)))
				if err != nil {
					free = false
					break
				}
				l.Close()
			}
		}
		if free {
			return port, nil
		}
	}
	return 0, errors.New("there are no free ports for a grid")
}

// ready waits until the server accepts connections; both servers answer from then on.
func (s *Server) ready() error {
	deadline := time.After(startTimeout)
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		if c, err := Dial(s.Addr); err == nil {
			_, err = c.Call("PING")
			c.Close()
			return err
		}
		select {
		case <-retry.C:
		case <-s.exited:
			return fmt.Errorf("ended at once: %s", s.cmd.ProcessState)
		case <-deadline:
			return fmt.Errorf("accepts no connection after %v", startTimeout)
		}
	}
}

// Exited is closed once the process has ended, by Stop or by itself.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Output returns the end of what the server wrote to its standard output and error.
func (s *Server) Output() string { return s.output.String() }

// PID returns the process's id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop kills the process and removes its directory.
func (s *Server) Stop() {
	s.cmd.Process.Kill()
	select {
	case <-s.exited:
	case <-time.After(stopTimeout):
	}
	os.RemoveAll(s.dir)
}

// tail keeps the last tailMax bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const tailMax = 64 << 10

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if over := w.buf.Len() - tailMax; over > 0 {
		w.buf.Next(over)
	}
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}
